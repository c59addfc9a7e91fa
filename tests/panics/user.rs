//! The user's trackers and policies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvbm_lockfree::events::EventEmissionPolicy;
use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::retention::Priority;
use kvbm_lockfree::tinylfu::FrequencyTracker;
use kvbm_lockfree::{BlockId, SequenceHash};

use crate::fuse::Fuse;
use crate::ledger::Value;
use crate::place::Place;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the fuse that is called at the place under test.
pub struct Wired {
    pub place: Place,
    pub fuse: Arc<Fuse>,
}

impl Wired {
    fn call_at(&self, place: Place) {
        if self.place == place {
            self.fuse.call();
        }
    }
}

/// Counts uses, and inherits `touch_all` from the trait.
pub struct Tracker {
    pub wired: Wired,
    pub counts: Mutex<HashMap<u128, u32>>,
    pub _life: Value,
}

impl FrequencyTracker<u128> for Tracker {
    fn touch(&self, key: u128) {
        self.wired.call_at(Place::TrackerTouch);
        *lock(&self.counts).entry(key).or_default() += 1;
    }

    fn count(&self, key: u128) -> u32 {
        self.wired.call_at(Place::TrackerCount);
        lock(&self.counts).get(&key).copied().unwrap_or(0)
    }
}

/// Counts several uses at once.
pub struct BatchTracker(pub Tracker);

impl FrequencyTracker<u128> for BatchTracker {
    fn touch(&self, key: u128) {
        self.0.touch(key);
    }

    fn touch_all(&self, keys: &[u128]) {
        self.0.wired.call_at(Place::TrackerTouchAll);
        keys.iter().for_each(|&key| self.touch(key));
    }

    fn count(&self, key: u128) -> u32 {
        self.0.count(key)
    }
}

/// Evicts the least recently released block first.
pub struct Lru {
    pub wired: Wired,
    pub order: BTreeMap<u64, BlockId>,
    pub releases: HashMap<BlockId, u64>,
    pub last: u64,
    pub _life: Value,
}

impl EvictionPolicy for Lru {
    fn insert(&mut self, block: InactiveBlock) {
        self.wired.call_at(Place::PolicyInsert);
        self.last += 1;
        self.order.insert(self.last, block.block_id);
        self.releases.insert(block.block_id, self.last);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.wired.call_at(Place::PolicyRemove);
        if let Some(release) = self.releases.remove(&block_id) {
            self.order.remove(&release);
        }
    }

    fn pop(&mut self) -> Option<BlockId> {
        self.wired.call_at(Place::PolicyPop);
        let (_, block_id) = self.order.pop_first()?;
        self.releases.remove(&block_id);
        Some(block_id)
    }

    fn set_priority(&mut self, _block_id: BlockId, _priority: Priority) {
        self.wired.call_at(Place::PolicySetPriority);
    }

    fn is_leaf_first(&self) -> bool {
        self.wired.call_at(Place::PolicyIsLeafFirst);
        false
    }
}

impl Drop for Lru {
    fn drop(&mut self) {
        let Wired { place, fuse } = &self.wired;
        // A policy that has panicked is dropped, which may cause the second panic.
        if *place == Place::PolicyDrop || place.ends_the_policy() && fuse.has_gone_off() {
            fuse.call();
        }
    }
}

/// Emits events for every hash.
pub struct Emission {
    pub wired: Wired,
    /// The hashes at which it panicked, whose registrations emit no events.
    pub spared: Arc<Mutex<BTreeSet<u128>>>,
    pub _life: Value,
}

impl EventEmissionPolicy for Emission {
    fn should_emit(&self, seq_hash: SequenceHash) -> bool {
        if self.wired.place == Place::EmissionShouldEmit {
            self.wired.fuse.call_or_else(|| {
                lock(&self.spared).insert(seq_hash.as_u128());
            });
        }
        true
    }
}
