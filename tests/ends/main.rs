//! Everything ends: when the last manager, registry, handle and guard are gone, streams end,
//! publishers are finished and the crate's threads exit, at once and with nothing else going
//! on in the process.
//!
//! `tests/memory/ends.rs` has what becomes of the memory.

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

/// Far longer than anything takes: the verdict "never".
const NEVER: Duration = Duration::from_secs(60);

/// The tests take turns: another registry that is used meanwhile would help.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What keeps registrations.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Handles,
    Guards,
    Weak,
    /// Blocks that nobody holds: the manager keeps them.
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

/// Whatever keeps the registrations, in the order in which they are let go of.
type Part = Box<dyn Send>;

/// A registry with so many registrations, and the parts that keep it.
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

/// All orders in which up to three parts can go.
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

/// Lets go of the parts in an order, the last of them on a thread of its own if it is to be.
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

/// Runs `work` and fails if it does not come to its end.
fn ends<R: Send + 'static>(what: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    is_done
        .recv_timeout(NEVER)
        .unwrap_or_else(|_| panic!("it never ends: {what}"))
}

/// Threads of the crate's own.
#[cfg(target_os = "linux")]
fn own_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| {
            // One that ends meanwhile has no name any more.
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
