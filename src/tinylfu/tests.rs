//! Counts compared with the published crate's, and the tracker used by many threads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier, OnceLock, Weak, mpsc};
use std::thread;

use kvbm_logical::tinylfu as reference;
use kvbm_logical::tinylfu::FrequencyTracker as _;
use proptest::prelude::*;

use super::*;
use crate::sync::work_of;

/// A capacity at which no two keys of a test share all four counters.
const ROOMY: usize = 1 << 20;

/// Records every size it is called with, and decays when the size is a multiple of `every`
/// (never if 0).
#[derive(Clone)]
struct Recorder {
    every: u32,
    asked: Arc<std::sync::Mutex<Vec<u32>>>,
}

impl Recorder {
    fn new(every: u32) -> Self {
        Self {
            every,
            asked: Arc::default(),
        }
    }

    fn ask(&self, size: u32) -> bool {
        self.asked.lock().unwrap().push(size);
        self.every != 0 && size.is_multiple_of(self.every)
    }

    fn asked(&self) -> Vec<u32> {
        self.asked.lock().unwrap().clone()
    }
}

impl DecayPolicy for Recorder {
    fn should_decay(&self, size: u32) -> bool {
        self.ask(size)
    }
}

impl reference::DecayPolicy for Recorder {
    fn should_decay(&self, size: u32) -> bool {
        self.ask(size)
    }
}

/// Returns a tracker and the recorder of the sizes that its policy is called with.
fn recorded(settings: TinyLFUSettingsBuilder, every: u32) -> (TinyLFUTracker<u64>, Recorder) {
    let recorder = Recorder::new(every);
    let settings = settings.decay_policy(recorder.clone());
    (settings.build().unwrap().into_tracker(), recorder)
}

fn roomy() -> TinyLFUSettingsBuilder {
    TinyLFUSettings::builder().capacity(ROOMY)
}

/// Returns settings under which every count equals the reference's.
fn as_the_reference(capacity: usize) -> TinyLFUSettingsBuilder {
    TinyLFUSettings::builder()
        .capacity(capacity)
        .reference_layout()
}

#[derive(Debug, Clone)]
enum Op {
    Touch(u8, u8),
    /// Touches `.1` keys from `.0` on, in one call if there is a method for that.
    TouchAll(u8, u8),
    Count(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (any::<u8>(), 1..20u8).prop_map(|(key, times)| Op::Touch(key, times)),
        2 => (any::<u8>(), 0..80u8).prop_map(|(first, count)| Op::TouchAll(first, count)),
        1 => any::<u8>().prop_map(Op::Count),
    ];
    prop::collection::vec(op, 1..300)
}

fn capacity() -> impl Strategy<Value = usize> {
    prop_oneof![0..70usize, 60..3000usize, (2..12u32).prop_map(|n| 1 << n)]
}

/// Returns the keys of [`Op::TouchAll`].
fn keys(first: u8, count: u8) -> impl Iterator<Item = u128> {
    (0..count).map(move |at| wide(first.wrapping_add(at)))
}

/// Spreads the few keys of an operation over all bits.
fn wide(key: u8) -> u128 {
    u128::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)
}

proptest! {
    #[test]
    fn a_sketch_counts_as_the_reference_does(capacity in capacity(), ops in ops()) {
        let settings = as_the_reference(capacity).build().unwrap();
        let mut ours = settings.into_sketch::<u128>();
        let mut theirs = reference::TinyLFUSketch::<u128>::new(capacity);
        for op in ops {
            match op {
                Op::Touch(key, times) => for _ in 0..times {
                    ours.increment(wide(key));
                    theirs.increment(wide(key));
                },
                Op::TouchAll(first, count) => for key in keys(first, count) {
                    ours.increment(key);
                    theirs.increment(key);
                },
                Op::Count(key) => {
                    prop_assert_eq!(ours.estimate(wide(key)), theirs.estimate(wide(key)));
                }
            }
        }
        for key in 0..=255 {
            prop_assert_eq!(ours.estimate(wide(key)), theirs.estimate(wide(key)));
        }
    }

    #[test]
    fn a_tracker_counts_as_the_reference_does(
        capacity in capacity(),
        every in prop_oneof![Just(0), 1..40u32, 40..2000u32],
        ops in ops(),
    ) {
        let (ours, asked) = recorded(as_the_reference(capacity), every);
        let recorder = Recorder::new(every);
        let theirs = reference::TinyLFUSettings::builder()
            .capacity(capacity)
            .decay_policy(recorder.clone())
            .build()
            .unwrap()
            .into_tracker::<u64>();
        for op in ops {
            match op {
                Op::Touch(key, times) => for _ in 0..times {
                    ours.touch(wide(key) as u64);
                    theirs.touch(wide(key) as u64);
                },
                Op::TouchAll(first, count) => {
                    let keys: Vec<_> = keys(first, count).map(|key| key as u64).collect();
                    ours.touch_all(&keys);
                    keys.iter().for_each(|&key| theirs.touch(key));
                }
                Op::Count(key) => {
                    let key = wide(key) as u64;
                    prop_assert_eq!(ours.count(key), theirs.count(key));
                }
            }
        }
        for key in 0..=255 {
            let key = wide(key) as u64;
            prop_assert_eq!(ours.count(key), theirs.count(key));
        }
        prop_assert_eq!(asked.asked(), recorder.asked());
    }
}

