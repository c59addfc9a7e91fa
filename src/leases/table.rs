//! The table of a manager's leases.
//!
//! A mutex over an ordered map and an ordered set. No hot operation locks it, and an
//! allocation only tries to, as a last resort before it is refused. Guards are taken out of
//! the table under the mutex and dropped after unlocking. Callers read the clock and pass
//! the time to every function, so that tests can choose it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::registry::Leftovers;
use crate::sync::step;
use crate::user_code::contain;
use crate::{BlockId, SequenceHash};

use super::{Holder, Lease, LeaseError, LeaseId};

/// The number of leases that are visited before the mutex is unlocked for other threads.
const PAGE: usize = 64;

/// The expiry of a lease that has none.
const NEVER: u64 = u64::MAX;

/// The table of a manager's leases: see the module documentation.
pub(crate) struct LeaseTable<T: BlockMetadata> {
    /// All times are in nanoseconds since this instant.
    origin: Instant,
    /// The earliest expiry. A hint, written under the mutex and read without it.
    earliest: AtomicU64,
    /// Whether there has ever been a lease that expires.
    may_expire: AtomicBool,
    /// The number of expiries that have begun. Written under the mutex.
    begun: AtomicU64,
    /// The number of expiries that have released all of their blocks.
    done: AtomicU64,
    leases: Mutex<Leases<T>>,
}

struct Leases<T: BlockMetadata> {
    /// All leases, in the order in which they were made.
    by_id: BTreeMap<LeaseId, LeaseEntry<T>>,
    /// The leases that expire.
    by_expiry: BTreeSet<(u64, LeaseId)>,
}

struct LeaseEntry<T: BlockMetadata> {
    owner: Arc<str>,
    /// Shared with threads that clone the guards without holding the mutex.
    held: Arc<LeasedGuards<T>>,
    /// The ids and hashes of the blocks, for listings, which must not keep the blocks held.
    blocks: Arc<[(BlockId, SequenceHash)]>,
    since: SystemTime,
    made: u64,
    expiry: u64,
}

/// The guards of a lease. All of them are dropped even if the user code in their drops
/// panics.
struct LeasedGuards<T: BlockMetadata>(Vec<ImmutableBlock<T>>);

impl<T: BlockMetadata> LeasedGuards<T> {
    /// Releases all blocks in one batch, and returns the user code that is left to run.
    fn release_all(&mut self) -> Leftovers {
        let Some(first) = self.0.first() else {
            return Leftovers::new();
        };
        let store = first.hold().store().reference();
        let mut leftovers = store.unpin_all(self.0.drain(..).map(ImmutableBlock::into_hold));
        // This may be the last reference.
        leftovers.catch(|| drop(store));
        leftovers
    }
}

impl<T: BlockMetadata> Drop for LeasedGuards<T> {
    fn drop(&mut self) {
        settle(self.release_all());
    }
}

/// Runs the user code that releasing blocks has left over.
fn settle(leftovers: Leftovers) {
    contain(
        "user code panicked while a lease released its blocks",
        || {
            leftovers.settle();
        },
    );
}

impl<T: BlockMetadata> Leases<T> {
    fn take(&mut self, id: LeaseId) -> Option<LeaseEntry<T>> {
        let entry = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(entry.expiry, id));
        Some(entry)
    }

    fn take_due(&mut self, now: u64) -> Option<(LeaseId, LeaseEntry<T>)> {
        let &(expiry, id) = self.by_expiry.first()?;
        if expiry > now {
            return None;
        }
        self.take(id).map(|entry| (id, entry))
    }

    fn set_expiry(&mut self, id: LeaseId, expiry: u64) {
        if let Some(entry) = self.by_id.get_mut(&id) {
            self.by_expiry.remove(&(entry.expiry, id));
            entry.expiry = expiry;
            if expiry != NEVER {
                self.by_expiry.insert((expiry, id));
            }
        }
    }

    /// Returns the lease if it has not expired. One that has may still be in the table.
    fn live(&self, id: LeaseId, now: u64) -> Result<&LeaseEntry<T>, LeaseError> {
        self.by_id
            .get(&id)
            .filter(|entry| now < entry.expiry)
            .ok_or(LeaseError::Expired(id))
    }
}

/// The outcome of an attempt to end one expired lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpiryStep {
    /// A lease has been ended and its blocks released.
    Ended,
    /// No lease is due.
    NoneDue,
    /// Another thread holds the mutex.
    Busy,
}

