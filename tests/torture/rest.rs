//! Rounds of random operations. At rest, the pool must agree with its guards.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use kvbm_lockfree::BlockManager;
use kvbm_lockfree::blocks::BlockDuplicationPolicy;

use crate::policy::OwnPolicy;
use crate::rng::{self, Rng};
use crate::rounds::Rounds;
use crate::stamps::Stamps;
use crate::worker::{Covered, Worker};
use crate::{assert_whole, cases, manager};

/// The number of operations of a thread between two meetings.
const OPERATIONS: usize = 100;

struct Setting {
    blocks: usize,
    threads: u64,
    /// The number of guards of each kind that a thread keeps.
    hold: usize,
    /// Whether the threads together want more blocks than there are.
    refuses: bool,
}

/// Compares the pool with the record. No thread is running, but guards are held.
fn assert_accounted(manager: &BlockManager<()>, stamps: &Stamps) {
    stamps.assert_clean();
    let report = manager.audit().expect("the pool is consistent");
    let (owned, read) = stamps.in_use();
    assert_eq!(report.exclusive, owned, "{report:?}");
    // A primary may be held only by its duplicates, which the record does not show.
    let active = read..=read + report.duplicates;
    assert!(active.contains(&report.active), "{read} read, {report:?}");
    let available = report.free + report.forgotten + report.inactive;
    assert_eq!(manager.available_blocks(), available);
    let held = report.exclusive + report.active;
    assert_eq!(available + held, manager.total_blocks(), "{report:?}");
}

fn run(
    setting: &Setting,
    policy: OwnPolicy,
    duplication: BlockDuplicationPolicy,
    end: Instant,
    seed: u64,
    covered: &Covered,
) {
    let manager = manager(policy, setting.blocks, duplication);
    let stamps = Stamps::new(setting.blocks);
    let rounds = Rounds::new(setting.threads as usize);
    thread::scope(|scope| {
        for number in 0..setting.threads {
            let rng = Rng::of(seed, number);
            let mut worker = Worker::new(&manager, &stamps, covered, rng, setting.hold);
            let (manager, stamps, rounds) = (&manager, &stamps, &rounds);
            scope.spawn(move || {
                rounds.attend(
                    || worker.run(OPERATIONS),
                    || {
                        assert_accounted(manager, stamps);
                        Instant::now() < end
                    },
                )
            });
        }
    });
    assert_accounted(&manager, &stamps);
    assert_eq!(stamps.in_use(), (0, 0));
    assert_whole(&manager);
}

/// Checks that every operation has had every possible result.
fn assert_covered(covered: &Covered, refuses: bool) {
    let Covered {
        refused,
        evicted,
        duplicates,
        existing,
        upgraded,
        pinned,
    } = covered;
    assert!(!refuses || refused.load(Relaxed) > 0, "{covered:?}");
    for count in [evicted, duplicates, existing, upgraded, pinned] {
        assert!(count.load(Relaxed) > 0, "{covered:?}");
    }
}

fn run_all(percent: u32, setting: &Setting) {
    let seed = rng::seed();
    let covered = Covered::default();
    for (number, (policy, duplication, end)) in cases(percent).enumerate() {
        println!("{policy:?}, {duplication:?}");
        let seed = seed + number as u64;
        run(setting, policy, duplication, end, seed, &covered);
    }
    assert_covered(&covered, setting.refuses);
}

#[test]
fn blocks_have_one_owner_where_they_are_scarce() {
    let setting = Setting {
        blocks: 40,
        threads: 8,
        hold: 12,
        refuses: true,
    };
    run_all(20, &setting);
}

/// There are enough blocks for all threads, so inactive blocks accumulate and are matched again.
#[test]
fn blocks_have_one_owner_where_they_are_ample() {
    let setting = Setting {
        blocks: 150,
        threads: 8,
        hold: 12,
        refuses: false,
    };
    run_all(20, &setting);
}

/// Each shard is used by at least eight threads, which together want more blocks than there are.
#[test]
fn blocks_have_one_owner_among_64_threads() {
    let setting = Setting {
        blocks: 96,
        threads: 64,
        hold: 3,
        refuses: true,
    };
    run_all(30, &setting);
}
