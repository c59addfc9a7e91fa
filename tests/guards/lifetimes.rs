//! Guards, their manager and their registry can be dropped in any order.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kvbm_lockfree::blocks::BlockRegistrationHandle;
use kvbm_lockfree::metrics::MetricsSnapshot;
use kvbm_lockfree::{
    BlockManager, CompleteBlock, ImmutableBlock, LifecyclePinRef, MutableBlock, SequenceHash,
    WeakBlock,
};

use crate::policy::Policy;
use crate::{audit, chain, manager, register, registry, stage};

/// The number of blocks per pool: one for each kind of exclusive guard, one that the other
/// guards share, and a free one.
const BLOCKS: usize = 4;

/// One of everything that keeps a pool or a registration alive.
struct Kept {
    manager: Option<BlockManager<()>>,
    mutable: Option<MutableBlock<()>>,
    complete: Option<CompleteBlock<()>>,
    /// This guard, the weak block, the pin and the handle refer to the same block.
    immutable: Option<ImmutableBlock<()>>,
    weak: Option<WeakBlock<()>>,
    pin: Option<LifecyclePinRef>,
    handle: Option<BlockRegistrationHandle>,
}

const KINDS: usize = 7;

impl Kept {
    fn new(manager: BlockManager<()>) -> Self {
        let hashes = chain(7, 2);
        let immutable = register(&manager, &hashes[..1]).pop();
        let block = immutable.as_ref().expect("one block was registered");
        Kept {
            mutable: manager
                .allocate_blocks(1)
                .and_then(|mut blocks| blocks.pop()),
            complete: stage(&manager, &hashes[1..]).pop(),
            weak: Some(block.downgrade()),
            pin: Some(block.pin()),
            handle: Some(block.registration_handle()),
            immutable,
            manager: Some(manager),
        }
    }

    /// Takes out the `kind`th of them.
    fn take(&mut self, kind: usize) -> Box<dyn Send> {
        match kind {
            0 => Box::new(self.manager.take()),
            1 => Box::new(self.mutable.take()),
            2 => Box::new(self.complete.take()),
            3 => Box::new(self.immutable.take()),
            4 => Box::new(self.weak.take()),
            5 => Box::new(self.pin.take()),
            _ => Box::new(self.handle.take()),
        }
    }

    fn expected_gauges(&self) -> Gauges {
        let active = self.immutable.is_some() || self.pin.is_some();
        let exclusive = usize::from(self.mutable.is_some()) + usize::from(self.complete.is_some());
        Gauges {
            inflight_mutable: i64::from(self.mutable.is_some()),
            inflight_immutable: i64::from(self.immutable.is_some()),
            reset: (BLOCKS - 1 - exclusive) as i64,
            inactive: i64::from(!active),
        }
    }

    /// Returns whether anything except the pool keeps the hash registered.
    fn names_registration(&self) -> bool {
        self.immutable.is_some()
            || self.weak.is_some()
            || self.pin.is_some()
            || self.handle.is_some()
    }
}

#[derive(Debug, PartialEq)]
struct Gauges {
    inflight_mutable: i64,
    inflight_immutable: i64,
    reset: i64,
    inactive: i64,
}

impl From<MetricsSnapshot> for Gauges {
    fn from(snapshot: MetricsSnapshot) -> Self {
        Gauges {
            inflight_mutable: snapshot.inflight_mutable,
            inflight_immutable: snapshot.inflight_immutable,
            reset: snapshot.reset_pool_size,
            inactive: snapshot.inactive_pool_size,
        }
    }
}

/// Drops one of everything in the given order by means of `dispose`, and checks the gauges
/// after every step.
fn drop_in_order(policy: Policy, order: &[usize], dispose: impl Fn(Box<dyn Send>)) {
    let registry = registry();
    let mut kept = Kept::new(manager(policy, BLOCKS, &registry));
    let metrics = Arc::clone(kept.manager.as_ref().expect("just built").metrics());
    for &kind in order {
        dispose(kept.take(kind));
        let gauges = Gauges::from(metrics.snapshot());
        assert_eq!(
            gauges,
            kept.expected_gauges(),
            "{policy:?}, {order:?}, {kind}"
        );
        if let Some(manager) = &kept.manager {
            let available = gauges.reset + gauges.inactive;
            assert_eq!(manager.available_blocks() as i64, available);
        }
        if kept.names_registration() {
            assert_eq!(registry.registered_count(), 1, "{policy:?}, {order:?}");
        }
    }
    assert_eq!(registry.registered_count(), 0, "{policy:?}, {order:?}");
}

