//! Wakers are user code: they panic, re-enter and are dropped at any time, without affecting
//! other subscriptions.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures::task::noop_waker;
use futures::{FutureExt, Stream, StreamExt};
use kvbm_lockfree::BlockRegistry;
use kvbm_lockfree::events::{EventsManager, KvCacheEvent};

use super::{available, create, hash, remove};

/// The time limit of a wait, far longer than any takes.
const LONG: Duration = Duration::from_secs(20);

type Subscription = Pin<Box<dyn Stream<Item = KvCacheEvent> + Send>>;

fn poll(subscription: &mut Subscription, waker: &Waker) -> Poll<Option<KvCacheEvent>> {
    subscription.poll_next_unpin(&mut Context::from_waker(waker))
}

/// Polls a subscription that has nothing to yield yet, so that it waits.
fn poll_pending(subscription: &mut Subscription, waker: &Waker) {
    assert_eq!(poll(subscription, waker), Poll::Pending);
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A waker that records being woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Flag {
    fn waker() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self::default());
        (Arc::clone(&flag), Waker::from(flag))
    }

    fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A waker that panics when it is woken.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("asked for");
    }
}

/// A waker that calls a function when it is woken.
struct Calls<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Calls<F> {
    fn waker(f: F) -> Waker {
        Waker::from(Arc::new(Self(Mutex::new(Some(f)))))
    }
}

impl<F: FnOnce() + Send + 'static> Wake for Calls<F> {
    fn wake(self: Arc<Self>) {
        let f = self.0.lock().unwrap().take();
        if let Some(f) = f {
            f();
        }
    }
}

/// Counts down to a panic over all functions of its [waker](Fuse::waker).
#[derive(Default)]
struct Fuse {
    /// How many clones, wakes and drops are left until one panics. At 0, none ever does.
    left: AtomicU32,
}

impl Fuse {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            Self::burn(data);
            RawWaker::new(data, &Self::VTABLE)
        },
        Self::burn,
        Self::burn,
        Self::burn,
    );

    /// Returns a waker that panics at the `nth` call of any of its functions, counted from one.
    fn waker(&'static self, nth: u32) -> Waker {
        self.left.store(nth, Ordering::Relaxed);
        // SAFETY: the data is a static, so it can be used from any thread, any number of
        // times.
        unsafe {
            Waker::from_raw(RawWaker::new(
                std::ptr::from_ref(self).cast(),
                &Self::VTABLE,
            ))
        }
    }

    fn burn(data: *const ()) {
        // SAFETY: the data of every waker is a static `Fuse`.
        let fuse = unsafe { &*data.cast::<Self>() };
        let left = fuse.left.load(Ordering::Relaxed);
        fuse.left.store(left.saturating_sub(1), Ordering::Relaxed);
        assert_ne!(left, 1, "asked for");
    }
}

fn setup() -> (Arc<EventsManager>, BlockRegistry) {
    let events = Arc::new(EventsManager::builder().build());
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(&events))
        .build();
    (events, registry)
}

#[test]
fn a_panicking_waker_does_not_affect_others() {
    let (events, registry) = setup();
    let mut before: Subscription = Box::pin(events.subscribe());
    let mut panicking: Subscription = Box::pin(events.subscribe());
    let mut after: Subscription = Box::pin(events.subscribe());
    // More than once, since the thread that calls wakers must survive.
    for round in 0..3 {
        let (first, first_waker) = Flag::waker();
        let (second, second_waker) = Flag::waker();
        poll_pending(&mut before, &first_waker);
        poll_pending(&mut panicking, &Waker::from(Arc::new(Panics)));
        poll_pending(&mut after, &second_waker);
        let handle = registry.register_sequence_hash(hash(round));
        wait_until("the others are woken", || {
            first.is_raised() && second.is_raised()
        });
        for subscription in [&mut before, &mut panicking, &mut after] {
            assert_eq!(available(subscription), [create(round)]);
        }
        drop(handle);
        for subscription in [&mut before, &mut panicking, &mut after] {
            assert_eq!(available(subscription), [remove(round)]);
        }
    }
    let (flag, waker) = Flag::waker();
    poll_pending(&mut panicking, &Waker::from(Arc::new(Panics)));
    poll_pending(&mut after, &waker);
    drop((events, registry));
    wait_until("the end wakes the others", || flag.is_raised());
    assert_eq!(panicking.next().now_or_never(), Some(None));
    assert_eq!(after.next().now_or_never(), Some(None));
}

