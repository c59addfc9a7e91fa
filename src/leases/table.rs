//! The table of a manager's leases.
//!
//! A mutex over the [leases], which are ordered by id and by expiry. No hot operation
//! locks it, and an allocation only tries to, as a last resort before it is refused. Guards are
//! taken out of the table under the mutex and dropped after unlocking. Callers read the clock and
//! pass the time to every function, so that tests can choose it.
//!
//! # How does an expired lease end?
//!
//! In *pieces* of up to [`PIECE`] blocks, each of which a thread takes out of the table and
//! releases before it looks again:
//!
//! * an allocation that would be refused takes pieces until it has enough, see
//!   `BlockManager::expire_and_retry`;
//! * whoever only asks for the available blocks takes a single one, and adds the number of
//!   blocks that the expired leases still hold, which the table knows without visiting them;
//! * `expire_leases`, and what is linear anyway, take all.
//!
//! What is not taken stays in the table. So no call pays for more than it needs, and a thread
//! that is suspended holds up the piece that it has in hand, and nothing else.
//!
//! # Which orderings matter?
//!
//! A thread concludes that no expired lease is left if it finds nothing to take, and then as many
//! pieces `done` as `begun`. A piece is counted as begun under the mutex, before `earliest` says
//! that there is nothing left: the release of `earliest`, and of the mutex, lets whoever finds
//! nothing see that. It is counted as done after its blocks are released, so whoever sees that
//! finds the blocks available. The model is `models::leases`.

mod expiries;
mod leased;
mod leases;
#[cfg(all(test, not(kvbm_loom)))]
mod tests;
mod unsettled;

use std::ops::Bound;
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::engine::buffer;
use crate::registry::Leftovers;
use crate::sync::limits::LEASE_PIECE as PIECE;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, step};

use self::leases::{Ending, LeaseEntry, Leases, Name, Piece};
use self::unsettled::Unsettled;
use super::{Holder, Lease, LeaseError, LeaseId};

/// The number of leases that are visited before the mutex is unlocked for other threads.
const PAGE: usize = 64;

/// The expiry of a lease that has none.
const NEVER: u64 = u64::MAX;

/// The table of a manager's leases: see the module documentation.
pub(crate) struct LeaseTable<T: BlockMetadata> {
    /// All times are in nanoseconds since this instant.
    origin: Instant,
    /// The earliest expiry of a lease that holds blocks, or zero if one is ending. A hint, written
    /// under the mutex and read without it.
    earliest: AtomicU64,
    /// Whether there has ever been a lease that expires.
    may_expire: AtomicBool,
    /// The number of pieces that were taken out. Written under the mutex.
    begun: AtomicU64,
    /// The number of those whose blocks have been released.
    done: AtomicU64,
    leases: Mutex<Leases<T>>,
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
        let holds = buffer::drain(&mut self.0, ImmutableBlock::into_hold);
        let mut leftovers = store.unpin_all(holds);
        // This may be the last reference.
        leftovers.catch(|| drop(store));
        leftovers
    }
}

impl<T: BlockMetadata> Drop for LeasedGuards<T> {
    fn drop(&mut self) {
        Unsettled {
            leftovers: self.release_all(),
            ended: None,
        }
        .settle();
    }
}

