//! Tests of several of the registry's files together.

use std::sync::Arc;

use crate::key::testing::meeting_hashes;
use crate::sync::epoch;

use super::core::Core;
use super::leftovers::Leftovers;

/// `key::testing` says what these hashes have in common.
#[test]
fn hashes_chosen_to_meet_do_not() {
    const HASHES: usize = 100_000;
    let core = Arc::new(Core::new(None, None));
    let handles: Vec<_> = meeting_hashes(HASHES)
        .map(|hash| core.handle(core.key(hash), &mut Leftovers::new()).0)
        .collect();
    let buckets = core.entries.buckets();
    let mut lengths = vec![0_u32; buckets];
    core.entries.for_each(&epoch::pin(), |entry| {
        lengths[entry.key().keyed as usize & (buckets - 1)] += 1;
    });
    let longest = lengths.into_iter().max().unwrap();
    // 100,000 balls in 2^17 bins: the probability that any bin gets 30 is below 2^17 / 30! <
    // 10^-27.
    assert!(longest < 30, "{longest} in one bucket");
    drop(handles);
}