#[test]
fn hashes_are_those_of_the_reference() {
    let secret: [u8; 192] = std::array::from_fn(|i| i as u8 ^ 0x5A);
    for key in 0..=255 {
        let key = wide(key);
        assert_eq!(
            key.hash_with_secret(&secret),
            reference::SketchKey::hash_with_secret(&key, &secret)
        );
        assert_eq!(
            (key as u64).hash_with_secret(&secret),
            reference::SketchKey::hash_with_secret(&(key as u64), &secret)
        );
    }
}

#[test]
fn threads_one_after_the_other_lose_nothing() {
    let (tracker, recorder) = recorded(roomy(), 0);
    // They touch one after the other because a turn is passed around.
    let threads = 40;
    let turns: Vec<_> = (0..threads).map(|_| Barrier::new(2)).collect();
    thread::scope(|scope| {
        for (i, turn) in turns.iter().enumerate() {
            let tracker = &tracker;
            scope.spawn(move || {
                turn.wait();
                let mine = i as u64;
                for key in 0..=mine {
                    tracker.touch(spread(0, key));
                    assert!(tracker.count(spread(0, key)) >= 1);
                }
                tracker.touch(spread(0, mine));
                turn.wait();
            });
        }
        for turn in &turns {
            turn.wait();
            turn.wait();
        }
    });
    // Thread i has touched keys 0..=i once, and key i a second time.
    for key in 0..threads as u64 {
        assert_eq!(
            tracker.count(spread(0, key)),
            (threads as u32 - key as u32 + 1).min(15)
        );
    }
    let asked = recorder.asked();
    assert!(asked.len() > 500);
    assert!(asked.into_iter().eq(1..=recorder.asked().len() as u32));
}

/// Returns a key that shares no counters with the others. Unspread, the four hashes of a key
/// would be those of its neighbours in a different order, since the secrets differ in few bits.
fn spread(owner: u64, i: u64) -> u64 {
    ((owner << 32) | i).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn touches_at_once_are_neither_lost_nor_counted_twice() {
    let touches = 500;
    let threads = 40_u64;
    let (tracker, recorder) = recorded(roomy(), 0);
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for owner in 0..threads {
            let (tracker, start) = (&tracker, &start);
            scope.spawn(move || {
                start.wait();
                for i in 0..touches {
                    tracker.touch(spread(owner, i));
                    tracker.touch_all(&[spread(threads, i), spread(owner, i)]);
                    assert_eq!(tracker.count(spread(owner, i)), 2);
                }
            });
        }
    });
    let counts = |owner| (0..touches).map(move |i| spread(owner, i));
    for key in (0..threads).flat_map(counts) {
        assert_eq!(tracker.count(key), 2);
    }
    for key in counts(threads) {
        assert_eq!(tracker.count(key), 15);
    }
    let mut asked = recorder.asked();
    asked.sort_unstable();
    // All of a key's counters are full at the same time, except while threads race.
    let fewest = threads as usize * touches as usize * 2 + touches as usize * 15;
    assert!(asked.len() >= fewest, "{} of {fewest}", asked.len());
    assert!(asked.into_iter().eq(1..=recorder.asked().len() as u32));
}

/// All threads halve, in a table so small that they always meet.
#[test]
fn halvings_at_once_halve_once_each() {
    let settings = TinyLFUSettings::builder().capacity(64_usize);
    let decay = settings.decay_policy(FixedDecayPolicy::new(40));
    let tracker = decay.build().unwrap().into_tracker::<u64>();
    thread::scope(|scope| {
        for owner in 0..8 {
            let tracker = &tracker;
            scope.spawn(move || {
                for i in 0..20_000 {
                    tracker.touch(spread(owner, i % 7));
                    assert!(tracker.count(spread(owner, i % 7)) <= 15);
                }
            });
        }
    });
    // Twenty raises, and the counts of before are gone.
    for key in 0..400 {
        tracker.touch(spread(100, key));
    }
    for key in 0..400 {
        assert!(tracker.count(spread(100, key)) <= 10);
    }
}

