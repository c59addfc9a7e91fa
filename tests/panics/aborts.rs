//! A second panic during unwinding must not abort the process.
//!
//! Each case runs in a child process, which would be the one to abort.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kvbm_lockfree::events::EventsManager;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock};

use crate::fuse::{self, Fuse};
use crate::ledger::{Ledger, Owner, Value};
use crate::place::Place;
use crate::user::{Emission, Lru, Tracker, Wired};
use crate::world::{BLOCK_SIZE, Gpu, hash, hashes};
use crate::{inputs, wakers};

/// The environment variable that tells a child which case to run.
const CASE: &str = "KVBM_PANICS_CASE";

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

const BLOCKS: u64 = 8;

/// Builds a manager with bombs in everything that it can drop, all of which go off.
struct Powder {
    fuse: Arc<Fuse>,
    ledger: Arc<Ledger>,
    manager: BlockManager<Gpu>,
    blocks: Vec<ImmutableBlock<Gpu>>,
}

impl Powder {
    fn new() -> Self {
        let all: Vec<u32> = (0..1000).collect();
        let fuse = Fuse::new(&all, 2);
        let ledger = Arc::new(Ledger::default());
        let bomb = |owner| Value::new(owner, &ledger, Some(&fuse));
        let wired = || Wired {
            // That of something that does not exist here.
            place: Place::TouchCallback,
            fuse: Arc::clone(&fuse),
        };
        let emission = Emission {
            wired: wired(),
            spared: Arc::default(),
            _life: bomb(Owner::Emission),
        };
        let events = EventsManager::builder().policy(Arc::new(emission)).build();
        let tracker = Tracker {
            wired: wired(),
            counts: Mutex::default(),
            _life: bomb(Owner::Tracker),
        };
        let registry = BlockRegistry::builder()
            .frequency_tracker(Arc::new(tracker))
            .event_manager(Arc::new(events))
            .build();
        let captured = bomb(Owner::Low);
        let manager = BlockManager::builder()
            .block_count(BLOCKS as usize)
            .block_size(BLOCK_SIZE)
            .registry(registry)
            .with_eviction_policy(Lru {
                wired: wired(),
                order: BTreeMap::new(),
                releases: HashMap::new(),
                last: 0,
                _life: bomb(Owner::Policy),
            })
            .with_low_watermark(1, move |_low| {
                let _captured = &captured;
            })
            .build()
            .expect("it is valid");
        let blocks = manager
            .allocate_blocks(BLOCKS as usize)
            .expect("all are free");
        let stage = |(n, block): (u64, kvbm_lockfree::MutableBlock<Gpu>)| {
            block.stage(hash(n), BLOCK_SIZE).expect("of this size")
        };
        let blocks = manager.register_blocks((0..).zip(blocks).map(stage).collect());
        for block in &blocks {
            let handle = block.registration_handle();
            let owner = Owner::Hash(block.sequence_hash().as_u128());
            for _ in 0..3 {
                handle.attach(bomb(owner)).expect("of one kind");
            }
            let captured = bomb(owner);
            handle.on_touch(Arc::new(move |_| {
                let _captured = &captured;
            }));
        }
        fuse.light();
        Self {
            fuse,
            ledger,
            manager,
            blocks,
        }
    }
}

/// Returns whether a bomb's panic reached the caller.
fn is_blast<R>(code: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(code)).is_err_and(|payload| fuse::blast(payload).is_ok())
}

/// Panics and drops a value during the unwinding.
fn unwind_through<T>(value: T) {
    struct Planned;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _value = value;
        resume_unwind(Box::new(Planned));
    }));
    assert!(unwound.is_err_and(|payload| payload.is::<Planned>()));
}

