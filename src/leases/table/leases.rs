//! What is under the mutex of the table: the leases, and the transitions of one.
//!
//! | state | where the lease is | its blocks |
//! |---|---|---|
//! | held | in `by_id`; its expiry is in the future | are held |
//! | expired | in `by_id`; its expiry has passed | are held, and count as available |
//! | ending | in `ending` | those that are left are held, and count as available; the others have been taken out in pieces |
//! | ended | nowhere | are released |
//!
//! | transition | made by |
//! |---|---|
//! | held → held, with another expiry | a renewal whose time is before the expiry |
//! | held → expired | the clock |
//! | held, expired or ending → ended | a release by id, or the end of the table: both take out all blocks |
//! | expired → ending | the first thread that needs blocks, or that counts them |
//! | ending → ending or ended | such a thread takes out the next piece |
//!
//! A lease leaves `by_id` before its first block is released, so none of its blocks is ever
//! released while the lease can be renewed or yields guards, even to a thread that arrives late
//! with an earlier time. Only one lease at a time is ending.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;
use std::vec;

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::{BlockId, SequenceHash};

use super::expiries::{Expiries, Key};
use super::leased::LeasedBlocks;
use super::{LeaseError, LeaseId, LeasedGuards, NEVER};

pub(super) struct Leases<T: BlockMetadata> {
    /// All leases that are held or expired, in the order in which they were made.
    pub(super) by_id: BTreeMap<LeaseId, LeaseEntry<T>>,
    /// Those of them that expire and hold blocks.
    expiries: Expiries,
    /// Those of them that expire and hold no blocks: nobody looks for blocks there.
    empty: BTreeSet<Key>,
    ending: Option<Ending<T>>,
    /// The blocks of all leases, and what is left of the one that is ending.
    leased: LeasedBlocks,
}

pub(super) struct LeaseEntry<T: BlockMetadata> {
    pub(super) owner: Arc<str>,
    /// Shared with threads that clone the guards without holding the mutex.
    pub(super) held: Arc<LeasedGuards<T>>,
    /// The ids and hashes of the blocks, for listings, which must not keep the blocks held.
    pub(super) blocks: Arc<[(BlockId, SequenceHash)]>,
    pub(super) since: SystemTime,
    pub(super) made: u64,
    pub(super) expiry: u64,
}

/// The lease that is ending, and the guards that are left of it: at least one. Dropping it
/// releases them.
pub(super) struct Ending<T: BlockMetadata> {
    id: LeaseId,
    guards: vec::IntoIter<ImmutableBlock<T>>,
}

impl<T: BlockMetadata> Ending<T> {
    /// Returns the guards that are left.
    pub(super) fn into_guards(mut self) -> LeasedGuards<T> {
        LeasedGuards(self.guards.by_ref().collect())
    }
}

impl<T: BlockMetadata> Drop for Ending<T> {
    fn drop(&mut self) {
        drop(LeasedGuards(self.guards.by_ref().collect()));
    }
}

/// What a thread has taken out of the table, to be dropped after unlocking.
pub(super) struct Piece<T: BlockMetadata> {
    pub(super) guards: LeasedGuards<T>,
    /// The lease, if this is its first piece: it has ended as far as anybody can tell.
    pub(super) begun: Option<(LeaseId, Name)>,
}

/// Names a lease in the log.
pub(super) struct Name {
    pub(super) owner: Arc<str>,
    pub(super) blocks: usize,
}

impl<T: BlockMetadata> LeaseEntry<T> {
    fn block_ids(&self) -> impl Iterator<Item = BlockId> {
        self.blocks.iter().map(|&(id, _)| id)
    }
}

fn block_ids<T: BlockMetadata>(guards: &[ImmutableBlock<T>]) -> impl Iterator<Item = BlockId> {
    guards.iter().map(ImmutableBlock::block_id)
}

