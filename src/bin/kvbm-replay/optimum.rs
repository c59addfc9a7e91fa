//! The offline optimum: the hits of a pool that knows all future requests.
//!
//! Victims are chosen by Belady's rule (MIN): evict the inactive block whose next use is farthest in
//! the future, and among blocks with the same next use the deepest. Everything else is as in
//! [`replay`](crate::replay) with one thread: the requests in flight, the drops that make room, the
//! refusals, and what is counted.
//!
//! # Does it matter that a policy may evict only leaves?
//!
//! No. A request that uses a block uses all blocks before it, so the next use of a block is never
//! later than that of any block behind it, and ties go to the deeper block. Hence no block is
//! evicted before the inactive blocks behind it, and the cache always consists of whole prefixes.
//!
//! # What does it bound?
//!
//! Consider the time between two consecutive uses of a block as an interval, which ends in a hit if
//! the block is kept throughout. At any time, the kept intervals and the blocks in flight must fit
//! into the pool. Where they do not, giving up the interval that ends last leaves the most room for
//! what follows, so no other choice of victims yields more hits. This holds if every request finds
//! room. The optimum then bounds every policy that caches what it serves and nothing before it is
//! requested.
//!
//! # What does it not bound?
//!
//! * *Several threads.* They serve the requests in a different order, which may allow more hits.
//! * *Pools barely large enough for the requests in flight.* A refused request may hit blocks but
//!   fills none, so a bound would have to choose which chains of uses to give up. And a policy that
//!   evicts blocks in front of cached ones caches some content twice; it may have to drop held
//!   requests earlier, and may then evict their blocks. In such pools the optimum is a good
//!   ceiling, but not a proven one.

use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::replay::Counts;
use crate::workload::Workload;

/// The next use of a block that is never used again.
const NEVER: u32 = u32::MAX;

/// A workload in which each use of a block is annotated with the next.
pub struct Future {
    /// The uses of all requests, concatenated.
    uses: Vec<Use>,
    /// The index at which the uses of each request end.
    ends: Vec<usize>,
    distinct_blocks: usize,
}

/// A request's use of a block.
#[derive(Clone, Copy)]
struct Use {
    /// The block; blocks are numbered in the order of their first use.
    block: u32,
    /// The index of the next request that uses it, or [`NEVER`].
    next: u32,
}

impl Future {
    /// Computes the next uses in a workload, which are the same for all pool sizes.
    pub fn of(workload: &Workload) -> Self {
        let mut numbers = HashMap::with_capacity(workload.summary().distinct_blocks);
        let mut uses: Vec<Use> = Vec::with_capacity(workload.summary().blocks_requested);
        let mut ends = Vec::with_capacity(workload.requests());
        // The index of the last use of each block.
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

    /// Returns the counts of a run in a pool of `blocks` blocks with `in_flight` requests in flight
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

/// The state of a block.
#[derive(Clone, Copy, Default)]
struct Block {
    cached: bool,
    /// The number of requests that hold it.
    pins: u32,
    next_use: u32,
}

/// An inactive block, ordered for eviction: the greatest is evicted first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    next_use: u32,
    /// The number of blocks before it in its request.
    depth: u32,
    block: u32,
}

struct Pool<'a> {
    future: &'a Future,
    size: usize,
    blocks: Vec<Block>,
    cached: usize,
    /// The number of blocks with pins.
    active: usize,
    /// The inactive blocks, plus former candidates that have been used since.
    ///
    /// The next use of a former candidate has passed. It therefore compares less than all inactive
    /// blocks, and is never chosen as a victim.
    candidates: BinaryHeap<Candidate>,
    /// The requests in flight, oldest first.
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

    /// Releases the blocks of a request, or its first blocks.
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

    /// Keeps the heap smaller than twice the pool, at constant amortized cost per candidate.
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

    /// Generates a few short requests over a small tree of blocks.
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

    /// An exhaustive search over all choices of victims, including blocks in front of cached ones.
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

        /// Returns the maximum number of hits from `request` on, given the cached blocks and the
        /// held requests.
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
        // The second request extends the first; the third needs room; the fourth finds what the
        // third left of the first two in the cache; the fifth does not fit, but its hits count.
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
            // From a size at which two requests in flight are never refused, up to all blocks.
            let smallest = 2 * largest_request;
            let sizes = [smallest, 2 * smallest, distinct_blocks / 2, distinct_blocks];
            for blocks in sizes {
                let optimum = future.replay(blocks, 2);
                assert_eq!(optimum.refusals, 0);
                for policy in Policy::all() {
                    let setup = Setup {
                        policy,
                        blocks,
                        threads: 1,
                        takes_turns: false,
                        in_flight: 2,
                        lrfu_half_life: None,
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
