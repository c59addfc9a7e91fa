//! The store's index: sequence hash → the slot that is its primary.
//!
//! A fixed array of buckets, each the head of a chain of slots linked through
//! the slots themselves. A store never has more primaries than blocks, so the
//! array never grows, and slots live as long as the store, so nothing has to be
//! reclaimed: a look-up needs neither an epoch nor a count, just the bucket's
//! line and the slot's.
//!
//! # Links
//!
//! A link is one word: the next slot, a *dead* mark, and a version that changes
//! with every write of the cell, for as long as the store lives. Chains are
//! unordered; a slot is linked at the head, and unlinked in two steps (Harris,
//! "A Pragmatic Implementation of Non-Blocking Linked-Lists", DISC 2001, in the
//! form of Michael, "High Performance Dynamic Lock-Free Hash Tables and
//! List-Based Sets", SPAA 2002): its own link is marked dead, so that nothing
//! is linked or unlinked behind it any more, and then the cell that points to it
//! is moved past it, by whoever comes by.
//!
//! A slot may be unlinked and linked elsewhere while a walker stands on it. The
//! walker notices: after reading what it needs from a slot it checks that the
//! cell that led there still holds the very same link. If so, the slot was
//! linked there when it was read. A walker never goes past a dead link, it
//! unlinks the slot first; so the cell it checks belongs to a slot that is
//! linked itself.
//!
//! # Uniqueness
//!
//! A hash has at most one primary in a store. To link a slot, a registration
//! walks the whole chain and finds no primary (or pending slot) of its hash, and
//! then exchanges the head *as it was when the walk began*. Every linking changes
//! the head, so nobody has linked that hash in between.

use crate::key::Key;

use crate::engine::parts::prefetch::{prefetch, prefetch_to_write};
use crate::engine::parts::slot::{NIL, Slot, UNLINKED};
use crate::engine::parts::word::{State, Word};
use crate::sync::limits::LINK_VERSION_AT;
use crate::sync::step;
use crate::sync::{AtomicU64, Ordering, fence};

/// `0..31` next slot, `31` dead, `32..64` version.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(u64);

impl Link {
    const SLOT: u64 = (1 << 31) - 1;
    const DEAD: u64 = 1 << 31;
    const VERSION: u64 = 1 << LINK_VERSION_AT;
    const NONE: u32 = Self::SLOT as u32;

    fn slot(self) -> Option<u32> {
        let slot = (self.0 & Self::SLOT) as u32;
        (slot != Self::NONE).then_some(slot)
    }

    fn is_dead(self) -> bool {
        self.0 & Self::DEAD != 0
    }

    /// The next version, leading to `slot`.
    fn to(self, slot: Option<u32>) -> Self {
        let version = (self.0 & !(Self::VERSION - 1)).wrapping_add(Self::VERSION);
        Self(version | u64::from(slot.unwrap_or(Self::NONE)))
    }

    /// The next version, leading where it did, dead.
    fn dead(self) -> Self {
        Self(self.to(self.slot()).0 | Self::DEAD)
    }
}

const _: () = assert!(UNLINKED == Link::SLOT, "leads nowhere, and is not dead");

