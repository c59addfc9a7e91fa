//! The notes, the channel to the subscribers, and the thread in between.
//!
//! Notes are read at the *desk*, under its lock: events are broadcast there in the order
//! of the notes, and subscriptions that find none register there to be woken. No user
//! code runs while the desk is locked; wakers are taken out and called after unlocking.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::registry::Tier;
use crate::sync::{AtomicBool, Ordering};
use crate::user_code::contain;

use super::cleaner::{Cleared, clean};
use super::doorbell::Bell;
use super::live_counts::Lives;
use super::queue::Notes;
use super::subscription::Subscription;
use super::waiters::{Seat, Sleepers, Woken};
use crate::events::event::KvCacheEvent;

/// How long the reader rests between two looks for notes. While it rests, nobody needs
/// to wake it.
const REST: Duration = Duration::from_micros(100);

/// Number of looks without a note after which the reader sleeps until it is woken.
const LOOKS: u32 = 50;

/// What registrations leave for the reader.
pub(in crate::events) enum Note {
    /// To be broadcast.
    Event(KvCacheEvent),
    /// A tier has been cleared. Ending the registrations it leaves behind notes the end
    /// of each.
    Cleared(Weak<dyn Tier>),
}

impl From<KvCacheEvent> for Note {
    fn from(event: KvCacheEvent) -> Self {
        Self::Event(event)
    }
}

/// See the module documentation. Emitters, subscriptions and its threads keep it alive;
/// the threads exit after the last emitter is gone.
pub(super) struct Hub {
    notes: Notes<Note>,
    bell: Bell,
    /// Whether nobody is left who could leave a note.
    is_closing: AtomicBool,
    desk: Mutex<Desk>,
    reader: OnceLock<Thread>,
}

/// Where notes are read.
pub(super) struct Desk {
    lives: Lives,
    cleared: Cleared,
    pub(super) sleepers: Sleepers,
    /// `None` after the last note.
    channel: Option<broadcast::Sender<KvCacheEvent>>,
}

/// What reading the notes came to.
#[derive(Default)]
struct Progress {
    has_read: bool,
    /// Whether there is something for subscribers: an event, or the end.
    has_news: bool,
}

/// What the reader does after it has read.
enum Next {
    Exit,
    Clean,
    Rest { has_read: bool },
}

/// The right to leave notes. The channel closes when the emitter of a hub is dropped.
pub(in crate::events) struct Emitter(Arc<Hub>);

impl Emitter {
    /// Creates an emitter with its own hub, and the thread that reads the hub's notes.
    pub(in crate::events) fn new(channel_capacity: usize) -> Arc<Self> {
        let hub = Arc::new(Hub::new(channel_capacity));
        let for_reader = Arc::clone(&hub);
        let reader = thread::Builder::new()
            .name("kvbm-events".into())
            .spawn(move || for_reader.read_until_closed())
            .expect("the system can start a thread");
        hub.reader.get_or_init(|| reader.thread().clone());
        Arc::new(Self(hub))
    }

    /// Leaves a note. Lock-free: one allocation and one exchange, plus a system call if the
    /// reader has had nothing to do for a while.
    pub(in crate::events) fn leave(&self, note: impl Into<Note>) {
        self.0.notes.push(note.into());
        if self.0.bell.ring() {
            self.0.wake_reader();
        }
    }

    /// Subscribes to everything that is noted from now on.
    pub(in crate::events) fn subscribe(&self) -> Subscription {
        let (seat, events) = self.0.read(None, |desk, _| {
            let channel = desk.channel.as_ref();
            let channel = channel.expect("open while there is an emitter");
            (desk.sleepers.seat(), channel.subscribe())
        });
        Subscription::new(seat, events, Arc::clone(&self.0))
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        // Whoever reads next closes the channel, so that this takes no lock.
        // Release: pairs with the acquire in `read_at`.
        self.0.is_closing.store(true, Ordering::Release);
        self.0.wake_reader();
    }
}

impl Hub {
    fn new(channel_capacity: usize) -> Self {
        Self {
            notes: Notes::new(),
            bell: Bell::new(),
            is_closing: AtomicBool::new(false),
            desk: Mutex::new(Desk {
                lives: Lives::default(),
                cleared: Cleared::default(),
                sleepers: Sleepers::default(),
                channel: Some(broadcast::Sender::new(channel_capacity)),
            }),
            reader: OnceLock::new(),
        }
    }

