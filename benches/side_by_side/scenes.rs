//! The measured operations and their scenes.

use std::sync::LazyLock;

use crate::Case;
use crate::caller::Caller;
use crate::workload::{BATCH, Requests, chain, long_chain};

/// An operation and its scene.
pub trait Scene {
    const NAME: &'static str;

    /// Creates the scene. Every call of the result handles one batch.
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

/// Allocates from a pool whose blocks are all free.
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
        /// A prime, so that the chains are visited in turn, each far from the previous one.
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
            // Creating the hashes is included in the time, for every method.
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
        // When the list starts over, the pool has long evicted what no other request has.
        static REQUESTS: LazyLock<Requests> = LazyLock::new(|| Requests::new(20_000, 1));
        let mut caller = full::<C>(case);
        let mut requests = REQUESTS.hashes.iter().cycle();
        move || caller.request(requests.next().expect("it has no end"))
    }
}
