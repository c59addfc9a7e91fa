//! Guards: mutable, complete, immutable, weak, and lifecycle pins.

use std::sync::Arc;

use super::kvbm;
use dynamo_tokens::TokenBlockSequence;
use kvbm::blocks::{
    BlockDuplicationPolicy, BlockError, BlockId, BlockMetadata, BlockRegistrationHandle,
    BlockRegistry, CompleteBlock, ImmutableBlock, LifecyclePin, LifecyclePinRef, MutableBlock,
    SequenceHash, WeakBlock,
};
use kvbm::{KvbmSequenceHashProvider, LogicalLayoutHandle, ManagerId};

#[derive(Clone)]
struct Tier;

/// Allocates a block, in code that is generic over tiers.
fn take<T: BlockMetadata>(manager: &kvbm::BlockManager<T>) -> MutableBlock<T> {
    manager.allocate_blocks(1).unwrap().pop().unwrap()
}

/// A user-defined pin.
struct Copied(LifecyclePinRef);

impl LifecyclePin for Copied {
    fn manager_id(&self) -> ManagerId {
        self.0.manager_id()
    }

    fn block_id(&self) -> BlockId {
        self.0.block_id()
    }

    fn sequence_hash(&self) -> SequenceHash {
        self.0.sequence_hash()
    }

    fn registration_handle(&self) -> BlockRegistrationHandle {
        self.0.registration_handle()
    }
}

/// Calls the trait's provided methods through a trait object.
fn pinned(pin: &dyn LifecyclePin) -> (usize, SequenceHash) {
    (pin.block_id(), pin.sequence_hash())
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let manager = kvbm::BlockManager::<Tier>::builder()
        .block_count(4)
        .block_size(4)
        .registry(BlockRegistry::new())
        .duplication_policy(BlockDuplicationPolicy::Allow)
        .build()
        .unwrap();
    let tokens = TokenBlockSequence::from_slice(&[1, 2, 3, 4, 5, 6, 7, 8], 4, Some(7));
    let hash: SequenceHash = tokens.blocks()[0].kvbm_sequence_hash();
    let second = tokens.blocks()[1].kvbm_sequence_hash();
    say!(said, hash);
    say!(said, second);

    let mutable = take(&manager);
    say!(said, mutable.block_id());
    say!(said, mutable.block_size());
    // The error returns the block.
    let mutable = match mutable.stage(hash, 5) {
        Err(BlockError::BlockSizeMismatch {
            expected,
            actual,
            block,
        }) => {
            say!(said, (expected, actual));
            block
        }
        Ok(_) => unreachable!(),
    };
    let complete: CompleteBlock<Tier> = mutable.stage(hash, 4).unwrap();
    say!(said, complete.block_id());
    say!(said, complete.block_size());
    say!(said, complete.sequence_hash());
    let mutable = complete.reset();
    let complete = mutable.complete(&tokens.blocks()[0]).unwrap();
    let block: ImmutableBlock<Tier> = manager.register_block(complete);
    say!(said, block.block_id());
    say!(said, block.sequence_hash() == hash);
    say!(said, block.use_count());
    let other = block.clone();
    say!(said, other.use_count());
    say!(said, block.registration_handle().seq_hash());

    let odd = TokenBlockSequence::from_slice(&[1, 2], 2, None);
    match take(&manager).complete(&odd.blocks()[0]) {
        Err(error) => say!(said, error.to_string()),
        Ok(_) => unreachable!(),
    }

    let weak: WeakBlock<Tier> = block.downgrade();
    let also_weak = weak.clone();
    say!(said, also_weak.sequence_hash());
    say!(said, weak.upgrade().map(|block| block.block_id()));

    let pin = other.pin();
    let own = Copied(pin.clone());
    say!(said, pin.use_count());
    say!(
        said,
        pin.manager_id() == manager.id() && own.manager_id() != ManagerId::NULL
    );
    say!(said, pinned(&own));
    say!(said, own.registration_handle().seq_hash());
    let shared: Arc<dyn LifecyclePin> = Arc::new(own);
    drop((block, other, pin));
    say!(said, manager.available_blocks());
    drop(shared);
    say!(said, manager.available_blocks());

    // The block is reset when it is released, and not cached.
    let block = weak.upgrade().unwrap();
    block.set_evict_on_reset(true);
    drop(block);
    say!(said, weak.upgrade().is_none());

    let layouts = [
        LogicalLayoutHandle::G1,
        LogicalLayoutHandle::G2,
        LogicalLayoutHandle::G3,
        LogicalLayoutHandle::G4,
    ];
    say!(said, layouts);
    let config = bincode::config::standard();
    let encoded = bincode::encode_to_vec(layouts, config).unwrap();
    say!(said, encoded);
    let decoded: ([LogicalLayoutHandle; 4], usize) =
        bincode::decode_from_slice(&encoded, config).unwrap();
    say!(said, decoded.0 == layouts);
    let encoded = bincode::encode_to_vec(ManagerId(300), config).unwrap();
    say!(said, encoded);
    let decoded: (ManagerId, usize) = bincode::borrow_decode_from_slice(&encoded, config).unwrap();
    say!(said, decoded);
    said
}
