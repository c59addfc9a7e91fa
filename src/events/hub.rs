//! The notes, the channel to the subscribers, and the thread in between.
//!
//! Notes are read at the *desk*, which is locked meanwhile: events are broadcast there
//! in the order of the notes, and subscriptions that find none register there to be
//! woken. No user code runs while the desk is locked; what has to be woken is taken
//! along, and woken afterwards.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::registry::Tier;
use crate::sync::{AtomicBool, Ordering};
use crate::user_code::contain;

use super::bell::Bell;
use super::cleaner::{Cleared, clean};
use super::lives::Lives;
use super::notes::Notes;
use super::protocol::KvCacheEvent;
use super::sleepers::{Seat, Sleepers, Woken};
use super::subscription::Subscription;

/// How long the reader rests between two looks for notes. While it rests, nobody
/// needs to wake it.
const REST: Duration = Duration::from_micros(100);

/// Looks without a note after which the reader sleeps until it is woken.
const LOOKS: u32 = 50;

/// What registrations leave for the reader.
pub(super) enum Note {
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

/// See the module documentation. Kept alive by emitters, subscriptions and its threads,
/// which end with the last emitter.
pub(super) struct Hub {
    notes: Notes<Note>,
    bell: Bell,
    /// Whether there is nobody left who could leave a note.
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

/// Somebody who can leave notes. The channel closes with the last of a hub.
pub(super) struct Emitter(Arc<Hub>);

impl Emitter {
    /// An emitter with a hub of its own, and the thread that reads the hub's notes.
    pub(super) fn new(channel_capacity: usize) -> Arc<Self> {
        let hub = Arc::new(Hub::new(channel_capacity));
        let for_reader = Arc::clone(&hub);
        let reader = thread::Builder::new()
            .name("kvbm-events".into())
            .spawn(move || for_reader.read_until_closed())
            .expect("the system can start a thread");
        hub.reader.get_or_init(|| reader.thread().clone());
        Arc::new(Self(hub))
    }

    /// Leaves a note. Lock-free: an allocation and an exchange, and a system call
    /// if there has been nothing to do for the reader for a while.
    pub(super) fn leave(&self, note: impl Into<Note>) {
        self.0.notes.push(note.into());
        if self.0.bell.ring() {
            self.0.wake_reader();
        }
    }

    /// A subscription to what is noted from now on.
    pub(super) fn subscribe(&self) -> Subscription {
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

    /// Reads the notes there are, has a `look` at the desk, which is told whether there
    /// were any, and wakes those for whom there is news, except the caller's `own`
    /// subscription.
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

    /// What the reader does.
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

    /// Broadcasts what is new in the notes, and closes the channel if they were the
    /// last. Runs no user code: nobody waits in the channel itself.
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

    /// Cleans on another thread, or here if there cannot be one. For the reader, which
    /// has begun to clean.
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

    /// What the cleaner does: tiers one after the other, each kept only while it is
    /// worked on.
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
    use std::time::Instant;

    use super::*;

    /// Far longer than anything takes.
    const LONG: Duration = Duration::from_secs(60);

    fn wait_until(done: impl Fn() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < LONG, "what is waited for does not come");
            thread::sleep(REST);
        }
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
        let (mut channel, _hub) = emitter.subscribe();
        let start = Instant::now();
        for content in 0..3 {
            wait_until(|| emitter.0.bell.is_asleep());
            let note = KvCacheEvent::Create(crate::SequenceHash::new(content, None, 0));
            emitter.leave(note.clone());
            while !channel.try_recv().is_ok_and(|read| read == note) {
                assert!(start.elapsed() < LONG, "nobody reads the note");
                thread::sleep(REST);
            }
        }
    }
}
