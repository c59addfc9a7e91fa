//! Leaves by how often their content was used, with a window for what is new.
//!
//! W-TinyLFU (Einziger, Friedman, Manes: *TinyLFU: A Highly Efficient Cache Admission
//! Policy*, ACM Transactions on Storage 13, 2017) over the leaves of the lineage. New
//! contents come into a *window*, in which the order is that of release. What the window
//! has no room for moves to the *main region*, where the order is that of frequency, and of
//! release within it: there it has to be more frequent than what is there, or it goes.
//! Frequencies are those of a [sketch](crate::policy::adaptive::sketch), which has also counted
//! what was evicted since. How much room the window has is [found out](crate::policy::adaptive::climber),
//! unless it is given.
//!
//! Four things are this crate's. Only leaves are candidates for eviction; to the main region
//! a block moves whether it is a leaf or not, lest the window be drained of leaves, and
//! those released after it with it, up to a leaf (also one that waits elsewhere, for its
//! priority). A cache of the paper's decides
//! at each miss who is admitted; here every content has its block already, and the
//! decision falls when a victim is wanted, for all that was released since: moving a block
//! to the main region compares it with all others there. And a block that was used in the
//! main region goes after those of the same frequency that have only come there.
//!
//! What is in the main region ages with the uses of contents that are cached, and not with
//! the sketch: contents that come once, however many, fill the sketch and make it forget,
//! but they do not make what is kept less frequent than it is.

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::policy::adaptive::climber::Climber;
use crate::policy::adaptive::tag::Tag;
use crate::policy::containers::heap::SlotHeap;

use crate::SequenceHash;
use crate::policy::adaptive::sketch::Sketch;
use crate::policy::containers::ensure;
use crate::policy::slot_policy::PlainPolicy;
use crate::policy::spec::PolicySpec;

/// Bits of a key in the main region that say when the block was released. With those of
/// the rank there are fifty: exact.
const RELEASE_BITS: u32 = 45;

/// Uses of cached contents after which the main region ages, for each block of the pool.
const AGING: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Region {
    Window,
    Main,
}

#[derive(Clone, Copy)]
struct Block {
    /// The content, or the last one. None if that was evicted.
    tag: Tag,
    region: Region,
    is_listed: bool,
    /// Whether it is a leaf that waits elsewhere.
    waits: bool,
    /// Whether it was used while in the main region.
    is_established: bool,
    /// The frequency that the main region has it under.
    frequency: u8,
    release: u64,
}

impl Block {
    fn key(&self, release_bits: u32) -> f64 {
        let rank = u64::from(self.frequency) << 1 | u64::from(self.is_established);
        match self.region {
            Region::Window => self.release as f64,
            Region::Main => (rank << release_bits | self.release) as f64,
        }
    }
}

/// Leaf-first by W-TinyLFU.
pub(crate) struct TinyLfu {
    /// In per cent of the inactive blocks. `None` to have it found.
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
        "Leaves of the lineage tree first, the least used first behind a window for new ones."
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
    blocks: Box<[Block]>,
    /// The leaves of each region.
    window: SlotHeap,
    main: SlotHeap,
    /// All blocks in the window, by release.
    oldest: SlotHeap,
    /// Listed blocks, leaves or not.
    listed: usize,
    /// The number of the last release.
    releases: u64,
    /// [`RELEASE_BITS`], but for tests. The block count takes fewer.
    release_bits: u32,
    /// Releases of contents that were cached, since frequencies were halved.
    hits: usize,
    sketch: Sketch,
    share: Share,
}

/// The window's share of the listed blocks.
enum Share {
    Given(f64),
    Found(Climber),
}

impl TinyLfuLeaves {
    /// With a window of so many per cent of the listed blocks.
    pub(crate) fn with_window(block_count: usize, percent: u8) -> Self {
        let share = Share::Given(f64::from(percent) / 100.0);
        Self::with_share(block_count, share)
    }

