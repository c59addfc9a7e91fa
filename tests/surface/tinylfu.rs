//! Frequency tracking.

use std::sync::Arc;

use super::{kvbm, layout};
use kvbm::tinylfu::{
    DecayPolicy, FixedDecayPolicy, FrequencyTracker, NoOpTracker, SketchKey, TinyLFUSettings,
    TinyLFUSettingsBuilder, TinyLFUSketch, TinyLFUTracker,
};

/// A policy that never decays.
struct Never;

impl DecayPolicy for Never {
    fn should_decay(&self, _increments: u32) -> bool {
        false
    }
}

/// A user-defined tracker.
struct Fixed;

impl FrequencyTracker<u64> for Fixed {
    fn touch(&self, _key: u64) {}

    fn count(&self, key: u64) -> u32 {
        key as u32
    }
}

/// A user-defined key.
#[derive(Clone, Copy)]
struct Name(u64);

impl SketchKey for Name {
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64 {
        self.0.hash_with_secret(secret)
    }
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let secret = [3; 192];
    say!(said, 7_u64.hash_with_secret(&secret));
    say!(said, 7_u128.hash_with_secret(&secret));

    let policy = FixedDecayPolicy::new(5);
    say!(said, (policy.should_decay(4), policy.should_decay(5)));
    say!(said, FixedDecayPolicy::from_capacity(8).should_decay(80));

    let mut sketch = TinyLFUSketch::<u64>::new(64);
    (0..5_u64).for_each(|_| sketch.increment(37));
    say!(said, sketch.estimate(37));
    let settings = layout(TinyLFUSettings::builder().capacity(64_usize));
    let mut sketch = settings.build().unwrap().into_sketch::<u64>();
    (0..500_u64).for_each(|key| sketch.increment(key % 37));
    say!(
        said,
        (0..40).map(|key| sketch.estimate(key)).collect::<Vec<_>>()
    );
    let settings = layout(TinyLFUSettings::builder().capacity(64_usize));
    let tracker = settings.build().unwrap().into_tracker::<Name>();
    (0..100).for_each(|key| tracker.touch(Name(key % 7)));
    say!(
        said,
        (0..9)
            .map(|key| tracker.count(Name(key)))
            .collect::<Vec<_>>()
    );

    let settings: TinyLFUSettings = TinyLFUSettings::builder()
        .capacity(32_usize)
        .decay_policy(Never)
        .build()
        .unwrap();
    let tracker: TinyLFUTracker<u64> = settings.into_tracker();
    (0..300_u64).for_each(|key| tracker.touch(key % 3));
    say!(said, tracker.count(1));
    let tracker = TinyLFUTracker::<u128>::new(64);
    tracker.touch(1);
    say!(said, tracker.count(1));
    let settings = TinyLFUSettingsBuilder::default()
        .capacity(32_usize)
        .build()
        .unwrap();
    let mut sketch: TinyLFUSketch<u128> = settings.into_sketch();
    sketch.increment(9);
    say!(said, sketch.estimate(9));
    say!(said, TinyLFUSettingsBuilder::default().build().is_err());

    let trackers: [Arc<dyn FrequencyTracker<u64>>; 3] = [
        Arc::new(NoOpTracker::new()),
        Arc::new(NoOpTracker::default()),
        Arc::new(Fixed),
    ];
    for tracker in trackers {
        tracker.touch(5);
        say!(said, tracker.count(5));
    }
    said
}
