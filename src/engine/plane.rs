//! The policy plane: where eviction order is kept.
//!
//! The order itself is plain sequential code (see [`policy`](crate::policy)).
//! The plane lets one thread at a time at it, by a `try_lock` that nobody waits
//! for, and feeds it the notes of the released stacks first. From one thread the
//! try-lock always succeeds and every note is applied in order, so eviction is
//! exactly the policy's.
//!
//! # When notes are applied
//!
//! Whoever needs victims drains the stacks. Besides, a slot is noted only once,
//! but may change twice between two drains: released, matched, and released
//! again. Where it would be noted a second time, the thread tries to drain
//! first, so that the earlier change takes its place in the order. If the plane
//! is taken, the one note stands for both: the policy then sees only the last
//! state, at the place of the first note. That is the one liberty the order
//! takes under contention.

use std::cell::UnsafeCell;

use crossbeam_utils::CachePadded;

use crate::policy::EvictionPolicy;

use super::released::ReleasedStack;
use super::slot::Slot;
use super::sync::{AtomicBool, Ordering};

/// See the module documentation.
pub(super) struct Plane {
    taken: CachePadded<AtomicBool>,
    policy: UnsafeCell<Box<dyn EvictionPolicy>>,
    observes_resurrection: bool,
}

// SAFETY: the policy is `Send` and reached only through `Held`, of which there
// is one at a time.
unsafe impl Sync for Plane {}

impl Plane {
    pub(super) fn new(policy: Box<dyn EvictionPolicy>) -> Self {
        Self {
            taken: CachePadded::new(AtomicBool::new(false)),
            observes_resurrection: policy.observes_resurrection(),
            policy: UnsafeCell::new(policy),
        }
    }

    /// Whether blocks that come into use again are to be noted.
    #[inline]
    pub(super) fn observes_resurrection(&self) -> bool {
        self.observes_resurrection
    }

    /// Takes the plane, unless someone has it.
    #[inline]
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        // A look first: a failed exchange would take the line from the holder.
        if self.taken.load(Ordering::Relaxed) {
            return None;
        }
        // Acquire: pairs with the release of the holder before. A `Held` is made
        // only by the winner: dropping one lets go of the plane.
        (!self.taken.swap(true, Ordering::Acquire)).then(|| Held { plane: self })
    }
}

/// The plane, taken until this is dropped.
pub(super) struct Held<'a> {
    plane: &'a Plane,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquire of the next holder.
        self.plane.taken.store(false, Ordering::Release);
    }
}

impl Held<'_> {
    pub(super) fn policy(&mut self) -> &mut dyn EvictionPolicy {
        // SAFETY: `taken` was false when this `Held` was made and is true until
        // it is dropped, so it is the only one.
        unsafe { &mut **self.plane.policy.get() }
    }

    /// Applies the notes of all shards.
    pub(super) fn drain(&mut self, slots: &[Slot], stacks: &[ReleasedStack]) {
        let observes_resurrection = self.plane.observes_resurrection;
        let policy = self.policy();
        for stack in stacks {
            stack.drain(slots, |slot| {
                let word = slot.unnote();
                if word.is_inactive() {
                    let (hash, level) = (slot.hash(), slot.level());
                    // Reused since: whoever releases it next notes it again.
                    if slot.is_tenancy(word) {
                        policy.insert(slot.id(), hash, level);
                    }
                } else if observes_resurrection {
                    policy.remove(slot.id());
                }
            });
        }
    }

    /// Vacates up to `max` blocks in the policy's order and calls `sink` with
    /// each. Returns how many.
    ///
    /// A block that has come into use unnoticed is dropped from the order: its
    /// last unpin will note it again.
    pub(super) fn evict<'s>(
        &mut self,
        max: usize,
        slots: &'s [Slot],
        reset: bool,
        mut sink: impl FnMut(&'s Slot),
    ) -> usize {
        let policy = self.policy();
        let mut evicted = 0;
        while evicted < max {
            let Some(victim) = policy.pop() else { break };
            let slot = &slots[victim as usize];
            if vacate_inactive(slot, reset) {
                sink(slot);
                evicted += 1;
            }
        }
        evicted
    }
}

/// Vacates a block if it is inactive.
pub(super) fn vacate_inactive(slot: &Slot, reset: bool) -> bool {
    let mut seen = slot.word();
    while seen.is_inactive() {
        match slot.vacate(seen, reset) {
            Ok(()) => return true,
            Err(now) => seen = now,
        }
    }
    false
}
