//! A caller of a pool: the compared operations, through the methods that both crates have, and
//! through those that return no vectors.

use std::hint::black_box;

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use kvbm_lockfree::{BlockManager, ImmutableBlock, MutableBlock};

use crate::pool::{Pool, Shape, Tier};

/// The operations. Each drops its results, except [`hold`](Self::hold).
pub trait Caller {
    type Held;

    fn new(shape: Shape) -> Self;
    fn allocate(&mut self, count: usize);
    fn match_blocks(&mut self, hashes: &[SequenceHash]);
    /// Matches a request, and allocates, stages and registers what is missing.
    fn request(&mut self, hashes: &[SequenceHash]);
    /// Like [`request`](Self::request), but keeps the blocks.
    fn hold(&mut self, hashes: &[SequenceHash]) -> Self::Held;
}

/// Uses the methods that both crates have.
pub struct DropIn<P>(pub P);

impl<P: Pool> Caller for DropIn<P> {
    type Held = P::Held;

    fn new(shape: Shape) -> Self {
        Self(P::new(shape))
    }

    fn allocate(&mut self, count: usize) {
        self.0.allocate(count);
    }

    fn match_blocks(&mut self, hashes: &[SequenceHash]) {
        drop(black_box(self.0.match_blocks(hashes)));
    }

    fn request(&mut self, hashes: &[SequenceHash]) {
        drop(black_box(self.0.request(hashes)));
    }

    fn hold(&mut self, hashes: &[SequenceHash]) -> P::Held {
        self.0.request(hashes)
    }
}

/// Uses this crate's methods that fill the caller's buffers.
pub struct Own {
    manager: BlockManager<Tier>,
    fresh: Vec<MutableBlock<Tier>>,
    held: Vec<ImmutableBlock<Tier>>,
}

impl Own {
    /// Serves a request and puts its blocks into `held`.
    fn admit(&mut self, hashes: &[SequenceHash]) {
        let missing = &hashes[self.manager.match_into(hashes, &mut self.held)..];
        assert!(self.manager.allocate_into(missing.len(), &mut self.fresh));
        let staged = (self.fresh.drain(..).zip(missing))
            .map(|(block, &hash)| block.stage(hash, 16).expect("of this size"));
        self.manager.register_into(staged, &mut self.held);
    }
}

impl Caller for Own {
    type Held = Vec<ImmutableBlock<Tier>>;

    fn new(shape: Shape) -> Self {
        Self {
            manager: Pool::new(shape),
            fresh: Vec::new(),
            held: Vec::new(),
        }
    }

    fn allocate(&mut self, count: usize) {
        if count == 1 {
            drop(black_box(self.manager.allocate_one()).expect("the pool is large"));
        } else {
            assert!(self.manager.allocate_into(count, &mut self.fresh));
            self.manager.free_from(&mut self.fresh);
        }
    }

    fn match_blocks(&mut self, hashes: &[SequenceHash]) {
        self.manager.match_into(hashes, &mut self.held);
        self.manager.release_from(&mut self.held);
    }

    fn request(&mut self, hashes: &[SequenceHash]) {
        self.admit(hashes);
        self.manager.release_from(&mut self.held);
    }

    fn hold(&mut self, hashes: &[SequenceHash]) -> Self::Held {
        self.admit(hashes);
        std::mem::take(&mut self.held)
    }
}
