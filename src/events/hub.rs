//! From the notes to the subscribers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::broadcast;

use crate::registry::Tier;
use crate::sync::{AtomicBool, Ordering};

use super::bell::Bell;
use super::lives::Lives;
use super::notes::Notes;
use super::protocol::KvCacheEvent;

/// How long the reader rests between two looks for notes. While it rests, nobody
/// needs to wake it.
const REST: Duration = Duration::from_micros(100);

/// Looks without a note after which the reader sleeps until it is woken.
const LOOKS: u32 = 50;

/// What the reader is to know.
pub(super) enum Note {
    /// To be broadcast.
    Event(KvCacheEvent),
    /// A tier has been cleared: the reader is to end the registrations there, which
    /// notes the end of each.
    Cleared(Weak<dyn Tier>),
}

impl From<KvCacheEvent> for Note {
    fn from(event: KvCacheEvent) -> Self {
        Self::Event(event)
    }
}

/// The notes, the channel to the subscribers, and what is between them.
pub(super) struct Hub {
    notes: Notes<Note>,
    bell: Bell,
    /// Whether there is nobody left who could leave a note.
    is_closing: AtomicBool,
    /// Locked by those who read notes, for as long as it takes to broadcast them.
    desk: Mutex<Desk>,
    reader: OnceLock<Thread>,
}

/// Where notes are read.
struct Desk {
    lives: Lives,
    /// Tiers that the reader has to see to.
    cleared: Vec<Weak<dyn Tier>>,
    /// `None` after the last note.
    channel: Option<broadcast::Sender<KvCacheEvent>>,
}

/// Somebody who can leave notes. The channel closes with the last of a hub.
pub(super) struct Emitter(Arc<Hub>);

impl Emitter {
    /// An emitter with a hub of its own, and the thread that reads the hub's notes.
    pub(super) fn new(channel_capacity: usize) -> Arc<Self> {
        let hub = Arc::new(Hub {
            notes: Notes::new(),
            bell: Bell::new(),
            is_closing: AtomicBool::new(false),
            desk: Mutex::new(Desk {
                lives: Lives::default(),
                cleared: Vec::new(),
                channel: Some(broadcast::Sender::new(channel_capacity)),
            }),
            reader: OnceLock::new(),
        });
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

    /// A channel on which what is noted from now on will be broadcast, and the hub
    /// whose notes are to be read before it is looked at.
    pub(super) fn subscribe(&self) -> (broadcast::Receiver<KvCacheEvent>, Arc<Hub>) {
        let mut desk = self.0.desk();
        self.0.read_at(&mut desk);
        let channel = desk.channel.as_ref();
        let channel = channel.expect("open while there is an emitter");
        (channel.subscribe(), Arc::clone(&self.0))
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
    /// Reads the notes there are.
    pub(super) fn read(&self) {
        let mut desk = self.desk();
        self.read_at(&mut desk);
        if !desk.cleared.is_empty() {
            self.wake_reader();
        }
    }

    /// What the reader does.
    fn read_until_closed(&self) {
        let mut fruitless = 0;
        loop {
            self.bell.wake();
            let mut desk = self.desk();
            fruitless = if self.read_at(&mut desk) {
                0
            } else {
                fruitless + 1
            };
            if desk.channel.is_none() {
                return;
            }
            let cleared = std::mem::take(&mut desk.cleared);
            drop(desk);
            if !cleared.is_empty() {
                cleared.iter().for_each(end_forgotten);
                continue;
            }
            if fruitless >= LOOKS && self.bell.doze(|| !self.notes.is_empty()) {
                thread::park();
            } else {
                thread::park_timeout(REST);
            }
        }
    }

    /// Broadcasts what is new in the notes, and closes the channel if they were the
    /// last. Returns whether there were any.
    fn read_at(&self, desk: &mut Desk) -> bool {
        let Some(channel) = &desk.channel else {
            return false;
        };
        // Looked at first: what an emitter has left is there when it is gone.
        // Acquire: pairs with the release of its end.
        let is_closing = self.is_closing.load(Ordering::Acquire);
        let mut has_read = false;
        for note in self.notes.take() {
            has_read = true;
            match note {
                Note::Event(event) => {
                    if desk.lives.count(&event) {
                        // An error says that nobody has subscribed.
                        let _ = channel.send(event);
                    }
                }
                Note::Cleared(tier) => desk.cleared.push(tier),
            }
        }
        if is_closing {
            desk.channel = None;
        }
        if has_read {
            desk.lives.trim();
        }
        has_read
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

/// Ends the registrations of what a tier has forgotten. For the reader, who has
/// nothing locked: attachments are the users', and end with the registrations.
fn end_forgotten(tier: &Weak<dyn Tier>) {
    if let Some(tier) = tier.upgrade()
        && catch_unwind(AssertUnwindSafe(|| drop(tier.end_cleared()))).is_err()
    {
        tracing::error!("an attachment panicked when it was dropped");
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
