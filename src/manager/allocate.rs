//! Allocation: exclusive blocks without content.

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, MutableBlock};
use crate::engine::{Exclusive, Mutable, Reserved};

use super::BlockManager;

/// Allocation.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Allocates `count` blocks, or returns `None` and changes nothing.
    ///
    /// Free blocks are taken first. If they do not suffice, inactive blocks are evicted, in the
    /// order of the eviction policy.
    ///
    /// # When is an allocation refused?
    ///
    /// Only if, at some instant during the call, held blocks plus the blocks requested by
    /// concurrent calls left fewer than `count`. Dropping a guard counts as such a call until
    /// it returns. Threads that together never hold and request more blocks than exist are
    /// therefore never refused.
    ///
    /// Before an allocation is refused, [leases](crate::leases) that have expired are ended,
    /// and it is tried again.
    ///
    /// # What does it cost?
    ///
    /// One heap allocation, for the vector. Lock-free: while other threads are ending leases, a
    /// call that would be refused yields to them, up to 4,096 times.
    #[inline]
    #[must_use = "dropping the blocks frees them"]
    pub fn allocate_blocks(&self, count: usize) -> Option<Vec<MutableBlock<T>>> {
        let reserved = self.reserve(count)?;
        self.allocate_reserved(count, reserved)
    }

    /// Allocates `count` blocks, and also returns the hashes of the blocks that were evicted
    /// for them.
    ///
    /// The hashes are in the order of eviction. They belong to the last blocks returned, since
    /// free blocks come first. Otherwise this is
    /// [`allocate_blocks`](Self::allocate_blocks).
    ///
    /// ```
    /// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
    ///
    /// #[derive(Clone)]
    /// struct Gpu;
    ///
    /// let manager = BlockManager::<Gpu>::builder()
    ///     .block_count(2)
    ///     .block_size(16)
    ///     .registry(BlockRegistry::new())
    ///     .build()?;
    /// let hash = SequenceHash::root(7);
    /// let block = manager.allocate_one().expect("2 blocks are free");
    /// let block = block.stage(hash, 16).expect("16 is the block size");
    /// drop(manager.register_block(block)); // inactive: cached, and evictable
    ///
    /// let (blocks, evicted) = manager.allocate_blocks_with_evictions(2).expect("2 are available");
    /// assert_eq!(blocks.len(), 2);
    /// assert_eq!(evicted, [hash]);
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    #[must_use = "dropping the blocks frees them"]
    pub fn allocate_blocks_with_evictions(
        &self,
        count: usize,
    ) -> Option<(Vec<MutableBlock<T>>, Vec<SequenceHash>)> {
        let (mut blocks, mut evicted) = (Vec::new(), Vec::new());
        self.allocate_into_with_evictions(count, &mut blocks, &mut evicted)
            .then_some((blocks, evicted))
    }

    /// Allocates one block, or returns `None`.
    ///
    /// This is [`allocate_blocks`](Self::allocate_blocks) without the vector: it allocates
    /// nothing on the heap.
    #[inline]
    #[must_use = "dropping the block frees it"]
    pub fn allocate_one(&self) -> Option<MutableBlock<T>> {
        match self.store.allocate_next() {
            Ok(hold) => {
                self.notify_if_low();
                Some(MutableBlock::new(hold))
            }
            Err(reserved) => self.allocate_one_slowly(reserved),
        }
    }

    /// Allocates a block if it is not the next one of the freelist. It may be reserved already.
    #[inline(never)]
    fn allocate_one_slowly(&self, reserved: Option<Reserved<'_>>) -> Option<MutableBlock<T>> {
        let reserved = match reserved {
            Some(reserved) => reserved,
            None => self.reserve(1)?,
        };
        let mut block = One(None);
        self.fill(reserved, &mut block, |_evicted| {});
        block.0
    }

    /// Allocates `count` blocks and appends them to `blocks`, or returns `false` and changes
    /// nothing.
    ///
    /// This is [`allocate_blocks`](Self::allocate_blocks) with a vector that you supply: as
    /// long as it has capacity, nothing is allocated on the heap.
    ///
    /// ```
    /// use kvbm_lockfree::{BlockManager, BlockRegistry};
    ///
    /// #[derive(Clone)]
    /// struct Gpu;
    ///
    /// let manager = BlockManager::<Gpu>::builder()
    ///     .block_count(8)
    ///     .block_size(16)
    ///     .registry(BlockRegistry::new())
    ///     .build()?;
    /// let mut blocks = Vec::with_capacity(8);
    ///
    /// assert!(manager.allocate_into(5, &mut blocks));
    /// assert!(!manager.allocate_into(4, &mut blocks)); // all or nothing: 3 are left
    /// assert_eq!(blocks.len(), 5);
    ///
    /// manager.free_from(&mut blocks); // keeps the capacity
    /// assert_eq!(manager.available_blocks(), 8);
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    #[inline]
    #[must_use = "returns `false` if no blocks were allocated"]
    pub fn allocate_into(&self, count: usize, blocks: &mut Vec<MutableBlock<T>>) -> bool {
        self.allocate_onto(count, blocks, |_evicted| {})
    }

    /// Allocates `count` blocks, appends them to `blocks`, and appends the hashes of the blocks
    /// that were evicted for them to `evicted`; or returns `false` and changes nothing.
    ///
    /// The hashes are in the order of eviction. They belong to the last blocks appended, since
    /// free blocks come first. Otherwise this is [`allocate_into`](Self::allocate_into).
    #[must_use = "returns `false` if no blocks were allocated"]
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
        // First the credits, then the memory: an absurd count is refused instead of exhausting
        // the heap.
        let Some(reserved) = self.reserve(count) else {
            return false;
        };
        blocks.reserve(count);
        self.fill(reserved, &mut Guards(blocks), evicted);
        true
    }

    /// Returns a vector of the blocks that are reserved, which is never `None`. Kept apart from
    /// the reservation, so that an allocation that is refused costs little.
    #[inline(never)]
    fn allocate_reserved(
        &self,
        count: usize,
        mut reserved: Reserved<'_>,
    ) -> Option<Vec<MutableBlock<T>>> {
        if count == 1 {
            match reserved.take_next() {
                Ok(hold) => {
                    self.notify_if_low();
                    return Some(vec![MutableBlock::new(hold)]);
                }
                Err(still_reserved) => reserved = still_reserved,
            }
        }
        let mut blocks = Vec::with_capacity(count);
        self.fill(reserved, &mut Guards(&mut blocks), |_evicted| {});
        Some(blocks)
    }

    /// Takes the blocks that are reserved, and does what follows an allocation.
    #[inline]
    fn fill(
        &self,
        reserved: Reserved<'_>,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
        evicted: impl FnMut(SequenceHash),
    ) {
        let leftovers = reserved.take(blocks, evicted);
        self.notify_if_low();
        leftovers.settle();
    }

    /// Reserves `count` credits, the first step of every allocation. If there are too few,
    /// ends expired leases and tries again.
    #[inline(always)]
    fn reserve(&self, count: usize) -> Option<Reserved<'_>> {
        match self.store.reserve(count) {
            None if self.leases.may_expire() => self.reserve_after_expiry(count),
            reserved => reserved,
        }
    }

    #[cold]
    fn reserve_after_expiry(&self, count: usize) -> Option<Reserved<'_>> {
        if count > self.total_blocks() {
            return None;
        }
        let mut reserved = None;
        self.expire_and_retry(|| {
            reserved = self.store.reserve(count);
            reserved.is_some()
        });
        reserved
    }
}

/// A vector of guards to which an allocation appends its blocks.
struct Guards<'a, T: BlockMetadata>(&'a mut Vec<MutableBlock<T>>);

impl<T: BlockMetadata> Extend<Exclusive<Mutable>> for Guards<'_, T> {
    #[inline]
    fn extend<I: IntoIterator<Item = Exclusive<Mutable>>>(&mut self, holds: I) {
        self.0.extend(holds.into_iter().map(MutableBlock::new));
    }
}

/// A place for one block.
struct One<T: BlockMetadata>(Option<MutableBlock<T>>);

impl<T: BlockMetadata> Extend<Exclusive<Mutable>> for One<T> {
    fn extend<I: IntoIterator<Item = Exclusive<Mutable>>>(&mut self, holds: I) {
        for hold in holds {
            debug_assert!(self.0.is_none());
            self.0 = Some(MutableBlock::new(hold));
        }
    }
}
