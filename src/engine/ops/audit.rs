//! The audit: checks the invariants of a store at rest.
//!
//! # The invariants
//!
//! Tests, error messages and comments elsewhere refer to these by number.
//!
//! 1. Each slot is in exactly one of four places: on the freelist, in an exclusive hold,
//!    registered with pins, or without pins (inactive, cleared or discarded). At rest no slot
//!    is pending.
//! 2. There are as many credits as free, inactive, cleared and discarded blocks together.
//! 3. A slot is a primary if and only if it is linked in the index, in the bucket of its
//!    hash. A hash has at most one primary.
//! 4. A block without pins is listed by one order, or queued. A slot is
//!    on a release log if and only if it is marked as queued, and then on exactly one, once.
//! 5. A slot's generation changes with each tenancy, and never while the block is pinned. (The
//!    exchanges of the word enforce this; it cannot be checked at rest.)
//! 6. A duplicate keeps its primary: the slot it names is the primary of the same hash, and
//!    has at least one pin per duplicate.
//! 7. The hash of each registered block is registered in the registry, unless the block is
//!    cleared or discarded.
//! 8. The policy's own data structure is sound. For leaf-first policies this includes that no
//!    block is listed as a leaf while one of its children is listed.
//! 9. The counters agree with the slots: on the number of blocks in each state, and on the
//!    number of pins.
//!
//! Invariants 5 and 6 hold at all times. The others hold at rest: in between, a block may be
//! in the hands of a thread, on its way from one place to another. One direction of invariant
//! 2 always holds: there are never more credits than blocks that can be found for them.
//!
//! # What does it cost?
//!
//! O(block count) time and memory. The audit holds all policy planes throughout, by try-locks: if
//! another thread holds one of them, it fails with [`AuditError::Busy`] instead of waiting. A thread suspended in an audit delays others just
//! as any holder of the plane does: they evict by a search.

use std::collections::HashMap;
use std::mem;

use crate::engine::parts::plane::HeldPlane;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::State;
use crate::engine::store::Store;

/// The numbers of blocks that [`BlockManager::audit`](crate::BlockManager::audit) has counted.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// let manager = BlockManager::<Gpu>::builder()
///     .block_count(64)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .build()?;
/// let held = manager.allocate_one().expect("64 blocks are free");
///
/// let report = manager.audit()?;
/// assert_eq!((report.free, report.exclusive), (63, 1));
/// assert_eq!((report.active, report.inactive), (0, 0));
/// # drop(held);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// Free blocks, which have no content.
    pub free: usize,
    /// Blocks held by mutable or complete guards.
    pub exclusive: usize,
    /// Registered blocks that are pinned, including duplicates.
    pub active: usize,
    /// Registered blocks without pins, which can be matched.
    pub inactive: usize,
    /// Blocks whose content has been given up and that have not been handed out since. Most of
    /// these are *cleared* blocks, which were inactive when the pool was cleared; the others
    /// have been *discarded*. They can no longer be matched, and count as free elsewhere.
    pub forgotten: usize,
    /// Active blocks that are duplicates of a primary.
    pub duplicates: usize,
    /// Blocks in the orders of eviction: inactive ones, and blocks that have become active again
    /// but have not been removed from the order or popped from it since.
    pub listed: usize,
    /// Blocks without pins that are on a release log: the policy has not learnt of their
    /// release yet.
    pub queued: usize,
}

/// The error returned by [`BlockManager::audit`](crate::BlockManager::audit): an invariant
/// does not hold, or the manager was in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another thread holds a policy plane, so the manager is in use.
    #[error("the manager is in use: another thread holds a policy plane")]
    Busy,
    /// An invariant does not hold. If other threads used the manager during the audit, they
    /// may be the reason; otherwise this is a bug in this crate.
    #[error("invariant {invariant} does not hold: {detail}")]
    Broken {
        /// The number of the invariant, as listed at the head of `engine/ops/audit.rs`.
        invariant: u8,
        /// Describes what was found instead.
        detail: String,
    },
}

fn broken(invariant: u8, detail: String) -> AuditError {
    AuditError::Broken { invariant, detail }
}

/// Returns an error with `detail` unless the invariant holds.
fn require(invariant: u8, holds: bool, detail: impl FnOnce() -> String) -> Result<(), AuditError> {
    if holds {
        Ok(())
    } else {
        Err(broken(invariant, detail()))
    }
}

fn describe(slot: &Slot) -> String {
    format!("block {}: {:?}, {:?}", slot.id(), slot.word(), slot.hash())
}

