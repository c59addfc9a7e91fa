//! LRFU, computed afresh rather than maintained: lists that are searched, maps that forget
//! nothing, and an independent statement of the rules by which the half-life is tuned.

use std::collections::HashMap;

use crate::policy::adaptive::tag::Tag;

/// The rules in numbers.
const BATCHES: usize = 4;
const PERIOD: usize = 8;

struct Places {
    of: HashMap<Tag, f64>,
    now: f64,
}

impl Places {
    fn new() -> Self {
        Self {
            of: HashMap::new(),
            now: 1.0,
        }
    }

    fn count(&mut self, tag: Tag, half_life: f64) -> f64 {
        let tick = self.now.next_up();
        let place = match self.of.get(&tag) {
            None => {
                self.now = tick;
                tick
            }
            Some(before) => {
                self.now = tick.max(self.now + 1.0 / half_life);
                self.now + (1.0 + (before - self.now).exp2()).log2()
            }
        };
        self.of.insert(tag, place);
        place
    }
}

/// A pool without lineage.
struct Pool {
    blocks: usize,
    places: Places,
    held: Vec<Tag>,
}

impl Pool {
    fn new(blocks: usize) -> Self {
        Self {
            blocks,
            places: Places::new(),
            held: Vec::new(),
        }
    }

    fn serve(&mut self, batch: &[Tag], half_life: f64) -> usize {
        let mut hits = 0;
        for tag in batch {
            if self.held.contains(tag) {
                hits += 1;
                continue;
            }
            if self.held.len() == self.blocks {
                let place = |tag: &Tag| self.places.of[tag];
                let victim = (self.held.iter().copied())
                    .filter(|held| !batch.contains(held))
                    .min_by(|a, b| place(a).total_cmp(&place(b)))
                    .expect("a batch is smaller than the pool");
                self.held.retain(|&held| held != victim);
            }
            self.held.push(*tag);
        }
        for &tag in batch {
            self.places.count(tag, half_life);
        }
        hits
    }
}

struct Tuning {
    blocks: usize,
    shorter: Pool,
    longer: Pool,
    batch: Vec<Tag>,
    /// The hits of both pools in each batch of the period.
    hits: Vec<[usize; 2]>,
}

impl Tuning {
    fn count(&mut self, tag: Tag, half_life: f64) -> f64 {
        let small = self.shorter.blocks;
        // In integers: `low_half / 2^32 < small / blocks`.
        if u64::from(tag.low_half()) * self.blocks as u64 >= (small as u64) << 32 {
            return half_life;
        }
        self.batch.push(tag);
        if self.batch.len() < small / BATCHES {
            return half_life;
        }
        let scaled = half_life * small as f64 / self.blocks as f64;
        let batch = std::mem::take(&mut self.batch);
        let shorter = self.shorter.serve(&batch, scaled / 2.0);
        self.hits
            .push([shorter, self.longer.serve(&batch, scaled * 2.0)]);
        if self.hits.len() < PERIOD {
            return half_life;
        }
        let sum = |side: usize| self.hits.iter().map(|hits| hits[side]).sum::<usize>();
        let (shorter, longer) = (sum(0), sum(1));
        self.hits.clear();
        let blocks = self.blocks as f64;
        let (shortest, first, longest) = (blocks / 16.0, blocks * 0.3125, blocks * 128.0);
        let step = std::f64::consts::SQRT_2;
        let slow = step.powf(0.25);
        let differ = shorter.abs_diff(longer) as f64 > 0.002 * (shorter + longer) as f64;
        match (differ, longer > shorter, half_life > first) {
            (true, true, _) => longest.min(half_life * step),
            (true, false, _) => shortest.max(half_life / step),
            (false, _, true) => first.max(half_life / slow),
            (false, _, false) => first.min(half_life * slow),
        }
    }
}

pub(super) struct Model {
    places: Places,
    half_life: f64,
    tuning: Option<Tuning>,
    /// Slots with their places, leaves or not.
    listed: HashMap<u32, (f64, bool)>,
}

impl Model {
    pub(super) fn with_half_life(half_life: u32) -> Self {
        Self {
            places: Places::new(),
            half_life: f64::from(half_life),
            tuning: None,
            listed: HashMap::new(),
        }
    }

    /// Creates a model that is tuned by miniatures of `small` blocks.
    pub(super) fn tuned(blocks: usize, small: usize) -> Self {
        Self {
            places: Places::new(),
            half_life: 0.3125 * blocks as f64,
            tuning: Some(Tuning {
                blocks,
                shorter: Pool::new(small),
                longer: Pool::new(small),
                batch: Vec::new(),
                hits: Vec::new(),
            }),
            listed: HashMap::new(),
        }
    }

    pub(super) fn half_life(&self) -> f64 {
        self.half_life
    }

    pub(super) fn list(&mut self, slot: u32, tag: Tag, leaf: bool) {
        let place = self.places.count(tag, self.half_life);
        self.listed.insert(slot, (place, leaf));
        if let Some(tuning) = &mut self.tuning {
            self.half_life = tuning.count(tag, self.half_life);
        }
    }

    pub(super) fn unlist(&mut self, slot: u32) {
        self.listed.remove(&slot);
    }

    pub(super) fn is_listed(&self, slot: u32) -> bool {
        self.listed.contains_key(&slot)
    }

    pub(super) fn is_leaf(&self, slot: u32) -> bool {
        self.listed.get(&slot).is_some_and(|&(_, leaf)| leaf)
    }

    pub(super) fn set_leaf(&mut self, slot: u32, leaf: bool) {
        self.listed.get_mut(&slot).expect("it is listed").1 = leaf;
    }

    /// If places are too close for numbers to tell them apart, the smallest slot.
    pub(super) fn first(&self) -> Option<u32> {
        (self.listed.iter())
            .filter(|(_, (_, leaf))| *leaf)
            .min_by(|(a, (x, _)), (b, (y, _))| x.total_cmp(y).then(a.cmp(b)))
            .map(|(&slot, _)| slot)
    }
}
