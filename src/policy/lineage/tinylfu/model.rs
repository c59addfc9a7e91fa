//! The rule of the order, computed afresh rather than maintained: the first leaf is found by
//! looking at all of them.

use super::{AGED, AGING, MOVED};
use crate::policy::adaptive::climber::Climber;
use crate::policy::adaptive::sketch::Sketch;
use crate::policy::adaptive::tag::Tag;

/// A listed block.
pub(super) struct Listed {
    tag: Tag,
    in_window: bool,
    is_established: bool,
    frequency: u8,
    /// The agings that the frequency has been through.
    agings: usize,
    release: u64,
}

/// See the module documentation.
pub(super) struct Model {
    pub(super) blocks: Vec<Option<Listed>>,
    pub(super) leaves: Vec<bool>,
    /// Leaves that wait elsewhere.
    pub(super) waiting: Vec<bool>,
    /// The last content of each slot, unless that was evicted, and whether it was in the
    /// main region.
    pub(super) before: Vec<(Tag, bool)>,
    sketch: Sketch,
    pub(super) climber: Climber,
    releases: u64,
    hits: usize,
    is_torn: bool,
    agings: usize,
    /// The slots that have not had their turn in the last ageing.
    to_age: std::ops::Range<usize>,
    backlog: usize,
    allowance: usize,
    /// Whether the first leaf has been asked for since the last change.
    pub(super) is_settled: bool,
}

impl Model {
    pub(super) fn new(slots: usize, backlog: usize) -> Self {
        Self {
            blocks: (0..slots).map(|_| None).collect(),
            leaves: vec![false; slots],
            waiting: vec![false; slots],
            before: vec![(Tag::NONE, false); slots],
            sketch: Sketch::new(slots),
            climber: Climber::new(slots),
            releases: 0,
            hits: 0,
            is_torn: false,
            agings: 0,
            to_age: 0..0,
            backlog,
            allowance: backlog,
            is_settled: false,
        }
    }

    pub(super) fn list(&mut self, slot: usize, tag: Tag, leaf: bool) {
        self.is_settled = false;
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
            agings: self.agings,
            release: self.releases,
        });
        self.before[slot] = (tag, is_main);
        self.leaves[slot] = leaf;
        self.waiting[slot] = false;
        self.hits += usize::from(before == tag);
        if self.hits == AGING * self.blocks.len() {
            self.hits = 0;
            self.agings += 1;
            self.to_age = 0..self.blocks.len();
        }
        for slot in self.to_age.by_ref().take(AGED) {
            if let Some(block) = &mut self.blocks[slot] {
                block.frequency /= (1 + self.agings - block.agings) as u8;
                block.agings = self.agings;
            }
        }
        self.allowance = self.backlog;
        if self.overflows(self.backlog) {
            self.settle(MOVED);
        }
    }

    pub(super) fn unlist(&mut self, slot: usize) {
        self.is_settled = false;
        self.blocks[slot] = None;
        self.leaves[slot] = false;
    }

    pub(super) fn evict(&mut self, slot: usize) {
        self.unlist(slot);
        self.before[slot] = (Tag::NONE, false);
    }

    fn overflows(&self, extra: usize) -> bool {
        let listed = self.blocks.iter().flatten();
        let (window, listed) = (listed.clone().filter(|it| it.in_window), listed.count());
        window.count() as f64 > self.climber.share() * listed as f64 + extra as f64
    }

    fn settle(&mut self, max: usize) -> usize {
        for moved in 0..max {
            if !(self.is_torn || self.overflows(0)) {
                return moved;
            }
            let oldest = (0..self.blocks.len())
                .filter(|&slot| self.blocks[slot].as_ref().is_some_and(|it| it.in_window))
                .min_by_key(|&slot| self.blocks[slot].as_ref().map(|block| block.release));
            self.is_torn = oldest.is_some_and(|slot| !self.leaves[slot] && !self.waiting[slot]);
            let Some(slot) = oldest else {
                return moved;
            };
            let block = self.blocks[slot].as_mut().expect("it is listed");
            block.in_window = false;
            block.frequency = self.sketch.frequency(block.tag);
            block.agings = self.agings;
            self.before[slot].1 = true;
        }
        max
    }

    pub(super) fn first(&mut self) -> Option<u32> {
        if !self.is_settled {
            let moved = self.settle(self.allowance);
            self.allowance = (self.allowance - moved).max(MOVED);
            self.is_settled = true;
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
