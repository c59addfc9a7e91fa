//! Events, and batches of them as they are sent.
//!
//! The serialised forms are those of `kvbm-logical`, byte for byte: either can
//! read what the other has written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::SequenceHash;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCacheEvents {
    /// These hashes are registered now; parents before children.
    Create(Vec<SequenceHash>),
    /// These hashes are no longer registered; children before parents.
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

/// Tells of the end of a registration when it is dropped.
///
/// [`EventsManager::on_block_registered`] attaches one to a registration handle.
///
/// [`EventsManager::on_block_registered`]: super::EventsManager::on_block_registered
pub struct EventReleaseHandle {
    seq_hash: SequenceHash,
    tell: Tell,
}

/// Where to tell of the end.
enum Tell {
    Channel(broadcast::Sender<KvCacheEvent>),
    Emitter(Arc<Emitter>),
}

impl EventReleaseHandle {
    /// A handle that sends [`KvCacheEvent::Remove`] of `seq_hash` on a channel when
    /// it is dropped, whether anybody receives it or not.
    pub fn new(seq_hash: SequenceHash, event_tx: broadcast::Sender<KvCacheEvent>) -> Self {
        Self {
            seq_hash,
            tell: Tell::Channel(event_tx),
        }
    }

    /// A handle that leaves a note when it is dropped.
    pub(super) fn noting(seq_hash: SequenceHash, emitter: Arc<Emitter>) -> Self {
        Self {
            seq_hash,
            tell: Tell::Emitter(emitter),
        }
    }
}

impl Drop for EventReleaseHandle {
    fn drop(&mut self) {
        let event = KvCacheEvent::Remove(self.seq_hash);
        match &self.tell {
            Tell::Channel(channel) => {
                // An error says that nobody listens.
                let _ = channel.send(event);
            }
            Tell::Emitter(emitter) => emitter.leave(event),
        }
    }
}