/// What a walk found.
enum Found<'a> {
    /// The primary of the hash, and its word when it was read.
    Primary(&'a Slot, Word),
    /// A slot that is linked for the hash and not yet primary.
    Pending(&'a Slot, Word),
    Absent,
}

/// See the module documentation.
pub(crate) struct Index {
    buckets: Box<[AtomicU64]>,
    mask: u64,
}

impl Index {
    pub(crate) fn new(block_count: u32) -> Self {
        // Two to four buckets a block: a chain's other slots are mostly on
        // lines that another core has written.
        let buckets = (block_count as usize * 2).next_power_of_two();
        Self {
            buckets: (0..buckets).map(|_| AtomicU64::new(UNLINKED)).collect(),
            mask: buckets as u64 - 1,
        }
    }

    #[inline]
    fn bucket(&self, keyed: u64) -> &AtomicU64 {
        &self.buckets[(keyed & self.mask) as usize]
    }

    /// Has the bucket of a hash fetched, to be looked at soon.
    #[inline]
    pub(crate) fn prefetch(&self, keyed: u64) {
        prefetch(self.bucket(keyed));
    }

    /// Has the bucket of a hash fetched, to be linked or unlinked in soon.
    #[inline]
    pub(crate) fn prefetch_to_write(&self, keyed: u64) {
        prefetch_to_write(self.bucket(keyed));
    }

    /// The slot most likely to be the primary of a hash, as a hint.
    #[inline]
    pub(crate) fn first<'a>(&self, slots: &'a [Slot], key: Key) -> Option<&'a Slot> {
        let head = Link(self.bucket(key.keyed).load(Ordering::Relaxed));
        head.slot().map(|slot| &slots[slot as usize])
    }

    /// The primary of a hash, and its word when it was read: to be pinned by an
    /// exchange from that word.
    #[inline]
    pub(crate) fn find<'a>(&self, slots: &'a [Slot], key: Key) -> Option<(&'a Slot, Word)> {
        let bucket = self.bucket(key.keyed);
        loop {
            let head = Link(bucket.load(Ordering::Acquire));
            match self.walk(slots, key, bucket, head) {
                Ok(Found::Primary(slot, word)) => return Some((slot, word)),
                Ok(Found::Pending(..) | Found::Absent) => return None,
                Err(Interrupted) => {}
            }
        }
    }

    /// Links `slot` as the primary of its hash, unless there is one: then
    /// returns that, with its word when it was read.
    ///
    /// For the owner of the registration; the slot is pending.
    pub(crate) fn link<'a>(
        &self,
        slots: &'a [Slot],
        key: Key,
        slot: &Slot,
    ) -> Result<(), (&'a Slot, Word)> {
        let bucket = self.bucket(key.keyed);
        loop {
            let head = Link(bucket.load(Ordering::Acquire));
            match self.walk(slots, key, bucket, head) {
                Ok(Found::Primary(slot, word)) => return Err((slot, word)),
                // Linked, so it is as good as registered, and its owner may
                // sleep.
                Ok(Found::Pending(slot, word)) => slot.promote(word),
                Ok(Found::Absent) => {
                    let own = Link(slot.chain.load(Ordering::Relaxed));
                    // Release: a walker that still stands on the slot and reads
                    // this sees, in the cell it came by, that it has moved.
                    slot.chain.store(own.to(head.slot()).0, Ordering::Release);
                    step!(LinkPrepared);
                    // Release: whoever gets to the slot through the head sees
                    // its link, its word and its hash.
                    if exchange(bucket, head, head.to(Some(slot.id()))) {
                        return Ok(());
                    }
                }
                Err(Interrupted) => {}
            }
        }
    }

    /// Unlinks a slot that the caller has vacated and nobody can reach by its
    /// hash any more. When this returns no walker can get to it either.
    pub(crate) fn unlink(&self, slots: &[Slot], keyed: u64, slot: &Slot) {
        let mut own = Link(slot.chain.load(Ordering::Relaxed));
        // Others may still change where the link leads. It may be dead already, if the slot
        // was discarded before.
        while !exchange(&slot.chain, own, own.dead()) {
            own = Link(slot.chain.load(Ordering::Relaxed));
        }
        step!(LinkDead);
        let bucket = self.bucket(keyed);
        while self.sweep(slots, bucket).is_err() {}
    }

    /// Unlinks a slot that the caller has discarded. It is not the caller's: anybody may take
    /// it meanwhile, unlink it, and link it elsewhere; `is_discarded` tells whether that has
    /// not happened.
    pub(crate) fn unlink_discarded(
        &self,
        slots: &[Slot],
        keyed: u64,
        slot: &Slot,
        is_discarded: impl Fn() -> bool,
    ) {
        loop {
            // Acquire, and before the look at the word: while the slot is still discarded, the
            // link is that of the chain it was discarded in. Whoever takes the slot marks the
            // link dead before linking it anew, each with another version, so that the
            // exchange fails then.
            let own = Link(slot.chain.load(Ordering::Acquire));
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

    /// Looks for the primary of a hash from `head`, the link last read from
    /// `bucket`.
    #[inline]
    fn walk<'a>(
        &self,
        slots: &'a [Slot],
        key: Key,
        bucket: &AtomicU64,
        head: Link,
    ) -> Result<Found<'a>, Interrupted> {
        let wanted = key.hash.as_u128();
        let mut cell: &AtomicU64 = bucket;
        let mut link = head;
        while let Some(at) = link.slot() {
            let slot = &slots[at as usize];
            let word = slot.word();
            if word.is_primary() && slot.hash_bits() == wanted {
                return Ok(Found::Primary(slot, word));
            }
            let next = Link(slot.chain.load(Ordering::Acquire));
            // A pending slot counts only while it is known to be linked.
            let pending = word.state() == State::Pending && slot.hash_bits() == wanted;
            // The reads of the hash come before this check; pairs with the
            // releases in `Slot::set_key`.
            fence(Ordering::Acquire);
            if Link(cell.load(Ordering::Acquire)) != link {
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

    /// Walks a whole chain and unlinks the dead slots in it.
    fn sweep(&self, slots: &[Slot], bucket: &AtomicU64) -> Result<(), Interrupted> {
        let mut cell = bucket;
        let mut link = Link(bucket.load(Ordering::Acquire));
        while let Some(at) = link.slot() {
            let slot = &slots[at as usize];
            let next = Link(slot.chain.load(Ordering::Acquire));
            if Link(cell.load(Ordering::Acquire)) != link {
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

    /// Calls `visit` with the slots of every chain. Only while nobody changes
    /// the index.
    pub(crate) fn for_each(&self, slots: &[Slot], mut visit: impl FnMut(u64, &Slot)) {
        for (at, bucket) in self.buckets.iter().enumerate() {
            let mut link = Link(bucket.load(Ordering::Acquire));
            while let Some(next) = link.slot() {
                let slot = &slots[next as usize];
                visit(at as u64, slot);
                link = Link(slot.chain.load(Ordering::Acquire));
            }
        }
    }

    /// Whether a key belongs in a bucket that `for_each` named.
    pub(crate) fn is_home(&self, bucket: u64, key: Key) -> bool {
        key.keyed & self.mask == bucket
    }
}

/// The chain changed under a walk, which has to begin again.
struct Interrupted;

/// Moves `cell` past a dead slot; returns the link it then holds.
fn pass(cell: &AtomicU64, link: Link, dead: Link) -> Result<Link, Interrupted> {
    let past = link.to(dead.slot());
    if exchange(cell, link, past) {
        Ok(past)
    } else {
        Err(Interrupted)
    }
}

/// Release: a link publishes what it leads to. Acquire: a link moved past a dead
/// slot passes on what the dead slot's own link had acquired.
fn exchange(cell: &AtomicU64, seen: Link, new: Link) -> bool {
    cell.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

const _: () = assert!(NIL > Link::NONE);

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use ahash::RandomState;

    use super::*;
    use crate::key::testing::meeting_hashes;

    const HASHES: u32 = 100_000;

    #[test]
    fn hashes_chosen_to_meet_do_not() {
        let hasher = RandomState::new();
        let index = Index::new(HASHES);
        let slots: Vec<Slot> = (0..HASHES).map(|id| Slot::new(id, false)).collect();
        for (slot, hash) in slots.iter().zip(meeting_hashes(slots.len())) {
            let key = Key::new(&hasher, hash);
            slot.set_key(key);
            assert!(index.link(&slots, key, slot).is_ok());
        }
        let mut lengths = vec![0_u32; index.buckets.len()];
        index.for_each(&slots, |bucket, _| lengths[bucket as usize] += 1);
        let longest = lengths.into_iter().max().unwrap();
        // 100,000 balls in 2^18 bins: that any bin gets 30 has a chance below
        // 2^18 / 30! < 10^-26.
        assert!(longest < 30, "{longest} in one bucket");
    }
}
