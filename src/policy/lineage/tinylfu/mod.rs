//! Leaves by how often their content was used, behind a window for new content.
//!
//! This is W-TinyLFU (Einziger, Friedman, Manes: *TinyLFU: A Highly Efficient Cache
//! Admission Policy*, ACM Transactions on Storage 13, 2017) over the leaves of the lineage.
//! New content enters a *window*, which is ordered by release. Content for which the window has
//! no room moves to the *main region*, which is ordered by frequency and, among equal
//! frequencies, by release: content stays there only if it is more frequent than the rest of the
//! region. Frequencies come from a [sketch](crate::policy::adaptive::sketch), which continues to
//! count content after it is evicted. The size of the window is
//! [tuned](crate::policy::adaptive::climber), unless it is given.
//!
//! # What is different here?
//!
//! * Only leaves are candidates for eviction. But a block moves to the main region whether or
//!   not it is a leaf; otherwise the window would be drained of leaves. The blocks released after
//!   it, up to a leaf, move with it. (The leaf may be one that waits elsewhere because of its
//!   priority.)
//! * The paper's cache decides at each miss which content is admitted. Here, all content already
//!   has a block, and the decision is made when a victim is needed: moving a block to the main
//!   region compares it with all others there.
//! * A block that was used in the main region is evicted after blocks of the same frequency that
//!   have only arrived there.
//! * The main region ages with the uses of cached content, and not with the sketch. Content that
//!   is used once, in any amount, fills the sketch and makes it forget, but does not lower the
//!   frequency of what is kept.
//!
//! # What does a call cost?
//!
//! A release and an eviction each change three heaps a bounded number of times, and a heap takes a
//! few steps per level. What concerns many blocks is done a few blocks at a time:
//!
//! | what | how much | the rest |
//! |---|---|---|
//! | blocks for which the window has no room move to the main region, where they are compared with what is there at that time | [`BACKLOG`] with the evictions that follow a release, or [`MOVED`] with each of them if these are more, and `MOVED` with a release if there are more than `BACKLOG` too many | stay in the window until their turn. A release adds one, so there are more than `BACKLOG` only after the window has become smaller: by a change of its share (at most a sixteenth of the listed blocks, at most once per use of each block of the pool), or because blocks of the main region are in use |
//! | the frequencies of the main region are halved | [`AGED`] blocks with every release | keep their frequencies until their turn; all have had it after a quarter as many releases as the pool has blocks, and the next halving is due after ten times as many |
//!
//! | file | idea |
//! |---|---|
//! | `block` | the data kept per block, and the key by which a leaf is ordered |
//! | `model` | a slow model for tests |
//! | `tests` | the order by example, and against the model |

mod block;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use block::{Region, TrackedBlock};

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::adaptive::climber::Climber;
use crate::policy::adaptive::sketch::Sketch;
use crate::policy::adaptive::tag::Tag;
use crate::policy::containers::ensure;
use crate::policy::containers::heap::SlotHeap;
use crate::policy::slot_policy::PlainPolicy;
use crate::policy::spec::PolicySpec;

/// The number of uses of cached content after which the main region ages, per block of the
/// pool.
const AGING: usize = 10;

/// The number of blocks too many that the window may have until the next eviction.
const BACKLOG: usize = 256;

/// The most blocks that a release moves from the window to the main region, and an eviction when
/// those since the last release have moved [`BACKLOG`].
const MOVED: usize = 4;

/// The number of blocks whose frequencies a release halves while the main region ages.
const AGED: usize = 4;

/// Leaf-first by W-TinyLFU.
pub(crate) struct TinyLfu {
    /// The window in per cent of the inactive blocks, or `None` if it is tuned.
    window: Option<u8>,
}

impl TinyLfu {
    pub(crate) const TUNED: Self = Self { window: None };

    pub(crate) fn with_window(percent: u8) -> Self {
        Self {
            window: Some(percent),
        }
    }
}

impl PolicySpec for TinyLfu {
    fn name(&self) -> &'static str {
        "tinylfu"
    }

    fn title(&self) -> &'static str {
        "W-TinyLFU"
    }

    fn summary(&self) -> &'static str {
        "Leaf-first: the leaf used least often goes first, behind a window for new contents."
    }

    fn is_leaf_first(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), String> {
        match self.window {
            Some(percent) if percent > 100 => Err(format!(
                "the window must be at most 100 per cent, got {percent}"
            )),
            _ => Ok(()),
        }
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        let leaves = match self.window {
            Some(percent) => TinyLfuLeaves::with_window(block_count, percent),
            None => TinyLfuLeaves::new(block_count),
        };
        Box::new(Lineage::with_leaves(block_count, leaves))
    }
}