impl<T: BlockMetadata> LeaseTable<T> {
    pub(crate) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self {
            origin: now,
            earliest: AtomicU64::new(NEVER),
            may_expire: AtomicBool::new(false),
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            leases: Mutex::new(Leases {
                by_id: BTreeMap::new(),
                by_expiry: BTreeSet::new(),
            }),
        })
    }

    /// Ignores poisoning: no code under the mutex leaves the table half changed.
    fn lock(&self) -> MutexGuard<'_, Leases<T>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, then updates the hint that is read without the mutex.
    fn change<R>(
        &self,
        mut leases: MutexGuard<'_, Leases<T>>,
        change: impl FnOnce(&mut Leases<T>) -> R,
    ) -> R {
        let result = change(&mut leases);
        let earliest = leases
            .by_expiry
            .first()
            .map_or(NEVER, |&(expiry, _)| expiry);
        // Release: see `try_expire`. A thread that reads an old value finds a lease expired a
        // little late, or looks in vain.
        self.earliest.store(earliest, Ordering::Release);
        result
    }

    fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.origin))
    }

    fn expiry(&self, duration: Option<Duration>, now: u64) -> u64 {
        if duration.is_some() {
            // Before such a lease exists.
            self.may_expire.store(true, Ordering::Relaxed);
        }
        duration.map_or(NEVER, |duration| now.saturating_add(nanos(duration)))
    }

    /// Adds a lease. The guards must be of this manager's blocks.
    pub(crate) fn add(
        self: &Arc<Self>,
        blocks: Vec<ImmutableBlock<T>>,
        owner: Arc<str>,
        duration: Option<Duration>,
        now: Instant,
    ) -> Lease<T> {
        let id = LeaseId::next();
        let block_ids = blocks.iter().map(ImmutableBlock::block_id).collect();
        let named = |block: &ImmutableBlock<T>| (block.block_id(), block.sequence_hash());
        let made = self.nanos(now);
        let expiry = self.expiry(duration, made);
        let entry = LeaseEntry {
            owner: Arc::clone(&owner),
            blocks: blocks.iter().map(named).collect(),
            held: Arc::new(LeasedGuards(blocks)),
            since: SystemTime::now(),
            made,
            expiry: NEVER,
        };
        self.change(self.lock(), |leases| {
            leases.by_id.insert(id, entry);
            leases.set_expiry(id, expiry);
        });
        Lease::new(id, owner, block_ids, Arc::clone(self))
    }

    pub(super) fn to_guards(
        &self,
        id: LeaseId,
        now: Instant,
    ) -> Result<Vec<ImmutableBlock<T>>, LeaseError> {
        let now = self.nanos(now);
        let held = Arc::clone(&self.lock().live(id, now)?.held);
        Ok(held.0.clone())
    }

    pub(super) fn remaining(
        &self,
        id: LeaseId,
        now: Instant,
    ) -> Result<Option<Duration>, LeaseError> {
        let now = self.nanos(now);
        let expiry = self.lock().live(id, now)?.expiry;
        Ok(remaining(expiry, now))
    }

    pub(crate) fn renew(
        &self,
        id: LeaseId,
        duration: Option<Duration>,
        now: Instant,
    ) -> Result<(), LeaseError> {
        let now = self.nanos(now);
        let expiry = self.expiry(duration, now);
        self.change(self.lock(), |leases| {
            leases.live(id, now)?;
            leases.set_expiry(id, expiry);
            Ok(())
        })
    }

    pub(crate) fn release(&self, id: LeaseId, now: Instant) -> Result<(), LeaseError> {
        let now = self.nanos(now);
        let entry = self.change(self.lock(), |leases| leases.take(id));
        match entry {
            Some(entry) if now < entry.expiry => Ok(()),
            _ => Err(LeaseError::Expired(id)),
        }
    }

    /// Ends the leases that have expired. Returns how many there were.
    pub(crate) fn expire(&self, now: Instant) -> usize {
        let now = self.nanos(now);
        let mut ended = 0;
        while self.expire_one(self.lock(), now) {
            ended += 1;
        }
        ended
    }

    /// Returns whether there has ever been a lease that expires.
    #[inline]
    pub(crate) fn may_expire(&self) -> bool {
        self.may_expire.load(Ordering::Relaxed)
    }

    /// Returns how many expiries have released their blocks. Release and acquire: a thread
    /// that sees an expiry counted finds its blocks available.
    pub(crate) fn expiries(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Like [`expire`](Self::expire), but never waits, and reads the clock only if some lease
    /// has an expiry. Returns whether the blocks of all expired leases have been released. If
    /// not, another thread holds the mutex or is releasing them.
    pub(crate) fn try_expire(&self, now: impl Fn() -> Instant) -> bool {
        loop {
            match self.try_expire_one(&now) {
                ExpiryStep::Ended => {}
                ExpiryStep::NoneDue => return self.is_quiet(),
                ExpiryStep::Busy => return false,
            }
        }
    }

    /// Ends one lease that has expired, if there is one. Never waits, and reads the clock only
    /// if some lease has an expiry.
    pub(crate) fn try_expire_one(&self, now: impl FnOnce() -> Instant) -> ExpiryStep {
        // Acquire: a thread that sees that nothing is due any more also sees that the expiry
        // which took it has begun.
        let earliest = self.earliest.load(Ordering::Acquire);
        if earliest == NEVER {
            return ExpiryStep::NoneDue;
        }
        let now = self.nanos(now());
        if now < earliest {
            return ExpiryStep::NoneDue;
        }
        let leases = match self.leases.try_lock() {
            Ok(leases) => leases,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return ExpiryStep::Busy,
        };
        if self.expire_one(leases, now) {
            ExpiryStep::Ended
        } else {
            ExpiryStep::NoneDue
        }
    }

    /// Returns whether no expiry is in progress: all that have begun have released their blocks.
    pub(crate) fn is_quiet(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.expiries()
    }

    /// Ends one lease that has expired by `now`, if there is one. Ends only one at a time, so
    /// that a thread that is suspended here withholds the blocks of no more than one lease.
    fn expire_one(&self, leases: MutexGuard<'_, Leases<T>>, now: u64) -> bool {
        let expired = self.change(leases, |leases| {
            let expired = leases.take_due(now);
            if expired.is_some() {
                // Before `earliest` tells other threads that nothing is due.
                self.begun.fetch_add(1, Ordering::Release);
            }
            expired
        });
        let Some((id, entry)) = expired else {
            return false;
        };
        step!(LeaseTaken);
        // `None` if another thread is cloning the guards; that thread then drops them.
        let leftovers = Arc::into_inner(entry.held).map(|mut held| held.release_all());
        // Before user code, which may be slow, or may allocate.
        self.done.fetch_add(1, Ordering::Release);
        leftovers.into_iter().for_each(settle);
        contain("a log subscriber panicked", || {
            let (owner, blocks) = (&*entry.owner, entry.blocks.len());
            tracing::info!(lease = id.0, owner, blocks, "lease expired");
        });
        true
    }

    /// Ends all leases.
    pub(crate) fn end(&self) {
        let ended = self.change(self.lock(), |leases| {
            leases.by_expiry.clear();
            std::mem::take(&mut leases.by_id)
        });
        drop(ended);
    }

    /// Lists the leases in the order in which they were made.
    pub(crate) fn holders(&self, now: Instant) -> Vec<Holder> {
        let wall = SystemTime::now();
        let now = self.nanos(now);
        let mut holders = Vec::new();
        self.for_each(|lease, entry| {
            let remaining = remaining(entry.expiry, now);
            holders.push((
                Arc::clone(&entry.blocks),
                Holder {
                    lease,
                    owner: Arc::clone(&entry.owner),
                    blocks: Vec::new(),
                    since: entry.since,
                    held_for: Duration::from_nanos(now.saturating_sub(entry.made)),
                    until: remaining.and_then(|remaining| wall.checked_add(remaining)),
                    remaining,
                },
            ));
        });
        // O(blocks), so after unlocking.
        let with_blocks = |(blocks, holder): (Arc<[_]>, Holder)| Holder {
            blocks: blocks.to_vec(),
            ..holder
        };
        holders.into_iter().map(with_blocks).collect()
    }

    /// Returns how many blocks are leased. A block with several leases counts once.
    pub(crate) fn leased(&self) -> usize {
        let mut leases = Vec::new();
        self.for_each(|_, entry| leases.push(Arc::clone(&entry.blocks)));
        let ids = leases.iter().flat_map(|blocks| blocks.iter());
        let mut ids: Vec<BlockId> = ids.map(|&(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// Calls `visit` with each lease, in the order in which they were made. Unlocks the mutex
    /// every [`PAGE`] leases, so that other threads do not wait for all of them.
    fn for_each(&self, mut visit: impl FnMut(LeaseId, &LeaseEntry<T>)) {
        let Some((&last, _)) = self.lock().by_id.last_key_value() else {
            return;
        };
        let mut from = Bound::Unbounded;
        loop {
            let mut visited = 0;
            for (&id, entry) in self
                .lock()
                .by_id
                .range((from, Bound::Included(last)))
                .take(PAGE)
            {
                visit(id, entry);
                from = Bound::Excluded(id);
                visited += 1;
            }
            if visited < PAGE || from == Bound::Excluded(last) {
                return;
            }
        }
    }
}

/// Saturates at [`NEVER`], after 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

fn remaining(expiry: u64, now: u64) -> Option<Duration> {
    (expiry != NEVER).then(|| Duration::from_nanos(expiry.saturating_sub(now)))
}
