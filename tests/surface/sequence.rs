//! Block sequences and assignments.

use super::kvbm;
use dynamo_tokens::TokenBlockError;
use kvbm::sequence::{
    BlockSequence, BlockSequenceError, ExternalBlockAssignments, LogicalBlockAssignmentError,
    LogicalBlockAssignments, zip_assigned, zip_assigned_pending,
};
use kvbm::{BlockManager, BlockRegistry, SequenceHash};

#[derive(Debug, Clone)]
struct Tier;

fn external(said: &mut Vec<String>, sequence: &BlockSequence) {
    let blocks = sequence.blocks();
    let mut near = ExternalBlockAssignments::new(0);
    let mut far = ExternalBlockAssignments::new(1);
    say!(said, near.extend_block_ids([7, 8, 9]));
    say!(said, near.extend_block_ids([8, 7]));
    say!(said, near.unassigned_iter().collect::<Vec<_>>());
    say!(said, near.unassigned_count());
    say!(said, near.pending_positions());
    say!(said, near.get_pending_at_position(1));
    say!(said, near.stage_pending(&blocks[..1]));
    say!(said, near.staged_iter().collect::<Vec<_>>());
    say!(
        said,
        (
            near.staged_count(),
            near.staged_positions(),
            near.get_staged(0)
        )
    );
    say!(said, near.commit_staged());
    say!(said, near.assign_pending(blocks));
    say!(said, near.assigned_iter().collect::<Vec<_>>());
    say!(said, (near.assigned_count(), near.assigned_positions()));
    say!(said, (near.get_assigned(1), near.get_at_position(1)));
    say!(said, (near.contains(&7), near.contains(&1)));
    say!(said, (near.next_position(), near.offset()));
    let hash: SequenceHash = sequence.all_sequence_hashes()[1];
    say!(said, far.extend_assigned([(40, hash)]));
    say!(said, far.extend_block_ids([41]));
    say!(said, zip_assigned(&near, &far));
    say!(said, zip_assigned_pending(&near, &far));
    say!(
        said,
        (
            kvbm::zip_assigned(&far, &near),
            kvbm::zip_assigned_pending(&far, &near)
        )
    );
    say!(said, far.stage_pending(&blocks[2..]));
    say!(said, far.take_staged());
    near.clear();
    say!(said, near.next_position());

    let mut wrong = ExternalBlockAssignments::new(0);
    wrong.extend_block_ids([1, 2]).unwrap();
    match wrong.stage_pending(&blocks[1..]) {
        Err(BlockSequenceError::PositionMismatch {
            expected,
            actual,
            block_id,
        }) => say!(said, (expected, actual, block_id)),
        other => panic!("{other:?}"),
    }
    match wrong.extend_block_ids([3, 1]) {
        Err(BlockSequenceError::OrderingViolation {
            known_id,
            new_id,
            known_index,
            first_new_index,
        }) => say!(said, (known_id, new_id, known_index, first_new_index)),
        other => panic!("{other:?}"),
    }
    match wrong.extend_block_ids([4, 4]) {
        Err(BlockSequenceError::DuplicateBlockId { block_id }) => say!(said, block_id),
        other => say!(said, other),
    }
    // Tokens could not be added. No call provokes this error, so it is constructed.
    say!(
        said,
        BlockSequenceError::TokenExtension(TokenBlockError::Full).to_string()
    );
}

fn logical(said: &mut Vec<String>, sequence: &BlockSequence) {
    let manager = BlockManager::<Tier>::builder()
        .block_count(8)
        .block_size(4)
        .registry(BlockRegistry::new())
        .build()
        .unwrap();
    let blocks = sequence.blocks();
    let mut held = LogicalBlockAssignments::<Tier>::new();
    say!(said, held.is_empty());
    say!(
        said,
        held.extend_blocks(manager.allocate_blocks(4).unwrap())
            .unwrap()
    );
    say!(
        said,
        held.unassigned_iter()
            .map(|(id, block)| (*id, block.block_id()))
            .collect::<Vec<_>>()
    );
    say!(
        said,
        (
            held.unassigned_count(),
            held.get_unassigned(1).map(|(id, _)| *id)
        )
    );
    say!(said, held.pop_last_unassigned().map(|(id, _)| id));
    say!(said, held.stage(&blocks[..2]).unwrap());
    say!(
        said,
        held.staged_iter()
            .map(|(_, block)| block.sequence_hash())
            .collect::<Vec<_>>()
    );
    say!(
        said,
        (held.staged_count(), held.get_staged(0).map(|(id, _)| *id))
    );
    say!(said, held.register(&manager));
    say!(
        said,
        held.assigned_iter()
            .map(|(_, block)| block.sequence_hash())
            .collect::<Vec<_>>()
    );
    say!(
        said,
        (
            held.assigned_count(),
            held.get_assigned(1).map(|(id, _)| *id)
        )
    );
    say!(said, held.all_block_ids().collect::<Vec<_>>());
    say!(said, held.contains(&0));

    // The errors return the blocks.
    let again = manager.match_blocks(&sequence.all_sequence_hashes()[..1]);
    match held.extend_assigned(again) {
        Err(LogicalBlockAssignmentError::DuplicateBlockId { block_id, blocks }) => {
            say!(said, (block_id, blocks.len()));
        }
        Err(LogicalBlockAssignmentError::DuplicateAssignedBlockId { block_id, blocks }) => {
            say!(said, (block_id, blocks.len()));
        }
        Err(LogicalBlockAssignmentError::SequenceHashMismatch {
            position,
            expected,
            actual,
            blocks,
        }) => say!(said, (position, expected, actual, blocks.len())),
        Ok(count) => say!(said, count),
    }
    say!(said, held.stage(&blocks[2..]).is_ok());
    say!(said, held.take_staged().len());
    say!(said, held.take_unassigned().len());
    let taken = held.take_assigned();
    let mut other = LogicalBlockAssignments::default();
    say!(
        said,
        other
            .extend_assigned(taken.into_iter().map(|(_, block)| block))
            .unwrap()
    );
    other.clear();
    say!(said, manager.available_blocks());
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let mut sequence = BlockSequence::new((0..10).collect(), 4, Some(3));
    say!(
        said,
        (
            sequence.total_tokens(),
            sequence.block_size(),
            sequence.blocks().len()
        )
    );
    say!(said, sequence.append_token(10));
    say!(said, sequence.append_token(11));
    say!(said, sequence.extend_tokens((12..17).collect()));
    say!(said, sequence.all_sequence_hashes());
    say!(said, sequence.sequence().total_tokens());
    let short = BlockSequence::new((0..12).collect(), 4, Some(3));
    external(&mut said, &short);
    logical(&mut said, &short);
    said
}
