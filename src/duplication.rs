//! What to do with a block whose content another block already holds.

/// What a manager does when a block is registered under a hash that another of its blocks
/// already holds.
///
/// ```
/// use kvbm_lockfree::blocks::BlockDuplicationPolicy;
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// let manager = BlockManager::<()>::builder()
///     .block_count(8)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .duplication_policy(BlockDuplicationPolicy::Reject)
///     .build()?;
/// let register = || {
///     let block = manager.allocate_one().expect("8 blocks are enough");
///     let block = block.stage(SequenceHash::root(1), 16).expect("16 is the block size");
///     manager.register_block(block)
/// };
/// let (first, second) = (register(), register());
/// assert_eq!(first.block_id(), second.block_id());
/// assert_eq!(manager.available_blocks(), 7);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockDuplicationPolicy {
    /// Keeps both blocks. The first is the *primary*; the second is a *duplicate*, which
    /// matches do not find. A duplicate pins its primary, and becomes free when its last
    /// pin is dropped.
    Allow,
    /// Keeps the first block only: the registration returns a guard of it and frees the new
    /// block.
    Reject,
}
