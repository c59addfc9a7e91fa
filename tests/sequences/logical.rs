//! Assignments of guards, compared with the reference.
//!
//! If duplicates are rejected, the reference keeps the primary's guard under the id of the
//! block that was freed. A separate test covers what this crate does instead.

use proptest::prelude::*;

/// The number of blocks of each manager.
const BLOCKS: usize = 12;

#[derive(Debug, Clone)]
enum Op {
    /// Adds this many allocated blocks.
    Extend(usize),
    /// Adds this many blocks of another manager, but only if some of their ids are present, so
    /// that they are refused. If added, they would break registrations.
    ExtendForeign(usize),
    /// Adds this many blocks that were registered before.
    ExtendAssigned(usize),
    /// Adds clones of this many assigned blocks, which are present already.
    ExtendClones(usize),
    /// Stages with token blocks from the first to the second index.
    Stage(usize, usize),
    /// Stages with token blocks of which one is too large.
    StageTooLarge(usize),
    Register,
    PopLast,
    TakeUnassigned,
    TakeStaged,
    TakeAssigned,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..5usize).prop_map(Op::Extend),
        1 => (1..5usize).prop_map(Op::ExtendForeign),
        2 => (0..4usize).prop_map(Op::ExtendAssigned),
        1 => (1..3usize).prop_map(Op::ExtendClones),
        4 => (0..6usize, 0..6usize).prop_map(|(a, b)| Op::Stage(a.min(b), a.max(b))),
        1 => (0..4usize).prop_map(Op::StageTooLarge),
        4 => Just(Op::Register),
        1 => Just(Op::PopLast),
        1 => Just(Op::TakeUnassigned),
        1 => Just(Op::TakeStaged),
        1 => Just(Op::TakeAssigned),
        1 => Just(Op::Clear),
    ]
}

#[derive(Clone)]
struct Tier;

macro_rules! side {
    ($name:ident, $krate:ident) => {
        mod $name {
            use super::*;
            use $krate::blocks::{BlockDuplicationPolicy, BlockError};
            use $krate::{
                BlockManager, BlockRegistry, BlockSequence, ImmutableBlock,
                LogicalBlockAssignmentError as Error, LogicalBlockAssignments, MutableBlock,
            };

            fn manager() -> BlockManager<Tier> {
                BlockManager::builder()
                    .block_count(BLOCKS)
                    .block_size(4)
                    .duplication_policy(BlockDuplicationPolicy::Allow)
                    .registry(BlockRegistry::new())
                    .with_lru_backend()
                    .build()
                    .unwrap()
            }

            /// Describes an error and the blocks that it returns.
            fn refused(
                error: Error<Tier>,
            ) -> (String, Vec<MutableBlock<Tier>>, Vec<ImmutableBlock<Tier>>) {
                let text = error.to_string();
                match error {
                    Error::DuplicateBlockId { blocks, .. } => (text, blocks, Vec::new()),
                    Error::DuplicateAssignedBlockId { blocks, .. }
                    | Error::SequenceHashMismatch { blocks, .. } => (text, Vec::new(), blocks),
                }
            }

            pub fn run(ops: &[Op]) -> Vec<String> {
                let manager = manager();
                let foreign = self::manager();
                let mut shelf = manager.allocate_blocks(BLOCKS).unwrap();
                let mut foreign_shelf = foreign.allocate_blocks(BLOCKS).unwrap();
                let sequence = BlockSequence::new((0..24).collect(), 4, None);
                let large = BlockSequence::new((0..8).collect(), 8, None);
                // Registered blocks with contents that the sequence does not have.
                let others = BlockSequence::new((100..112).collect(), 4, None);
                let mut registered: Vec<_> = shelf
                    .drain(..3)
                    .zip(others.blocks())
                    .map(|(block, tokens)| manager.register_block(block.complete(tokens).unwrap()))
                    .collect();

                let mut all = LogicalBlockAssignments::<Tier>::new();
                let mut seen = Vec::new();
                for op in ops {
                    let answer = match *op {
                        Op::Extend(count) => {
                            let count = count.min(shelf.len());
                            match all.extend_blocks(shelf.drain(..count)) {
                                Ok(count) => count.to_string(),
                                Err(error) => {
                                    let (text, blocks, _) = refused(error);
                                    format!("{text}, {} back", blocks.len())
                                }
                            }
                        }
                        Op::ExtendForeign(count) => {
                            let blocks = &foreign_shelf[..count.min(foreign_shelf.len())];
                            if blocks.iter().any(|block| all.contains(&block.block_id())) {
                                let blocks: Vec<_> = foreign_shelf.drain(..blocks.len()).collect();
                                let error = all.extend_blocks(blocks).unwrap_err();
                                let (text, blocks, _) = refused(error);
                                let back: Vec<_> =
                                    blocks.iter().map(|block| block.block_id()).collect();
                                foreign_shelf.splice(..0, blocks);
                                format!("{text}, {back:?} back")
                            } else {
                                String::new()
                            }
                        }
                        Op::ExtendAssigned(count) => {
                            let count = count.min(registered.len());
                            match all.extend_assigned(registered.drain(..count)) {
                                Ok(count) => count.to_string(),
                                Err(error) => {
                                    let (text, _, blocks) = refused(error);
                                    format!("{text}, {} back", blocks.len())
                                }
                            }
                        }
                        Op::ExtendClones(count) => {
                            let clones: Vec<_> = (all.assigned_iter().take(count))
                                .map(|(_, block)| block.clone())
                                .collect();
                            if clones.is_empty() {
                                String::new()
                            } else {
                                let error = all.extend_assigned(clones).unwrap_err();
                                let (text, _, blocks) = refused(error);
                                format!("{text}, {} back", blocks.len())
                            }
                        }
                        Op::Stage(start, end) => {
                            format!("{:?}", all.stage(&sequence.blocks()[start..end]).unwrap())
                        }
                        Op::StageTooLarge(before) => {
                            let mut tokens = sequence.blocks()[..before].to_vec();
                            tokens.extend_from_slice(large.blocks());
                            match all.stage(&tokens) {
                                Ok(count) => count.to_string(),
                                Err(BlockError::BlockSizeMismatch {
                                    expected,
                                    actual,
                                    block,
                                }) => {
                                    format!("{expected} {actual} {}", block.block_id())
                                }
                            }
                        }
                        Op::Register => all.register(&manager).to_string(),
                        Op::PopLast => {
                            let popped = all.pop_last_unassigned();
                            let id = popped.as_ref().map(|(id, _)| *id);
                            shelf.extend(popped.map(|(_, block)| block));
                            format!("{id:?}")
                        }
                        Op::TakeUnassigned => {
                            let taken = all.take_unassigned();
                            let ids: Vec<_> = taken.iter().map(|(id, _)| *id).collect();
                            shelf.extend(taken.into_iter().map(|(_, block)| block));
                            format!("{ids:?}")
                        }
                        Op::TakeStaged => {
                            let taken = all.take_staged();
                            let ids: Vec<_> = taken.iter().map(|(id, _)| *id).collect();
                            shelf.extend(taken.into_iter().map(|(_, block)| block.reset()));
                            format!("{ids:?}")
                        }
                        Op::TakeAssigned => {
                            let taken = all.take_assigned();
                            let ids: Vec<_> = taken.iter().map(|(id, _)| *id).collect();
                            registered.extend(taken.into_iter().map(|(_, block)| block));
                            format!("{ids:?}")
                        }
                        Op::Clear => {
                            all.clear();
                            String::new()
                        }
                    };
                    let at: Vec<_> = (0..BLOCKS)
                        .map(|at| {
                            (
                                all.get_unassigned(at).map(|(id, b)| (*id, b.block_id())),
                                all.get_staged(at).map(|(id, b)| (*id, b.sequence_hash())),
                                all.get_assigned(at)
                                    .map(|(id, b)| (*id, b.block_id(), b.sequence_hash())),
                                all.contains(&at),
                            )
                        })
                        .collect();
                    let iterated = (
                        all.unassigned_iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                        all.staged_iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                        all.assigned_iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                        all.all_block_ids().copied().collect::<Vec<_>>(),
                    );
                    seen.push(format!(
                        "{op:?}: {answer}\n{all:?} {} {} {} {}\n{iterated:?}\n{at:?}\n{}",
                        all.is_empty(),
                        all.unassigned_count(),
                        all.staged_count(),
                        all.assigned_count(),
                        manager.available_blocks(),
                    ));
                }
                seen
            }
        }
    };
}

