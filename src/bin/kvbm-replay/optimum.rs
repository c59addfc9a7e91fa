//! The offline optimum: the hits of a pool that knows all requests to come.
//!
//! Eviction by Belady's rule (MIN): the victim is the inactive block whose next use is farthest,
//! and the deepest of those whose next use is the same. Everything else is as in
//! [`replay`](crate::replay) with one thread: the window, the drops that make room, the refusals,
//! and what is counted.
//!
//! # Leaves only, without being told
//!
//! Whoever uses a block uses all blocks before it, so the next use of a block is never farther
//! than that of a block behind it, and of two with the same next use the deeper one goes first.
//! Hence no block is evicted before the inactive blocks behind it, what is cached are whole
//! prefixes, and it makes no difference to the optimum whether only leaves may be evicted.
//!
//! # What it bounds
//!
//! Think of the time from one use of a block to the next as an interval, which ends in a hit if
//! the block is kept throughout. At any time the kept intervals and the blocks in flight must fit
//! into the pool. Wherever they do not, giving up the interval that ends last leaves most room for
//! what follows, so that no other choice of victims has more hits. This holds where every request
//! finds room. Then it bounds every policy that caches what it serves and nothing before it is
//! asked for.
//!
//! It is about requests in the order of the list. Several threads serve them in another one, in
//! which there may be more hits.
//!
//! Two more things are outside of the argument, and both need a pool that is hardly larger than what
//! is in flight. A refused request may hit blocks but fills none, so that a bound would have to
//! choose which chains of uses to give up; and a policy that evicts blocks in front of cached ones
//! caches some contents twice, and may have to drop held requests earlier, whose blocks it may
//! then evict. There it is a good ceiling, and not a proven one.

use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::replay::Counts;
use crate::workload::Workload;

/// The next use of a block that is not used again.
const NEVER: u32 = u32::MAX;

/// A workload in which each use of a block knows the next one.
pub struct Future {
    /// The uses of all requests, one after the other.
    uses: Vec<Use>,
    /// Where the uses of each request end.
    ends: Vec<usize>,
    distinct_blocks: usize,
}

/// A request's use of a block.
#[derive(Clone, Copy)]
struct Use {
    /// The block, numbered by first appearance.
    block: u32,
    /// The index of the next request that uses it, or [`NEVER`].
    next: u32,
}

impl Future {
    /// Looks ahead in a workload, which is the same for all pool sizes.
    pub fn of(workload: &Workload) -> Self {
        let mut numbers = HashMap::with_capacity(workload.summary().distinct_blocks);
        let mut uses: Vec<Use> = Vec::with_capacity(workload.summary().blocks_requested);
        let mut ends = Vec::with_capacity(workload.requests());
        // Where each block was used last.
        let mut last: Vec<usize> = Vec::new();
        for request in 0..workload.requests() {
            for &hash in workload.request(request) {
                let block = match numbers.entry(hash) {
                    Entry::Occupied(number) => {
                        let block: u32 = *number.get();
                        uses[last[block as usize]].next = number_of(request);
                        last[block as usize] = uses.len();
                        block
                    }
                    Entry::Vacant(number) => {
                        last.push(uses.len());
                        *number.insert(number_of(last.len() - 1))
                    }
                };
                uses.push(Use { block, next: NEVER });
            }
            ends.push(uses.len());
        }
        Self {
            uses,
            ends,
            distinct_blocks: numbers.len(),
        }
    }

    /// What the requests amount to in a pool of `blocks` blocks with `in_flight` requests held,
    /// if every victim is chosen by its next use.
    pub fn replay(&self, blocks: usize, in_flight: usize) -> Counts {
        let mut pool = Pool::new(self, blocks);
        for request in 0..self.ends.len() {
            while pool.held.len() >= in_flight {
                pool.drop_oldest();
            }
            pool.handle(request);
        }
        pool.counts
    }

    fn request(&self, index: usize) -> &[Use] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.uses[start..self.ends[index]]
    }
}

fn number_of(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 requests and blocks fit into memory")
}

/// What the pool knows of a block.
#[derive(Clone, Copy, Default)]
struct Block {
    cached: bool,
    /// Requests that hold it.
    pins: u32,
    next_use: u32,
}

/// An inactive block in the order of eviction: the greatest goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    next_use: u32,
    /// The blocks before it.
    depth: u32,
    block: u32,
}

