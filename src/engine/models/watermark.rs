//! Models of the low watermark: if the number of credits was at the level before the threads
//! start, and is below it after they are done, a fall has been reported.

use std::sync::Arc;

use crate::engine::parts::credits::{Credits, Released};
use crate::models::{explore, spawn};

const COUNT: u32 = 16;
const LEVEL: u32 = 12;

/// Creates credits of two open shards, all of them available, after a fall that was reported.
fn after_a_reported_fall() -> Arc<Credits> {
    let credits = Credits::new(COUNT, 2);
    credits.watermark().set_level(u64::from(LEVEL));
    for home in 0..2 {
        assert_eq!(operate(&credits, home, COUNT, 0), 1);
        assert_eq!(credits.give_back(home, COUNT), Released::Live);
    }
    assert!(credits.reserve(0, 0).is_made && credits.reserve(1, 0).is_made);
    assert_eq!(report(&credits), 0);
    assert!((0..2).all(|shard| credits.is_open(shard)));
    Arc::new(credits)
}

/// The end of an operation. Returns how often it has reported a fall.
fn report(credits: &Credits) -> usize {
    let watermark = credits.watermark();
    if !watermark.is_due() {
        return 0;
    }
    let available = watermark.take(credits);
    assert!(available.is_none_or(|available| available < u64::from(LEVEL)));
    usize::from(available.is_some())
}

/// An operation that takes `count` blocks and returns `surplus` credits at its end. Returns how
/// often it has reported a fall.
fn operate(credits: &Credits, home: usize, count: u32, surplus: u32) -> usize {
    assert!(credits.reserve(home, count + surplus).is_made);
    if surplus > 0 {
        assert_eq!(credits.give_back(home, surplus), Released::Live);
    }
    report(credits)
}

/// Each alone leaves enough, so the two must see each other.
#[test]
fn two_falls_at_once() {
    explore(|| {
        let credits = after_a_reported_fall();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || operate(&credits, 1, 3, 0)
        });
        let own = operate(&credits, 0, 3, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}

/// An operation that drops below the level for a moment only clears the mark of the other's
/// fall.
#[test]
fn a_fall_and_a_momentary_fall() {
    explore(|| {
        let credits = after_a_reported_fall();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || operate(&credits, 1, 0, 5)
        });
        let own = operate(&credits, 0, 5, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}

/// The number falls, rises behind the thread that would report it, and falls again.
#[test]
fn a_fall_a_rise_and_a_fall() {
    explore(|| {
        let credits = after_a_reported_fall();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || {
                let reported = operate(&credits, 1, 3, 0);
                assert_eq!(credits.give_back(1, 3), Released::Live);
                reported
            }
        });
        let own = operate(&credits, 0, 2, 0) + operate(&credits, 0, 3, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}
