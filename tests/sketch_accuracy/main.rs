//! How accurate are the estimates of the frequency sketch, and does an eviction policy that
//! relies on them keep what is hot?
//!
//! The estimates are compared with those of a textbook count-min sketch, and with those of
//! the reference's layout, which uses one counter in sixteen.

use std::sync::Arc;

use kvbm_lockfree::manager::{BlockManagerConfigBuilder, FrequencyTrackingCapacity};
use kvbm_lockfree::tinylfu::{
    FrequencyTracker, TinyLFUSettings, TinyLFUSettingsBuilder, TinyLFUSketch, TinyLFUTracker,
};
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

/// A textbook count-min sketch. Each of its four rows has one counter per expected key, so it
/// has as many counters as the crate's sketch of the same capacity.
struct CountMin {
    rows: [Vec<u8>; 4],
}

impl CountMin {
    fn new(capacity: usize) -> Self {
        Self {
            rows: std::array::from_fn(|_| vec![0; capacity]),
        }
    }

    fn touch(&mut self, key: u64) {
        for (seed, row) in (0..).zip(&mut self.rows) {
            let at = Self::place(key, seed, row.len());
            row[at] = row[at].saturating_add(1).min(15);
        }
    }

    fn count(&self, key: u64) -> u32 {
        let counters = (0..).zip(&self.rows);
        let counters = counters.map(|(seed, row)| row[Self::place(key, seed, row.len())]);
        counters.min().unwrap().into()
    }

    fn place(key: u64, seed: u64, len: usize) -> usize {
        (mixed(key ^ mixed(seed)) % len as u64) as usize
    }
}

/// Scrambles `x` (SplitMix64).
fn mixed(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Returns a hash whose bits have no pattern.
fn hash(n: u64) -> u128 {
    u128::from(mixed(n)) << 64 | u128::from(mixed(!n))
}

#[test]
fn errors_are_those_of_a_count_min_sketch_at_every_built_in_size() {
    const MOST_TOUCHED: usize = 1 << 19;
    const UNTOUCHED: u64 = 50_000;
    for size in [
        FrequencyTrackingCapacity::Small,
        FrequencyTrackingCapacity::Medium,
        FrequencyTrackingCapacity::Large,
    ] {
        let touched = (size.size() / 2).min(MOST_TOUCHED) as u64;
        let tracker = size.create_tracker();
        let mut naive = CountMin::new(size.size());
        for key in 0..touched {
            tracker.touch(hash(key));
            naive.touch(key);
        }
        let untouched = touched..touched + UNTOUCHED;
        let wrong = untouched
            .clone()
            .filter(|&key| tracker.count(hash(key)) > 0);
        let naively_wrong = untouched.filter(|&key| naive.count(key) > 0);
        let (wrong, naively_wrong) = (wrong.count(), naively_wrong.count());
        assert!(
            wrong <= naively_wrong * 3 / 2 + 10,
            "{size:?}: {wrong}, and a count-min sketch {naively_wrong}"
        );
        let low = (0..touched)
            .step_by(97)
            .find(|&key| tracker.count(hash(key)) == 0);
        assert_eq!(low, None, "{size:?}");
    }
}

#[test]
fn few_of_the_keys_that_were_never_touched_have_a_count() {
    const CAPACITY: usize = 65_536;
    const UNTOUCHED: u64 = 100_000;
    let settings = || TinyLFUSettings::builder().capacity(CAPACITY);
    let wrong = |settings: TinyLFUSettingsBuilder| {
        let mut sketch = settings.build().unwrap().into_sketch();
        let touched = CAPACITY as u64 / 2;
        (0..touched).for_each(|key| sketch.increment(hash(key)));
        let untouched = touched..touched + UNTOUCHED;
        untouched
            .filter(|&key| sketch.estimate(hash(key)) > 0)
            .count()
    };
    let (ours, reference) = (wrong(settings()), wrong(settings().reference_layout()));
    println!("{ours} of {UNTOUCHED}, in the reference's layout {reference}");
    assert!((2_000..2_800).contains(&ours), "{ours}");
    assert!(reference > 99_000, "{reference}");
}

#[test]
fn neighbours_do_not_count_for_each_other() {
    // The secrets differ in few bits, and so the four hashes of one key are those of its
    // neighbours in a different order.
    let mut sketch = TinyLFUSketch::<u64>::new(1 << 16);
    for key in (0..1 << 13).filter(|key| key % 4 == 0) {
        sketch.increment(key);
    }
    let wrong = (0..1 << 13).filter(|key| key % 4 != 0 && sketch.estimate(*key) > 0);
    assert_eq!(wrong.count(), 0);
}

/// Returns the hit rate among requests for hot blocks. Of ten requests, four ask for one of
/// 900 hot blocks and six for a block that is never requested again; the pool has 1,000
/// blocks.
fn hits_among_the_hot(
    tracker: TinyLFUTracker<u128>,
    policy: fn(BlockManagerConfigBuilder<()>) -> BlockManagerConfigBuilder<()>,
) -> f64 {
    const REQUESTS: u64 = 60_000;
    const HOT: u64 = 900;
    let registry = BlockRegistry::builder().frequency_tracker(Arc::new(tracker));
    let builder = BlockManager::builder()
        .block_count(1_000)
        .block_size(16)
        .registry(registry.build());
    let manager = policy(builder).build().unwrap();
    let (mut hot, mut hits) = (0, 0);
    for n in 0..REQUESTS {
        let is_hot = mixed(n) % 10 < 4;
        let content = if is_hot { mixed(!n) % HOT } else { HOT + n };
        let hash = SequenceHash::root(mixed(content));
        let hit = manager.match_one(hash);
        if is_hot && n >= REQUESTS / 2 {
            hot += 1;
            hits += u64::from(hit.is_some());
        }
        if hit.is_none() {
            let block = manager.allocate_one().unwrap();
            drop(manager.register_block(block.stage(hash, 16).unwrap()));
        }
    }
    hits as f64 / hot as f64
}

#[test]
fn multi_level_lru_keeps_what_is_hot_from_what_is_scanned() {
    let settings = || TinyLFUSettings::builder().capacity(16_384_usize);
    let multi_level = BlockManagerConfigBuilder::with_multi_lru_backend;
    let tracker = || settings().build().unwrap().into_tracker();
    let lru = hits_among_the_hot(tracker(), BlockManagerConfigBuilder::with_lru_backend);
    let ours = hits_among_the_hot(tracker(), multi_level);
    let reference = settings().reference_layout().build().unwrap();
    let reference = hits_among_the_hot(reference.into_tracker(), multi_level);
    println!("LRU {lru:.3}, multi-level LRU {ours:.3}, in the reference's layout {reference:.3}");
    assert!(ours > 0.9, "{ours}");
    assert!(reference < lru + 0.1, "{reference}, LRU {lru}");
}