#[test]
fn a_waker_may_use_the_events() {
    let (events, registry) = setup();
    let mut waiting: Subscription = Box::pin(events.subscribe());
    let mut other: Subscription = Box::pin(events.subscribe());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let waker = {
        let (events, registry, seen) = (events.clone(), registry.clone(), Arc::clone(&seen));
        Calls::waker(move || {
            drop(registry.register_sequence_hash(hash(2)));
            let mut late: Subscription = Box::pin(events.subscribe());
            drop(registry.register_sequence_hash(hash(3)));
            let all = [available(&mut other), available(&mut late)];
            *seen.lock().unwrap() = all.concat();
        })
    };
    poll_pending(&mut waiting, &waker);
    let handle = registry.register_sequence_hash(hash(1));
    wait_until("the waker comes back", || !seen.lock().unwrap().is_empty());
    let expected = [
        create(1),
        create(2),
        remove(2),
        create(3),
        remove(3),
        create(3),
        remove(3),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
    drop(handle);
    assert_eq!(available(&mut waiting).len(), 6);
}

/// The thread that calls the waker is then the one that must exit.
#[test]
fn a_waker_may_drop_the_last_emitter() {
    let (events, registry) = setup();
    let mut waiting: Subscription = Box::pin(events.subscribe());
    let mut other: Subscription = Box::pin(events.subscribe());
    let (flag, end) = Flag::waker();
    let (begun, has_begun) = channel();
    let (emitted, can_go_on) = channel::<()>();
    let waker = {
        let registry = registry.clone();
        Calls::waker(move || {
            begun.send(()).unwrap();
            can_go_on.recv().unwrap();
            drop(registry);
        })
    };
    poll_pending(&mut waiting, &waker);
    drop((events, waker));
    drop(registry.register_sequence_hash(hash(1)));
    drop(registry);
    has_begun.recv_timeout(LONG).unwrap();
    assert_eq!(available(&mut other), [create(1), remove(1)]);
    poll_pending(&mut other, &end);
    emitted.send(()).unwrap();
    wait_until("the other ends", || flag.is_raised());
    assert_eq!(other.next().now_or_never(), Some(None));
    assert_eq!(available(&mut waiting), [create(1), remove(1)]);
    assert_eq!(waiting.next().now_or_never(), Some(None));
}

/// Every call of a waker's functions can panic: the panic reaches the caller that polled or
/// dropped the subscription, and no event is lost.
#[test]
fn a_waker_may_panic_at_every_call() {
    static FUSE: Fuse = Fuse {
        left: AtomicU32::new(0),
    };
    let mut calls = 0;
    let mut is_intact = false;
    while !is_intact {
        calls += 1;
        is_intact = true;
        let (events, registry) = setup();
        let mut subscription: Subscription = Box::pin(events.subscribe());
        let mut other: Subscription = Box::pin(events.subscribe());
        let waker = FUSE.waker(calls);
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut subscription, &waker)));
        is_intact &= polled.is_ok();
        // Another waker replaces the first, which is dropped.
        let replaced = catch_unwind(AssertUnwindSafe(|| {
            let (_, waker) = Flag::waker();
            poll(&mut subscription, &waker)
        }));
        is_intact &= replaced.is_ok();
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut subscription, &waker)));
        is_intact &= polled.is_ok();

        let (flag, other_waker) = Flag::waker();
        poll_pending(&mut other, &other_waker);
        let handle = registry.register_sequence_hash(hash(1));
        wait_until("the other is woken", || flag.is_raised());
        assert_eq!(available(&mut other), [create(1)]);
        let (flag, good_waker) = Flag::waker();
        assert_eq!(
            poll(&mut subscription, &good_waker),
            Poll::Ready(Some(create(1)))
        );
        poll_pending(&mut subscription, &good_waker);
        drop(handle);
        wait_until("the subscription is woken", || flag.is_raised());

        // Dropped while the waker is registered.
        assert_eq!(available(&mut subscription), [remove(1)]);
        let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut subscription, &waker)));
        is_intact &= polled.is_ok();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(subscription)));
        is_intact &= dropped.is_ok();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(waker)));
        is_intact &= dropped.is_ok();
        assert_eq!(available(&mut other), [remove(1)]);
        drop((events, registry));
        assert_eq!(other.next().now_or_never(), Some(None));
        // A panic on the dispatch thread does not reach this one.
        is_intact &= FUSE.left.load(Ordering::Relaxed) != 0;
    }
    assert!(calls > 5, "only {calls} calls");
}

/// A waker whose clone does not `will_wake` the same task is not registered again and again.
#[test]
fn a_clone_that_seems_another_waker_is_accepted() {
    const CLONED: RawWakerVTable = RawWakerVTable::new(
        |data| RawWaker::new(data.wrapping_byte_add(1), &CLONED),
        |_| {},
        |_| {},
        |_| {},
    );
    // SAFETY: the functions do nothing with the data.
    let waker = unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &CLONED)) };
    let (events, registry) = setup();
    let mut subscription: Subscription = Box::pin(events.subscribe());
    poll_pending(&mut subscription, &waker);
    poll_pending(&mut subscription, &waker);
    drop(registry.register_sequence_hash(hash(1)));
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

#[test]
fn a_dropped_subscription_drops_its_waker() {
    let (events, _registry) = setup();
    let (flag, waker) = Flag::waker();
    let mut subscription: Subscription = Box::pin(events.subscribe());
    poll_pending(&mut subscription, &waker);
    drop(waker);
    assert_eq!(Arc::strong_count(&flag), 2);
    drop(subscription);
    assert_eq!(Arc::strong_count(&flag), 1);
}

#[test]
fn an_ended_subscription_drops_its_waker() {
    let (events, registry) = setup();
    let (flag, waker) = Flag::waker();
    let mut subscription: Subscription = Box::pin(events.subscribe());
    poll_pending(&mut subscription, &waker);
    drop(waker);
    drop((events, registry));
    wait_until("the end wakes", || flag.is_raised());
    assert_eq!(poll(&mut subscription, &noop_waker()), Poll::Ready(None));
    wait_until("the waker is dropped", || Arc::strong_count(&flag) == 1);
}