    /// Reads all notes, calls `look` with the desk and whether there were any, and, after
    /// unlocking, wakes the subscriptions that sleep if there is news for them, except
    /// the caller's `own`.
    pub(super) fn read<R>(&self, own: Option<Seat>, look: impl FnOnce(&mut Desk, bool) -> R) -> R {
        let mut desk = self.desk();
        let progress = self.read_at(&mut desk);
        let woken = if progress.has_news {
            desk.sleepers.take(own)
        } else {
            Woken::default()
        };
        let result = look(&mut desk, progress.has_read);
        let needs_cleaner = desk.cleared.needs_cleaner();
        drop(desk);
        if needs_cleaner {
            // Before wakers, which may be slow.
            self.wake_reader();
        }
        woken.wake();
        result
    }

    /// The reader's loop.
    fn read_until_closed(self: &Arc<Self>) {
        let mut fruitless = 0;
        loop {
            self.bell.wake();
            let next = self.read(None, |desk, has_read| {
                if desk.channel.is_none() {
                    Next::Exit
                } else if desk.cleared.needs_cleaner() {
                    desk.cleared.begin();
                    Next::Clean
                } else {
                    Next::Rest { has_read }
                }
            });
            match next {
                Next::Exit => return,
                Next::Clean => {
                    self.start_cleaner(thread::Builder::new().name("kvbm-cleaner".into()));
                    fruitless = 0;
                }
                Next::Rest { has_read } => {
                    fruitless = if has_read { 0 } else { fruitless + 1 };
                    if fruitless >= LOOKS && self.bell.doze(|| !self.notes.is_empty()) {
                        thread::park();
                    } else {
                        thread::park_timeout(REST);
                    }
                }
            }
        }
    }

    /// Broadcasts the events in the notes, and closes the channel if they were the last.
    /// Runs no user code: subscriptions do not register their wakers with the channel.
    fn read_at(&self, desk: &mut Desk) -> Progress {
        let mut progress = Progress::default();
        let Some(channel) = &desk.channel else {
            return progress;
        };
        // Looked at first: what an emitter has left is there when it is gone.
        // Acquire: pairs with the release of its end.
        let is_closing = self.is_closing.load(Ordering::Acquire);
        for note in self.notes.take() {
            progress.has_read = true;
            match note {
                Note::Event(event) => {
                    if desk.lives.count(&event) {
                        // An error says that nobody has subscribed.
                        progress.has_news |= channel.send(event).is_ok();
                    }
                }
                Note::Cleared(tier) => desk.cleared.push(tier),
            }
        }
        if is_closing {
            desk.channel = None;
            // A tier keeps an emitter, so these are all gone.
            desk.cleared.clear();
            progress.has_news = true;
        }
        if progress.has_read {
            desk.lives.trim();
        }
        progress
    }

    /// Cleans on a new thread, or on this one if none can be started. For the reader, which
    /// has marked the cleaning as begun.
    fn start_cleaner(self: &Arc<Self>, thread: thread::Builder) {
        let hub = Arc::clone(self);
        if let Err(error) = thread.spawn(move || hub.clean_all()) {
            contain("a log subscriber panicked", || {
                tracing::error!(
                    %error,
                    "no thread to end cleared registrations; subscribers may be woken late"
                );
            });
            self.clean_all();
        }
    }

    /// The cleaner's loop: one tier after the other, each kept alive only while it is
    /// being cleaned.
    fn clean_all(&self) {
        loop {
            let next = self.desk().cleared.next();
            let Some(tier) = next else { return };
            clean(&tier);
        }
    }

    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use std::cell::RefCell;
    use std::pin::Pin;
    use std::sync::atomic::AtomicU32;
    use std::sync::mpsc;
    use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
    use std::time::Instant;

    use futures::executor::block_on;
    use futures::{Stream, StreamExt};

    use super::*;
    use crate::SequenceHash;
    use crate::events::emit::cleaner::testing::FakeTier;

