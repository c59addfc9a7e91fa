//! The store's index: sequence hash → the slot that is its primary.
//!
//! A fixed array of buckets, each the head of a chain that runs through the slots themselves.
//! A store never has more primaries than blocks, so the array never grows; and slots live as
//! long as the store, so there is nothing to reclaim. A lookup needs neither an epoch nor a
//! reference count, only the line of the bucket and that of the slot.
//!
//! # Layout of a link
//!
//! | bits | |
//! |---|---|
//! | `0..31` | the next slot; all ones if there is none |
//! | `31` | *dead*: the slot that this link belongs to is being unlinked |
//! | `32..64` | a version, which changes with every write of the cell |
//!
//! A *cell* is a word that holds a link: a bucket, or the `chain` field of a slot.
//!
//! # How are slots linked and unlinked?
//!
//! | step | which thread | exchange |
//! |---|---|---|
//! | link | the owner of the registration | the bucket: from the head when the walk began, to the slot |
//! | mark dead | the thread that has vacated or discarded the block | the slot's own link: to the same, dead |
//! | unlink | any thread that walks past | the cell that leads to the dead slot: to the slot after it |
//!
//! Chains are unordered. Once a link is dead, nothing is linked or unlinked behind its slot.
//! The technique is that of Harris ("A Pragmatic Implementation of Non-Blocking Linked-Lists",
//! DISC 2001), in the form given by Michael ("High Performance Dynamic Lock-Free Hash Tables
//! and List-Based Sets", SPAA 2002).
//!
//! # What if a slot moves while a walker stands on it?
//!
//! The slot may be unlinked, and linked into another chain. The walker notices: after reading
//! what it needs from the slot, it checks that the cell that led there still holds the very
//! same link, version included. If so, the slot was linked there when it was read. A walker
//! never goes past a dead link without first unlinking its slot, so the cell that it checks
//! belongs to a bucket or to a slot that is itself linked.
//!
//! # Why does a hash have at most one primary?
//!
//! Before it links a slot, a registration walks the whole chain and finds no primary or pending
//! slot of its hash. Then it exchanges the head *as it was when the walk began*. Every linking
//! changes the head, so no other thread has linked that hash in between.

use crate::key::Key;

use crate::engine::parts::prefetch::{prefetch, prefetch_to_write};
use crate::engine::parts::slot::{NIL, Slot, UNLINKED};
use crate::engine::parts::word::{State, Word};
use crate::sync::limits::LINK_VERSION_AT;
use crate::sync::step;
use crate::sync::{AtomicU64, Ordering, fence};

/// A link; the module documentation has its layout.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ChainLink(u64);

impl ChainLink {
    const SLOT: u64 = (1 << 31) - 1;
    const DEAD: u64 = 1 << 31;
    const VERSION: u64 = 1 << LINK_VERSION_AT;
    const NONE: u32 = Self::SLOT as u32;

    fn slot(self) -> Option<u32> {
        let slot = (self.0 & Self::SLOT) as u32;
        (slot != Self::NONE).then_some(slot)
    }

    /// Returns the slot that the link leads to. One comparison: no store has so many slots that
    /// one of them has the number [`NONE`](Self::NONE).
    #[inline(always)]
    fn of(self, slots: &[Slot]) -> Option<&Slot> {
        slots.get((self.0 & Self::SLOT) as usize)
    }

    fn is_dead(self) -> bool {
        self.0 & Self::DEAD != 0
    }

    /// Returns the next version, which leads to `slot` and is not dead.
    fn to(self, slot: Option<u32>) -> Self {
        let version = (self.0 & !(Self::VERSION - 1)).wrapping_add(Self::VERSION);
        Self(version | u64::from(slot.unwrap_or(Self::NONE)))
    }

    /// Returns the next version, which leads to the same slot and is dead.
    fn dead(self) -> Self {
        Self(self.to(self.slot()).0 | Self::DEAD)
    }
}

const _: () = assert!(
    UNLINKED == ChainLink::SLOT,
    "leads to no slot, and is not dead"
);

/// The result of a walk.
enum Found<'a> {
    /// The primary of the hash, and the word it had.
    Primary(&'a Slot, Word),
    /// A slot that is linked for the hash but not yet primary, and the word it had.
    Pending(&'a Slot, Word),
    /// The chain holds no slot of the hash.
    Absent,
}

/// The buckets of an index, by value: fields that are read through a reference must be read again
/// after every exchange.
#[derive(Clone, Copy)]
pub(crate) struct Buckets<'i> {
    buckets: &'i [AtomicU64],
    /// One less than their number, which is a power of two.
    mask: u64,
}