impl<T: BlockMetadata> Leases<T> {
    pub(super) fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            expiries: Expiries::default(),
            empty: BTreeSet::new(),
            ending: None,
            leased: LeasedBlocks::default(),
        }
    }

    /// Adds a lease that never expires, until it is given an expiry.
    pub(super) fn add(&mut self, id: LeaseId, entry: LeaseEntry<T>) {
        debug_assert_eq!(entry.expiry, NEVER);
        if let Some(guard) = entry.held.0.first() {
            let block_count = guard.hold().store().block_count();
            self.leased.add(entry.block_ids(), block_count);
        }
        self.by_id.insert(id, entry);
    }

    /// Sets when a lease expires.
    pub(super) fn set_expiry(&mut self, id: LeaseId, expiry: u64) {
        let Some(entry) = self.by_id.get_mut(&id) else {
            return;
        };
        let blocks = entry.blocks.len();
        let before = std::mem::replace(&mut entry.expiry, expiry);
        self.forget_expiry((before, id), blocks);
        match (expiry, blocks) {
            (NEVER, _) => {}
            (_, 0) => {
                self.empty.insert((expiry, id));
            }
            _ => self.expiries.insert((expiry, id), blocks),
        }
    }

    fn forget_expiry(&mut self, key: Key, blocks: usize) {
        match (key.0, blocks) {
            (NEVER, _) => {}
            (_, 0) => {
                self.empty.remove(&key);
            }
            _ => self.expiries.remove(key),
        }
    }

    /// Returns the lease if it is held.
    pub(super) fn live(&self, id: LeaseId, now: u64) -> Result<&LeaseEntry<T>, LeaseError> {
        self.by_id
            .get(&id)
            .filter(|entry| now < entry.expiry)
            .ok_or(LeaseError::Expired(id))
    }

    /// Ends a lease that is held or expired. O(its blocks).
    pub(super) fn take(&mut self, id: LeaseId) -> Option<LeaseEntry<T>> {
        let entry = self.unlist(id)?;
        self.leased.remove(entry.block_ids());
        Some(entry)
    }

    /// Takes out a lease whose blocks are still leased.
    fn unlist(&mut self, id: LeaseId) -> Option<LeaseEntry<T>> {
        let entry = self.by_id.remove(&id)?;
        self.forget_expiry((entry.expiry, id), entry.blocks.len());
        Some(entry)
    }

    /// Ends a lease that is ending. Returns what is left of it.
    pub(super) fn take_ending(&mut self, id: LeaseId) -> Option<Ending<T>> {
        let ending = self.ending.take_if(|ending| ending.id == id)?;
        self.leased.remove(block_ids(ending.guards.as_slice()));
        Some(ending)
    }

    /// Returns the number of leased blocks. A block with several leases counts once.
    pub(super) fn leased(&self) -> usize {
        self.leased.count()
    }

    /// Ends all leases. Returns what is left of them.
    pub(super) fn take_all(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// Returns when there is something to take out: now, if a lease is ending.
    pub(super) fn earliest(&self) -> u64 {
        match &self.ending {
            Some(_) => 0,
            None => self.expiries.first().map_or(NEVER, |(expiry, _)| expiry),
        }
    }

    /// Returns the number of blocks that leases hold which have expired by `now`. A block that
    /// is held twice counts twice.
    pub(super) fn expired_blocks(&self, now: u64) -> usize {
        let ending = self.ending.as_ref().map_or(0, |ending| ending.guards.len());
        ending + self.expiries.blocks_until(now)
    }

    /// Takes out the next piece: up to `max` blocks of the lease that is ending, or else of the
    /// first one that has expired by `now`.
    ///
    /// A policy that evicts leaves first gets the last blocks of a lease first, as they are
    /// usually the leaves of what is left; any other policy gets them in order.
    pub(super) fn take_piece(&mut self, now: u64, max: usize) -> Option<Piece<T>> {
        let begun = match &self.ending {
            Some(_) => None,
            None => Some(self.begin(now)?),
        };
        let mut guards = Vec::new();
        if let Some(ending) = &mut self.ending {
            let left = ending.guards.len();
            let is_leaf_first = ending
                .guards
                .as_slice()
                .first()
                .is_some_and(|guard| guard.hold().store().is_leaf_first());
            if is_leaf_first {
                guards.extend(ending.guards.by_ref().rev().take(max));
                guards.reverse();
            } else {
                guards.extend(ending.guards.by_ref().take(max));
            }
            if left == guards.len() {
                self.ending = None;
            }
        }
        self.leased.remove(block_ids(&guards));
        Some(Piece {
            guards: LeasedGuards(guards),
            begun,
        })
    }

    /// Takes out a lease without blocks that has expired by `now`.
    pub(super) fn take_empty(&mut self, now: u64) -> Option<(LeaseId, LeaseEntry<T>)> {
        let &(expiry, id) = self.empty.first()?;
        if expiry > now {
            return None;
        }
        self.take(id).map(|entry| (id, entry))
    }

    /// Begins to end the first lease that has expired by `now`.
    fn begin(&mut self, now: u64) -> Option<(LeaseId, Name)> {
        let (expiry, id) = self.expiries.first()?;
        if expiry > now {
            return None;
        }
        let entry = self.unlist(id)?;
        let name = Name {
            owner: entry.owner,
            blocks: entry.blocks.len(),
        };
        match Arc::into_inner(entry.held) {
            Some(mut held) => {
                self.ending = Some(Ending {
                    id,
                    guards: std::mem::take(&mut held.0).into_iter(),
                });
            }
            // Another thread is cloning the guards, which takes as long, and then drops them.
            None => self.leased.remove(entry.blocks.iter().map(|&(id, _)| id)),
        }
        Some((id, name))
    }
}
