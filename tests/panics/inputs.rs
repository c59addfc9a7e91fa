//! User code that is passed to an operation and runs only during it: iterators, conversions, ranges,
//! and closures.

use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::retention::Retention;
use kvbm_lockfree::{BlockManager, BlockRegistry, CompleteBlock, SequenceHash};

use crate::fuse::{self, Fuse};
use crate::world::{BLOCK_SIZE, Gpu, hash, hashes};

const BLOCKS: usize = 12;

fn manager() -> BlockManager<Gpu> {
    BlockManager::builder()
        .block_count(BLOCKS)
        .block_size(BLOCK_SIZE)
        .registry(BlockRegistry::new())
        .duplication_policy(BlockDuplicationPolicy::Allow)
        .build()
        .expect("it is valid")
}

fn stage(manager: &BlockManager<Gpu>, count: usize) -> Vec<CompleteBlock<Gpu>> {
    let blocks = manager.allocate_blocks(count).expect("there are as many");
    (0..)
        .zip(blocks)
        .map(|(n, block)| block.stage(hash(n), BLOCK_SIZE).expect("of this size"))
        .collect()
}

fn is_blast(code: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(()) => false,
        Err(payload) => fuse::blast(payload).is_ok(),
    }
}

/// Checks the pool, of which nothing is held.
fn assert_whole(manager: &BlockManager<Gpu>) {
    manager.audit().expect("it is consistent");
    let metrics = manager.metrics().snapshot();
    assert_eq!(
        (metrics.inflight_mutable, metrics.inflight_immutable),
        (0, 0)
    );
    assert_eq!(manager.available_blocks(), BLOCKS);
    let all = manager.allocate_blocks(BLOCKS).expect("all are available");
    drop(all);
    assert_eq!(manager.audit().expect("it is consistent").free, BLOCKS);
}

/// Where an iterator panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Next,
    SizeHint,
    Drop,
}

/// An iterator that panics.
struct Panicking<I> {
    inner: I,
    at: At,
    fuse: Arc<Fuse>,
}

impl<I> Panicking<I> {
    fn call_at(&self, at: At) {
        if self.at == at {
            self.fuse.call();
        }
    }
}

impl<I: Iterator> Iterator for Panicking<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.call_at(At::Next);
        self.inner.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.call_at(At::SizeHint);
        self.inner.size_hint()
    }
}

impl<I> Drop for Panicking<I> {
    fn drop(&mut self) {
        self.call_at(At::Drop);
    }
}

/// Blocks registered before an iterator panics must be in the buffer, and counted.
fn register(at: At, armed: u32, depth: u32, expected: usize) {
    let manager = manager();
    let fuse = Fuse::new(&[armed], depth);
    let blocks = Panicking {
        inner: stage(&manager, 8).into_iter(),
        at,
        fuse: Arc::clone(&fuse),
    };
    let mut registered = Vec::new();
    fuse.light();
    let panicked = is_blast(|| {
        manager.register_into(blocks, &mut registered);
    });
    fuse.put_out();
    let what = format!("{at:?}, {armed}");
    assert!(panicked, "{what}");
    let found: Vec<SequenceHash> = registered.iter().map(|it| it.sequence_hash()).collect();
    assert_eq!(found, hashes(0..expected as u64), "{what}");
    assert_eq!(
        manager.metrics().snapshot().registrations,
        expected as u64,
        "{what}"
    );
    let in_use = manager.audit().expect("it is consistent");
    assert_eq!((in_use.active, in_use.exclusive), (expected, 0), "{what}");
    drop(registered);
    assert_eq!(manager.match_blocks(&found).len(), expected);
    assert_whole(&manager);
}

#[test]
fn an_iterator_that_panics_leaves_what_was_registered() {
    for depth in [0, 2] {
        for call in 0..9 {
            register(At::Next, call, depth, call as usize);
        }
        register(At::SizeHint, 0, depth, 0);
        register(At::Drop, 0, depth, 8);
    }
}

