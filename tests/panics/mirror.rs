//! What is registered according to the events.

use std::collections::BTreeSet;
use std::pin::Pin;

use futures::{FutureExt, Stream, StreamExt};
use kvbm_lockfree::events::{EventsManager, KvCacheEvent};

/// Follows the events; see the module documentation.
pub struct Mirror {
    events: Pin<Box<dyn Stream<Item = KvCacheEvent>>>,
    pub hashes: BTreeSet<u128>,
    /// The events that contradict the ones before.
    pub faults: Vec<String>,
    /// Whether the events have ended.
    pub is_over: bool,
}

impl Mirror {
    pub fn new(events: &EventsManager) -> Self {
        Self {
            events: Box::pin(events.subscribe()),
            hashes: BTreeSet::new(),
            faults: Vec::new(),
            is_over: false,
        }
    }

    /// Reads the events that are available.
    pub fn read(&mut self) {
        while let Some(event) = self.events.next().now_or_never() {
            let (fits, event) = match event {
                Some(KvCacheEvent::Create(hash)) => {
                    (self.hashes.insert(hash.as_u128()), ("Create", hash))
                }
                Some(KvCacheEvent::Remove(hash)) => {
                    (self.hashes.remove(&hash.as_u128()), ("Remove", hash))
                }
                None => {
                    self.is_over = true;
                    return;
                }
            };
            if !fits {
                self.faults.push(format!("an event twice: {event:?}"));
            }
        }
    }
}
