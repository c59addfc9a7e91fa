//! The state that all handles of a registry share, and the questions it answers about
//! hashes.
//!
//! The [`registration`](super::registration) protocol explains how registrations begin and
//! end.

use std::any::TypeId;
use std::sync::{Arc, Weak};

use crate::SequenceHash;
use crate::key::{Key, Secret};
use crate::sync::AtomicBool;
use crate::sync::epoch;
use crate::tinylfu::FrequencyTracker;

use super::entries::{Entries, Entry};
use super::leftovers::Leftovers;
use super::observer::Observer;
use super::tier::Tier;
use super::tiers::Tiers;

/// The number of accesses that are passed to the tracker in one call.
const TOUCHES: usize = 32;

/// The state of a registry.
pub(crate) struct Core {
    secret: Secret,
    pub(super) entries: Entries,
    pub(super) tiers: Tiers,
    /// Whether a tier has ever been cleared.
    pub(super) has_cleared: AtomicBool,
    tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

impl Core {
    pub(super) fn new(
        tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            secret: Secret::new(),
            entries: Entries::new(),
            tiers: Tiers::new(),
            has_cleared: AtomicBool::new(false),
            tracker,
            observer,
        }
    }

    /// Returns a hash together with its keyed hash.
    #[inline]
    pub(crate) fn key(&self, hash: SequenceHash) -> Key {
        self.secret.key(hash)
    }

    /// Returns what hashes are keyed with.
    #[inline]
    pub(crate) fn secret(&self) -> Secret {
        self.secret
    }

    /// Returns the frequency tracker, if there is one.
    #[inline]
    pub(crate) fn tracker(&self) -> Option<&Arc<dyn FrequencyTracker<u128>>> {
        self.tracker.as_ref()
    }

    /// Counts an access to each hash. Defers a panic of the tracker.
    #[inline]
    pub(crate) fn touch_all(&self, hashes: &[SequenceHash], leftovers: &mut Leftovers) {
        if let Some(tracker) = &self.tracker {
            touch_all(&**tracker, hashes, leftovers);
        }
    }

    /// Counts an access to a hash. Defers a panic of the tracker.
    #[inline]
    pub(crate) fn touch(&self, hash: SequenceHash, leftovers: &mut Leftovers) {
        if let Some(tracker) = &self.tracker {
            leftovers.catch(|| tracker.touch(hash.as_u128()));
        }
    }

    /// Adds a tier.
    pub(crate) fn attach(&self, type_id: TypeId, tier: Weak<dyn Tier>) {
        self.tiers.attach(type_id, tier);
    }

    /// Removes a tier that is going away.
    pub(crate) fn detach(&self, tier: &dyn Tier) {
        self.tiers.detach(tier);
    }

    /// Returns whether a hash has a handle or a block.
    #[inline]
    pub(crate) fn is_registered(&self, key: Key) -> bool {
        self.is_held(key) || self.tiers.have(key, None)
    }

    /// Returns whether a hash has a handle.
    #[inline]
    pub(super) fn is_held(&self, key: Key) -> bool {
        let guard = &epoch::pin();
        self.entries.find(key, guard).is_some_and(Entry::is_held)
    }

    /// Returns the number of registered hashes.
    pub(super) fn len(&self) -> usize {
        let tiers = self.tiers.alive();
        if let [] | [_] = &tiers[..] {
            let blocks = tiers.first().map_or(0, |tier| tier.registered());
            return blocks + self.held_without_block(&tiers);
        }
        let mut len = 0;
        for (at, tier) in tiers.iter().enumerate() {
            tier.for_each(&mut |hash| {
                let key = self.key(hash);
                len += usize::from(!tiers[..at].iter().any(|other| other.holds(key)));
            });
        }
        len + self.held_without_block(&tiers)
    }

    /// Returns the number of hashes that have a handle but no block.
    fn held_without_block(&self, tiers: &[Arc<dyn Tier>]) -> usize {
        if self.entries.count() == 0 {
            return 0;
        }
        let mut len = 0;
        let guard = &epoch::pin();
        self.entries.for_each(guard, |entry| {
            let is_held = entry.is_held();
            len += usize::from(is_held && !tiers.iter().any(|tier| tier.holds(entry.key())));
        });
        len
    }

    /// Returns whether `other` is the observer.
    #[cfg(feature = "events")]
    pub(super) fn is_observed_by(&self, other: &dyn Observer) -> bool {
        self.observer
            .as_ref()
            .is_some_and(|observer| std::ptr::addr_eq(Arc::as_ptr(observer), other))
    }

    /// Returns the number of ended entries that are not freed yet.
    pub(crate) fn garbage(&self) -> u64 {
        self.entries.garbage()
    }

    /// Frees garbage: see
    /// [`BlockRegistry::flush_garbage`](super::BlockRegistry::flush_garbage).
    pub(super) fn flush_garbage(&self) -> u64 {
        self.entries.flush_garbage()
    }

    /// Returns the hashes of all entries. See `Entries::audit`.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn audit(&self) -> Vec<SequenceHash> {
        self.entries.audit()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let mut leftovers = Leftovers::new();
        // Every handle keeps the core alive, so no entry has one now. What is left are
        // entries, with their attachments, of hashes whose last tier went away unnoticed.
        let observer = self.observer.take();
        let visit = |entry: &Entry| {
            if entry.is_observed()
                && let Some(observer) = &observer
            {
                observer.removed(entry.hash());
            }
            if let Some(extras) = entry.take_extras() {
                leftovers.leave(extras);
            }
        };
        // SAFETY: every handle keeps the core alive, so no entry has one, and the entries are
        // dropped with the core.
        unsafe { self.entries.end(visit) };
        // Before user code that may take its time: dropping the observer ends the event
        // streams.
        leftovers.catch(|| drop(observer));
        let tracker = self.tracker.take();
        leftovers.catch(|| drop(tracker));
        leftovers.settle();
    }
}

/// Kept out of line so that registries without a tracker do not pay for it.
#[inline(never)]
fn touch_all(
    tracker: &dyn FrequencyTracker<u128>,
    hashes: &[SequenceHash],
    leftovers: &mut Leftovers,
) {
    let mut keys = [0; TOUCHES];
    for hashes in hashes.chunks(TOUCHES) {
        let keys = &mut keys[..hashes.len()];
        for (key, hash) in keys.iter_mut().zip(hashes) {
            *key = hash.as_u128();
        }
        leftovers.catch(|| tracker.touch_all(keys));
    }
}
