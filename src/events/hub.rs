//! From the notes to the subscribers.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::sync::broadcast;

use super::bell::Bell;
use super::lives::Lives;
use super::notes::Notes;
use super::protocol::KvCacheEvent;

/// How long the reader rests between two looks for notes. While it rests, nobody
/// needs to wake it.
const REST: Duration = Duration::from_micros(100);

/// Looks without a note after which the reader sleeps until it is woken.
const LOOKS: u32 = 50;

/// The notes, the channel to the subscribers, and what is between them.
///
/// Whoever can leave notes has the hub; subscribers and the reader have it
/// weakly, so that the channel closes after the last event there can be.
pub(super) struct Hub {
    notes: Notes<KvCacheEvent>,
    /// Locked by those who read notes, for as long as it takes to broadcast them.
    lives: Mutex<Lives>,
    channel: broadcast::Sender<KvCacheEvent>,
    bell: Bell,
    reader: OnceLock<Thread>,
}

impl Hub {
    /// A hub, and the thread that reads its notes.
    pub(super) fn new(channel_capacity: usize) -> Arc<Self> {
        let hub = Arc::new(Self {
            notes: Notes::new(),
            lives: Mutex::default(),
            channel: broadcast::Sender::new(channel_capacity),
            bell: Bell::default(),
            reader: OnceLock::new(),
        });
        let weak = Arc::downgrade(&hub);
        let reader = thread::Builder::new()
            .name("kvbm-events".into())
            .spawn(move || read(&weak))
            .expect("the system can start a thread");
        hub.reader.get_or_init(|| reader.thread().clone());
        hub
    }

    /// Leaves a note. Lock-free: an allocation and an exchange, and a system call
    /// if there was nothing to do for the reader for a while.
    pub(super) fn leave(&self, note: KvCacheEvent) {
        self.notes.push(note);
        if self.bell.ring() {
            self.wake_reader();
        }
    }

    /// Reads the notes there are. Returns whether there were any.
    pub(super) fn read(&self) -> bool {
        self.read_locked(&mut self.lock())
    }

    /// A channel on which what is noted from now on will be broadcast.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<KvCacheEvent> {
        let mut lives = self.lock();
        self.read_locked(&mut lives);
        self.channel.subscribe()
    }

    fn read_locked(&self, lives: &mut Lives) -> bool {
        let mut has_read = false;
        for note in self.notes.take() {
            has_read = true;
            if lives.count(&note) {
                // An error says that nobody has subscribed.
                let _ = self.channel.send(note);
            }
        }
        if has_read {
            lives.trim();
        }
        has_read
    }

    fn lock(&self) -> MutexGuard<'_, Lives> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.reader.get() {
            reader.unpark();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.read();
        self.wake_reader();
    }
}

/// Reads notes until the hub is gone.
fn read(hub: &Weak<Hub>) {
    let mut fruitless = 0;
    while let Some(hub) = hub.upgrade() {
        hub.bell.wake();
        fruitless = if hub.read() { 0 } else { fruitless + 1 };
        let is_idle = fruitless >= LOOKS;
        let may_sleep = is_idle && hub.bell.doze(|| !hub.notes.is_empty());
        // Who drops the last other reference wakes the reader, whose next look
        // finds no hub.
        drop(hub);
        if may_sleep {
            thread::park();
        } else {
            thread::park_timeout(REST);
        }
    }
}
