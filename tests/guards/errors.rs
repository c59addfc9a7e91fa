//! Every error that can be made is made, and its documentation names those that cannot.
//!
//! The matches are exhaustive: a new variant must be made here, or listed as one that is never
//! returned.

use std::collections::BTreeSet;
use std::fmt::Debug;

use kvbm_lockfree::leases::LeaseError;
use kvbm_lockfree::manager::{BlockManagerBuilderError, BlockManagerResetError};
use kvbm_lockfree::registry::AttachmentError;
use kvbm_lockfree::{
    ApplyError, BlockError, BlockManager, BlockRegistry, BlockSequence, BlockSequenceError,
    ExternalBlockAssignments, LogicalBlockAssignmentError, LogicalBlockAssignments,
    SchedulableSequence, ScheduleError, SequenceHash,
};

fn hash() -> SequenceHash {
    SequenceHash::root(1)
}

fn manager() -> BlockManager<()> {
    BlockManager::builder()
        .block_count(4)
        .block_size(4)
        .registry(BlockRegistry::new())
        .build()
        .unwrap()
}

/// Checks that `made` are all `variants` but those that are never `returned`.
fn require_all<E: Debug>(
    made: impl IntoIterator<Item = E>,
    name: fn(&E) -> &'static str,
    variants: &[&str],
    never_returned: &[&str],
) {
    let made: BTreeSet<_> = made.into_iter().map(|error| name(&error)).collect();
    let expected = variants
        .iter()
        .filter(|name| !never_returned.contains(name))
        .copied()
        .collect();
    assert_eq!(made, expected);
}

/// The name of the variant of an error, and the names of all. The compiler holds the list to
/// all variants, except of errors that are non-exhaustive.
macro_rules! variants {
    ($error:ident: $($variant:ident),+ $(; $others:pat => $other:literal)?) => {
        (
            (|error: &_| match error {
                $($error::$variant { .. } => stringify!($variant),)+
                $($others => $other,)?
            }) as fn(&_) -> &'static str,
            [$(stringify!($variant)),+],
        )
    };
}

#[test]
fn of_managers() {
    let (name, all) = variants!(BlockManagerBuilderError:
        InvalidBlockCount, BlockSizeMismatch, InvalidBackend, ValidationError);
    let builder = || {
        let builder = BlockManager::<()>::builder().block_count(4);
        builder.registry(BlockRegistry::new())
    };
    let errors = [
        BlockManager::builder().block_count(4),
        BlockManager::builder().registry(BlockRegistry::new()),
        builder().block_count(0),
        builder().block_count(usize::MAX),
        builder().with_multi_lru_backend(),
        builder().with_lrfu_backend_half_life(0),
        builder().with_tinylfu_backend_window(101),
        builder().with_low_watermark(5, |_| {}),
    ]
    .map(|builder| builder.build().unwrap_err());
    let never_returned = ["InvalidBlockCount", "BlockSizeMismatch", "InvalidBackend"];
    require_all(errors, name, &all, &never_returned);

    let manager = manager();
    let (name, all) = variants!(BlockManagerResetError: BlockCountMismatch);
    let block = manager.allocate_one();
    let error = manager.reset_inactive_pool().unwrap_err();
    require_all([error], name, &all, &[]);
    drop(block);

    let (name, all) = variants!(BlockError: BlockSizeMismatch);
    let block = manager.allocate_one().unwrap();
    let error = block.stage(hash(), 3).map(drop).unwrap_err();
    require_all([error], name, &all, &[]);

    let (name, all) = variants!(LeaseError: Expired; _ => "another");
    let block = manager.allocate_one().unwrap();
    let block = manager.register_block(block.stage(hash(), 4).unwrap());
    let lease = manager.lease(vec![block], "somebody", None).unwrap();
    manager.release_lease(lease.id()).unwrap();
    require_all([lease.renew(None).unwrap_err()], name, &all, &[]);
}

#[test]
fn of_attachments() {
    let (name, all) = variants!(AttachmentError:
        TypeAlreadyRegisteredAsMultiple, TypeAlreadyRegisteredAsUnique);
    let handle = BlockRegistry::new().register_sequence_hash(hash());
    handle.attach(1_u8).unwrap();
    handle.attach_unique(1_u16).unwrap();
    let errors = [
        handle.attach_unique(2_u8).unwrap_err(),
        handle.attach(2_u16).unwrap_err(),
    ];
    require_all(errors, name, &all, &[]);
}