/// See the module documentation.
pub(crate) struct TinyLfuLeaves {
    blocks: Box<[TrackedBlock]>,
    /// The leaves of each region.
    window: SlotHeap,
    main: SlotHeap,
    /// All blocks in the window, by release.
    oldest: SlotHeap,
    /// The number of listed blocks, leaves or not.
    listed: usize,
    /// The number of the last release.
    releases: u64,
    /// [`BACKLOG`], except in tests.
    backlog: usize,
    /// The most blocks that the next eviction moves from the window to the main region.
    allowance: usize,
    /// Whether the window has been settled for the next eviction, and nothing has changed since then.
    is_settled: bool,
    /// Whether the block moved to the main region last was released before the leaf of its chain.
    is_torn: bool,
    /// Releases of cached content since the main region last began to age.
    hits: usize,
    /// The blocks that have had their turn in the ageing that has begun last. A block whose `phase`
    /// is this one's has been used since then.
    aged: usize,
    phase: bool,
    sketch: Sketch,
    share: Share,
}

/// The window's share of the listed blocks.
enum Share {
    Given(f64),
    Found(Climber),
}

impl TinyLfuLeaves {
    /// Creates an order whose window is `percent` per cent of the listed blocks.
    pub(crate) fn with_window(block_count: usize, percent: u8) -> Self {
        let share = Share::Given(f64::from(percent) / 100.0);
        Self::with_share(block_count, share)
    }

    fn with_share(block_count: usize, share: Share) -> Self {
        let block = TrackedBlock {
            tag: Tag::NONE,
            region: Region::Window,
            is_listed: false,
            waits: false,
            is_established: false,
            frequency: 0,
            phase: false,
            release: 0,
        };
        Self {
            blocks: vec![block; block_count].into_boxed_slice(),
            window: SlotHeap::new(block_count),
            main: SlotHeap::new(block_count),
            oldest: SlotHeap::new(block_count),
            listed: 0,
            releases: 0,
            backlog: BACKLOG,
            allowance: BACKLOG,
            is_settled: false,
            is_torn: false,
            hits: 0,
            aged: block_count,
            phase: false,
            sketch: Sketch::new(block_count),
            share,
        }
    }

    fn leaves(&mut self, region: Region) -> &mut SlotHeap {
        match region {
            Region::Window => &mut self.window,
            Region::Main => &mut self.main,
        }
    }

    /// Sets a slot's key to that of its block now, and makes it a leaf or not.
    fn put(&mut self, slot: u32, leaf: bool) {
        let block = self.blocks[slot as usize];
        let leaves = self.leaves(block.region);
        leaves.set_key(slot, block.key());
        if leaf {
            leaves.push(slot);
        }
    }

    /// Returns whether the window has more than `extra` blocks above its share.
    fn overflows(&self, extra: usize) -> bool {
        let share = match &self.share {
            Share::Given(share) => *share,
            Share::Found(climber) => climber.share(),
        };
        self.oldest.len() as f64 > share * self.listed as f64 + extra as f64
    }

    /// Moves up to `max` of the blocks for which the window has no room to the main region. Returns
    /// how many it has moved.
    ///
    /// Continues to the end of a chain, which is usually released in one go: the main region must
    /// not have a part of it without its leaf, except between two calls.
    fn settle_window(&mut self, max: usize) -> usize {
        for moved in 0..max {
            if !(self.is_torn || self.overflows(0)) {
                return moved;
            }
            let Some(slot) = self.oldest.first() else {
                self.is_torn = false;
                return moved;
            };
            self.is_torn = !self.move_to_main(slot);
        }
        max
    }

    /// Moves a block from the window to the main region. Returns whether it is a leaf, here
    /// or elsewhere.
    fn move_to_main(&mut self, slot: u32) -> bool {
        let leaf = self.window.contains(slot);
        self.window.remove(slot);
        self.oldest.remove(slot);
        let block = &mut self.blocks[slot as usize];
        block.region = Region::Main;
        block.is_established = false;
        block.frequency = self.sketch.frequency(block.tag);
        block.phase = self.phase;
        let is_end = leaf || block.waits;
        self.put(slot, leaf);
        is_end
    }

    /// Halves the frequencies of the next blocks that are due.
    fn age(&mut self) {
        let until = self.blocks.len().min(self.aged + AGED);
        for slot in std::mem::replace(&mut self.aged, until)..until {
            let block = &mut self.blocks[slot];
            if block.phase == self.phase {
                continue;
            }
            block.phase = self.phase;
            block.frequency /= 2;
            if block.is_listed && block.region == Region::Main {
                let slot = slot as u32;
                let leaf = self.main.contains(slot);
                self.main.remove(slot);
                self.put(slot, leaf);
            }
        }
    }
}