    fn with_share(block_count: usize, share: Share) -> Self {
        let block = Block {
            tag: Tag::NONE,
            region: Region::Window,
            is_listed: false,
            waits: false,
            is_established: false,
            frequency: 0,
            release: 0,
        };
        Self {
            blocks: vec![block; block_count].into_boxed_slice(),
            window: SlotHeap::new(block_count),
            main: SlotHeap::new(block_count),
            oldest: SlotHeap::new(block_count),
            listed: 0,
            releases: 0,
            release_bits: RELEASE_BITS,
            hits: 0,
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

    /// Gives a slot the key that its block has now, and makes it a leaf or not.
    fn put(&mut self, slot: u32, leaf: bool) {
        let block = self.blocks[slot as usize];
        let key = block.key(self.release_bits);
        let leaves = self.leaves(block.region);
        leaves.set_key(slot, key);
        if leaf {
            leaves.push(slot);
        }
    }

    /// Whether the window has more than its share.
    fn overflows(&self) -> bool {
        let share = match &self.share {
            Share::Given(share) => *share,
            Share::Found(climber) => climber.share(),
        };
        self.oldest.len() as f64 > share * self.listed as f64
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
        let is_end = leaf || block.waits;
        self.put(slot, leaf);
        is_end
    }

    /// Numbers the releases of the listed blocks anew, in the same order, so that numbers
    /// keep to their bits.
    #[cold]
    fn renumber(&mut self) {
        let slots = 0..self.blocks.len() as u32;
        let mut listed: Vec<u32> = slots
            .filter(|&slot| self.blocks[slot as usize].is_listed)
            .collect();
        listed.sort_unstable_by_key(|&slot| self.blocks[slot as usize].release);
        self.releases = 0;
        for slot in listed {
            self.releases += 1;
            self.blocks[slot as usize].release = self.releases;
            let leaf = self.contains(slot);
            let region = self.blocks[slot as usize].region;
            self.leaves(region).remove(slot);
            self.put(slot, leaf);
            if region == Region::Window {
                self.oldest.remove(slot);
                self.oldest.set_key(slot, self.releases as f64);
                self.oldest.push(slot);
            }
        }
    }

    /// Halves the frequencies of the main region.
    #[cold]
    fn halve(&mut self) {
        self.hits = 0;
        for slot in 0..self.blocks.len() as u32 {
            let block = &mut self.blocks[slot as usize];
            block.frequency /= 2;
            if block.is_listed && block.region == Region::Main {
                let leaf = self.main.contains(slot);
                self.main.remove(slot);
                self.put(slot, leaf);
            }
        }
    }
}

impl Leaves for TinyLfuLeaves {
    /// Where a leaf again is among the others is decided by its release.
    const COMMUTES: bool = true;
    const IS_TRACELESS: bool = false;

    fn new(block_count: usize) -> Self {
        Self::with_share(block_count, Share::Found(Climber::new(block_count)))
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        let tag = Tag::of(hash);
        self.sketch.count(tag);
        if self.releases + 1 == 1 << self.release_bits {
            self.renumber();
        }
        self.releases += 1;
        let block = &mut self.blocks[slot as usize];
        // It has been in use in between, and nothing else has had its place.
        let is_hit = block.tag == tag;
        let is_main = is_hit && block.region == Region::Main;
        *block = Block {
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
            release: self.releases,
        };
        self.listed += 1;
        if !is_main {
            self.oldest.set_key(slot, self.releases as f64);
            self.oldest.push(slot);
        }
        if let Share::Found(climber) = &mut self.share {
            climber.count(is_hit);
        }
        self.put(slot, leaf);
        self.hits += usize::from(is_hit);
        if self.hits == AGING * self.blocks.len() {
            self.halve();
        }
    }

    fn unlist(&mut self, slot: u32) {
        let block = &mut self.blocks[slot as usize];
        let region = block.region;
        if std::mem::take(&mut block.is_listed) {
            self.listed -= 1;
        }
        self.oldest.remove(slot);
        self.leaves(region).remove(slot);
    }

    fn add(&mut self, slot: u32) {
        let region = self.blocks[slot as usize].region;
        self.leaves(region).push(slot);
    }

    fn demote(&mut self, slot: u32) {
        let region = self.blocks[slot as usize].region;
        self.leaves(region).remove(slot);
    }

    fn set_waiting(&mut self, slot: u32, waits: bool) {
        self.blocks[slot as usize].waits = waits;
    }

    fn first(&mut self) -> Option<u32> {
        // To the end of a chain, which is mostly released in one go: the main region is not
        // to have more of it than its leaf.
        let mut is_torn = false;
        while (self.overflows() || is_torn)
            && let Some(slot) = self.oldest.first()
        {
            is_torn = !self.move_to_main(slot);
        }
        self.main.first().or_else(|| self.window.first())
    }

    /// What comes next in this place is new, even if it is the same. (So is a block that
    /// came into use, on another thread, at the very moment at which it was to be evicted.)
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
                format!("slot {slot} is a leaf of the region in which it is not")
            })?;
            ensure(!(block.waits && self.contains(slot)), || {
                format!("leaf {slot} is here, and waits elsewhere")
            })?;
            let in_window = block.is_listed && block.region == Region::Window;
            ensure(self.oldest.contains(slot) == in_window, || {
                format!("slot {slot} is in the window: {in_window}, by release it is not")
            })?;
        }
        Ok(self.window.len() + self.main.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::lineage::retained::RetainedLeaves;
    use crate::policy::slot_policy::SlotPolicy;
    use crate::policy::testing::Random;
    use crate::retention::Priority;

    fn hash(n: u64) -> SequenceHash {
        SequenceHash::new(n, None, 0)
    }

    fn use_again(leaves: &mut TinyLfuLeaves, slot: u32, content: u64) {
        leaves.unlist(slot);
        leaves.list(slot, hash(content), true);
    }

    fn pop(leaves: &mut TinyLfuLeaves) -> Option<u32> {
        leaves.check().unwrap();
        let slot = leaves.first()?;
        leaves.unlist(slot);
        Some(slot)
    }

    #[test]
    fn without_a_window_the_least_frequent_goes() {
        let mut leaves = TinyLfuLeaves::with_window(4, 0);
        for (slot, uses) in [(0, 3), (1, 1), (2, 2), (3, 1)] {
            leaves.list(slot, hash(u64::from(slot)), true);
            for _ in 1..uses {
                use_again(&mut leaves, slot, u64::from(slot));
            }
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut leaves)).collect();
        assert_eq!(order, [1, 3, 2, 0]);
    }

    #[test]
    fn all_window_is_least_recently_used() {
        let mut leaves = TinyLfuLeaves::with_window(4, 100);
        for slot in [2, 0, 3, 1] {
            leaves.list(slot, hash(u64::from(slot)), true);
        }
        for _ in 0..5 {
            use_again(&mut leaves, 0, 0);
        }
        use_again(&mut leaves, 3, 3);
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut leaves)).collect();
        assert_eq!(order, [2, 1, 0, 3]);
    }

    #[test]
    fn what_is_new_is_admitted_if_it_was_used_more_often_before() {
        let mut leaves = TinyLfuLeaves::with_window(3, 0);
        leaves.list(0, hash(0), true);
        use_again(&mut leaves, 0, 0);
        leaves.list(1, hash(1), true);
        assert_eq!(pop(&mut leaves), Some(1));
        // Once is not more than twice.
        leaves.list(1, hash(2), true);
        assert_eq!(pop(&mut leaves), Some(1));
        for _ in 0..2 {
            leaves.list(1, hash(3), true);
            leaves.unlist(1);
        }
        leaves.list(2, hash(3), true);
        assert_eq!(pop(&mut leaves), Some(0));
    }

    #[test]
    fn frequencies_fade() {
        let mut leaves = TinyLfuLeaves::with_window(2, 0);
        leaves.list(0, hash(0), true);
        for _ in 0..8 {
            use_again(&mut leaves, 0, 0);
        }
        assert_eq!(leaves.first(), Some(0));
        // Another one is used until what was used nine times counts as two.
        for _ in 0..32 {
            leaves.list(1, hash(7), true);
            leaves.unlist(1);
        }
        leaves.list(1, hash(7), true);
        assert_eq!(leaves.first(), Some(0));
    }

    #[test]
    fn what_comes_once_ages_nothing() {
        let mut leaves = TinyLfuLeaves::with_window(2, 0);
        leaves.list(0, hash(0), true);
        use_again(&mut leaves, 0, 0);
        assert_eq!(leaves.first(), Some(0));
        use_again(&mut leaves, 0, 0);
        for n in 0..10_000 {
            leaves.list(1, hash(100 + n), true);
            assert_eq!(pop(&mut leaves), Some(1));
        }
    }

    #[test]
    fn what_was_evicted_and_comes_again_is_new() {
        let leaves = TinyLfuLeaves::with_window(2, 0);
        let mut lineage = Lineage::with_leaves(2, leaves);
        lineage.insert(0, hash(0), 0);
        assert_eq!(lineage.pop(), Some(0));
        lineage.insert(0, hash(0), 0);
        lineage.insert(1, hash(1), 0);
        lineage.remove(1);
        lineage.insert(1, hash(1), 0);
        // Either twice, and neither in the main region.
        assert_eq!(lineage.pop(), Some(0));
        lineage.check().unwrap();
    }

    #[test]
    fn a_leaf_with_a_priority_ends_its_chain() {
        let mut leaves = RetainedLeaves::of(TinyLfuLeaves::with_window(6, 50));
        for _ in 0..2 {
            leaves.list(0, hash(0), true);
            leaves.unlist(0);
        }
        for slot in 0..6 {
            leaves.list(slot, hash(u64::from(slot)), true);
            if (1..5).contains(&slot) {
                leaves.set_priority(slot, Priority::HIGHEST);
            }
        }
        // The window has room for the last three, so only this one has been compared.
        assert_eq!(leaves.first(), Some(0));
        leaves.check().unwrap();
    }

    #[test]
    fn releases_keep_to_their_bits() {
        let mut leaves = TinyLfuLeaves::with_window(100, 0);
        leaves.release_bits = 4;
        leaves.list(0, hash(0), true);
        use_again(&mut leaves, 0, 0);
        assert_eq!(leaves.first(), Some(0));
        for n in 0..100 {
            leaves.list(1, hash(100 + n), true);
            leaves.unlist(1);
        }
        // Used less often, and a hundred releases later.
        leaves.list(2, hash(2), true);
        assert_eq!(pop(&mut leaves), Some(2));
        assert_eq!(pop(&mut leaves), Some(0));
    }

    struct Listed {
        tag: Tag,
        in_window: bool,
        is_established: bool,
        frequency: u8,
        release: u64,
    }

    /// The rule, stated: the first found by looking at all.
    struct Model {
        blocks: Vec<Option<Listed>>,
        leaves: Vec<bool>,
        /// Leaves that wait elsewhere.
        waiting: Vec<bool>,
        /// The content that each slot had last, unless that was evicted, and whether that was
        /// in the main region.
        before: Vec<(Tag, bool)>,
        sketch: Sketch,
        climber: Climber,
        releases: u64,
        hits: usize,
    }

    impl Model {
        fn new(slots: usize) -> Self {
            Self {
                blocks: (0..slots).map(|_| None).collect(),
                leaves: vec![false; slots],
                waiting: vec![false; slots],
                before: vec![(Tag::NONE, false); slots],
                sketch: Sketch::new(slots),
                climber: Climber::new(slots),
                releases: 0,
                hits: 0,
            }
        }

        fn list(&mut self, slot: usize, tag: Tag, leaf: bool) {
            self.sketch.count(tag);
            self.releases += 1;
            let (before, was_main) = self.before[slot];
            self.climber.count(before == tag);
            let is_main = before == tag && was_main;
            self.blocks[slot] = Some(Listed {
                tag,
                in_window: !is_main,
                is_established: is_main,
                frequency: self.sketch.frequency(tag),
                release: self.releases,
            });
            self.before[slot] = (tag, is_main);
            self.leaves[slot] = leaf;
            self.waiting[slot] = false;
            self.hits += usize::from(before == tag);
            if self.hits == AGING * self.blocks.len() {
                self.hits = 0;
                for block in self.blocks.iter_mut().flatten() {
                    block.frequency /= 2;
                }
            }
        }

        fn unlist(&mut self, slot: usize) {
            self.blocks[slot] = None;
            self.leaves[slot] = false;
        }

        fn evict(&mut self, slot: usize) {
            self.unlist(slot);
            self.before[slot] = (Tag::NONE, false);
        }

        fn first(&mut self) -> Option<u32> {
            let listed = self.blocks.iter().flatten().count();
            let room = self.climber.share() * listed as f64;
            let window = |block: &Listed| block.in_window;
            let in_window = |model: &Self| {
                let listed = model.blocks.iter().flatten();
                listed.filter(|block| window(block)).count()
            };
            let mut is_torn = false;
            while in_window(self) as f64 > room || is_torn {
                let Some(oldest) = (0..self.blocks.len())
                    .filter(|&slot| self.blocks[slot].as_ref().is_some_and(window))
                    .min_by_key(|&slot| self.blocks[slot].as_ref().map(|block| block.release))
                else {
                    break;
                };
                is_torn = !self.leaves[oldest] && !self.waiting[oldest];
                let block = self.blocks[oldest].as_mut().expect("it is listed");
                block.in_window = false;
                block.frequency = self.sketch.frequency(block.tag);
                self.before[oldest].1 = true;
            }
            (0..self.blocks.len())
                .filter(|&slot| self.leaves[slot])
                .min_by_key(|&slot| {
                    let block = self.blocks[slot].as_ref().expect("leaves are listed");
                    match block.in_window {
                        true => (true, 0, false, block.release),
                        false => (false, block.frequency, block.is_established, block.release),
                    }
                })
                .map(|slot| slot as u32)
        }
    }

    #[test]
    fn agrees_with_the_model() {
        for seed in 0..8 {
            let slots = [6, 20, 64][seed as usize % 3];
            let mut random = Random::new(seed);
            let mut leaves = TinyLfuLeaves::new(slots as usize);
            // Releases are numbered anew all the time.
            if seed >= 4 {
                leaves.release_bits = 7;
            }
            let mut model = Model::new(slots as usize);
            let mut shares = std::collections::BTreeSet::new();
            for step in 0..12_000_u64 {
                let slot = random.below(slots) as u32;
                let is_listed = model.blocks[slot as usize].is_some();
                match random.below(8) {
                    0..=4 => {
                        // As a pool does: with a victim's slot, or again in its own.
                        let content = random.below(3 * slots).min(random.below(step / 50 + 8));
                        let tag = Tag::of(hash(content));
                        let own =
                            (0..slots as u32).find(|&slot| model.before[slot as usize].0 == tag);
                        let slot = match own {
                            Some(slot) => {
                                leaves.unlist(slot);
                                model.unlist(slot as usize);
                                slot
                            }
                            None if is_listed => {
                                let victim = model.first();
                                assert_eq!(leaves.first(), victim, "step {step}");
                                let Some(victim) = victim else { continue };
                                leaves.unlist(victim);
                                leaves.evicted(victim);
                                model.evict(victim as usize);
                                victim
                            }
                            None => slot,
                        };
                        let leaf = random.below(4) > 0;
                        leaves.list(slot, hash(content), leaf);
                        model.list(slot as usize, tag, leaf);
                    }
                    5 => {
                        leaves.unlist(slot);
                        model.unlist(slot as usize);
                    }
                    // It waits elsewhere, or does so no longer.
                    6 if is_listed && random.below(3) == 0 && !model.leaves[slot as usize] => {
                        let waits = &mut model.waiting[slot as usize];
                        *waits = !*waits;
                        leaves.set_waiting(slot, *waits);
                    }
                    6 if is_listed && model.waiting[slot as usize] => {}
                    6 if is_listed => {
                        let leaf = &mut model.leaves[slot as usize];
                        if *leaf {
                            leaves.demote(slot);
                        } else {
                            leaves.add(slot);
                        }
                        *leaf = !*leaf;
                    }
                    _ => assert_eq!(leaves.first(), model.first(), "step {step}"),
                }
                assert_eq!(leaves.contains(slot), model.leaves[slot as usize]);
                shares.insert(model.climber.share().to_bits());
                if step % 100 == 0 {
                    leaves.check().unwrap();
                }
            }
            assert!(shares.len() > 10, "the window moved {} times", shares.len());
        }
    }
}
