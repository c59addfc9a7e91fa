//! A user-defined eviction policy that may fail.

use kvbm_lockfree::BlockId;
use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::retention::Priority;

/// A defect of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The policy works.
    None,
    /// It returns no victim.
    Nothing,
    /// It returns a victim that may or may not be in the order.
    Stranger,
    /// It returns a victim that is not a block.
    OutOfRange,
}

/// A last-in, first-out policy that becomes defective after some number of victims.
///
/// It does not panic: a panic would end the fuzzer's run even if the crate catches it.
#[derive(Debug, Clone)]
pub struct Custom {
    order: Vec<BlockId>,
    fault: Fault,
    victims_before: usize,
}

impl Custom {
    pub fn new(fault: Fault, victims_before: usize) -> Self {
        Self {
            order: Vec::new(),
            fault,
            victims_before,
        }
    }

    fn is_in_order(&self, block_id: BlockId) -> bool {
        self.order.contains(&block_id)
    }
}

impl EvictionPolicy for Custom {
    fn insert(&mut self, block: InactiveBlock) {
        assert!(!self.is_in_order(block.block_id));
        self.order.push(block.block_id);
    }

    fn remove(&mut self, block_id: BlockId) {
        assert!(self.is_in_order(block_id));
        self.order.retain(|&other| other != block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        if self.victims_before > 0 {
            self.victims_before -= 1;
            return self.order.pop();
        }
        match self.fault {
            Fault::None => self.order.pop(),
            Fault::Nothing => None,
            Fault::Stranger => {
                self.order.retain(|&other| other != 0);
                Some(0)
            }
            Fault::OutOfRange => Some(usize::MAX),
        }
    }

    fn set_priority(&mut self, block_id: BlockId, _priority: Priority) {
        assert!(self.is_in_order(block_id));
    }
}
