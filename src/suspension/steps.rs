//! The steps at which a thread can be suspended.

/// A point between two steps of an operation. Its documentation says what has been done there,
/// and what has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    // ---- allocate ----
    /// Credits are reserved; no block has been taken.
    CreditsReserved,
    /// The free blocks have been taken; victims are still missing.
    FreeTaken,
    /// The plane is held; no queued release has been applied.
    PlaneHeld,
    /// The plane is held; a slot has been taken off the release log and is no longer marked as
    /// queued, but is not in the order yet.
    QueuedTaken,
    /// The plane is held; candidates have been removed from the order but not vacated.
    VictimsPopped,
    /// The plane has been released; candidates have been removed from the order but not vacated.
    VictimsInHand,
    /// A victim is vacated, but still linked in the index.
    VictimVacated,
    /// The order has yielded nothing for so long that a search of all slots begins.
    Searching,

    // ---- freelist ----
    /// A block's bit is set in an empty leaf word, but its summary bit is not set yet.
    LeafSet,
    /// A leaf word has become empty, but its summary bit is still set.
    LeafEmptied,
    /// A summary bit has been cleared; the word below has not been checked again.
    HintCleared,

    // ---- register ----
    /// The slot is pending, but not linked.
    Pending,
    /// The slot's link points to the bucket's head, but the head does not point to the slot.
    LinkPrepared,
    /// The slot is linked and pending, but not primary.
    Linked,
    /// An existing primary has been pinned; the new slot is still pending.
    PrimaryPinned,
    /// The new slot is exclusive again, but not freed.
    Refused,
    /// A primary that was in the way of a registration has been discarded; the hash has not been
    /// registered again.
    Discarded,

    // ---- directives ----
    /// The table of directives has been made, but not shown to other threads.
    DirectivesMade,
    /// A directive has been given, but its slot has not been queued for it.
    DirectiveGiven,

    // ---- leases ----
    /// A piece of an expired lease is out of the table; its blocks have not been released.
    LeaseTaken,
    /// A piece has been released; the rest of the lease is still in the table.
    LeaseLeft,

    // ---- clear ----
    /// A new era has begun, but the hand has not moved yet.
    EraBegun,
    /// A clearing has renewed the eras of some slots, but the count has not moved past them.
    ErasRenewed,
    /// Cleared blocks have been vacated, but the hand has not moved past them.
    StretchTaken,

    // ---- match ----
    /// An inactive block has been found; the era of its last release has not been read.
    EraUnread,
    /// A block has been found, and a credit reserved if it is inactive; it is not pinned.
    Pinning,
    /// A block is pinned, but the credit has not been counted as used.
    Pinned,
    /// Blocks are pinned; their releases are not queued, and excess credits not returned.
    MatchUnsettled,

    // ---- release ----
    /// The block has been found to have other holders; the pin has not been removed.
    Unpinning,
    /// The last pin has been removed and the slot marked as queued, but it is on no stack.
    Unpinned,
    /// The last pin has been removed and the slot queued; the credit has not been returned.
    Queued,
    /// The last holder has vacated the block, which is to be reset.
    ResetVacated,
    /// A slot has been vacated and unlinked; its registration has not ended.
    Unlinked,
    /// A block is free; its credit has not been returned.
    Freed,

    // ---- credits ----
    /// Credits have been taken from the central balance; the home shard is not open.
    TakenFromCentral,
    /// A shard's balance is frozen, but not added to the central balance.
    ShardFrozen,
    /// A shard's balance has been added to the central balance and its folded bit set; its phase
    /// still says frozen.
    ShardFolded,
    /// A grant to a shard has been announced, but is still part of the central balance.
    ShardGranted,
    /// A grant has been taken out of the central balance and the folded bit cleared; the phase
    /// still says granted.
    ShardWithdrawn,

    // ---- index ----
    /// A vacated slot's link is marked as dead; the slot has not been unlinked.
    LinkDead,

    // ---- registry ----
    /// An entry has been counted, but is not in the table.
    EntryCounted,
    /// An entry is in the table; no tier has been asked for its hash.
    EntryInserted,
    /// An entry has a new handle, which has not been returned to anybody.
    HandleMade,
    /// The last handle to an entry has been dropped; whether the entry ends is undecided.
    HandleReleased,
    /// An entry is dead, but still in the table.
    EntryDead,
    /// An entry has been removed from the table; its attachments have not been dropped, and it is
    /// still counted.
    EntryRemoved,
    /// A bucket's marker has been claimed, but not linked.
    MarkerClaimed,
    /// A bucket's marker has been linked, but not announced.
    MarkerLinked,
}

impl Step {
    /// The number of steps.
    pub(super) const COUNT: usize = Self::MarkerLinked as usize + 1;
}