impl Store {
    /// Checks the invariants, and counts the blocks in each state. Call while no other thread
    /// uses the store.
    pub(crate) fn audit(&self) -> Result<AuditReport, AuditError> {
        let hold = |plane| {
            let held = (self.planes).try_hold_as_is(plane, &self.slots, &self.release_logs);
            held.ok_or(AuditError::Busy)
        };
        let planes: Vec<_> = (0..self.planes.count())
            .map(hold)
            .collect::<Result<_, _>>()?;
        let free = self.audit_free()?;
        let queued = self.audit_release_logs()?;
        self.audit_index()?;
        let mut report = AuditReport::default();
        // An order that has listed no block yet has no policy.
        for policy in planes.iter().filter_map(HeldPlane::policy) {
            policy.check().map_err(|detail| broken(8, detail))?;
            report.listed += policy.len();
        }
        for (slot, (&is_free, &is_queued)) in self.slots.iter().zip(free.iter().zip(&queued)) {
            let word = slot.word();
            let orders = planes.iter().filter(|plane| plane.lists(slot.id())).count();
            require(4, orders <= 1, || {
                format!("listed by {orders} orders: {}", describe(slot))
            })?;
            let listed = orders > 0;
            match word.state() {
                State::Exclusive if is_free => report.free += 1,
                State::Exclusive => report.exclusive += 1,
                State::Pending => return Err(broken(1, describe(slot))),
                State::Primary | State::Duplicate => {
                    require(1, !is_free, || {
                        format!("registered, but on the freelist: {}", describe(slot))
                    })?;
                    if word.is_unheld() {
                        if self.is_cleared(slot, word) {
                            report.forgotten += 1;
                        } else {
                            report.inactive += 1;
                        }
                        report.queued += usize::from(is_queued);
                        require(4, listed || is_queued, || {
                            format!("unheld, but neither listed nor queued: {}", describe(slot))
                        })?;
                    } else {
                        require(1, word.count() > 0, || describe(slot))?;
                        report.active += 1;
                    }
                    let is_duplicate = word.state() == State::Duplicate && word.count() > 0;
                    report.duplicates += usize::from(is_duplicate);
                }
            }
        }
        let credits = self.available();
        let there_are = report.free + report.inactive + report.forgotten;
        require(2, credits == there_are, || {
            format!("{credits} credits, but {report:?}")
        })?;
        self.audit_registrations()?;
        self.audit_counts(&report)?;
        Ok(report)
    }

    /// Compares the gauges with what was counted slot by slot: invariant 9.
    fn audit_counts(&self, report: &AuditReport) -> Result<(), AuditError> {
        let counts = self.counts();
        // The distinction between inactive and cleared blocks is exact only if a single thread
        // has used the store.
        let available = (counts.inactive + counts.cleared) as usize;
        let counted = (counts.free as usize, available, counts.active as usize);
        let there_are = (
            report.free,
            report.inactive + report.forgotten,
            report.active,
        );
        require(9, counted == there_are, || {
            format!("the counters say {counts:?}, the slots {report:?}")
        })?;
        let pins: u64 = self.slots.iter().map(|slot| slot.word().count()).sum();
        let counted = self.pins();
        require(9, counted == pins, || {
            format!("the counters say {counted} pins, the slots {pins}")
        })
    }

    /// Returns which blocks are on the freelist.
    fn audit_free(&self) -> Result<Vec<bool>, AuditError> {
        let mut free = vec![false; self.slots.len()];
        let mut twice = None;
        self.free.for_each(|id| {
            if mem::replace(&mut free[id as usize], true) {
                twice = Some(id);
            }
        });
        match twice {
            Some(id) => Err(broken(1, format!("block {id} is on the freelist twice"))),
            None => Ok(free),
        }
    }

    /// Returns which slots are on a release log.
    fn audit_release_logs(&self) -> Result<Vec<bool>, AuditError> {
        let mut queued = vec![false; self.slots.len()];
        let mut twice = None;
        for log in &self.release_logs {
            log.for_each(&self.slots, |slot| {
                if mem::replace(&mut queued[slot.id() as usize], true) {
                    twice = Some(slot.id());
                }
            });
        }
        if let Some(id) = twice {
            return Err(broken(4, format!("block {id} is queued twice")));
        }
        for (slot, &is_queued) in self.slots.iter().zip(&queued) {
            require(4, slot.word().is_queued() == is_queued, || {
                let is = if is_queued { "is" } else { "is not" };
                format!("{is} on a release log: {}", describe(slot))
            })?;
        }
        Ok(queued)
    }

    /// Compares the index with the slots: invariant 3.
    fn audit_index(&self) -> Result<(), AuditError> {
        let mut primaries = HashMap::new();
        let mut result = Ok(());
        self.index.for_each(&self.slots, |bucket, slot| {
            let hash = slot.hash();
            let at_home = self.index.is_home(bucket, self.registry.key(hash));
            if !slot.word().is_primary() || !at_home {
                result = Err(broken(
                    3,
                    format!("linked in bucket {bucket}: {}", describe(slot)),
                ));
            }
            if let Some(other) = primaries.insert(hash, slot.id()) {
                result = Err(broken(
                    3,
                    format!(
                        "block {other} is linked for the same hash: {}",
                        describe(slot)
                    ),
                ));
            }
        });
        result?;
        let expected = self
            .slots
            .iter()
            .filter(|slot| slot.word().is_primary())
            .count();
        require(3, primaries.len() == expected, || {
            format!("{} of {expected} primaries are linked", primaries.len())
        })
    }

    /// Checks the primaries of duplicates and the registry's entries: invariants 6 and 7.
    fn audit_registrations(&self) -> Result<(), AuditError> {
        let mut duplicates: HashMap<u32, u64> = HashMap::new();
        for slot in &self.slots {
            let word = slot.word();
            let state = word.state();
            if word.is_discarded() {
                continue;
            }
            if state == State::Duplicate {
                let primary = &self.slots[slot.primary() as usize];
                *duplicates.entry(primary.id()).or_default() += 1;
                require(
                    6,
                    primary.word().is_primary() && primary.hash() == slot.hash(),
                    || format!("{} is a duplicate of {}", describe(slot), describe(primary)),
                )?;
            }
            let is_registered =
                matches!(state, State::Primary | State::Duplicate) && !self.is_cleared(slot, word);
            require(
                7,
                !is_registered || self.registry.is_registered(slot.key()),
                || format!("not registered in the registry: {}", describe(slot)),
            )?;
        }
        for (id, count) in duplicates {
            let primary = &self.slots[id as usize];
            require(6, primary.word().count() >= count, || {
                format!("{count} duplicates keep {}", describe(primary))
            })?;
        }
        Ok(())
    }
}
