//! How far a sequence has progressed.
//!
//! Four numbers describe it. All of them count from the first token:
//!
//! | number | counts | public as |
//! |---|---|---|
//! | *known* | the tokens of the prompt, and those sampled or appended since | `total_tokens` |
//! | *computed* | the leading tokens whose KV is in blocks that the sequence holds | `kv_position` |
//! | *held* | the blocks of the sequence; block `i` holds the tokens from `i * block_size` on | `page_indices` |
//! | *registered* | the leading blocks that other requests can match | `assigned_blocks` |
//!
//! # Invariants
//!
//! They hold after every call to a [`SchedulableSequence`](super::SchedulableSequence), even
//! if the call returns an error or unwinds.
//!
//! * **P1.** Every step computes the KV of the tokens from *computed* on. Applying the
//!   step advances *computed*; nothing else does, except matching cached blocks.
//! * **P2.** *computed* ≤ *held* × `block_size`. KV lives and dies with its block: giving
//!   up a block, in whatever way, takes *computed* back to the end of the blocks before it.
//! * **P3.** *registered* = *computed* / `block_size`, rounded down. A block is registered
//!   exactly when the last of its tokens is computed.
//! * **P4.** While tokens remain to be generated, the last known token is not computed: the
//!   next one is sampled from its logits, and those come from a step. So a cached block
//!   that would leave nothing to compute is not matched.
//!
//! The prefill position is not a fifth number: it is *computed*, capped at the end of the
//! prompt.
//!
//! The *tail* consists of the tokens from *computed* to *known*, of two kinds. A token is
//! *dangling* if no step has ever computed it, like the token that was sampled last. It is
//! *lost* if it was computed and its block is gone. The difference matters to a decode: it
//! may recompute lost tokens, whereas more than one dangling token means that tokens were
//! appended from elsewhere.

/// How far the tokens are computed, and how far they have ever been. See the module docs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Positions {
    computed: usize,
    /// At least `computed`. Tokens from here on are dangling.
    ever_computed: usize,
}

impl Positions {
    /// Returns how many leading tokens have their KV in blocks that are held.
    pub(super) fn computed(self) -> usize {
        self.computed
    }

    /// Returns how many leading tokens have ever been computed.
    pub(super) fn ever_computed(self) -> usize {
        self.ever_computed
    }

    /// Records that the tokens before `end` are computed.
    pub(super) fn advance(&mut self, end: usize) {
        self.computed = self.computed.max(end);
        self.ever_computed = self.ever_computed.max(end);
    }

    /// Records that the remaining blocks hold at most the tokens before `end` (P2).
    pub(super) fn retreat(&mut self, end: usize) {
        self.computed = self.computed.min(end);
    }
}