impl<'i> Buckets<'i> {
    #[inline(always)]
    fn bucket(self, keyed: u64) -> &'i AtomicU64 {
        // SAFETY: the mask is one less than the number of buckets: only `Index::view` creates
        // this, from the fields that `Index::new` has set.
        unsafe { self.buckets.get_unchecked((keyed & self.mask) as usize) }
    }

    /// Returns the first slot in the chain of a keyed hash, most likely the primary of the hash. If
    /// it is another, the primary may follow in the chain. If there is none, the hash has no primary.
    ///
    /// Pin the slot by an exchange from a word that was read before its hash, or check the tenancy,
    /// to be sure that the slot still has the hash.
    #[inline(always)]
    pub(crate) fn first(self, slots: &[Slot], keyed: u64) -> Option<&Slot> {
        // Acquire: pairs with the release in `link`, as that of a walk does.
        ChainLink(self.bucket(keyed).load(Ordering::Acquire)).of(slots)
    }

    /// Prefetches the bucket of a hash that will soon be looked up.
    #[inline(always)]
    pub(crate) fn prefetch(self, keyed: u64) {
        prefetch(self.bucket(keyed));
    }
}

/// The buckets of a store's index. The number of buckets is a power of two.
pub(crate) struct Index {
    buckets: Box<[AtomicU64]>,
    mask: u64,
}

impl Index {
    pub(crate) fn new(block_count: u32) -> Self {
        // Two to four buckets per block keep chains short: most of the other slots in a chain
        // are on lines that another core has written.
        let buckets = (block_count as usize * 2).next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| AtomicU64::new(UNLINKED)).collect(),
            mask: buckets as u64 - 1,
        }
    }

    #[inline]
    fn bucket(&self, keyed: u64) -> &AtomicU64 {
        self.view().bucket(keyed)
    }

    /// Returns the buckets by value, for a loop over many hashes.
    #[inline]
    pub(crate) fn view(&self) -> Buckets<'_> {
        Buckets {
            buckets: &self.buckets,
            mask: self.mask,
        }
    }

    /// Prefetches the bucket of a hash in which a slot will soon be linked or unlinked.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, keyed: u64) {
        prefetch_to_write(self.bucket(keyed));
    }

    /// Returns the primary of a hash and the word it had. Pin it by an exchange from that
    /// word, or check the tenancy, to be sure that the slot still has the hash.
    ///
    /// Lock-free: starts over if the chain changes under the walk.
    #[inline]
    pub(crate) fn find<'a>(&self, slots: &'a [Slot], key: Key) -> Option<(&'a Slot, Word)> {
        let bucket = self.bucket(key.keyed);
        loop {
            let head = ChainLink(bucket.load(Ordering::Acquire));
            match self.walk(slots, key, bucket, head) {
                Ok(Found::Primary(slot, word)) => return Some((slot, word)),
                Ok(Found::Pending(..) | Found::Absent) => return None,
                Err(Interrupted) => {}
            }
        }
    }

    /// Links `slot` as the primary of its hash, unless the hash already has one: then returns
    /// that primary and the word it had.
    ///
    /// Only for the owner of the registration, whose slot is pending. If another pending slot
    /// is linked for the hash, completes that registration first.
    pub(crate) fn link<'a>(
        &self,
        slots: &'a [Slot],
        key: Key,
        slot: &Slot,
    ) -> Result<(), (&'a Slot, Word)> {
        let bucket = self.bucket(key.keyed);
        loop {
            let head = ChainLink(bucket.load(Ordering::Acquire));
            match self.walk(slots, key, bucket, head) {
                Ok(Found::Primary(slot, word)) => return Err((slot, word)),
                // It is linked, so its registration is decided. Its owner may be suspended.
                Ok(Found::Pending(slot, word)) => slot.promote(word),
                Ok(Found::Absent) => {
                    let own = ChainLink(slot.chain.load(Ordering::Relaxed));
                    // Release: a walker that still stands on the slot and reads this link also
                    // sees that the cell it came by has changed.
                    slot.chain.store(own.to(head.slot()).0, Ordering::Release);
                    step!(LinkPrepared);
                    // Release: a thread that reaches the slot through the head sees its link,
                    // its word and its hash.
                    if exchange(bucket, head, head.to(Some(slot.id()))) {
                        return Ok(());
                    }
                }
                Err(Interrupted) => {}
            }
        }
    }

    /// Unlinks a slot that the caller has vacated, and that is therefore no longer found by its
    /// hash. No walk that begins after this has returned reaches the slot.
    pub(crate) fn unlink(&self, slots: &[Slot], keyed: u64, slot: &Slot) {
        let mut own = ChainLink(slot.chain.load(Ordering::Relaxed));
        // Other threads may still change where the link leads. It may be dead already, if the
        // block was discarded before.
        while !exchange(&slot.chain, own, own.dead()) {
            own = ChainLink(slot.chain.load(Ordering::Relaxed));
        }
        step!(LinkDead);
        let bucket = self.bucket(keyed);
        while self.sweep(slots, bucket).is_err() {}
    }

    /// Unlinks a slot that the caller has discarded. The slot does not belong to the caller:
    /// any thread may take it meanwhile, unlink it, and link it elsewhere. `is_discarded`
    /// returns whether it is still as the caller left it.
    pub(crate) fn unlink_discarded(
        &self,
        slots: &[Slot],
        keyed: u64,
        slot: &Slot,
        is_discarded: impl Fn() -> bool,
    ) {
        loop {
            // Acquire, and before the word is read: while the slot is still discarded, the
            // link is that of the chain it was discarded in. A thread that takes the slot
            // marks the link dead before it links the slot again. Both change the version, so
            // the exchange below then fails.
            let own = ChainLink(slot.chain.load(Ordering::Acquire));
            if own.is_dead() || !is_discarded() {
                return;
            }
            if exchange(&slot.chain, own, own.dead()) {
                break;
            }
        }
        step!(LinkDead);
        let bucket = self.bucket(keyed);
        while self.sweep(slots, bucket).is_err() {}
    }

    /// Looks for the primary of a hash, from `head`, the link last read from `bucket`. Unlinks
    /// dead slots on the way.
    #[inline]
    fn walk<'a>(
        &self,
        slots: &'a [Slot],
        key: Key,
        bucket: &AtomicU64,
        head: ChainLink,
    ) -> Result<Found<'a>, Interrupted> {
        let wanted = key.hash.as_u128();
        let mut cell: &AtomicU64 = bucket;
        let mut link = head;
        while let Some(slot) = link.of(slots) {
            let word = slot.word();
            if word.is_primary() && slot.hash_bits() == wanted {
                return Ok(Found::Primary(slot, word));
            }
            let next = ChainLink(slot.chain.load(Ordering::Acquire));
            // A pending slot counts only if the check below shows that it was linked.
            let pending = word.state() == State::Pending && slot.hash_bits() == wanted;
            // Acquire: orders the reads of the hash before the check that follows. Pairs with
            // the releases in `Slot::set_key`.
            fence(Ordering::Acquire);
            if ChainLink(cell.load(Ordering::Acquire)) != link {
                return Err(Interrupted);
            }
            if next.is_dead() {
                link = pass(cell, link, next)?;
                continue;
            }
            if pending {
                return Ok(Found::Pending(slot, word));
            }
            cell = &slot.chain;
            link = next;
        }
        Ok(Found::Absent)
    }

    /// Walks a whole chain and unlinks all dead slots in it.
    fn sweep(&self, slots: &[Slot], bucket: &AtomicU64) -> Result<(), Interrupted> {
        let mut cell = bucket;
        let mut link = ChainLink(bucket.load(Ordering::Acquire));
        while let Some(slot) = link.of(slots) {
            let next = ChainLink(slot.chain.load(Ordering::Acquire));
            if ChainLink(cell.load(Ordering::Acquire)) != link {
                return Err(Interrupted);
            }
            if next.is_dead() {
                link = pass(cell, link, next)?;
            } else {
                cell = &slot.chain;
                link = next;
            }
        }
        Ok(())
    }

    /// Calls `visit` with the number of each bucket and each slot in its chain. Only while no
    /// other thread changes the index.
    pub(crate) fn for_each(&self, slots: &[Slot], mut visit: impl FnMut(u64, &Slot)) {
        for (at, bucket) in self.buckets.iter().enumerate() {
            let mut link = ChainLink(bucket.load(Ordering::Acquire));
            while let Some(next) = link.slot() {
                let slot = &slots[next as usize];
                visit(at as u64, slot);
                link = ChainLink(slot.chain.load(Ordering::Acquire));
            }
        }
    }

    /// Returns whether a key belongs in a bucket, as numbered by [`for_each`](Self::for_each).
    pub(crate) fn is_home(&self, bucket: u64, key: Key) -> bool {
        key.keyed & self.mask == bucket
    }
}

