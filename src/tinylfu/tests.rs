//! Counts compared with the published crate's, and the tracker used by many threads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Barrier, OnceLock, Weak, mpsc};
use std::thread;

use kvbm_logical::tinylfu as reference;
use kvbm_logical::tinylfu::FrequencyTracker as _;
use proptest::prelude::*;

use super::*;

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
    // More threads have a number at once than there are stripes, so some use the shared one.
    // They touch one after the other because a turn is passed around.
    let threads = 40;
    let numbered = Barrier::new(threads);
    let turns: Vec<_> = (0..threads).map(|_| Barrier::new(2)).collect();
    thread::scope(|scope| {
        for (i, turn) in turns.iter().enumerate() {
            let (tracker, numbered) = (&tracker, &numbered);
            scope.spawn(move || {
                crate::sync::thread::index();
                numbered.wait();
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
    let counted = recorder.asked();
    assert!(counted.is_sorted());
    let last = counted.len() as u32;
    assert_eq!(counted.last(), Some(&last));
}

/// Returns a key that shares no counters with the others. Unspread, the four hashes of a key
/// would be those of its neighbours in a different order, since the secrets differ in few bits.
fn spread(owner: u64, i: u64) -> u64 {
    ((owner << 32) | i).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[test]
fn threads_at_once_are_never_counted_twice() {
    let touches = 500;
    let threads = 40u64;
    let (tracker, recorder) = recorded(roomy(), 0);
    let start = Barrier::new(threads as usize);
    thread::scope(|scope| {
        for owner in 0..threads {
            let (tracker, start) = (&tracker, &start);
            scope.spawn(move || {
                tracker.touch(spread(owner, 0));
                start.wait();
                for i in 1..touches {
                    tracker.touch(spread(owner, i));
                    if i % 64 == 0 {
                        tracker.count(spread(owner, i));
                    }
                }
            });
        }
    });
    let kept: u64 = (0..threads)
        .flat_map(|owner| (0..touches).map(move |i| spread(owner, i)))
        .map(|key| u64::from(tracker.count(key)))
        .inspect(|&count| assert!(count <= 1))
        .sum();
    assert!(kept <= threads * touches);
    assert!(kept > 0);
    assert_eq!(recorder.asked().len() as u64, kept);
}

#[test]
fn the_shared_stripe_has_one_writer_at_a_time() {
    let (tracker, _) = recorded(roomy(), 0);
    let threads = 40;
    let numbered = Barrier::new(threads);
    let touch = &|owner| {
        let shares = crate::sync::thread::index() >= 32;
        numbered.wait();
        // Two concurrent writers would fail an assertion in the stripe.
        for _ in 0..if shares { 20_000 } else { 100 } {
            tracker.touch(spread(owner, 1));
        }
        shares
    };
    let shares: Vec<bool> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads as u64)
            .map(|owner| scope.spawn(move || touch(owner)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.collect()
    });
    assert!(shares.contains(&true));
    for (owner, shares) in shares.into_iter().enumerate() {
        // A stripe that is not shared keeps what the table cannot take at once.
        assert!(shares || tracker.count(spread(owner as u64, 1)) == 15);
    }
}

#[test]
fn a_held_table_stops_nobody_and_costs_what_the_stripe_cannot_hold() {
    /// Parks the first thread that asks.
    struct Park(mpsc::SyncSender<()>, std::sync::Mutex<mpsc::Receiver<()>>);
    impl DecayPolicy for Park {
        fn should_decay(&self, size: u32) -> bool {
            if size == 1 {
                self.0.send(()).unwrap();
                self.1.lock().unwrap().recv().unwrap();
            }
            false
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
        scope.spawn(|| {
            tracker.touch(99);
            tracker.count(99);
        });
        is_parked.recv().unwrap();
        for key in 0..40 {
            tracker.touch(spread(0, key));
        }
        assert_eq!(tracker.count(spread(0, 0)), 0, "the table as it is");
        release.send(()).unwrap();
    });
    for key in 0..40 {
        assert_eq!(tracker.count(spread(0, key)), u32::from(key < 32), "{key}");
    }
    assert_eq!(tracker.count(99), 1);
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
    for _ in 0..10 {
        tracker.touch(1);
    }
    let count = || tracker.count(1);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(count));
    assert!(failed.is_err());
    assert_eq!(count(), 10);
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
            if self.calls.fetch_add(1, Relaxed) == 0 {
                tracker.touch(9);
                tracker.count(9);
            }
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
    assert_eq!(tracker.count(1), 1);
    assert_eq!(tracker.count(9), 1);
    assert_eq!(policy.calls.load(Relaxed), 2);
}

#[test]
fn the_tracker_of_nothing_counts_nothing() {
    let tracker = NoOpTracker::<u128>::default();
    tracker.touch(1);
    assert_eq!(tracker.count(1), 0);
}