impl Leaves for TinyLfuLeaves {
    /// True, because the release of a block that becomes a leaf again decides its place
    /// among the leaves.
    const COMMUTES: bool = true;
    const IS_TRACELESS: bool = false;

    fn new(block_count: usize) -> Self {
        Self::with_share(block_count, Share::Found(Climber::new(block_count)))
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        self.is_settled = false;
        let tag = Tag::of(hash);
        self.sketch.count(tag);
        self.releases += 1;
        let block = &mut self.blocks[slot as usize];
        // The content has been in use meanwhile, and nothing else has had its slot.
        let is_hit = block.tag == tag;
        let is_main = is_hit && block.region == Region::Main;
        *block = TrackedBlock {
            tag,
            region: if is_main {
                Region::Main
            } else {
                Region::Window
            },
            is_listed: true,
            waits: false,
            is_established: is_main,
            frequency: self.sketch.frequency(tag),
            phase: self.phase,
            release: self.releases,
        };
        self.listed += 1;
        if !is_main {
            self.oldest.set_key(slot, self.releases);
            self.oldest.push(slot);
        }
        if let Share::Found(climber) = &mut self.share {
            climber.count(is_hit);
        }
        self.put(slot, leaf);
        self.hits += usize::from(is_hit);
        if self.hits == AGING * self.blocks.len() {
            self.hits = 0;
            // The last ageing ended long ago.
            self.aged = 0;
            self.phase = !self.phase;
        }
        self.age();
        self.allowance = self.backlog;
        if self.overflows(self.backlog) {
            self.settle_window(MOVED);
        }
    }

    fn unlist(&mut self, slot: u32) {
        self.is_settled = false;
        let block = &mut self.blocks[slot as usize];
        let region = block.region;
        if std::mem::take(&mut block.is_listed) {
            self.listed -= 1;
        }
        self.oldest.remove(slot);
        self.leaves(region).remove(slot);
    }

    fn add(&mut self, slot: u32) {
        self.is_settled = false;
        let region = self.blocks[slot as usize].region;
        self.leaves(region).push(slot);
    }

    fn demote(&mut self, slot: u32) {
        self.is_settled = false;
        let region = self.blocks[slot as usize].region;
        self.leaves(region).remove(slot);
    }

    fn set_waiting(&mut self, slot: u32, waits: bool) {
        self.blocks[slot as usize].waits = waits;
    }

    fn first(&mut self) -> Option<u32> {
        if !std::mem::replace(&mut self.is_settled, true) {
            let moved = self.settle_window(self.allowance);
            self.allowance = (self.allowance - moved).max(MOVED);
        }
        self.main.first().or_else(|| self.window.first())
    }

    /// The slot's next content counts as new, even if it is the same. (So does a block that
    /// was used, on another thread, at the very moment at which it was to be evicted.)
    fn evicted(&mut self, slot: u32) {
        self.blocks[slot as usize].tag = Tag::NONE;
    }

    fn contains(&self, slot: u32) -> bool {
        self.window.contains(slot) || self.main.contains(slot)
    }

    fn check(&self) -> Result<usize, String> {
        self.window.check()?;
        self.main.check()?;
        self.oldest.check()?;
        let listed = || self.blocks.iter().filter(|block| block.is_listed);
        let in_window = listed().filter(|block| block.region == Region::Window);
        let counts = (listed().count(), in_window.count());
        let counted = (self.listed, self.oldest.len());
        ensure(counts == counted, || {
            format!("{counts:?} listed and in the window, counted {counted:?}")
        })?;
        for (slot, block) in self.blocks.iter().enumerate() {
            let slot = slot as u32;
            let elsewhere = match block.region {
                Region::Window => &self.main,
                Region::Main => &self.window,
            };
            ensure(!elsewhere.contains(slot), || {
                format!("slot {slot} is a leaf of a region that it is not in")
            })?;
            ensure(!(block.waits && self.contains(slot)), || {
                format!("leaf {slot} is here, but waits elsewhere")
            })?;
            let in_window = block.is_listed && block.region == Region::Window;
            ensure(self.oldest.contains(slot) == in_window, || {
                format!(
                    "slot {slot} is in the window: {in_window}, but the order of release disagrees"
                )
            })?;
        }
        Ok(self.window.len() + self.main.len())
    }
}
