//! A checker for eviction policies.

use crate::SequenceHash;
use crate::eviction::{EvictionPolicy, InactiveBlock};
use crate::policy::Keys;
use crate::retention::Priority;

/// The number of blocks in the checker's pool.
const BLOCKS: usize = 64;

/// The length of each chain of parents and children.
const CHAIN: u64 = 8;

/// A fault that [`check_eviction_policy`] found: what the policy did wrong, and at which step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {fault}")]
#[non_exhaustive]
pub struct EvictionPolicyFault {
    /// The number of the step that revealed the fault, counted from 0.
    pub step: usize,
    /// A description of the fault.
    pub fault: String,
}

/// Drives a new policy through `steps` generated releases, matches, priorities and evictions,
/// then evicts everything that is left. The same `seed` generates the same steps.
///
/// ```
/// use std::collections::VecDeque;
///
/// use kvbm_lockfree::BlockId;
/// use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
/// use kvbm_lockfree::testing::check_eviction_policy;
///
/// #[derive(Default)]
/// struct Fifo(VecDeque<BlockId>);
///
/// impl EvictionPolicy for Fifo {
///     fn insert(&mut self, block: InactiveBlock) {
///         self.0.push_back(block.block_id);
///     }
///
///     fn remove(&mut self, block_id: BlockId) {
///         self.0.retain(|&other| other != block_id);
///     }
///
///     fn pop(&mut self) -> Option<BlockId> {
///         self.0.pop_front()
///     }
/// }
///
/// check_eviction_policy(Fifo::default(), 1, 10_000)?;
///
/// /// Forgets to remove a block that is in use again.
/// #[derive(Default)]
/// struct Forgetful(Fifo);
///
/// impl EvictionPolicy for Forgetful {
///     fn insert(&mut self, block: InactiveBlock) {
///         self.0.insert(block);
///     }
///
///     fn remove(&mut self, _block_id: BlockId) {}
///
///     fn pop(&mut self) -> Option<BlockId> {
///         self.0.pop()
///     }
/// }
///
/// let fault = check_eviction_policy(Forgetful::default(), 1, 10_000).unwrap_err();
/// assert!(fault.to_string().contains("not in the order"));
/// # Ok::<(), kvbm_lockfree::testing::EvictionPolicyFault>(())
/// ```
///
/// # Errors
///
/// Returns the first fault: a victim that is not in the order, no victim while blocks are in
/// the order, or, if the policy claims to be [leaf-first](EvictionPolicy::is_leaf_first), a
/// victim with a child in the order.
///
/// # Panics
///
/// Panics if the policy does.
pub fn check_eviction_policy(
    mut policy: impl EvictionPolicy,
    seed: u64,
    steps: usize,
) -> Result<(), EvictionPolicyFault> {
    let mut random = seed | 1;
    let mut below = |bound: usize| {
        // Xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 16) as usize % bound
    };
    let mut pool = Pool::default();
    for step in 0..steps {
        let block_id = below(BLOCKS);
        match below(6) {
            0..3 if pool.listed[block_id].is_none() => {
                let block = InactiveBlock {
                    block_id,
                    seq_hash: content(below(BLOCKS) as u64),
                };
                pool.list(block);
                policy.insert(block);
            }
            0..3 => {
                pool.listed[block_id] = None;
                policy.remove(block_id);
            }
            3 => {
                let priority = [0, 35, 80][below(3)];
                if pool.listed[block_id].is_some() {
                    let priority = Priority::new(priority).expect("at most 100");
                    policy.set_priority(block_id, priority);
                }
            }
            _ => {
                pool.evict(&mut policy, step)?;
            }
        }
    }
    let mut step = steps;
    while pool.evict(&mut policy, step)? {
        step += 1;
    }
    Ok(())
}

/// Returns the `n`th of the hashes, which form chains of [`CHAIN`] blocks.
fn content(n: u64) -> SequenceHash {
    let position = n % CHAIN;
    let own = |n: u64| 1 + n;
    SequenceHash::new(own(n), (position > 0).then(|| own(n - 1)), position)
}

/// The blocks that should be in the order.
struct Pool {
    listed: [Option<SequenceHash>; BLOCKS],
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            listed: [None; BLOCKS],
        }
    }
}

impl Pool {
    fn list(&mut self, block: InactiveBlock) {
        self.listed[block.block_id] = Some(block.seq_hash);
    }

    /// Evicts a block and checks the victim. Returns whether there was one.
    fn evict(
        &mut self,
        policy: &mut impl EvictionPolicy,
        step: usize,
    ) -> Result<bool, EvictionPolicyFault> {
        let fault = |fault: String| Err(EvictionPolicyFault { step, fault });
        let Some(victim) = policy.pop() else {
            return match self.listed.iter().flatten().count() {
                0 => Ok(false),
                count => fault(format!("no victim, with {count} blocks in the order")),
            };
        };
        let Some(hash) = self.listed.get_mut(victim).and_then(Option::take) else {
            return fault(format!("the victim, block {victim}, is not in the order"));
        };
        let own = Keys::of(hash, victim as u32).own;
        let child = |other: &&SequenceHash| Keys::of(**other, 0).parent() == Some(own);
        match self.listed.iter().flatten().find(child) {
            Some(other) if policy.is_leaf_first() => fault(format!(
                "the victim, {hash:?}, has a child in the order, {other:?}"
            )),
            _ => Ok(true),
        }
    }
}
