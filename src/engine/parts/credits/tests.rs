//! Tests of the credits alone. The loom models are in `models/credits`.

use super::{Credits, Released};

#[test]
fn all_or_nothing() {
    let credits = Credits::new(100, 3);
    assert!(credits.reserve(0, 60).is_made);
    assert!(!credits.reserve(1, 60).is_made);
    assert_eq!(credits.available(), 40);
    assert!(credits.reserve(2, 40).is_made);
    assert!(!credits.reserve(0, 1).is_made);
    assert_eq!(credits.available(), 0);
    assert_eq!(credits.give_back(1, 100), Released::Live);
    assert!(credits.reserve(0, 100).is_made);
}

#[test]
fn a_reservation_may_need_what_every_shard_has() {
    let credits = Credits::new(64, 4);
    for home in 0..4 {
        assert!(credits.reserve(home, 1).is_made);
        assert_eq!(credits.give_back(home, 1), Released::Live);
    }
    assert!(credits.reserve(3, 64).is_made);
    assert_eq!(credits.available(), 0);
}

#[test]
fn the_last_release_of_a_retired_store_says_so() {
    let credits = Credits::new(10, 2);
    assert!(credits.reserve(0, 3).is_made && credits.reserve(1, 3).is_made);
    assert_eq!(credits.retire(), Released::Live);
    assert_eq!(credits.give_back(1, 3), Released::Live);
    assert_eq!(credits.give_back(0, 3), Released::StoreDone);
    assert_eq!(credits.reserve(0, 1).references, 1);
    assert_eq!(credits.reserve(0, 1).references, 0);
    assert_eq!(credits.give_back(0, 1), Released::Live);
    assert_eq!(credits.give_back(1, 1), Released::StoreDone);
    let unused = Credits::new(1, 1);
    assert_eq!(unused.retire(), Released::StoreDone);
    assert_eq!(unused.retire(), Released::Live, "only one call is to act");
}

#[test]
fn threads_neither_make_nor_lose_credits() {
    let credits = Credits::new(256, 2);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let credits = &credits;
            scope.spawn(move || {
                for round in 0..20_000 {
                    let count = 1 + (round * 7 + thread * 13) % 64;
                    assert!(
                        credits.reserve(thread as usize % 2, count).is_made,
                        "refused {count}"
                    );
                    let home = (thread + round) as usize % 2;
                    assert_eq!(credits.give_back(home, count), Released::Live);
                }
            });
        }
    });
    assert_eq!(credits.available(), 256);
}

#[test]
fn exactly_one_release_is_the_last() {
    for round in 0..200 {
        let credits = Credits::new(4, 2);
        assert!(credits.reserve(round % 2, 4).is_made);
        let last: usize = std::thread::scope(|scope| {
            let guards: Vec<_> = (0..4)
                .map(|guard| {
                    let credits = &credits;
                    scope.spawn(move || credits.give_back(guard % 2, 1))
                })
                .collect();
            let retired = credits.retire();
            guards
                .into_iter()
                .map(|guard| guard.join().unwrap())
                .chain([retired])
                .filter(|&released| released == Released::StoreDone)
                .count()
        });
        assert_eq!(last, 1);
    }
}
