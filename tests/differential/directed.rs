//! Cases that random generation rarely produces, each run in both crates.

use dynamo_tokens::PositionalLineageHash;

#[derive(Clone)]
struct Tier;

/// Evaluates `$body` with each crate as `$krate`, and returns both results.
macro_rules! both {
    (|$krate:ident| $body:block) => {{
        let ours = {
            use kvbm_lockfree as $krate;
            $body
        };
        let reference = {
            use kvbm_logical as $krate;
            $body
        };
        (ours, reference)
    }};
}

fn chain(length: u64) -> Vec<PositionalLineageHash> {
    (0..length)
        .map(|at| PositionalLineageHash::new(100 + at, at.checked_sub(1).map(|at| 100 + at), at))
        .collect()
}

/// A middle block is released and matched again, and only then are its parent and its child
/// released. The child knows that its parent is in use, but not that it was ever inactive, so
/// nothing shields the grandparent. If the middle block's release were applied together with the
/// later ones, something would.
#[test]
fn a_release_that_was_undone_is_not_undone_later() {
    let chain = chain(3);
    let (ours, reference) = both!(|krate| {
        let manager = krate::BlockManager::<Tier>::builder()
            .block_count(3)
            .block_size(16)
            .registry(krate::BlockRegistry::new())
            .with_lineage_backend()
            .build()
            .unwrap();
        let staged = manager
            .allocate_blocks(3)
            .unwrap()
            .into_iter()
            .zip(&chain)
            .map(|(block, &hash)| block.stage(hash, 16).unwrap())
            .collect();
        let mut held = manager.register_blocks(staged);
        drop(held.remove(1));
        held.insert(1, manager.match_blocks(&chain).remove(1));
        let child = held.remove(2);
        drop(held.remove(0));
        drop(child);
        let _taken = manager.allocate_blocks(1).unwrap();
        chain
            .iter()
            .map(|&hash| manager.match_blocks_scattered(&[hash])[0].is_some())
            .collect::<Vec<bool>>()
    });
    assert_eq!(reference, [false, true, true]);
    assert_eq!(ours, reference);
}
