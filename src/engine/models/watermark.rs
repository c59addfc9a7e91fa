//! The low watermark: where the number was at the level before the threads, and is below
//! it after them, a fall has been told of.

use std::sync::Arc;

use crate::engine::parts::credits::{Credits, Released};
use crate::models::{explore, spawn};

const COUNT: u32 = 16;
const LEVEL: u32 = 12;

/// All credits, of two open shards, after a fall that has been told of.
fn told() -> Arc<Credits> {
    let credits = Credits::new(COUNT, 2);
    credits.watermark().set_level(u64::from(LEVEL));
    for home in 0..2 {
        assert_eq!(operate(&credits, home, COUNT, 0), 1);
        assert_eq!(credits.give_back(home, COUNT), Released::Live);
    }
    assert!(credits.reserve(0, 0).is_made && credits.reserve(1, 0).is_made);
    assert_eq!(tell(&credits), 0);
    assert!((0..2).all(|shard| credits.is_open(shard)));
    Arc::new(credits)
}

/// The end of an operation. Returns how often it told of a fall.
fn tell(credits: &Credits) -> usize {
    let watermark = credits.watermark();
    if !watermark.is_due() {
        return 0;
    }
    let available = watermark.take(credits);
    assert!(available.is_none_or(|available| available < u64::from(LEVEL)));
    usize::from(available.is_some())
}

/// An operation that takes `count` blocks and returns `surplus` credits at its end.
fn operate(credits: &Credits, home: usize, count: u32, surplus: u32) -> usize {
    assert!(credits.reserve(home, count + surplus).is_made);
    if surplus > 0 {
        assert_eq!(credits.give_back(home, surplus), Released::Live);
    }
    tell(credits)
}

/// Each alone leaves enough: they have to see each other.
#[test]
fn two_that_fall_together() {
    explore(|| {
        let credits = told();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || operate(&credits, 1, 3, 0)
        });
        let own = operate(&credits, 0, 3, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}

/// One that only passes the level for a moment takes the mark off the other's fall.
#[test]
fn a_fall_and_one_for_a_moment() {
    explore(|| {
        let credits = told();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || operate(&credits, 1, 0, 5)
        });
        let own = operate(&credits, 0, 5, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}

/// The number falls, rises behind the one who would tell of it, and falls again.
#[test]
fn a_fall_a_rise_and_a_fall() {
    explore(|| {
        let credits = told();
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || {
                let told = operate(&credits, 1, 3, 0);
                assert_eq!(credits.give_back(1, 3), Released::Live);
                told
            }
        });
        let own = operate(&credits, 0, 2, 0) + operate(&credits, 0, 3, 0);
        assert!(own + other.join().unwrap() > 0);
    });
}
