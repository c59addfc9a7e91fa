//! Wakers of subscribers: if one panics, the others are woken and no event is lost.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::Stream;
use kvbm_lockfree::BlockRegistry;
use kvbm_lockfree::events::{EventsManager, KvCacheEvent};

use crate::fuse::{self, Fuse};
use crate::world::hash;

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Wake,
    Clone,
    Drop,
    /// No function of the waker.
    Nowhere,
}

/// What a waker wakes.
struct Waiter {
    at: At,
    fuse: Arc<Fuse>,
    woken: AtomicU32,
}

impl Waiter {
    fn new(at: At, fuse: &Arc<Fuse>) -> Arc<Self> {
        Arc::new(Self {
            at,
            fuse: Arc::clone(fuse),
            woken: AtomicU32::new(0),
        })
    }

    fn call_at(&self, at: At) {
        if self.at == at {
            self.fuse.call();
        }
    }

    fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the functions of the vtable expect `data` to be the pointer of an `Arc` of a
        // waiter that they own, as it is here.
        unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
    }

    fn woken(&self) -> u32 {
        self.woken.load(SeqCst)
    }
}

static TABLE: RawWakerVTable = RawWakerVTable::new(
    |data| {
        // SAFETY: as in `waker`; this function must not drop the reference.
        let waiter = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Waiter>())) };
        waiter.call_at(At::Clone);
        let clone = Arc::clone(&waiter);
        RawWaker::new(Arc::into_raw(clone).cast(), &TABLE)
    },
    |data| {
        // SAFETY: as in `waker`.
        let waiter = unsafe { Arc::from_raw(data.cast::<Waiter>()) };
        waiter.woken.fetch_add(1, SeqCst);
        waiter.call_at(At::Wake);
    },
    |data| {
        // SAFETY: as in `waker`; this function must not drop the reference.
        let waiter = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Waiter>())) };
        waiter.woken.fetch_add(1, SeqCst);
        waiter.call_at(At::Wake);
    },
    |data| {
        // SAFETY: as in `waker`.
        let waiter = unsafe { Arc::from_raw(data.cast::<Waiter>()) };
        waiter.call_at(At::Drop);
    },
);

/// Returns fuses that go off at the calls of these runs, and one that never does.
fn fuses() -> Vec<Arc<Fuse>> {
    let armed: [(&[u32], u32); 5] = [(&[], 0), (&[0], 0), (&[0, 1], 0), (&[0], 2), (&[0, 1], 2)];
    let fuses = armed.map(|(at, depth)| Fuse::new(at, depth));
    fuses.iter().for_each(|fuse| fuse.light());
    fuses.into()
}

type Subscription = Pin<Box<dyn Stream<Item = KvCacheEvent> + Send>>;

/// A registry with events.
struct Bus {
    events: Arc<EventsManager>,
    registry: BlockRegistry,
}

impl Bus {
    fn new() -> Self {
        let events = Arc::new(EventsManager::builder().build());
        let registry = BlockRegistry::builder().event_manager(Arc::clone(&events));
        Self {
            events,
            registry: registry.build(),
        }
    }

    fn subscribe(&self) -> Subscription {
        Box::pin(self.events.subscribe())
    }

    /// Causes two events.
    fn emit(&self) {
        drop(self.registry.register_sequence_hash(hash(1)));
    }
}

fn poll(subscription: &mut Subscription, waker: &Waker) -> Poll<Option<KvCacheEvent>> {
    subscription
        .as_mut()
        .poll_next(&mut Context::from_waker(waker))
}

/// Reads the available events. Returns their number, and whether the stream ended.
fn read(subscription: &mut Subscription, waker: &Waker) -> (u32, bool) {
    let mut count = 0;
    loop {
        match poll(subscription, waker) {
            Poll::Ready(Some(_)) => count += 1,
            Poll::Ready(None) => return (count, true),
            Poll::Pending => return (count, false),
        }
    }
}