#[test]
fn a_policy_that_does_not_return_stops_nobody() {
    /// Parks the first thread that asks.
    struct Park(mpsc::SyncSender<()>, std::sync::Mutex<mpsc::Receiver<()>>);
    impl DecayPolicy for Park {
        fn should_decay(&self, size: u32) -> bool {
            if size == 1 {
                self.0.send(()).unwrap();
                self.1.lock().unwrap().recv().unwrap();
            }
            size == 100
        }
    }
    let (parked, is_parked) = mpsc::sync_channel(1);
    let (release, released) = mpsc::sync_channel(1);
    let tracker = roomy()
        .decay_policy(Park(parked, released.into()))
        .build()
        .unwrap()
        .into_tracker::<u64>();
    thread::scope(|scope| {
        scope.spawn(|| tracker.touch(99));
        is_parked.recv().unwrap();
        for key in 0..98 {
            tracker.touch(spread(0, key));
            assert_eq!(tracker.count(spread(0, key)), 1);
        }
        assert_eq!(tracker.count(99), 1);
        tracker.touch(99);
        assert_eq!(tracker.count(99), 1, "two, halved");
        assert_eq!(tracker.count(spread(0, 0)), 0, "one, halved");
        release.send(()).unwrap();
    });
}

#[test]
fn a_panicking_policy_loses_only_its_answer() {
    struct Once(AtomicBool);
    impl DecayPolicy for Once {
        fn should_decay(&self, size: u32) -> bool {
            assert!(size != 5 || self.0.swap(true, Relaxed), "the fifth");
            false
        }
    }
    let tracker = roomy()
        .decay_policy(Once(AtomicBool::new(false)))
        .build()
        .unwrap()
        .into_tracker::<u64>();
    let touch = || tracker.touch(1);
    (0..4).for_each(|_| touch());
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(touch));
    assert!(failed.is_err());
    assert_eq!(tracker.count(1), 5);
    (0..5).for_each(|_| touch());
    assert_eq!(tracker.count(1), 10);
}

#[test]
fn a_panicking_policy_loses_no_key_of_a_batch() {
    struct Third;
    impl DecayPolicy for Third {
        fn should_decay(&self, size: u32) -> bool {
            assert!(size != 3, "the third");
            false
        }
    }
    let tracker = roomy().decay_policy(Third).build().unwrap();
    let tracker = tracker.into_tracker::<u64>();
    let touch = || tracker.touch_all(&[1, 2, 3, 4, 5]);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(touch));
    assert!(failed.is_err());
    assert!((1..=5).all(|key| tracker.count(key) == 1));
}

#[test]
fn a_policy_may_use_its_own_tracker() {
    #[derive(Clone, Default)]
    struct Reentrant {
        tracker: Arc<OnceLock<Weak<TinyLFUTracker<u64>>>>,
        calls: Arc<AtomicU32>,
    }
    impl DecayPolicy for Reentrant {
        fn should_decay(&self, _: u32) -> bool {
            let tracker = self.tracker.get().and_then(Weak::upgrade).unwrap();
            let calls = self.calls.fetch_add(1, Relaxed);
            // A new key each time.
            tracker.touch(spread(9, calls.into()));
            assert_eq!(tracker.count(spread(9, calls.into())), 1);
            false
        }
    }
    let policy = Reentrant::default();
    let tracker = roomy()
        .decay_policy(policy.clone())
        .build()
        .unwrap()
        .into_tracker::<u64>();
    let tracker = Arc::new(tracker);
    policy.tracker.set(Arc::downgrade(&tracker)).unwrap();
    tracker.touch(1);
    tracker.touch_all(&[1, 1]);
    assert_eq!(tracker.count(1), 3);
    assert_eq!(policy.calls.load(Relaxed), 3);
}

/// Also of policies that halve far more often than the table is visited.
#[test]
fn a_touch_costs_the_same_in_every_table() {
    for sample_size in [1, 7, 1 << 20] {
        let most = [1 << 12, 1 << 22].map(|capacity| {
            let settings = TinyLFUSettings::builder().capacity(capacity as usize);
            let settings = settings.decay_policy(FixedDecayPolicy::new(sample_size));
            let tracker = settings.build().unwrap().into_tracker::<u64>();
            let touches = (0..5_000).map(|key| work_of(|| tracker.touch(spread(1, key))).1);
            let most = touches.max();
            let (_, counted) = work_of(|| (0..5_000).map(|key| tracker.count(key)).sum::<u32>());
            assert_eq!(counted, 0);
            most
        });
        assert!(most.iter().all(|&most| most <= Some(14)), "{most:?}");
    }
}

#[test]
fn the_tracker_of_nothing_counts_nothing() {
    let tracker = NoOpTracker::<u128>::default();
    tracker.touch(1);
    assert_eq!(tracker.count(1), 0);
}
