//! How far a sequence has come.
//!
//! Four numbers say it. All of them count from the first token on:
//!
//! | number | counts | public as |
//! |---|---|---|
//! | *known* | the tokens of the prompt, and those sampled or appended since | `total_tokens` |
//! | *computed* | the leading tokens whose KV is in blocks that the sequence holds | `kv_position` |
//! | *held* | the blocks of the sequence; block `i` is for the tokens from `i * block_size` on | `page_indices` |
//! | *registered* | the leading blocks that other requests can match | `assigned_blocks` |
//!
//! # Invariants
//!
//! They hold after every call on a [`SchedulableSequence`](super::SchedulableSequence),
//! including one that returns an error or unwinds.
//!
//! * **P1.** Every step computes the KV of the tokens from *computed* on. Applying the
//!   step advances *computed*; nothing else does, except matching cached blocks.
//! * **P2.** *computed* ≤ *held* × `block_size`. KV goes with the block it is in: giving
//!   up a block, in whatever way, takes *computed* back to the end of those before it.
//! * **P3.** *registered* = *computed* / `block_size`, rounded down. A block is registered
//!   when the last of its tokens is computed, neither before nor after.
//! * **P4.** While tokens are to be generated, the last known token is not computed: the
//!   next one is sampled from its logits, which a step has to yield. A cached block that
//!   would leave nothing to compute is therefore not taken.
//!
//! *prefill* is no number of its own: it is *computed*, up to the end of the prompt.
//!
//! A token is *dangling* while no step has ever computed it, like the token that was
//! sampled last. A token that has been computed and whose block is gone is *lost*. Both
//! belong to the tail, the tokens from *computed* to *known*; they differ in that a
//! decode may compute lost tokens again, while more than one dangling token means that
//! tokens came from elsewhere.

/// *computed*, and how far it has ever been. See the module documentation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Positions {
    computed: usize,
    /// At least `computed`: tokens from here on are dangling.
    ever_computed: usize,
}

impl Positions {
    /// Tokens whose KV is in blocks that are held.
    pub(super) fn computed(self) -> usize {
        self.computed
    }

    /// Tokens that were ever computed.
    pub(super) fn ever_computed(self) -> usize {
        self.ever_computed
    }

    /// The tokens before `end` are computed.
    pub(super) fn advance(&mut self, end: usize) {
        self.computed = self.computed.max(end);
        self.ever_computed = self.ever_computed.max(end);
    }

    /// The blocks that are left hold at most the tokens before `end` (P2).
    pub(super) fn retreat(&mut self, end: usize) {
        self.computed = self.computed.min(end);
    }
}
