//! Events, and batches of them as they are sent.
//!
//! The serialized forms are those of `kvbm-logical`, byte for byte: each crate can read
//! what the other has written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::SequenceHash;
use crate::user_code::Panics;

use super::hub::Emitter;

/// Names an instance of a server among those that share a message bus.
pub type InstanceId = u128;

/// A registration has begun or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCacheEvent {
    /// The hash is registered now.
    Create(SequenceHash),
    /// The hash is no longer registered.
    Remove(SequenceHash),
}

/// A batch of events of one kind.
///
/// Between one batch and the next there is no order of parents and children: see
/// [`EventBatcher`](super::EventBatcher#order-across-batches).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCacheEvents {
    /// These hashes are registered now. Those made by an
    /// [`EventBatcher`](super::EventBatcher) list parents before children.
    Create(Vec<SequenceHash>),
    /// These hashes are no longer registered. Those made by an
    /// [`EventBatcher`](super::EventBatcher) list children before parents.
    Remove(Vec<SequenceHash>),
    /// The instance publishes no more.
    Shutdown,
}

/// A message: a batch of events of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvbmCacheEvents {
    /// The events.
    pub events: KvCacheEvents,
    /// Whose they are.
    pub instance_id: InstanceId,
}

/// Announces the end of a registration when it is dropped.
///
/// [`EventsManager::on_block_registered`] attaches one to a registration handle.
///
/// [`EventsManager::on_block_registered`]: super::EventsManager::on_block_registered
pub struct EventReleaseHandle {
    seq_hash: SequenceHash,
    /// `None` once the end has been announced.
    announcer: Option<Announcer>,
}

/// Where the end is announced.
enum Announcer {
    Channel(broadcast::Sender<KvCacheEvent>),
    Emitter(Arc<Emitter>),
}

impl EventReleaseHandle {
    /// Creates a handle that sends [`KvCacheEvent::Remove`] for `seq_hash` on a channel
    /// when it is dropped, whether or not anybody is subscribed.
    ///
    /// Sending wakes the channel's receivers. If one of their wakers panics, so does the
    /// drop of the handle, except while the thread is already unwinding.
    pub fn new(seq_hash: SequenceHash, event_tx: broadcast::Sender<KvCacheEvent>) -> Self {
        Self {
            seq_hash,
            announcer: Some(Announcer::Channel(event_tx)),
        }
    }

    /// Leaves the note of a registration, and returns a handle that leaves the note of
    /// its end when it is dropped.
    pub(super) fn begin(seq_hash: SequenceHash, emitter: Arc<Emitter>) -> Self {
        emitter.leave(KvCacheEvent::Create(seq_hash));
        Self {
            seq_hash,
            announcer: Some(Announcer::Emitter(emitter)),
        }
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
                // An error says that nobody is subscribed.
                panics.catch(|| channel.send(event).is_ok());
                panics.drop(channel);
            }
            Some(Announcer::Emitter(emitter)) => emitter.leave(event),
            None => {}
        }
        panics.resume();
    }
}