/// An iterator panics during unwinding. Runs in a child process; see [`crate::aborts`].
pub fn registration_while_unwinding() {
    struct Planned;

    struct OnDrop<F: FnMut()>(F);

    impl<F: FnMut()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    for (at, call, expected) in [(At::Next, 3, 3), (At::SizeHint, 0, 0), (At::Drop, 0, 8)] {
        let manager = manager();
        let fuse = Fuse::new(&[call], 2);
        let mut blocks = stage(&manager, 8);
        let mut registered = Vec::new();
        fuse.light();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _on_drop = OnDrop(|| {
                let blocks = Panicking {
                    inner: blocks.drain(..),
                    at,
                    fuse: Arc::clone(&fuse),
                };
                manager.register_into(blocks, &mut registered);
            });
            resume_unwind(Box::new(Planned));
        }));
        assert!(unwound.is_err_and(|payload| payload.is::<Planned>()));
        assert!(fuse.has_gone_off());
        assert_eq!(registered.len(), expected, "{at:?}");
        assert_eq!(manager.metrics().snapshot().registrations, expected as u64);
        drop(registered);
        drop(blocks);
        assert_whole(&manager);
    }
}

#[test]
fn an_iterator_of_hashes_that_panics_leaves_no_handle() {
    for (at, call) in [
        (At::Next, 0),
        (At::Next, 4),
        (At::Next, 8),
        (At::SizeHint, 0),
        (At::Drop, 0),
    ] {
        let registry = BlockRegistry::new();
        let fuse = Fuse::new(&[call], 0);
        let hashes = Panicking {
            inner: hashes(0..8).into_iter(),
            at,
            fuse: Arc::clone(&fuse),
        };
        fuse.light();
        let panicked = is_blast(|| drop(registry.register_sequence_hashes(hashes)));
        assert!(panicked, "{at:?}, {call}");
        assert_eq!(registry.registered_count(), 0, "{at:?}, {call}");
    }
}

/// A name whose conversion panics.
struct Name(Arc<Fuse>);

impl From<Name> for Arc<str> {
    fn from(name: Name) -> Self {
        name.0.call();
        "owner".into()
    }
}

#[test]
fn an_owners_name_that_panics_leases_nothing() {
    let manager = manager();
    let blocks = manager.register_blocks(stage(&manager, 8));
    let fuse = Fuse::new(&[0], 0);
    fuse.light();
    assert!(is_blast(|| drop(manager.lease(blocks, Name(fuse), None))));
    assert!(manager.holders().is_empty());
    assert_whole(&manager);
}

/// A range whose start or end panics.
struct Range(Arc<Fuse>);

impl RangeBounds<usize> for Range {
    fn start_bound(&self) -> Bound<&usize> {
        self.0.call();
        Bound::Unbounded
    }

    fn end_bound(&self) -> Bound<&usize> {
        self.0.call();
        Bound::Unbounded
    }
}

#[test]
fn a_range_that_panics_says_nothing() {
    for call in 0..2 {
        let manager = manager();
        drop(manager.register_blocks(stage(&manager, 8)));
        let fuse = Fuse::new(&[call], 0);
        fuse.light();
        let lowest = Retention::new(kvbm_lockfree::retention::Priority::LOWEST);
        assert!(is_blast(|| {
            manager.set_retention(&hashes(0..8), Range(fuse), lowest);
        }));
        for n in 0..8 {
            let block = manager.match_one(hash(n)).expect("it is cached");
            assert_eq!(block.retention(), Retention::default());
        }
        assert_whole(&manager);
    }
}

#[test]
fn an_accessor_that_panics_leaves_the_attachments() {
    let registry = BlockRegistry::new();
    let handle = registry.register_sequence_hash(hash(0));
    handle.attach_unique(7_u32).expect("it is the first");
    handle.attach(8_u64).expect("it is the first");
    let fuse = Fuse::new(&[0, 1, 2, 3, 4, 5], 2);
    fuse.light();
    let unique = handle.get::<u32>();
    let multiple = handle.get::<u64>();
    assert!(is_blast(|| assert_eq!(
        unique.with_unique(|_| fuse.call()),
        None
    )));
    assert!(is_blast(|| assert_eq!(
        unique.with_unique_mut(|_| fuse.call()),
        None
    )));
    assert!(is_blast(|| multiple.with_multiple(|_| fuse.call())));
    assert!(is_blast(|| multiple.with_multiple_mut(|_| fuse.call())));
    assert!(is_blast(|| unique.with_all(|_, _| fuse.call())));
    assert!(is_blast(|| multiple.with_all_mut(|_, _| fuse.call())));
    assert_eq!(unique.with_unique(|value| *value), Some(7));
    multiple.with_multiple(|values| assert_eq!(values, [&8]));
    handle.attach(9_u64).expect("of the same kind");
    assert_eq!(multiple.with_multiple(|values| values.len()), 2);
    handle.on_touch(Arc::new(|_| {}));
    handle.touch();
}
