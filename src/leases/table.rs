//! All leases of a manager.
//!
//! A mutex over two ordered maps. No hot operation takes it, and who allocates only
//! tries to. Guards are taken out of the table with the mutex and dropped without it.
//! Every function is told the time, by its caller who has the clock.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::registry::Leftovers;
use crate::user_code::contain;
use crate::{BlockId, SequenceHash};

use super::{Holder, Lease, LeaseError, LeaseId};

/// Leases visited before others are let at the table.
const PAGE: usize = 64;

/// The expiry of a lease that has none.
const NEVER: u64 = u64::MAX;

/// See the module documentation.
pub(crate) struct LeaseTable<T: BlockMetadata> {
    /// Times are kept in nanoseconds since this.
    origin: Instant,
    /// The earliest expiry: what it says is a hint, and written with the mutex held.
    earliest: AtomicU64,
    /// Whether there has been a lease that expires.
    may_expire: AtomicBool,
    /// Expiries that have begun, counted with the mutex held, and those of which all blocks
    /// have been let go of.
    begun: AtomicU64,
    done: AtomicU64,
    leases: Mutex<Leases<T>>,
}

struct Leases<T: BlockMetadata> {
    /// In the order in which they were made.
    by_id: BTreeMap<LeaseId, LeaseEntry<T>>,
    /// Those that expire.
    by_expiry: BTreeSet<(u64, LeaseId)>,
}

struct LeaseEntry<T: BlockMetadata> {
    owner: Arc<str>,
    /// Shared with whoever makes guards of them, without the mutex.
    held: Arc<Held<T>>,
    /// What is held, for those who only want to know: they must not keep it held.
    blocks: Arc<[(BlockId, SequenceHash)]>,
    since: SystemTime,
    made: u64,
    expiry: u64,
}

/// The guards of a lease. Where their drops run user code that panics, all of them are
/// dropped all the same.
struct Held<T: BlockMetadata>(Vec<ImmutableBlock<T>>);

impl<T: BlockMetadata> Held<T> {
    /// Lets go of all blocks at once, and leaves what user code there is to the caller.
    fn let_go(&mut self) -> Leftovers {
        let Some(first) = self.0.first() else {
            return Leftovers::new();
        };
        let store = first.hold().store().reference();
        let mut leftovers = store.unpin_all(self.0.drain(..).map(ImmutableBlock::into_hold));
        // The last reference, perhaps.
        leftovers.catch(|| drop(store));
        leftovers
    }
}

impl<T: BlockMetadata> Drop for Held<T> {
    fn drop(&mut self) {
        settle(self.let_go());
    }
}

/// Runs the user code that blocks have left behind.
fn settle(leftovers: Leftovers) {
    contain("user code panicked as a lease let go of its blocks", || {
        leftovers.settle();
    });
}

impl<T: BlockMetadata> Leases<T> {
    fn take(&mut self, id: LeaseId) -> Option<LeaseEntry<T>> {
        let entry = self.by_id.remove(&id)?;
        self.by_expiry.remove(&(entry.expiry, id));
        Some(entry)
    }

    fn take_due(&mut self, now: u64) -> Vec<(LeaseId, LeaseEntry<T>)> {
        let mut due = Vec::new();
        while let Some(&(expiry, id)) = self.by_expiry.first()
            && expiry <= now
        {
            due.extend(self.take(id).map(|entry| (id, entry)));
        }
        due
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

    /// A lease that has not expired, whether it is still in the table or not.
    fn live(&self, id: LeaseId, now: u64) -> Result<&LeaseEntry<T>, LeaseError> {
        self.by_id
            .get(&id)
            .filter(|entry| now < entry.expiry)
            .ok_or(LeaseError::Expired(id))
    }
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

    /// Nothing that runs with the mutex held leaves the table half changed.
    fn lock(&self) -> MutexGuard<'_, Leases<T>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, and then what is known of it without the mutex.
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
        // Release: see `try_expire`. Who sees an old value takes a lease for expired a little
        // late, or looks in vain.
        self.earliest.store(earliest, Ordering::Release);
        result
    }

    fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.origin))
    }

    fn expiry(&self, duration: Option<Duration>, now: u64) -> u64 {
        if duration.is_some() {
            // Before there is such a lease.
            self.may_expire.store(true, Ordering::Relaxed);
        }
        duration.map_or(NEVER, |duration| now.saturating_add(nanos(duration)))
    }

    /// Takes over guards of this manager's blocks.
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
            held: Arc::new(Held(blocks)),
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

    /// Ends the leases that have expired. Returns how many.
    pub(crate) fn expire(&self, now: Instant) -> usize {
        self.expire_with(self.lock(), now)
    }

    /// Whether there has been a lease that expires.
    #[inline]
    pub(crate) fn may_expire(&self) -> bool {
        self.may_expire.load(Ordering::Relaxed)
    }

    /// Expiries after which blocks were let go of. Release and acquire: whoever sees one
    /// counted finds its blocks available.
    pub(crate) fn expiries(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// As [`expire`](Self::expire), but waits for nobody. Asks for the time only if a lease
    /// may expire at all. Returns whether all that has expired has been let go of: if not,
    /// another thread has the table, or is at it.
    pub(crate) fn try_expire(&self, now: impl FnOnce() -> Instant) -> bool {
        // Acquire: whoever sees that nothing is due any more sees that an expiry has begun.
        let earliest = self.earliest.load(Ordering::Acquire);
        if earliest == NEVER {
            return self.is_quiet();
        }
        let now = now();
        if self.nanos(now) >= earliest {
            let leases = match self.leases.try_lock() {
                Ok(leases) => leases,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return false,
            };
            self.expire_with(leases, now);
        }
        self.is_quiet()
    }

    /// Whether no expiry is under way: all blocks of those that have begun were let go of.
    pub(crate) fn is_quiet(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.expiries()
    }

    fn expire_with(&self, leases: MutexGuard<'_, Leases<T>>, now: Instant) -> usize {
        let now = self.nanos(now);
        let expired = self.change(leases, |leases| {
            let expired = leases.take_due(now);
            if !expired.is_empty() {
                // Before the earliest expiry says that there is nothing to do.
                self.begun.fetch_add(1, Ordering::Release);
            }
            expired
        });
        if expired.is_empty() {
            return 0;
        }
        let mut leftovers = Vec::new();
        let mut reports = Vec::new();
        for (id, entry) in expired {
            reports.push((id, entry.owner, entry.blocks.len()));
            // Unless somebody makes guards of them just now.
            if let Some(mut held) = Arc::into_inner(entry.held) {
                leftovers.push(held.let_go());
            }
        }
        // Before user code, which may take its time, and allocate.
        self.done.fetch_add(1, Ordering::Release);
        leftovers.into_iter().for_each(settle);
        for (id, owner, blocks) in &reports {
            contain("a subscriber panicked", || {
                tracing::info!(lease = id.0, owner = &**owner, blocks, "lease expired");
            });
        }
        reports.len()
    }

    /// Ends all leases.
    pub(crate) fn end(&self) {
        let ended = self.change(self.lock(), |leases| {
            leases.by_expiry.clear();
            std::mem::take(&mut leases.by_id)
        });
        drop(ended);
    }

    /// The leases, in the order in which they were made.
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
        // What is O(blocks) is done without the mutex.
        let with_blocks = |(blocks, holder): (Arc<[_]>, Holder)| Holder {
            blocks: blocks.to_vec(),
            ..holder
        };
        holders.into_iter().map(with_blocks).collect()
    }

    /// How many blocks are leased. A block with several leases counts once.
    pub(crate) fn leased(&self) -> usize {
        let mut leases = Vec::new();
        self.for_each(|_, entry| leases.push(Arc::clone(&entry.blocks)));
        let ids = leases.iter().flat_map(|blocks| blocks.iter());
        let mut ids: Vec<BlockId> = ids.map(|&(id, _)| id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.len()
    }

    /// Calls `visit` with the leases, in the order in which they were made. Lets others at
    /// the table now and then: who allocates does not wait for it.
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
