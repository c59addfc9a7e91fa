//! The operations that are measured, and what each finds.

use std::sync::LazyLock;

use crate::Case;
use crate::caller::Caller;
use crate::workload::{BATCH, Requests, chain, long_chain};

/// An operation in its surroundings.
pub trait Scene {
    const NAME: &'static str;

    /// Sets the scene. Every call of the result handles a batch.
    fn turns<C: Caller>(case: Case) -> impl FnMut();
}

/// Fills the pool with inactive blocks.
fn full<C: Caller>(case: Case) -> C {
    let mut caller = C::new(case.shape);
    for number in 0..case.shape.blocks.div_ceil(BATCH) as u64 {
        caller.request(&chain(u64::MAX - number));
    }
    caller
}

/// From a pool whose blocks are all free.
pub struct Allocate;

impl Scene for Allocate {
    const NAME: &'static str = "allocate + drop";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = C::new(case.shape);
        caller.allocate(case.shape.blocks);
        move || caller.allocate(case.batch)
    }
}

pub struct Active;

impl Scene for Active {
    const NAME: &'static str = "match active + drop";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = C::new(case.shape);
        let hashes = long_chain(1, case.batch);
        let held = caller.hold(&hashes);
        move || {
            let _held = &held;
            caller.match_blocks(&hashes);
        }
    }
}

pub struct Inactive;

impl Scene for Inactive {
    const NAME: &'static str = "match inactive + drop";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = C::new(case.shape);
        let hashes = long_chain(1, case.batch);
        caller.request(&hashes);
        move || caller.match_blocks(&hashes)
    }
}

pub struct Half;

impl Scene for Half {
    const NAME: &'static str = "match, half inactive, half missing";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = C::new(case.shape);
        let hashes = long_chain(1, case.batch);
        caller.request(&hashes[..case.batch / 2]);
        move || caller.match_blocks(&hashes)
    }
}

pub struct Miss;

impl Scene for Miss {
    const NAME: &'static str = "match, a miss";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = full::<C>(case);
        let hashes = long_chain(1, case.batch);
        move || caller.match_blocks(&hashes)
    }
}

pub struct Cold;

impl Scene for Cold {
    const NAME: &'static str = "match cold inactive + drop";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        /// Prime, so that all chains have their turn, one far from the other.
        const STRIDE: usize = 7_919;
        let mut caller = full::<C>(case);
        let last = case.shape.blocks / BATCH;
        let chains: Vec<_> = (0..last as u64)
            .map(|number| chain(u64::MAX - number))
            .collect();
        let mut at = 0;
        move || {
            at = (at + STRIDE) % chains.len();
            caller.match_blocks(&chains[at]);
        }
    }
}

pub struct Lifecycle;

impl Scene for Lifecycle {
    const NAME: &'static str = "lifecycle under eviction";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        let mut caller = full::<C>(case);
        let mut number = 0;
        move || {
            number += 1;
            // The making of the hashes is measured too, on every side.
            if case.batch == BATCH {
                caller.request(&chain(number));
            } else {
                caller.request(&long_chain(number, case.batch));
            }
        }
    }
}

pub struct Mixed;

impl Scene for Mixed {
    const NAME: &'static str = "mixed requests";

    fn turns<C: Caller>(case: Case) -> impl FnMut() {
        // When the list comes round the pool has long forgotten what no other
        // request has.
        static REQUESTS: LazyLock<Requests> = LazyLock::new(|| Requests::new(20_000, 1));
        let mut caller = full::<C>(case);
        let mut requests = REQUESTS.hashes.iter().cycle();
        move || caller.request(requests.next().expect("it has no end"))
    }
}