/// Signals that the chain has changed under a walk, which must start over.
struct Interrupted;

/// Moves `cell` past a dead slot, and returns the link that it then holds.
fn pass(cell: &AtomicU64, link: ChainLink, dead: ChainLink) -> Result<ChainLink, Interrupted> {
    let past = link.to(dead.slot());
    if exchange(cell, link, past) {
        Ok(past)
    } else {
        Err(Interrupted)
    }
}

/// Exchanges a link. Returns whether the cell still held the link `seen`.
///
/// Release: a link publishes what it leads to. Acquire: a link that is moved past a dead slot
/// passes on what the dead slot's own link had acquired.
fn exchange(cell: &AtomicU64, seen: ChainLink, new: ChainLink) -> bool {
    cell.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

const _: () = assert!(NIL > ChainLink::NONE);

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::key::Secret;
    use crate::key::testing::meeting_hashes;

    const HASHES: u32 = 100_000;

    #[test]
    fn hashes_chosen_to_meet_do_not() {
        let secret = Secret::new();
        let index = Index::new(HASHES);
        let slots: Vec<Slot> = (0..HASHES).map(|id| Slot::new(id, false)).collect();
        for (slot, hash) in slots.iter().zip(meeting_hashes(slots.len())) {
            let key = secret.key(hash);
            slot.set_key(key);
            assert!(index.link(&slots, key, slot).is_ok());
        }
        let mut lengths = vec![0_u32; index.buckets.len()];
        index.for_each(&slots, |bucket, _| lengths[bucket as usize] += 1);
        let longest = lengths.into_iter().max().unwrap();
        // 100,000 balls in 2^18 bins: the probability that any bin gets 30 is below
        // 2^18 / 30! < 10^-26.
        assert!(longest < 30, "{longest} in one bucket");
    }
}