struct Pool<'a> {
    future: &'a Future,
    size: usize,
    blocks: Vec<Block>,
    cached: usize,
    /// Blocks with pins.
    active: usize,
    /// The inactive blocks, and former candidates that have been used since.
    ///
    /// The next use of the latter has come, so they are smaller than those of all inactive blocks
    /// and no victim is found among them.
    candidates: BinaryHeap<Candidate>,
    /// The requests in flight, the oldest first.
    held: VecDeque<usize>,
    counts: Counts,
}

impl<'a> Pool<'a> {
    fn new(future: &'a Future, size: usize) -> Self {
        Self {
            future,
            size,
            blocks: vec![Block::default(); future.distinct_blocks],
            cached: 0,
            active: 0,
            candidates: BinaryHeap::new(),
            held: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    fn handle(&mut self, request: usize) {
        let uses = self.future.request(request);
        let is_hit = |usage: &&Use| self.blocks[usage.block as usize].cached;
        let hits = uses.iter().take_while(is_hit).count();
        let missing = uses.len() - hits;
        self.counts.requested += uses.len() as u64;
        self.counts.hits += hits as u64;

        uses[..hits].iter().for_each(|usage| self.pin(usage));
        while missing > self.size - self.active {
            if self.held.is_empty() {
                self.counts.refusals += 1;
                self.unpin(&uses[..hits]);
                return;
            }
            self.drop_oldest();
        }
        self.forget_former_candidates(request);
        while missing > self.size - self.cached {
            self.evict();
        }
        uses[hits..].iter().for_each(|usage| self.pin(usage));
        self.held.push_back(request);
    }

    fn pin(&mut self, usage: &Use) {
        let block = &mut self.blocks[usage.block as usize];
        self.cached += usize::from(!block.cached);
        self.active += usize::from(block.pins == 0);
        block.cached = true;
        block.pins += 1;
        block.next_use = usage.next;
    }

    fn drop_oldest(&mut self) {
        if let Some(request) = self.held.pop_front() {
            self.unpin(self.future.request(request));
        }
    }

    /// Releases the first blocks of a request.
    fn unpin(&mut self, uses: &[Use]) {
        for (depth, usage) in uses.iter().enumerate() {
            let block = &mut self.blocks[usage.block as usize];
            block.pins -= 1;
            if block.pins == 0 {
                self.active -= 1;
                self.candidates.push(Candidate {
                    next_use: block.next_use,
                    depth: number_of(depth),
                    block: usage.block,
                });
            }
        }
    }

    /// Keeps the heap within twice the pool, at a constant cost for each candidate.
    fn forget_former_candidates(&mut self, now: usize) {
        if self.candidates.len() > 2 * self.size {
            let now = number_of(now);
            self.candidates.retain(|candidate| candidate.next_use > now);
        }
    }

    fn evict(&mut self) {
        let victim = self
            .candidates
            .pop()
            .expect("what is cached and not active is a candidate");
        let block = &mut self.blocks[victim.block as usize];
        debug_assert!(block.cached && block.pins == 0);
        block.cached = false;
        self.cached -= 1;
        self.counts.evictions += 1;
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::policy::Policy;
    use crate::replay::{Setup, replay};
    use crate::synthetic::Service;
    use crate::workload::{Builder, Summary, block_hash};

    /// A few short requests over a small tree.
    fn tiny(rng: &mut StdRng, longest: usize) -> Workload {
        let mut builder = Builder::new(16);
        for _ in 0..rng.random_range(5..=11) {
            let path: Vec<u64> = (0..rng.random_range(1..=longest))
                .map(|depth| rng.random_range(0..if depth == 0 { 3 } else { 2 }))
                .collect();
            builder.push(path);
        }
        builder.finish().unwrap()
    }

    /// All choices of victims, inactive blocks before cached ones included.
    struct Choices<'a> {
        future: &'a Future,
        size: u32,
        in_flight: usize,
        known: HashMap<(usize, u64, Vec<usize>), u64>,
    }

    impl Choices<'_> {
        fn contents(&self, requests: impl IntoIterator<Item = usize>) -> u64 {
            requests
                .into_iter()
                .flat_map(|request| self.future.request(request))
                .fold(0, |set, usage| set | 1 << usage.block)
        }

        /// The most hits from `request` on, with these blocks cached and these requests held.
        fn most_hits(&mut self, request: usize, cached: u64, mut held: Vec<usize>) -> u64 {
            if request == self.future.ends.len() {
                return 0;
            }
            let state = (request, cached, held.clone());
            if let Some(&hits) = self.known.get(&state) {
                return hits;
            }
            held.drain(..held.len().saturating_sub(self.in_flight - 1));
            let uses = self.future.request(request).iter();
            let hits = uses.take_while(|usage| cached >> usage.block & 1 == 1);
            let hits = hits.count() as u64;
            let asked = self.contents([request]);
            while (self.contents(held.iter().copied()) | asked).count_ones() > self.size
                && !held.is_empty()
            {
                held.remove(0);
            }
            let active = self.contents(held.iter().copied()) | asked;
            let rest = if active.count_ones() > self.size {
                self.most_hits(request + 1, cached, Vec::new())
            } else {
                held.push(request);
                let room = self.size - active.count_ones();
                let inactive = cached & !active;
                let kept = subsets(inactive)
                    .filter(|kept| kept.count_ones() == room.min(inactive.count_ones()));
                let hits =
                    kept.map(|kept| self.most_hits(request + 1, active | kept, held.clone()));
                hits.max().expect("at least the empty set is kept")
            };
            self.known.insert(state, hits + rest);
            hits + rest
        }
    }

    fn subsets(set: u64) -> impl Iterator<Item = u64> {
        let mut next = Some(set);
        std::iter::from_fn(move || {
            let subset = next?;
            next = (subset != 0).then(|| (subset - 1) & set);
            Some(subset)
        })
    }

    fn brute_force(future: &Future, size: usize, in_flight: usize) -> u64 {
        let mut choices = Choices {
            future,
            size: u32::try_from(size).unwrap(),
            in_flight,
            known: HashMap::new(),
        };
        choices.most_hits(0, 0, Vec::new())
    }

    #[test]
    fn no_choice_of_victims_has_more_hits() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut short_of_room = 0;
        for _ in 0..400 {
            let workload = tiny(&mut rng, 3);
            let future = Future::of(&workload);
            for (size, in_flight) in [(3, 1), (4, 1), (5, 2), (6, 2), (4, 3)] {
                let counts = future.replay(size, in_flight);
                assert_eq!(counts.refusals, 0);
                assert_eq!(counts.hits, brute_force(&future, size, in_flight));
                short_of_room += u64::from(counts.evictions > 0);
            }
        }
        assert!(short_of_room > 1000, "{short_of_room}");
    }

