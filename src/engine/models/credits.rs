//! Models of the credits: every reservation is all or nothing, no credit is lost or made up,
//! and exactly one release learns that it is the last of a retired store.

use std::sync::Arc;

use crate::engine::parts::credits::{Credits, Released};
use crate::models::{explore, spawn};

/// Enough for each of two shards to have a balance of its own, beside the central balance.
const COUNT: u32 = 16;

/// Creates credits of two shards, both of them open.
fn opened(count: u32) -> Arc<Credits> {
    let credits = Credits::new(count, 2);
    for home in 0..2 {
        assert!(credits.reserve(home, 1).is_made);
        assert_eq!(credits.give_back(home, 1), Released::Live);
    }
    assert!((0..2).all(|shard| credits.is_open(shard)));
    Arc::new(credits)
}

/// Reserves all credits that are left, from either shard. Returns how many there were.
fn left(credits: &Credits) -> u32 {
    let mut left = 0;
    for home in 0..2 {
        while credits.reserve(home, 1).is_made {
            left += 1;
        }
    }
    left
}

/// Of two reservations that each need more than half, one is made and the other refused.
#[test]
fn two_reservations_of_more_than_half() {
    explore(|| {
        let credits = opened(COUNT);
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || credits.reserve(1, COUNT - 3).is_made
        });
        let own = credits.reserve(0, COUNT - 3).is_made;
        let other = other.join().unwrap();
        assert!(own != other, "{own} and {other}");
        assert_eq!(credits.available(), 3);
    });
}

/// Two reservations that fit together are never refused, whatever credits are moving from one
/// shard to the other.
#[test]
fn demands_that_fit_are_never_refused() {
    explore(|| {
        let credits = opened(COUNT);
        let work = |credits: &Credits, home: usize, then: usize| {
            assert!(credits.reserve(home, COUNT / 2).is_made);
            assert_eq!(credits.give_back(then, COUNT / 2), Released::Live);
        };
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || work(&credits, 1, 0)
        });
        work(&credits, 0, 0);
        other.join().unwrap();
        assert_eq!(credits.available(), COUNT);
        assert_eq!(left(&credits), COUNT);
    });
}

/// Everything that was released can be reserved once the release has returned.
#[test]
fn a_release_meets_a_fold() {
    explore(|| {
        let credits = opened(COUNT);
        assert!(credits.reserve(1, 2).is_made);
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || assert_eq!(credits.give_back(1, 2), Released::Live)
        });
        let early = credits.reserve(0, COUNT).is_made;
        other.join().unwrap();
        assert_eq!(credits.available(), if early { 0 } else { COUNT });
        assert!(early || credits.reserve(0, COUNT).is_made);
    });
}

/// A reader never sees more credits than there are.
#[test]
fn no_reader_sees_too_many() {
    explore(|| {
        let credits = opened(COUNT);
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || {
                assert!(credits.reserve(1, 3).is_made);
                assert_eq!(credits.give_back(0, 3), Released::Live);
            }
        });
        assert!(credits.available() <= COUNT);
        other.join().unwrap();
        assert_eq!(credits.available(), COUNT);
        assert_eq!(left(&credits), COUNT);
    });
}

/// A shard is folded, and opened again with the balance that it had, under a thread that is
/// about to fold it.
#[test]
fn a_shard_has_the_same_balance_again() {
    explore(|| {
        // Each shard has 3 and the central balance 6, or 9 with what shard 0 had.
        let count = 12;
        let credits = opened(count);
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || {
                // Reserves everything and returns it; a quarter of it is 3 again.
                let made = credits.reserve(1, count).is_made;
                if made {
                    assert_eq!(credits.give_back(1, count), Released::Live);
                    assert!(credits.reserve(1, 0).is_made);
                }
            }
        });
        let wanted = count - 1;
        let held = if credits.reserve(0, wanted).is_made {
            wanted
        } else {
            0
        };
        other.join().unwrap();
        assert_eq!(left(&credits), count - held);
    });
}

