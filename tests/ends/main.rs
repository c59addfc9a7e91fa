//! Everything ends: once the last manager, registry, handle and guard are dropped, streams end,
//! publishers finish and the crate's threads exit, promptly and without other activity in the
//! process.
//!
//! `tests/memory/ends.rs` checks that the memory is freed.

mod publisher;
mod streams;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::events::EventsManager;
use kvbm_lockfree::registry::BlockRegistrationHandle;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash, WeakBlock};

#[derive(Clone)]
struct Tier;

/// The time after which something counts as never ending, far longer than anything takes.
const NEVER: Duration = Duration::from_secs(60);

/// Serializes the tests, since activity on another registry could make things end.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What keeps the registrations alive.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Handles,
    Guards,
    Weak,
    /// Inactive blocks, which only the manager keeps.
    Inactive,
    Leased,
}

const KINDS: [Kind; 5] = [
    Kind::Handles,
    Kind::Guards,
    Kind::Weak,
    Kind::Inactive,
    Kind::Leased,
];

/// One of the values that keep the registrations alive.
type Part = Box<dyn Send>;

/// Creates a registry with `count` registrations, and returns the parts that keep them alive.
fn set_up(kind: Kind, count: u64, events: &Arc<EventsManager>) -> Vec<Part> {
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(events))
        .build();
    let hashes: Vec<_> = (0..count).map(SequenceHash::root).collect();
    if kind == Kind::Handles {
        let handles: Vec<BlockRegistrationHandle> =
            registry.register_sequence_hashes(hashes.iter().copied());
        return vec![Box::new(registry), Box::new(handles)];
    }
    let manager = BlockManager::<Tier>::builder()
        .block_count(count as usize)
        .block_size(16)
        .registry(registry.clone())
        .with_lru_backend()
        .build()
        .unwrap();
    let blocks = manager.allocate_blocks(count as usize).unwrap();
    let complete = blocks
        .into_iter()
        .zip(&hashes)
        .map(|(block, &hash)| block.stage(hash, 16).unwrap());
    let guards: Vec<ImmutableBlock<Tier>> = manager.register_blocks(complete.collect());
    let kept: Part = match kind {
        Kind::Handles | Kind::Inactive => Box::new(()),
        Kind::Guards => Box::new(guards),
        Kind::Weak => {
            let weak: Vec<WeakBlock<Tier>> = guards.iter().map(ImmutableBlock::downgrade).collect();
            Box::new(weak)
        }
        Kind::Leased => Box::new(manager.lease(guards, "client", None).unwrap()),
    };
    vec![Box::new(registry), Box::new(manager), kept]
}

/// Returns all orders in which two or three parts can be dropped.
fn orders(parts: usize) -> Vec<Vec<usize>> {
    match parts {
        2 => vec![vec![0, 1], vec![1, 0]],
        3 => vec![
            vec![0, 1, 2],
            vec![0, 2, 1],
            vec![1, 0, 2],
            vec![1, 2, 0],
            vec![2, 0, 1],
            vec![2, 1, 0],
        ],
        _ => unreachable!("there are two or three parts"),
    }
}

/// Drops the parts in an order; if `elsewhere`, the last one on another thread.
fn let_go(parts: Vec<Part>, order: &[usize], elsewhere: bool) {
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let (&last, first) = order.split_last().unwrap();
    for &at in first {
        drop(parts[at].take());
    }
    let last = parts[last].take();
    if elsewhere {
        thread::spawn(move || drop(last)).join().unwrap();
    } else {
        drop(last);
    }
}

/// Runs `work` on another thread and returns its result. Panics if it never ends.
fn ends<R: Send + 'static>(what: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    is_done
        .recv_timeout(NEVER)
        .unwrap_or_else(|_| panic!("it never ends: {what}"))
}

/// Returns how many of the crate's own threads are running.
#[cfg(target_os = "linux")]
fn own_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| {
            // A thread that exits meanwhile no longer has a name.
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        });
    names.filter(|name| name.starts_with("kvbm-")).count()
}

#[cfg(not(target_os = "linux"))]
fn own_threads() -> usize {
    0
}

fn wait_for_threads() {
    ends("a thread of the crate's own", || {
        while own_threads() > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    });
}
