//! The operations that have only one method.

use std::hint::black_box;

use dynamo_tokens::PositionalLineageHash as SequenceHash;

use crate::data::Policy;
use crate::pool::{Pool, Shape};
use crate::workload::{BATCH, chain};

/// A request that is held, in a registry that tracks frequencies.
pub struct Guards<P: Pool> {
    pool: P,
    held: P::Held,
    weak: P::Weak,
    hashes: [SequenceHash; BATCH],
}

/// An operation, its name, and the number of blocks that it handles.
type Operation<P> = (&'static str, usize, fn(&Guards<P>));

impl<P: Pool> Guards<P> {
    pub const OPERATIONS: [Operation<P>; 5] = [
        ("clone + drop", 1, |at| P::clone_first(black_box(&at.held))),
        ("upgrade an active block + drop", 1, |at| {
            P::upgrade(black_box(&at.weak));
        }),
        ("touch", BATCH, |at| {
            at.hashes.iter().for_each(|&hash| at.pool.touch(hash));
        }),
        ("check_presence", BATCH, |at| {
            at.pool.check_presence(black_box(&at.hashes));
        }),
        ("scan_matches, active", BATCH, |at| {
            at.pool.scan(black_box(&at.hashes));
        }),
    ];

    pub fn new(blocks: usize) -> Self {
        let shape = Shape {
            is_tracked: true,
            ..Shape::new(Policy::Lru, blocks)
        };
        let pool = P::new(shape);
        let hashes = chain(1);
        let held = pool.request(&hashes);
        let weak = P::downgrade_first(&held);
        Self {
            pool,
            held,
            weak,
            hashes,
        }
    }
}
