//! Allocation: blocks without content, for the caller alone.

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, MutableBlock};
use crate::engine::Reserved;

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Allocates `count` blocks: free ones first, then inactive ones, which are
    /// evicted in the order of the policy.
    ///
    /// Returns `None`, and changes nothing, only if at some instant of the call
    /// the blocks that were held, and those that other calls under way had asked
    /// for, left fewer than `count`. A drop is such a call until it returns. So
    /// threads that together never ask for more blocks than there are, the held
    /// ones included, are never refused. Before it comes to that,
    /// [leases](crate::leases) that have expired are ended. Lock-free; while other threads are
    /// ending leases, a call that would be refused yields to them, a bounded number of times.
    /// The only heap allocation is the vector.
    pub fn allocate_blocks(&self, count: usize) -> Option<Vec<MutableBlock<T>>> {
        let reserved = self.reserve(count)?;
        let mut blocks = Vec::with_capacity(count);
        let leftovers = reserved.take(|hold| blocks.push(MutableBlock::new(hold)), |_evicted| {});
        self.tell_if_low();
        leftovers.settle();
        Some(blocks)
    }

    /// As [`allocate_blocks`](Self::allocate_blocks), with the hashes of the
    /// blocks that were evicted for it, in their order. They are those of the
    /// last blocks returned: the free ones come first.
    pub fn allocate_blocks_with_evictions(
        &self,
        count: usize,
    ) -> Option<(Vec<MutableBlock<T>>, Vec<SequenceHash>)> {
        let (mut blocks, mut evicted) = (Vec::new(), Vec::new());
        self.allocate_into_with_evictions(count, &mut blocks, &mut evicted)
            .then_some((blocks, evicted))
    }

    /// Allocates one block. As [`allocate_blocks`](Self::allocate_blocks),
    /// without the vector.
    #[inline]
    pub fn allocate_one(&self) -> Option<MutableBlock<T>> {
        let mut block = None;
        let leftovers = self
            .reserve(1)?
            .take(|hold| block = Some(MutableBlock::new(hold)), |_evicted| {});
        self.tell_if_low();
        leftovers.settle();
        block
    }

    /// Allocates `count` blocks and appends them to `blocks`, or none and
    /// returns `false`. As [`allocate_blocks`](Self::allocate_blocks), without a
    /// vector of its own.
    #[inline]
    pub fn allocate_into(&self, count: usize, blocks: &mut Vec<MutableBlock<T>>) -> bool {
        self.allocate_onto(count, blocks, |_evicted| {})
    }

    /// As [`allocate_into`](Self::allocate_into), and appends the hashes of the
    /// blocks that were evicted for it to `evicted`, in their order.
    ///
    /// They are those of the last blocks appended: the free ones come first.
    pub fn allocate_into_with_evictions(
        &self,
        count: usize,
        blocks: &mut Vec<MutableBlock<T>>,
        evicted: &mut Vec<SequenceHash>,
    ) -> bool {
        self.allocate_onto(count, blocks, |hash| evicted.push(hash))
    }

    #[inline]
    fn allocate_onto(
        &self,
        count: usize,
        blocks: &mut Vec<MutableBlock<T>>,
        evicted: impl FnMut(SequenceHash),
    ) -> bool {
        // Before there is memory for them: a count out of all reason is refused,
        // not attempted.
        let Some(reserved) = self.reserve(count) else {
            return false;
        };
        blocks.reserve(count);
        let leftovers = reserved.take(|hold| blocks.push(MutableBlock::new(hold)), evicted);
        self.tell_if_low();
        leftovers.settle();
        true
    }

    /// Reserves `count` blocks, which every allocation begins with. Before it is refused,
    /// leases expire.
    #[inline]
    fn reserve(&self, count: usize) -> Option<Reserved<'_>> {
        self.store.reserve_or_else(count, || {
            self.leases.may_expire()
                && self.expire_and_retry(|| self.store.reserve(count).map(Reserved::keep).is_some())
        })
    }
}