#[test]
fn of_assignments() {
    let (name, all) = variants!(BlockSequenceError:
        OrderingViolation, PositionMismatch, DuplicateBlockId, TokenExtension);
    let tokens = BlockSequence::new((0..8).collect(), 4, None);
    let mut ids = ExternalBlockAssignments::new(0);
    ids.extend_block_ids([1, 2]).unwrap();
    let errors = [
        ids.extend_block_ids([3, 1]).unwrap_err(),
        ids.stage_pending(&tokens.blocks()[1..]).unwrap_err(),
        ids.extend_block_ids([3, 3]).unwrap_err(),
    ];
    require_all(errors, name, &all, &["TokenExtension"]);

    let (name, all) = variants!(LogicalBlockAssignmentError:
        DuplicateBlockId, DuplicateAssignedBlockId, SequenceHashMismatch);
    let (one, other) = (manager(), manager());
    let mut held = LogicalBlockAssignments::<()>::new();
    let block = one.allocate_one().unwrap();
    let block = one.register_block(block.stage(hash(), 4).unwrap());
    let twice = held.extend_assigned([block.clone(), block]).unwrap_err();
    let one_id_of_two_pools = [&one, &other].map(|pool| {
        let mut blocks = pool.allocate_blocks(pool.available_blocks()).unwrap();
        blocks.retain(|block| block.block_id() == 1);
        blocks.pop().unwrap()
    });
    let errors = [twice, held.extend_blocks(one_id_of_two_pools).unwrap_err()];
    require_all(errors, name, &all, &["SequenceHashMismatch"]);
}

#[test]
fn of_steps() {
    let pool = manager();
    let mut request = SchedulableSequence::<()>::new((0..6).collect(), 4, 4, None);
    let (mut refused, mut failed) = (Vec::new(), Vec::new());

    refused.push(request.schedule_decode(&pool).unwrap_err());
    refused.push(request.schedule_prefill(7, &pool).unwrap_err());
    request.schedule_prefill(3, &pool).unwrap();
    refused.push(request.schedule_prefill(3, &pool).unwrap_err());
    failed.push(request.apply_prefill(Some(6), &pool).unwrap_err());
    failed.push(request.apply_decode(6, &pool).unwrap_err());
    request.apply_prefill(None, &pool).unwrap();
    request.schedule_prefill(3, &pool).unwrap();
    failed.push(request.apply_prefill(None, &pool).unwrap_err());
    request.apply_prefill(Some(6), &pool).unwrap();
    refused.push(request.schedule_prefill(1, &pool).unwrap_err());

    failed.push(request.append_tokens(&[7; 4]).unwrap_err());
    request.schedule_speculative(1, &pool).unwrap();
    failed.push(request.apply_speculative(&[7, 8], &pool).unwrap_err());
    request.revert_schedule().unwrap();
    request.append_tokens(&[7; 2]).unwrap();
    refused.push(request.schedule_decode(&pool).unwrap_err());
    request.release().unwrap();

    let mut large = SchedulableSequence::<()>::new((0..17).collect(), 1, 4, None);
    refused.push(large.schedule_prefill(17, &pool).unwrap_err());
    let mut complete = SchedulableSequence::<()>::new((0..6).collect(), 0, 4, None);
    complete.schedule_prefill(6, &pool).unwrap();
    complete.apply_prefill(None, &pool).unwrap();
    refused.push(complete.schedule_decode(&pool).unwrap_err());

    let (name, all) = variants!(ScheduleError: NotIdle, PrefillOverrun, PrefillComplete,
        PrefillNotComplete, AllocationFailed, GenerationComplete, WrongDanglingCount);
    require_all(refused, name, &all, &[]);
    let (name, all) = variants!(ApplyError: WrongState, TokenOnNonFinalChunk,
        AcceptedExceedsScheduled, MissingTokenOnFinalChunk, AppendExceedsRemaining);
    require_all(failed, name, &all, &[]);
}
