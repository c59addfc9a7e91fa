//! What announces the end of a registration that no registry observes?
//!
//! A guard attached to the registration handle: it is dropped with the registration.

use std::fmt;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::SequenceHash;
use crate::events::event::KvCacheEvent;
use crate::user_code::Panics;

use super::emitter::Emitter;

/// Announces the end of a registration when it is dropped.
///
/// [`EventsManager::on_block_registered`] attaches one to a registration handle.
///
/// [`EventsManager::on_block_registered`]: crate::events::EventsManager::on_block_registered
#[must_use = "dropping the handle announces the end of the registration"]
pub struct EventReleaseHandle {
    seq_hash: SequenceHash,
    /// `None` once the end has been announced.
    announcer: Option<Announcer>,
}

/// The destination of the announcement.
enum Announcer {
    Channel(broadcast::Sender<KvCacheEvent>),
    Emitter(Arc<Emitter>),
}

impl EventReleaseHandle {
    /// Creates a handle that sends [`KvCacheEvent::Remove`] for `seq_hash` on a channel
    /// when it is dropped, whether or not the channel has receivers.
    ///
    /// Sending wakes the channel's receivers. If one of their wakers panics, dropping the
    /// handle panics too, unless the thread is already unwinding.
    pub fn new(seq_hash: SequenceHash, event_tx: broadcast::Sender<KvCacheEvent>) -> Self {
        Self {
            seq_hash,
            announcer: Some(Announcer::Channel(event_tx)),
        }
    }

    /// Queues the `Create` of a registration, and returns a handle that queues its `Remove`
    /// when dropped.
    pub(in crate::events) fn begin(seq_hash: SequenceHash, emitter: Arc<Emitter>) -> Self {
        emitter.enqueue(KvCacheEvent::Create(seq_hash));
        Self {
            seq_hash,
            announcer: Some(Announcer::Emitter(emitter)),
        }
    }
}

impl fmt::Debug for EventReleaseHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReleaseHandle")
            .field("seq_hash", &self.seq_hash)
            .finish_non_exhaustive()
    }
}

impl Drop for EventReleaseHandle {
    fn drop(&mut self) {
        let event = KvCacheEvent::Remove(self.seq_hash);
        let mut panics = Panics::new();
        match self.announcer.take() {
            Some(Announcer::Channel(channel)) => {
                // The receivers' wakers are user code. They are woken by the event, and
                // again if the channel closes with this handle.
                // An error means that there are no receivers.
                panics.catch(|| channel.send(event).is_ok());
                panics.drop(channel);
            }
            Some(Announcer::Emitter(emitter)) => emitter.enqueue(event),
            None => {}
        }
        panics.resume();
    }
}