    #[test]
    fn only_where_requests_are_refused_a_choice_may_have_more_hits() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut exceeded = 0;
        for _ in 0..400 {
            let workload = tiny(&mut rng, 5);
            let future = Future::of(&workload);
            let counts = future.replay(4, 1);
            let most_hits = brute_force(&future, 4, 1);
            assert!(counts.hits <= most_hits);
            if counts.hits < most_hits {
                assert!(counts.refusals > 0);
                exceeded += 1;
            }
        }
        assert!(exceeded > 0);
    }

    #[test]
    fn counts_as_the_replay_does() {
        // The second request extends the first, the third needs room, the fourth finds what the
        // first two left, the fifth does not fit, and its hits count.
        let mut builder = Builder::new(16);
        for (owner, blocks) in [(1, 3), (1, 4), (2, 5), (1, 4), (1, 9)] {
            builder.push((0..blocks).map(|index| block_hash(owner, index)));
        }
        let future = Future::of(&builder.finish().unwrap());
        let expected = Counts {
            requested: 25,
            hits: 3 + 3 + 4,
            evictions: 1 + 1,
            refusals: 1,
        };
        assert_eq!(future.replay(8, 1), expected);
    }

    #[test]
    fn every_policy_stays_below_it() {
        for service in Service::value_variants() {
            let workload = service.generate(5, 250, 32).unwrap();
            let future = Future::of(&workload);
            let Summary {
                distinct_blocks,
                largest_request,
                ..
            } = workload.summary();
            // As small as two requests in flight allow without refusals, and up to all blocks.
            let smallest = 2 * largest_request;
            let sizes = [smallest, 2 * smallest, distinct_blocks / 2, distinct_blocks];
            for blocks in sizes {
                let optimum = future.replay(blocks, 2);
                assert_eq!(optimum.refusals, 0);
                for &policy in Policy::ALL {
                    let setup = Setup {
                        policy,
                        blocks,
                        threads: 1,
                        in_flight: 2,
                    };
                    let counts = replay(&workload, &setup, &mut |_| ()).unwrap().counts;
                    let run = format!("{policy}, {blocks} blocks, {}", service.name());
                    assert_eq!(counts.requested, optimum.requested, "{run}");
                    assert!(counts.hits <= optimum.hits, "{run}");
                    if blocks == distinct_blocks {
                        assert_eq!(counts, optimum, "{run}");
                    } else {
                        assert!(optimum.evictions > 0, "{run}");
                    }
                }
            }
        }
    }
}