side!(ours, kvbm_lockfree);
side!(reference, kvbm_logical);

proptest! {
    #[test]
    fn guards_are_assigned_alike(ops in prop::collection::vec(op(), 1..40)) {
        prop_assert_eq!(ours::run(&ops), reference::run(&ops));
    }
}

#[test]
fn a_rejected_duplicate_leaves_the_primary_and_its_id() {
    use kvbm_lockfree::blocks::BlockDuplicationPolicy;
    use kvbm_lockfree::{BlockManager, BlockRegistry, BlockSequence, LogicalBlockAssignments};

    let manager = BlockManager::<Tier>::builder()
        .block_count(BLOCKS)
        .block_size(4)
        .duplication_policy(BlockDuplicationPolicy::Reject)
        .registry(BlockRegistry::new())
        .build()
        .unwrap();
    let sequence = BlockSequence::new((0..8).collect(), 4, None);
    let tokens = sequence.blocks();
    let primary = manager.allocate_blocks(1).unwrap().pop().unwrap();
    let primary = manager.register_block(primary.complete(&tokens[0]).unwrap());

    let mut all = LogicalBlockAssignments::new();
    all.extend_blocks(manager.allocate_blocks(3).unwrap())
        .ok()
        .unwrap();
    let freed: Vec<_> = all.unassigned_iter().map(|(id, _)| *id).collect();
    // Two blocks with the same content become the same block.
    let staged = [tokens[0].clone(), tokens[0].clone(), tokens[1].clone()];
    assert_eq!(all.stage(&staged).ok(), Some(3));
    assert_eq!(all.register(&manager), 3);
    let ids: Vec<_> = all.all_block_ids().copied().collect();
    assert_eq!(ids, [primary.block_id(), primary.block_id(), freed[2]]);
    assert!(
        all.assigned_iter()
            .all(|(id, block)| *id == block.block_id())
    );
    assert!(!all.contains(&freed[0]) && !all.contains(&freed[1]));

    // The freed blocks can be added again.
    let again = manager.allocate_blocks(2).unwrap();
    let again_ids: Vec<_> = again.iter().map(|block| block.block_id()).collect();
    assert_eq!(again_ids, freed[..2]);
    assert_eq!(all.extend_blocks(again).ok(), Some(2));
    assert_eq!(all.take_assigned().len(), 3);
    assert!(!all.contains(&primary.block_id()));
    assert!(again_ids.iter().all(|id| all.contains(id)));
}