/// The outcome of an attempt to release a piece of an expired lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpiryStep {
    /// A piece has been released.
    Released,
    /// No lease that holds blocks has expired.
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
            leases: Mutex::new(Leases::new()),
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
        // Release: see `try_expire_one`. A thread that reads an old value finds a lease expired a
        // little late, or looks in vain.
        self.earliest.store(leases.earliest(), Ordering::Release);
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
            leases.add(id, entry);
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
        let (entry, left) = self.change(self.lock(), |leases| {
            // If the lease has expired, its blocks count as available already, so an allocation
            // waits for them as it does for a piece.
            self.begun.fetch_add(1, Ordering::Release);
            (leases.take(id), leases.take_ending(id))
        });
        let expiry = entry.as_ref().map(|entry| entry.expiry);
        // Whoever drops the last reference to the guards releases them: another thread may be about
        // to clone them.
        let own = entry
            .and_then(|entry| Arc::into_inner(entry.held))
            .or_else(|| left.map(Ending::into_guards));
        let leftovers = own.map_or_else(Leftovers::new, |mut own| own.release_all());
        self.done.fetch_add(1, Ordering::Release);
        Unsettled {
            leftovers,
            ended: None,
        }
        .settle();
        match expiry {
            Some(expiry) if now < expiry => Ok(()),
            _ => Err(LeaseError::Expired(id)),
        }
    }

    /// Ends all leases that have expired. Returns how many were not ending yet. O(their blocks).
    pub(crate) fn expire(&self, now: Instant) -> usize {
        let now = self.nanos(now);
        let mut ended = 0;
        while let Some(piece) = self.take_piece(self.lock(), now, PIECE) {
            ended += usize::from(piece.begun.is_some());
            self.release_piece(piece);
            step!(LeaseLeft);
        }
        while let Some((id, entry)) = self.change(self.lock(), |leases| leases.take_empty(now)) {
            ended += 1;
            let (owner, blocks) = (Arc::clone(&entry.owner), 0);
            Unsettled {
                leftovers: Leftovers::new(),
                ended: Some((id, Name { owner, blocks })),
            }
            .settle();
        }
        ended
    }

    /// Returns whether there has ever been a lease that expires.
    #[inline]
    pub(crate) fn may_expire(&self) -> bool {
        self.may_expire.load(Ordering::Relaxed)
    }

    /// Returns how many pieces have been released. Release and acquire: a thread that sees a piece
    /// counted finds its blocks available.
    pub(crate) fn expiries(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Releases up to [`PIECE`] blocks of leases that have expired, and returns what `available`
    /// does, plus the number of blocks that expired leases still hold. Never waits, and reads the
    /// clock only if some lease has an expiry.
    ///
    /// The sum lacks what other threads have in hand. If another thread holds the mutex, it lacks
    /// everything that expired leases hold.
    pub(crate) fn add_expired(
        &self,
        clock: impl FnOnce() -> Instant,
        available: impl FnOnce() -> usize,
    ) -> usize {
        let Some(now) = self.due(clock) else {
            return available();
        };
        let mut released = 0;
        while released < PIECE
            && let Some(leases) = self.try_lock()
            && let Some(piece) = self.take_piece(leases, now, PIECE - released)
        {
            // Counting the pieces as well: one may be empty.
            released += piece.guards.0.len().max(1);
            self.release_piece(piece);
        }
        // In this order: what another thread releases in between is missing, and is not counted
        // twice.
        let available = available();
        let expired = |leases: MutexGuard<'_, Leases<T>>| leases.expired_blocks(now);
        available + self.try_lock().map_or(0, expired)
    }

    /// Releases a piece of a lease that has expired, if there is one. Never waits, and reads the
    /// clock only if some lease has an expiry.
    pub(crate) fn try_expire_one(&self, clock: impl FnOnce() -> Instant) -> ExpiryStep {
        let Some(now) = self.due(clock) else {
            return ExpiryStep::NoneDue;
        };
        let Some(leases) = self.try_lock() else {
            return ExpiryStep::Busy;
        };
        match self.take_piece(leases, now, PIECE) {
            Some(piece) => {
                self.release_piece(piece);
                ExpiryStep::Released
            }
            None => ExpiryStep::NoneDue,
        }
    }

    /// Returns whether no piece is in a thread's hands: all that have been taken out have been
    /// released.
    pub(crate) fn is_quiet(&self) -> bool {
        self.begun.load(Ordering::Acquire) == self.expiries()
    }

    /// Returns the time, if a lease that holds blocks may have expired by now.
    #[inline]
    fn due(&self, clock: impl FnOnce() -> Instant) -> Option<u64> {
        // Acquire: a thread that sees that nothing is due any more also sees that the piece which
        // was taken last has begun.
        let earliest = self.earliest.load(Ordering::Acquire);
        if earliest == NEVER {
            return None;
        }
        let now = self.nanos(clock());
        (earliest <= now).then_some(now)
    }

    /// Locks the mutex, unless another thread holds it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Leases<T>>> {
        match self.leases.try_lock() {
            Ok(leases) => Some(leases),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes up to `max` blocks of a lease that has expired by `now` out of the table, if there is
    /// one. The caller releases them.
    fn take_piece(
        &self,
        leases: MutexGuard<'_, Leases<T>>,
        now: u64,
        max: usize,
    ) -> Option<Piece<T>> {
        self.change(leases, |leases| {
            let piece = leases.take_piece(now, max);
            if piece.is_some() {
                // Before `earliest` tells other threads that nothing is due.
                self.begun.fetch_add(1, Ordering::Release);
            }
            piece
        })
    }

    /// Releases the blocks of a piece.
    fn release_piece(&self, mut piece: Piece<T>) {
        step!(LeaseTaken);
        let leftovers = piece.guards.release_all();
        // Before user code, which may be slow, or may allocate.
        self.done.fetch_add(1, Ordering::Release);
        let ended = piece.begun.take();
        Unsettled { leftovers, ended }.settle();
    }

    /// Ends all leases.
    pub(crate) fn end(&self) {
        let ended = self.change(self.lock(), Leases::take_all);
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

    /// Returns how many blocks are leased. A block with several leases counts once. Constant time.
    pub(crate) fn leased(&self) -> usize {
        self.lock().leased()
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