/// Returns every permutation of the numbers below `KINDS`.
fn orders() -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in 0..KINDS {
        orders = orders
            .iter()
            .flat_map(|order| {
                (0..KINDS)
                    .filter(|kind| !order.contains(kind))
                    .map(|kind| [order.as_slice(), &[kind]].concat())
            })
            .collect();
    }
    orders
}

#[test]
fn everything_is_returned_in_any_order_of_dropping() {
    for order in orders() {
        drop_in_order(Policy::Unset, &order, drop);
    }
}

#[test]
fn everything_is_returned_under_every_policy() {
    for policy in Policy::ALL {
        for order in orders().iter().step_by(37) {
            drop_in_order(policy, order, drop);
        }
    }
}

#[test]
fn everything_is_returned_when_other_threads_drop() {
    for policy in Policy::ALL {
        for order in orders().iter().step_by(101) {
            drop_in_order(policy, order, |kept| {
                thread::spawn(move || drop(kept))
                    .join()
                    .expect("dropping does not panic");
            });
        }
    }
}

#[test]
fn guards_work_without_their_manager() {
    for policy in Policy::ALL {
        let registry = registry();
        let kept = Kept::new(manager(policy, BLOCKS, &registry));
        let (hash, other) = (chain(7, 2)[0], chain(8, 1)[0]);
        drop(kept.manager);

        let staged = kept.mutable.expect("kept").stage(other, crate::BLOCK_SIZE);
        assert_eq!(staged.expect("the size fits").sequence_hash(), other);
        assert_eq!(
            kept.complete.expect("kept").reset().block_size(),
            crate::BLOCK_SIZE
        );

        let block = kept.immutable.expect("kept");
        let pin = kept.pin.expect("kept");
        assert_eq!(pin.block_id(), block.block_id());
        assert_eq!(block.clone().use_count(), 3);
        let id = block.block_id();
        drop((block, pin));

        // The block is inactive now, and the weak block still finds it.
        let weak = kept.weak.expect("kept");
        let revived = weak.upgrade().expect("nobody can have evicted it");
        assert_eq!((revived.block_id(), revived.sequence_hash()), (id, hash));
        assert_eq!(revived.use_count(), 1);

        let handle = kept.handle.expect("kept");
        assert!(handle.has_block::<()>());
        assert!(handle.is_from_registry(&registry));
        drop((revived, weak));
        assert!(registry.is_registered(hash));
        drop(handle);
        assert!(!registry.is_registered(hash), "{policy:?}");
    }
}

#[test]
fn handles_outlive_their_registry() {
    let first = registry();
    let handle = first.register_sequence_hash(chain(1, 1)[0]);
    assert!(handle.is_from_registry(&first.clone()));
    assert!(!handle.is_from_registry(&registry()));
    drop(first);
    assert_eq!(handle.attach_unique(5u32), Ok(()));
    assert_eq!(handle.get::<u32>().with_unique(|value| *value), Some(5));
}

/// The metadata type of a second tier.
#[derive(Clone)]
struct Disk;

#[test]
fn tiers_on_one_registry_are_independent() {
    for policy in Policy::ALL {
        let registry = registry();
        let memory = manager::<()>(policy, 2, &registry);
        let disk = manager::<Disk>(policy, 2, &registry);
        let hashes = chain(3, 2);
        drop(register(&memory, &hashes));
        drop(register(&disk, &hashes));
        assert_eq!(registry.registered_count(), 2);

        // Evict all blocks of one tier.
        let blocks = memory.allocate_blocks(2).expect("both are inactive");
        let present = |hashes: &[SequenceHash]| {
            let present = registry.check_presence::<()>(hashes);
            present
                .into_iter()
                .map(|(_, present)| present)
                .collect::<Vec<_>>()
        };
        assert_eq!(present(&hashes), [false, false], "{policy:?}");
        let either = [TypeId::of::<()>(), TypeId::of::<Disk>()];
        assert!(
            registry
                .check_presence_any(&hashes, &either)
                .iter()
                .all(|(_, any)| *any)
        );
        assert_eq!(memory.match_blocks(&hashes).len(), 0);
        let matched = disk.match_blocks(&hashes);
        assert_eq!(matched.len(), 2, "{policy:?}");
        assert_ne!(memory.id(), matched[0].pin().manager_id());

        // Drop that tier. The other one still works.
        drop((memory, blocks, matched));
        assert_eq!(disk.match_blocks(&hashes).len(), 2, "{policy:?}");
        audit(&disk);
        drop(disk);
        assert_eq!(registry.registered_count(), 0, "{policy:?}");
    }
}

