//! `reset_inactive_pool`: it takes what was inactive when it began, and all of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};

use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

use crate::{Gpu, hash, register};

/// Evicts in the order of release, or in the reverse order, and calls `hook` before each victim.
struct Hooked {
    order: VecDeque<BlockId>,
    newest_first: bool,
    hook: Box<dyn FnMut() + Send>,
}

impl EvictionPolicy for Hooked {
    fn insert(&mut self, block: InactiveBlock) {
        self.order.push_back(block.block_id);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.order.retain(|&listed| listed != block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        (self.hook)();
        if self.newest_first {
            self.order.pop_back()
        } else {
            self.order.pop_front()
        }
    }

    fn is_leaf_first(&self) -> bool {
        true
    }
}

fn pool(
    blocks: usize,
    newest_first: bool,
    hook: impl FnMut() + Send + 'static,
) -> BlockManager<Gpu> {
    BlockManager::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_eviction_policy(Hooked {
            order: VecDeque::new(),
            newest_first,
            hook: Box::new(hook),
        })
        .build()
        .unwrap()
}

/// A block is released whenever the reset looks for a victim. Whichever of the two the policy
/// prefers, those that were inactive at the beginning are gone, and the others do not prolong it.
#[test]
fn what_is_released_meanwhile_does_not_prolong_a_reset() {
    const OLD: u64 = 10;
    const NEW: u64 = 50;
    for newest_first in [false, true] {
        let stock: Arc<Mutex<Vec<ImmutableBlock<Gpu>>>> = Arc::default();
        let manager = pool((OLD + NEW) as usize, newest_first, {
            let stock = Arc::clone(&stock);
            move || drop(stock.lock().unwrap().pop())
        });
        *stock.lock().unwrap() = (OLD..OLD + NEW)
            .map(|content| register(&manager, content))
            .collect();
        for content in 0..OLD {
            drop(register(&manager, content));
        }
        assert!(manager.reset_inactive_pool().is_err(), "some are held");
        for content in 0..OLD {
            assert!(manager.match_one(hash(content)).is_none(), "{content}");
        }
        let left = stock.lock().unwrap().len() as u64;
        assert!(left >= NEW - OLD - 1, "{left} are left");
        let report = manager.audit().unwrap();
        assert!(report.free as u64 <= 2 * OLD, "{report:?}");
        stock.lock().unwrap().clear();
    }
}

/// Notes the position of its block when the registration of that ends.
struct Noted(u64, Arc<Mutex<Vec<u64>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

/// The eviction order is held, here by the policy that resets in the middle of an eviction. The
/// blocks are reset even so, except one for which the allocation has reserved the credit, and
/// children before their parents.
#[test]
fn a_reset_without_the_order_takes_children_first() {
    const CHAIN: u64 = 50;
    let resets: Arc<OnceLock<BlockManager<Gpu>>> = Arc::default();
    let noted: Arc<Mutex<Vec<u64>>> = Arc::default();
    let mut is_first = true;
    let manager = pool(CHAIN as usize, false, {
        let resets = Arc::clone(&resets);
        move || {
            if std::mem::take(&mut is_first) {
                let manager = resets.get().expect("it is set");
                assert!(manager.reset_inactive_pool().is_err(), "one is reserved");
            }
        }
    });
    let manager = resets.get_or_init(|| manager);
    let chain = std::iter::successors(Some(SequenceHash::root(0)), |hash| Some(hash.extend(1)));
    let blocks: Vec<_> = chain
        .take(CHAIN as usize)
        .map(|hash| {
            let block = manager.allocate_one().expect("there is room");
            let block = manager.register_block(block.stage(hash, 16).unwrap());
            let note = Noted(hash.position(), Arc::clone(&noted));
            block.registration_handle().attach(note).unwrap();
            block
        })
        .collect();
    drop(blocks);
    let block = manager.allocate_one().expect("they are inactive");
    let expected: Vec<u64> = (0..CHAIN).rev().collect();
    assert_eq!(*noted.lock().unwrap(), expected);
    drop(block);
    manager.audit().unwrap();
}