/// Checks that all values have been dropped, once each.
fn assert_all_dropped(ledger: &Ledger) {
    let start = Instant::now();
    while !ledger.open().is_empty() {
        let open = ledger.open();
        assert!(start.elapsed() < LONG, "not dropped once each: {open:?}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Drops everything at once, and every drop panics.
fn the_end_of_everything() {
    let Powder {
        fuse: _,
        ledger,
        manager,
        blocks,
    } = Powder::new();
    drop(blocks);
    assert!(is_blast(|| drop(manager)));
    assert_all_dropped(&ledger);
}

fn the_end_of_everything_while_unwinding() {
    let Powder {
        fuse: _,
        ledger,
        manager,
        blocks,
    } = Powder::new();
    unwind_through((blocks, manager));
    assert_all_dropped(&ledger);
}

fn the_last_guard_of_everything_while_unwinding() {
    let Powder {
        fuse,
        ledger,
        manager,
        mut blocks,
    } = Powder::new();
    fuse.put_out();
    blocks.truncate(1);
    drop(manager);
    fuse.light();
    unwind_through(blocks);
    assert_all_dropped(&ledger);
}

fn guards_that_free_their_blocks() {
    let powder = Powder::new();
    let blocks = powder.blocks;
    blocks
        .iter()
        .for_each(|block| block.set_evict_on_reset(true));
    assert!(is_blast(|| drop(blocks)));
    let manager = powder.manager;
    assert_eq!(manager.available_blocks(), BLOCKS as usize);
    assert_eq!(
        manager.audit().expect("it is consistent").free,
        BLOCKS as usize
    );
    powder.fuse.put_out();
    drop(manager);
    assert_all_dropped(&powder.ledger);
}

fn guards_that_free_their_blocks_while_unwinding() {
    let powder = Powder::new();
    let blocks = powder.blocks;
    blocks
        .iter()
        .for_each(|block| block.set_evict_on_reset(true));
    unwind_through(blocks);
    assert_eq!(powder.manager.available_blocks(), BLOCKS as usize);
    powder.manager.audit().expect("it is consistent");
    powder.fuse.put_out();
}

fn an_allocation() {
    let mut powder = Powder::new();
    powder.blocks.clear();
    let mut blocks = Vec::new();
    assert!(is_blast(|| powder
        .manager
        .allocate_into(BLOCKS as usize, &mut blocks)));
    assert_eq!(blocks.len(), BLOCKS as usize);
    powder.manager.audit().expect("it is consistent");
    powder.fuse.put_out();
}

fn a_clearing_and_registrations_over_it() {
    let mut powder = Powder::new();
    let manager = &powder.manager;
    powder.blocks.clear();
    manager.clear_inactive_pool();
    let mut registered = Vec::new();
    // The panic is raised on this thread or on the events' thread, whichever comes first.
    is_blast(|| {
        let block = manager.allocate_one().expect("they are available");
        let block = block.stage(hash(5), BLOCK_SIZE).expect("of this size");
        manager.register_into([block], &mut registered);
    });
    is_blast(|| drop(manager.reset_inactive_pool()));
    let start = Instant::now();
    while manager
        .audit()
        .map(|report| (report.free, report.forgotten))
        .ok()
        != Some((BLOCKS as usize - registered.len(), 0))
    {
        let audit = manager.audit();
        assert!(start.elapsed() < LONG, "{audit:?}, {}", registered.len());
        thread::sleep(Duration::from_micros(100));
    }
    assert!(manager.match_blocks(&hashes(0..5)).is_empty());
    powder.fuse.put_out();
}

/// Drops, in a child process, a builder with a policy and a callback whose drops panic.
fn builders() {
    let all: Vec<u32> = (0..1000).collect();
    let fuse = Fuse::new(&all, 2);
    let ledger = Arc::new(Ledger::default());
    let builder = || {
        let bomb = |owner| Value::new(owner, &ledger, Some(&fuse));
        let captured = bomb(Owner::Low);
        BlockManager::<Gpu>::builder()
            .with_eviction_policy(Lru {
                wired: Wired {
                    place: Place::TouchCallback,
                    fuse: Arc::clone(&fuse),
                },
                order: BTreeMap::new(),
                releases: HashMap::new(),
                last: 0,
                _life: bomb(Owner::Policy),
            })
            .with_low_watermark(1, move |_low| {
                let _captured = &captured;
            })
    };
    fuse.light();
    drop(builder());
    unwind_through(builder());
    assert!(builder().build().is_err(), "it has no registry");
    drop(
        builder()
            .with_lru_backend()
            .with_low_watermark(0, |_low| {}),
    );
    assert_all_dropped(&ledger);
}

/// Defines a test for each case.
macro_rules! cases {
    ($($case:ident: $run:expr,)*) => {
        /// Runs a case if this process is a child.
        #[test]
        fn child() {
            match env::var(CASE).as_deref() {
                Err(_) => {}
                $(Ok(stringify!($case)) => $run,)*
                Ok(other) => panic!("no such case: {other}"),
            }
        }

        $(
            #[test]
            fn $case() {
                run(stringify!($case));
            }
        )*
    };
}

fn run(case: &str) {
    let program = env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .args(["--exact", "aborts::child", "--nocapture"])
        .env(CASE, case)
        .output()
        .expect("a child can be started");
    let status = output.status;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        status.code().is_some(),
        "the process was aborted, {status}: {said}"
    );
    assert!(status.success(), "{status}: {said}");
}

cases! {
    everything_ends: the_end_of_everything(),
    everything_ends_while_unwinding: the_end_of_everything_while_unwinding(),
    the_last_guard_goes_while_unwinding: the_last_guard_of_everything_while_unwinding(),
    guards_free_their_blocks: guards_that_free_their_blocks(),
    guards_free_their_blocks_while_unwinding: guards_that_free_their_blocks_while_unwinding(),
    builders_are_dropped: builders(),
    an_allocation_evicts: an_allocation(),
    registrations_follow_a_clearing: a_clearing_and_registrations_over_it(),
    a_subscription_is_dropped_while_unwinding: wakers::drop_of_a_subscription(true),
    an_iterator_panics_while_unwinding: inputs::registration_while_unwinding(),
}