/// Two threads open a shard at the same time.
#[test]
fn two_threads_open_a_shard() {
    explore(|| {
        let credits = Arc::new(Credits::new(COUNT, 2));
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || assert!(credits.reserve(0, 1).is_made)
        });
        assert!(credits.reserve(0, 1).is_made);
        other.join().unwrap();
        assert_eq!(left(&credits), COUNT - 2);
    });
}

/// A shard is opened, folded and about to be opened again, under a thread that is about to open
/// it.
#[test]
fn a_shard_is_granted_the_same_again() {
    explore(|| {
        let credits = Arc::new(Credits::new(COUNT, 1));
        let other = spawn(1, {
            let credits = Arc::clone(&credits);
            move || {
                let made = credits.reserve(0, COUNT).is_made;
                if made {
                    assert_eq!(credits.give_back(0, COUNT), Released::Live);
                    assert!(credits.reserve(0, 0).is_made);
                }
            }
        });
        assert!(credits.reserve(0, 0).is_made);
        let held: u32 = [COUNT / 2, COUNT / 2, COUNT / 2]
            .into_iter()
            .filter(|&count| credits.reserve(0, count).is_made)
            .sum();
        assert!(held <= COUNT);
        other.join().unwrap();
        let mut left = 0;
        while credits.reserve(0, 1).is_made {
            left += 1;
        }
        assert_eq!(left + held, COUNT);
    });
}

/// Returns the pool's references when all threads are done, given their changes: 1 while a
/// credit is out, 0 when all are back.
fn settled(changes: &[i32]) -> i32 {
    1 + changes.iter().sum::<i32>()
}

/// Returns the change of the pool's references that a release asks for.
fn dropped(released: Released) -> i32 {
    -i32::from(released == Released::StoreDone)
}

/// The end of a store: the manager and the guards are dropped at the same time, each guard by a
/// thread of another shard.
fn the_end(credits: &Arc<Credits>, guards: usize) {
    let guards: Vec<_> = (0..guards)
        .map(|home| {
            let credits = Arc::clone(credits);
            spawn(home, move || dropped(credits.give_back(home, 1)))
        })
        .collect();
    let retired = dropped(credits.retire());
    let changes: Vec<i32> = guards
        .into_iter()
        .map(|guard| guard.join().unwrap())
        .chain([retired])
        .collect();
    assert_eq!(settled(&changes), 0, "{changes:?}");
}

#[test]
fn one_release_is_the_last_with_open_shards() {
    explore(|| {
        let credits = opened(COUNT);
        assert!(credits.reserve(0, 1).is_made);
        the_end(&credits, 1);
    });
}

#[test]
fn one_of_two_releases_is_the_last() {
    explore(|| {
        let credits = Arc::new(Credits::new(2, 2));
        assert!(credits.reserve(0, 2).is_made);
        the_end(&credits, 2);
    });
}

/// A weak guard is upgraded while the store retires and its last guard is dropped.
fn an_upgrade_meets_the_end(credits: &Arc<Credits>) {
    let upgrade = spawn(1, {
        let credits = Arc::clone(credits);
        move || {
            let reservation = credits.reserve(1, 1);
            assert!(reservation.is_made, "there are others");
            reservation.references
        }
    });
    let released = dropped(credits.give_back(0, 1));
    let retired = dropped(credits.retire());
    let changes = [released, retired, upgrade.join().unwrap()];
    assert_eq!(settled(&changes), 1, "{changes:?}");
    let last = dropped(credits.give_back(0, 1));
    assert_eq!(settled(&changes) + last, 0, "{changes:?}");
}

#[test]
fn an_upgrade_meets_the_end_with_open_shards() {
    explore(|| {
        let credits = opened(COUNT);
        assert!(credits.reserve(0, 1).is_made);
        an_upgrade_meets_the_end(&credits);
    });
}

#[test]
fn an_upgrade_meets_the_end_with_only_the_central_balance() {
    explore(|| {
        let credits = Arc::new(Credits::new(3, 2));
        assert!(credits.reserve(0, 1).is_made);
        an_upgrade_meets_the_end(&credits);
    });
}
