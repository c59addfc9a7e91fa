//! The steps at which a thread can be suspended.

/// A point between two steps of an operation: what has been done there, and what
/// not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    // ---- allocate ----
    /// Credits are reserved, and no block has been taken.
    CreditsReserved,
    /// The free blocks have been taken, and victims are still missing.
    FreeTaken,
    /// The home stash is held, and nothing has been taken from it.
    StashHeld,
    /// The plane is held, and no note has been applied.
    PlaneHeld,
    /// The plane is held; a slot is off its stack and no longer noted, and not
    /// yet in the order.
    NoteTaken,
    /// The plane is held; candidates are out of the order, and not vacated.
    VictimsPopped,
    /// The plane is let go of; candidates are out of the order, and not vacated.
    VictimsInHand,
    /// A victim is vacated, and still linked in the index.
    VictimVacated,
    /// The order came to nothing for so long that a search of everything begins.
    Searching,

    // ---- freelist ----
    /// A block's bit is set in an empty leaf word, and no summary says so.
    LeafSet,
    /// A leaf word has been emptied, and its summary bit is still set.
    LeafEmptied,
    /// A summary bit is cleared, and the word below not looked at again.
    HintCleared,

    // ---- register ----
    /// The slot is pending, and not linked.
    Pending,
    /// The slot's link leads to the bucket's head, and the head not to the slot.
    LinkPrepared,
    /// The slot is linked and pending, and not primary.
    Linked,
    /// There is a primary and it is pinned; the own slot is still pending.
    PrimaryPinned,
    /// The own slot is exclusive again, and not freed.
    Refused,
    /// A primary in the way of a registration is discarded, and the hash not registered anew.
    Discarded,

    // ---- directives ----
    /// A directive is given, and its slot not announced.
    DirectiveGiven,

    // ---- clear ----
    /// An era has begun, and the hand is still where it was.
    EraBegun,
    /// Cleared blocks are vacated, and the hand is not moved past them.
    StretchTaken,

    // ---- match ----
    /// A block is found and a credit reserved if it is inactive; it is not pinned.
    Pinning,
    /// A block is pinned, and the credit not counted as used.
    Pinned,
    /// Blocks are pinned; their notes are not pushed, nor credits left over
    /// returned.
    MatchUnsettled,

    // ---- release ----
    /// The block has been seen to have other holders, and the pin is not off.
    Unpinning,
    /// The last pin is off and the slot is marked as noted, and on no stack.
    Unpinned,
    /// The last pin is off and the slot noted; the credit is not returned.
    Noted,
    /// The last holder has vacated the block, which is to be reset.
    ResetVacated,
    /// A slot has been vacated and unlinked, and its hash not forgotten.
    Unlinked,
    /// A block is free, and its credit not returned.
    Freed,

    // ---- credits ----
    /// Credits are taken from the pot, and the home shard is not open.
    TakenFromPot,
    /// A share is frozen, and not in the pot.
    ShareFrozen,
    /// A share is in the pot and its folded bit set; its phase says frozen.
    ShareFolded,
    /// A share is announced, and still in the pot.
    ShareGranted,
    /// A share is out of the pot and its folded bit clear; its phase says granted.
    ShareWithdrawn,

    // ---- index ----
    /// A vacated slot's link is marked dead, and the slot not unlinked.
    LinkDead,

    // ---- registry ----
    /// An entry is counted, and not in the table.
    EntryCounted,
    /// An entry is in the table, and no tier has been asked for its hash.
    EntryInserted,
    /// An entry has a new handle, which nobody has in hand.
    HandleMade,
    /// The last handle is off an entry, and its end not decided.
    HandleReleased,
    /// An entry is dead, and in the table.
    EntryDead,
    /// An entry is out of the table; its attachments are not dropped, nor is it
    /// counted as gone.
    EntryRemoved,
    /// A bucket's marker is claimed, and not linked.
    MarkerClaimed,
    /// A bucket's marker is linked, and not announced as such.
    MarkerLinked,
}

impl Step {
    /// How many steps there are.
    pub(super) const COUNT: usize = Self::MarkerLinked as usize + 1;
}