    /// Far longer than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    fn wait_until(done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < LONG, "what is waited for does not come");
            thread::sleep(REST);
        }
    }

    fn create(content: u64) -> KvCacheEvent {
        KvCacheEvent::Create(SequenceHash::new(content, None, 0))
    }

    /// A hub whose notes only pollers read.
    fn without_reader() -> Emitter {
        Emitter(Arc::new(Hub::new(16)))
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicU32);

    impl Count {
        fn get(&self) -> u32 {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn poll(subscription: &mut Subscription, waker: &Waker) -> Poll<Option<KvCacheEvent>> {
        let polled = Pin::new(subscription).poll_next(&mut Context::from_waker(waker));
        polled.map(|item| item.map(Result::unwrap))
    }

    #[test]
    fn a_sleeping_reader_ends_with_the_last_emitter() {
        let emitter = Emitter::new(16);
        let hub = Arc::downgrade(&emitter.0);
        wait_until(|| emitter.0.bell.is_asleep());
        drop(emitter);
        wait_until(|| hub.strong_count() == 0);
    }

    #[test]
    fn a_sleeping_reader_is_woken() {
        let emitter = Emitter::new(16);
        let mut subscription = emitter.subscribe();
        let (counted, waker) = counted();
        for content in 0..3 {
            assert_eq!(poll(&mut subscription, &waker), Poll::Pending);
            wait_until(|| emitter.0.bell.is_asleep());
            emitter.leave(create(content));
            wait_until(|| counted.get() == content as u32 + 1);
            let polled = poll(&mut subscription, &waker);
            assert_eq!(polled, Poll::Ready(Some(create(content))));
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    /// A poller that reads notes stands in for the reader: what it broadcasts must not
    /// wait for that one, which will find nothing.
    #[test]
    fn a_poller_wakes_all_others() {
        let emitter = without_reader();
        let mut own = emitter.subscribe();
        let mut others = [emitter.subscribe(), emitter.subscribe()];
        let (own_count, own_waker) = counted();
        let (count, waker) = counted();
        assert_eq!(poll(&mut own, &own_waker), Poll::Pending);
        for other in &mut others {
            assert_eq!(poll(other, &waker), Poll::Pending);
        }
        emitter.leave(create(1));
        assert_eq!(count.get(), 0);
        assert_eq!(poll(&mut own, &own_waker), Poll::Ready(Some(create(1))));
        assert_eq!((own_count.get(), count.get()), (0, 2));

        // A subscriber that comes reads notes as well. The poller has not been woken,
        // and is still registered.
        assert_eq!(poll(&mut own, &own_waker), Poll::Pending);
        for other in &mut others {
            assert_eq!(poll(other, &waker), Poll::Ready(Some(create(1))));
            assert_eq!(poll(other, &waker), Poll::Pending);
        }
        emitter.leave(create(2));
        drop(emitter.subscribe());
        assert_eq!((own_count.get(), count.get()), (1, 4));

        // So does the end. Nobody is woken for nothing.
        for subscription in others.iter_mut().chain([&mut own]) {
            assert_eq!(poll(subscription, &waker), Poll::Ready(Some(create(2))));
            assert_eq!(poll(subscription, &waker), Poll::Pending);
        }
        drop(emitter.subscribe());
        assert_eq!(count.get(), 4);
        drop(emitter);
        assert_eq!(poll(&mut own, &waker), Poll::Ready(None));
        assert_eq!(count.get(), 6);
        for other in &mut others {
            assert_eq!(poll(other, &waker), Poll::Ready(None));
        }
    }

    thread_local! {
        /// What the clone of a [`cloner`] does, once.
        static ON_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
    }

    /// A waker whose clone does something of its own.
    fn cloner(on_clone: impl FnOnce() + 'static) -> Waker {
        const VTABLE: RawWakerVTable = RawWakerVTable::new(
            |data| {
                if let Some(on_clone) = ON_CLONE.take() {
                    on_clone();
                }
                RawWaker::new(data, &VTABLE)
            },
            |_| {},
            |_| {},
            |_| {},
        );
        ON_CLONE.set(Some(Box::new(on_clone)));
        // SAFETY: the functions do nothing with the data.
        unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) }
    }

    /// Between the look that finds nothing and the registration, others read notes, and
    /// find nobody to wake.
    #[test]
    fn an_event_that_comes_before_the_registration_is_found() {
        let emitter = Arc::new(without_reader());
        let mut subscription = emitter.subscribe();
        let other = Arc::clone(&emitter);
        let waker = cloner(move || {
            other.leave(create(1));
            other.0.read(None, |_, _| ());
        });
        assert_eq!(
            poll(&mut subscription, &waker),
            Poll::Ready(Some(create(1)))
        );
        // So is the end. Another waker, since the first is registered by now.
        let (_, first) = counted();
        assert_eq!(poll(&mut subscription, &first), Poll::Pending);
        let waker = cloner(move || {
            let hub = Arc::clone(&emitter.0);
            drop(emitter);
            hub.read(None, |_, _| ());
        });
        assert_eq!(poll(&mut subscription, &waker), Poll::Ready(None));
    }

    /// Subscribers that sleep between any two events, pollers that read on others'
    /// behalf, and a reader: whoever reads a note wakes everybody else.
    #[test]
    fn no_wake_up_is_lost() {
        const EVENTS: u64 = 20_000;
        let emitter = Arc::into_inner(Emitter::new(1 << 15)).unwrap();
        let (done, finished) = mpsc::channel();
        for _ in 0..3 {
            let (mut subscription, done) = (emitter.subscribe(), done.clone());
            thread::spawn(move || {
                for content in 0..EVENTS {
                    let event = block_on(subscription.next()).unwrap().unwrap();
                    assert_eq!(event, create(content));
                }
                assert_eq!(block_on(subscription.next()), None);
                done.send(())
            });
        }
        for content in 0..EVENTS {
            emitter.leave(create(content));
            match content % 1000 {
                // Now and then everybody is asleep, even the reader.
                0 => thread::sleep(REST * 2 * LOOKS),
                1..50 => thread::sleep(REST),
                _ => {}
            }
        }
        drop(emitter);
        for _ in 0..3 {
            finished.recv_timeout(LONG).expect("somebody was not woken");
        }
    }

    /// A cleaner that is held up holds up neither the events nor their end.
    #[test]
    fn a_slow_tier_holds_up_no_end() {
        let (begun, has_begun) = mpsc::channel();
        let (may_end, end) = mpsc::channel::<()>();
        let end = Mutex::new(end);
        let tier: Arc<dyn Tier> = Arc::new(FakeTier(move || {
            begun.send(()).unwrap();
            end.lock().unwrap().recv().unwrap();
        }));
        let emitter = Emitter::new(16);
        let hub = Arc::downgrade(&emitter.0);
        let mut subscription = emitter.subscribe();
        emitter.leave(Note::Cleared(Arc::downgrade(&tier)));
        has_begun.recv_timeout(LONG).unwrap();
        emitter.leave(create(1));
        assert_eq!(block_on(subscription.next()), Some(Ok(create(1))));
        drop(emitter);
        assert_eq!(block_on(subscription.next()), None);
        drop(subscription);
        // The reader has gone, and the cleaner is still at it.
        wait_until(|| hub.strong_count() == 1);
        assert_eq!(Arc::strong_count(&tier), 2);
        may_end.send(()).unwrap();
        wait_until(|| hub.strong_count() == 0);
        assert_eq!(Arc::strong_count(&tier), 1);
    }

    #[test]
    fn a_cleaner_ends_when_there_is_nothing_to_do_and_is_started_again() {
        let cleaned = Arc::new(AtomicU32::new(0));
        let tier: Arc<dyn Tier> = {
            let cleaned = Arc::clone(&cleaned);
            Arc::new(FakeTier(move || {
                cleaned.fetch_add(1, Ordering::Relaxed);
            }))
        };
        let emitter = Emitter::new(16);
        for round in 1..4 {
            emitter.leave(Note::Cleared(Arc::downgrade(&tier)));
            wait_until(|| cleaned.load(Ordering::Relaxed) == round);
            // The emitter and the reader.
            wait_until(|| Arc::strong_count(&emitter.0) == 2);
            assert_eq!(Arc::strong_count(&tier), 1);
        }
    }

    #[test]
    fn where_no_cleaner_can_be_started_its_work_is_done_in_place() {
        let cleaner = Arc::new(Mutex::new(None));
        let tier: Arc<dyn Tier> = {
            let cleaner = Arc::clone(&cleaner);
            Arc::new(FakeTier(move || {
                *cleaner.lock().unwrap() = Some(thread::current().id());
            }))
        };
        let emitter = without_reader();
        emitter.leave(Note::Cleared(Arc::downgrade(&tier)));
        emitter.0.read(None, |desk, _| desk.cleared.begin());
        let impossible = thread::Builder::new().stack_size(1 << 60);
        emitter.0.start_cleaner(impossible);
        assert_eq!(*cleaner.lock().unwrap(), Some(thread::current().id()));
        assert!(!emitter.0.desk().cleared.needs_cleaner());
        assert_eq!(Arc::strong_count(&emitter.0), 1);
    }
}
