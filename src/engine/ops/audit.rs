//! Checking the invariants of a store.
//!
//! The invariants, by the numbers that tests and messages use:
//!
//! 1. Every slot is in exactly one of: a freelist, an exclusive guard,
//!    registered with pins, registered without.
//! 2. Credits = free + inactive + cleared blocks.
//! 3. A slot is a primary if and only if it is linked in the index, in the bucket
//!    of its hash, and a hash has at most one primary.
//! 4. An inactive or cleared slot is listed by the policy, in a victim_cache, or on exactly one
//!    released stack, and a slot is on a released stack if and only if it is queued.
//! 5. A slot's generation changes with every tenancy and never while it is
//!    pinned. (What the exchanges of the word enforce; not to be seen at rest.)
//! 6. A duplicate keeps its primary: the slot it names is the primary of the same
//!    hash, with at least a pin for each of its duplicates.
//! 7. The hash of every registered slot, but the cleared, is registered in the
//!    registry.
//! 8. The policy's own structure is sound. For leaf-first policies this includes
//!    that no block is listed as a leaf while it has listed children.
//! 9. What the counters come to is what there is: the blocks in each state, and their pins.

use std::collections::HashMap;

use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::State;
use crate::engine::store::Store;

/// What [`BlockManager::audit`](crate::BlockManager::audit) counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditReport {
    /// Blocks in the reset pool.
    pub free: usize,
    /// Blocks held by mutable and complete guards.
    pub exclusive: usize,
    /// Registered blocks that are held, duplicates included.
    pub active: usize,
    /// Registered blocks that nobody holds.
    pub inactive: usize,
    /// Blocks whose content has been given up, mostly because they were inactive when the
    /// pool was cleared, and that have not been handed out since. They count as free.
    pub forgotten: usize,
    /// Registered blocks that are duplicates.
    pub duplicates: usize,
    /// Blocks the policy has in its order: inactive ones, and ones that have come
    /// into use again and not come up as a victim since.
    pub listed: usize,
    /// Inactive blocks that the policy has not been told of yet.
    pub queued: usize,
}

/// An invariant does not hold, or the store was in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another thread has the policy plane: the manager is in use.
    #[error("the manager is in use: its policy plane is taken")]
    Busy,
    /// An invariant does not hold. If other threads used the manager meanwhile
    /// this may be their doing; if not, it is a defect of this crate.
    #[error("invariant {invariant} does not hold: {detail}")]
    Broken {
        /// The invariant's number in the documentation of the audit.
        invariant: u8,
        /// What was found.
        detail: String,
    },
}

fn broken(invariant: u8, detail: String) -> AuditError {
    AuditError::Broken { invariant, detail }
}

/// `Ok` if the invariant holds.
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
    /// Checks the invariants. O(block count); while nobody uses the store.
    pub(crate) fn audit(&self) -> Result<AuditReport, AuditError> {
        let plane = self.plane.try_hold().ok_or(AuditError::Busy)?;
        let free = self.audit_free()?;
        let queued = self.audit_notes()?;
        let mut prefetched = vec![false; self.slots.len()];
        for victim_cache in &self.victim_caches {
            victim_cache
                .try_hold()
                .ok_or(AuditError::Busy)?
                .for_each(&self.slots, |id| prefetched[id as usize] = true);
        }
        self.audit_index()?;
        // The store gives its policy up only once no manager is left to ask for an audit.
        let policy = plane.policy().ok_or(AuditError::Busy)?;
        policy.check().map_err(|detail| broken(8, detail))?;

        let mut report = AuditReport {
            listed: policy.len(),
            ..AuditReport::default()
        };
        for (slot, (&is_free, &is_queued)) in self.slots.iter().zip(free.iter().zip(&queued)) {
            let word = slot.word();
            let listed = policy.contains(slot.id()) || prefetched[slot.id() as usize];
            match word.state() {
                State::Exclusive if is_free => report.free += 1,
                State::Exclusive => report.exclusive += 1,
                State::Pending => return Err(broken(1, describe(slot))),
                State::Primary | State::Duplicate => {
                    require(1, !is_free, || {
                        format!("free, but registered: {}", describe(slot))
                    })?;
                    if word.is_unheld() {
                        if self.is_cleared(slot, word) {
                            report.forgotten += 1;
                        } else {
                            report.inactive += 1;
                        }
                        report.queued += usize::from(is_queued);
                        require(4, listed || is_queued, || {
                            format!("lost: {}", describe(slot))
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
            format!("{credits} credits, {report:?}")
        })?;
        self.audit_registrations()?;
        self.audit_counts(&report)?;
        Ok(report)
    }

    /// The gauges against the slots.
    fn audit_counts(&self, report: &AuditReport) -> Result<(), AuditError> {
        let counts = self.counts();
        // Which inactive blocks are cleared is counted exactly from one thread only.
        let available = (counts.inactive + counts.cleared) as usize;
        let counted = (counts.free as usize, available, counts.active as usize);
        let there_are = (
            report.free,
            report.inactive + report.forgotten,
            report.active,
        );
        require(9, counted == there_are, || {
            format!("{counts:?} are counted, {report:?}")
        })?;
        let pins: u64 = self.slots.iter().map(|slot| slot.word().count()).sum();
        let counted = self.pins();
        require(9, counted == pins, || {
            format!("{counted} pins are counted, and there are {pins}")
        })
    }

    /// Which blocks are free.
    fn audit_free(&self) -> Result<Vec<bool>, AuditError> {
        let mut free = vec![false; self.slots.len()];
        let mut twice = None;
        self.free.for_each(|id| {
            if std::mem::replace(&mut free[id as usize], true) {
                twice = Some(id);
            }
        });
        match twice {
            Some(id) => Err(broken(1, format!("block {id} is free twice"))),
            None => Ok(free),
        }
    }

    /// Which slots are on a released stack.
    fn audit_notes(&self) -> Result<Vec<bool>, AuditError> {
        let mut queued = vec![false; self.slots.len()];
        let mut twice = None;
        for stack in &self.release_logs {
            stack.for_each(&self.slots, |slot| {
                if std::mem::replace(&mut queued[slot.id() as usize], true) {
                    twice = Some(slot.id());
                }
            });
        }
        if let Some(id) = twice {
            return Err(broken(4, format!("block {id} is queued twice")));
        }
        for (slot, &is_queued) in self.slots.iter().zip(&queued) {
            require(4, slot.word().is_queued() == is_queued, || {
                format!("on a stack: {is_queued}, {}", describe(slot))
            })?;
        }
        Ok(queued)
    }

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
                    format!("as is block {other}: {}", describe(slot)),
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
            format!("{} primaries linked of {expected}", primaries.len())
        })
    }

    /// Duplicates and the registry.
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
                || format!("not in the registry: {}", describe(slot)),
            )?;
        }
        for (id, count) in duplicates {
            let primary = &self.slots[id as usize];
            require(6, primary.word().count() >= count, || {
                format!("{count} duplicates of {}", describe(primary))
            })?;
        }
        Ok(())
    }
}