/// Returns the call at which a bomb panicked, if one did.
fn caught<R>(code: impl FnOnce() -> R) -> Result<R, u32> {
    catch_unwind(AssertUnwindSafe(code))
        .map_err(|payload| fuse::blast(payload).unwrap_or_else(|payload| resume_unwind(payload)))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Three waiting subscribers. The wakers of the first and the last may panic.
struct Waiters {
    bus: Bus,
    waiters: [Arc<Waiter>; 3],
    subscriptions: [Subscription; 3],
}

impl Waiters {
    fn new(fuse: &Arc<Fuse>) -> Self {
        let bus = Bus::new();
        let waiters = [At::Wake, At::Nowhere, At::Wake].map(|at| Waiter::new(at, fuse));
        let subscriptions = [(); 3].map(|()| bus.subscribe());
        let mut all = Self {
            bus,
            waiters,
            subscriptions,
        };
        all.wait(0);
        all
    }

    /// Lets each subscriber read this many events and wait again.
    fn wait(&mut self, expected: u32) {
        for (waiter, subscription) in self.waiters.iter().zip(&mut self.subscriptions) {
            assert_eq!(read(subscription, &waiter.waker()), (expected, false));
        }
    }

    fn wait_until_woken(&self, times: u32) {
        for (number, waiter) in self.waiters.iter().enumerate() {
            let what = format!("subscriber {number} is not woken");
            wait_until(&what, || waiter.woken() >= times);
        }
    }
}

#[test]
fn a_wake_that_panics_stops_neither_the_others_nor_the_thread_of_the_events() {
    for fuse in fuses() {
        let mut all = Waiters::new(&fuse);
        for times in 1..4 {
            all.bus.emit();
            all.wait_until_woken(times);
            // Lets both events be broadcast before the first is read.
            thread::sleep(Duration::from_millis(1));
            all.wait(2);
        }
    }
}

#[test]
fn a_wake_that_panics_does_not_concern_another_subscriber() {
    for fuse in fuses() {
        for _ in 0..20 {
            let mut all = Waiters::new(&fuse);
            let mut other = all.bus.subscribe();
            all.bus.emit();
            // Either these polls wake the others, or the thread has already done so.
            let waker = Waiter::new(At::Nowhere, &fuse).waker();
            let count = caught(|| read(&mut other, &waker));
            assert_eq!(count, Ok((2, false)), "somebody else's waker panicked");
            all.bus.emit();
            assert!(caught(|| all.bus.subscribe()).is_ok());
            assert_eq!(read(&mut other, &waker), (2, false));
            all.wait_until_woken(1);
            all.wait(4);
        }
    }
}

#[test]
fn a_wake_that_panics_does_not_keep_others_from_the_end() {
    for fuse in fuses() {
        let Waiters {
            bus,
            waiters,
            mut subscriptions,
        } = Waiters::new(&fuse);
        drop(bus);
        for (waiter, subscription) in waiters.iter().zip(&mut subscriptions) {
            wait_until("a subscriber is not woken at the end", || {
                waiter.woken() > 0
            });
            assert_eq!(read(subscription, &waiter.waker()), (0, true));
        }
    }
}

#[test]
fn a_clone_that_panics_goes_to_the_one_who_polls_and_loses_nothing() {
    for fuse in fuses() {
        let bus = Bus::new();
        let mut subscription = bus.subscribe();
        let mut other = bus.subscribe();
        let quiet = Waiter::new(At::Nowhere, &fuse);
        let waiter = Waiter::new(At::Clone, &fuse);
        let waker = waiter.waker();
        for number in 0..3 {
            let polled = caught(|| poll(&mut subscription, &waker));
            let went_off = fuse.gone_off().contains(&number);
            assert_eq!(polled.is_err(), went_off, "call {number}");
        }
        assert_eq!(read(&mut other, &quiet.waker()), (0, false));
        bus.emit();
        wait_until("the subscriber is not woken", || waiter.woken() > 0);
        wait_until("the other is not woken", || quiet.woken() > 0);
        thread::sleep(Duration::from_millis(1));
        assert_eq!(read(&mut subscription, &quiet.waker()), (2, false));
        assert_eq!(read(&mut other, &quiet.waker()), (2, false));
    }
}

#[test]
fn a_drop_that_panics_goes_to_the_one_who_replaces_the_waker_and_loses_nothing() {
    for fuse in fuses() {
        let bus = Bus::new();
        let mut subscription = bus.subscribe();
        let quiet = Waiter::new(At::Nowhere, &fuse);
        let mut calls = 0;
        for _ in 0..3 {
            // The polling task owns its waker; the library has a clone.
            let waker = ManuallyDrop::new(Waiter::new(At::Drop, &fuse).waker());
            assert!(caught(|| poll(&mut subscription, &waker)).is_ok());
            let polled = caught(|| poll(&mut subscription, &quiet.waker()));
            assert_eq!(polled.is_err(), fuse.gone_off().contains(&calls));
            calls += 1;
            assert_eq!(
                fuse.calls(),
                calls,
                "a waker that is replaced is dropped once"
            );
        }
        assert_eq!(read(&mut subscription, &quiet.waker()), (0, false));
        bus.emit();
        wait_until("the subscriber is not woken", || quiet.woken() > 0);
        thread::sleep(Duration::from_millis(1));
        assert_eq!(read(&mut subscription, &quiet.waker()), (2, false));
    }
}

/// Drops a waiting subscription, also during unwinding. Runs in a child process; see
/// [`crate::aborts`].
pub fn drop_of_a_subscription(unwinds: bool) {
    struct Planned;
    for fuse in fuses() {
        let bus = Bus::new();
        let mut other = bus.subscribe();
        let quiet = Waiter::new(At::Nowhere, &fuse);
        for number in 0..2 {
            let mut subscription = bus.subscribe();
            let waker = ManuallyDrop::new(Waiter::new(At::Drop, &fuse).waker());
            assert!(poll(&mut subscription, &waker).is_pending());
            let went_off = if unwinds {
                let unwound = catch_unwind(AssertUnwindSafe(|| {
                    let _subscription = subscription;
                    resume_unwind(Box::new(Planned));
                }));
                assert!(unwound.is_err_and(|payload| payload.is::<Planned>()));
                false
            } else {
                caught(|| drop(subscription)).is_err()
            };
            assert_eq!(fuse.calls(), number + 1, "it is dropped once");
            assert_eq!(went_off, !unwinds && fuse.gone_off().contains(&number));
        }
        assert_eq!(read(&mut other, &quiet.waker()), (0, false));
        bus.emit();
        wait_until("the other is not woken", || quiet.woken() > 0);
        thread::sleep(Duration::from_millis(1));
        assert_eq!(read(&mut other, &quiet.waker()), (2, false));
    }
}

#[test]
fn a_drop_that_panics_goes_to_the_one_who_drops_the_subscription() {
    drop_of_a_subscription(false);
}