#[test]
fn unwinding_returns_every_block() {
    for policy in Policy::ALL {
        let manager = manager::<()>(policy, 8, &registry());
        let hashes = chain(5, 3);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _mutable = manager.allocate_blocks(2);
            let _complete = stage(&manager, &chain(6, 2));
            let blocks = register(&manager, &hashes);
            let _shared: Vec<_> = blocks
                .iter()
                .map(|b| (b.clone(), b.pin(), b.downgrade()))
                .collect();
            assert_eq!(manager.available_blocks(), 1);
            panic!("held guards unwind");
        }));
        assert!(unwound.is_err());
        assert_eq!(manager.available_blocks(), 8, "{policy:?}");
        audit(&manager);
        assert_eq!(manager.match_blocks(&hashes).len(), 3, "{policy:?}");
        assert_eq!(
            manager.allocate_blocks(8).map(|blocks| blocks.len()),
            Some(8)
        );
    }
}

#[test]
fn a_panicking_thread_returns_every_block() {
    for policy in Policy::ALL {
        let manager = Arc::new(manager::<()>(policy, 8, &registry()));
        let hashes = chain(5, 3);
        let theirs = Arc::clone(&manager);
        let panicked = thread::spawn(move || {
            let _blocks = register(&theirs, &hashes);
            let _mutable = theirs.allocate_blocks(5);
            panic!("held guards unwind");
        });
        assert!(panicked.join().is_err());
        assert_eq!(manager.available_blocks(), 8, "{policy:?}");
        audit(&manager);
        assert_eq!(manager.match_blocks(&chain(5, 3)).len(), 3, "{policy:?}");
    }
}

#[test]
fn a_panicking_touch_callback_leaves_the_registration_usable() {
    let registry = registry();
    let handle = registry.register_sequence_hash(chain(9, 1)[0]);
    handle.on_touch(Arc::new(|_| panic!("a callback fails")));
    assert!(catch_unwind(AssertUnwindSafe(|| handle.touch())).is_err());
    assert_eq!(handle.attach(1u8), Ok(()));
    drop(handle);
    assert_eq!(registry.registered_count(), 0);
}

#[test]
fn a_touch_callback_may_add_another() {
    let handle = registry().register_sequence_hash(chain(9, 1)[0]);
    let calls = Arc::new(AtomicUsize::new(0));
    let (inner_handle, inner_calls) = (handle.clone(), Arc::clone(&calls));
    handle.on_touch(Arc::new(move |_| {
        let calls = Arc::clone(&inner_calls);
        inner_handle.on_touch(Arc::new(move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
        }));
    }));
    handle.touch();
    assert_eq!(
        calls.load(Ordering::Relaxed),
        0,
        "added too late for this touch"
    );
    handle.touch();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    handle.touch();
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

#[test]
fn evicted_hashes_pair_with_the_blocks_that_held_them() {
    for policy in Policy::ALL {
        let manager = manager::<()>(policy, 6, &registry());
        let blocks = register(&manager, &[chain(1, 2), chain(2, 3)].concat());
        let homes: Vec<_> = blocks
            .iter()
            .map(|b| (b.sequence_hash(), b.block_id()))
            .collect();
        drop(blocks);
        let (blocks, evicted) = manager
            .allocate_blocks_with_evictions(6)
            .expect("nothing is held");
        assert_eq!(evicted.len(), 5);
        for (block, hash) in blocks[1..].iter().zip(&evicted) {
            assert!(homes.contains(&(*hash, block.block_id())), "{policy:?}");
        }
    }
}
