//! Handwritten and simulated logs that the checker must accept or reject.

use crate::checker::Step::{self, Ask, Drop, Dropped, Granted, Refused, Take, Took};
use crate::checker::{Event, Violation, check};
use crate::rng::Rng;

const TOTAL: usize = 10;

fn violations(steps: &[(usize, Step)]) -> Vec<Violation> {
    let events = steps.iter().zip(0..);
    let log = events.map(|(&(thread, step), at)| Event { at, thread, step });
    check(TOTAL, 4, log.collect()).violations
}

fn is_unjustified(steps: &[(usize, Step)]) -> bool {
    let found = violations(steps);
    matches!(found[..], [Violation::Unjustified { .. }])
}

#[test]
fn refusals_for_want_of_blocks_are_justified() {
    let held = [(0, Ask(7)), (0, Granted), (1, Ask(4)), (1, Refused)];
    assert_eq!(violations(&held), []);
    let own = [(0, Ask(7)), (0, Granted), (0, Ask(4)), (0, Refused)];
    assert_eq!(violations(&own), []);
    // Each may be refused because of the other.
    let asked = [(0, Ask(7)), (1, Ask(4)), (1, Refused), (0, Refused)];
    assert_eq!(violations(&asked), []);
    let matching = [(0, Take(7)), (1, Ask(4)), (1, Refused), (0, Took(0))];
    assert_eq!(violations(&matching), []);
    let matched = [(0, Take(7)), (0, Took(7)), (1, Ask(4)), (1, Refused)];
    assert_eq!(violations(&matched), []);
    let dropping = [
        (0, Ask(7)),
        (0, Granted),
        (0, Drop(7, 0)),
        (1, Ask(4)),
        (1, Refused),
        (0, Dropped),
    ];
    assert_eq!(violations(&dropping), []);
}

#[test]
fn refusals_without_want_are_not() {
    assert!(is_unjustified(&[(0, Ask(10)), (0, Refused)]));
    let held = [(0, Ask(7)), (0, Granted), (1, Ask(3)), (1, Refused)];
    assert!(is_unjustified(&held));
    // A call that has been refused no longer takes anything.
    let over = [
        (0, Ask(7)),
        (2, Ask(4)),
        (0, Refused),
        (1, Ask(3)),
        (1, Refused),
    ];
    assert!(is_unjustified(&over));
    let dropped = [
        (0, Ask(7)),
        (0, Granted),
        (0, Drop(7, 0)),
        (0, Dropped),
        (1, Ask(4)),
        (1, Refused),
    ];
    assert!(is_unjustified(&dropped));
    // After it has returned, a match counts with what it returned.
    let matched = [(0, Take(7)), (0, Took(6)), (1, Ask(4)), (1, Refused)];
    assert!(is_unjustified(&matched));
}

/// Two threads have four blocks each during the call, but not at the same time. Adding up what they
/// had over the entire call would wrongly justify the refusal.
#[test]
fn what_was_taken_at_different_instants_does_not_add_up() {
    let log = [
        (0, Ask(4)),
        (0, Granted),
        (2, Ask(4)),
        (0, Drop(4, 0)),
        (0, Dropped),
        (1, Ask(4)),
        (1, Granted),
        (2, Refused),
    ];
    assert!(is_unjustified(&log));
}

#[test]
fn more_than_there_is_cannot_be_held() {
    let over = [(0, Ask(7)), (1, Ask(4)), (0, Granted), (1, Granted)];
    let found = violations(&over);
    assert_eq!(found, [Violation::Overfull { at: 3, held: 11 }]);
    let dropping = [
        (0, Ask(7)),
        (0, Granted),
        (0, Drop(7, 0)),
        (1, Ask(4)),
        (1, Granted),
    ];
    assert_eq!(violations(&dropping), []);
    // Matched blocks may be the same ones.
    let shared = [(0, Take(7)), (1, Take(7)), (0, Took(7)), (1, Took(7))];
    assert_eq!(violations(&shared), []);
}

/// Simulates a pool that decides each call at one instant, and refuses one call in `spurious` for
/// no reason.
fn simulated(seed: u64, spurious: Option<usize>) -> Vec<Event> {
    const THREADS: usize = 4;
    let mut rng = Rng::new(seed);
    let (mut free, mut log) = (TOTAL, Vec::new());
    // What each thread holds, and what it has asked for with the decision.
    let mut held = [0; THREADS];
    let mut asked: [Option<(usize, Option<bool>)>; THREADS] = [None; THREADS];
    for at in 0..40_000 {
        let thread = rng.below(THREADS);
        let step = match asked[thread] {
            None if held[thread] > 0 => {
                // A drop that begins and returns at the same time.
                let drop = Drop(held[thread], 0);
                log.push(Event {
                    at: 2 * at,
                    thread,
                    step: drop,
                });
                free += std::mem::take(&mut held[thread]);
                Dropped
            }
            None => {
                let n = rng.between(1, 4);
                asked[thread] = Some((n, None));
                Ask(n)
            }
            Some((n, None)) => {
                let refuses = spurious.is_some_and(|one_in| rng.below(one_in) == 0);
                let granted = n <= free && !refuses;
                free -= if granted { n } else { 0 };
                asked[thread] = Some((n, Some(granted)));
                continue;
            }
            Some((n, Some(granted))) => {
                asked[thread] = None;
                held[thread] = if granted { n } else { 0 };
                if granted { Granted } else { Refused }
            }
        };
        log.push(Event {
            at: 2 * at + 1,
            thread,
            step,
        });
    }
    log
}

#[test]
fn one_refusal_in_a_thousand_without_a_reason_is_found() {
    for seed in 0..8 {
        let honest = check(TOTAL, 4, simulated(seed, None));
        assert!(honest.refused > 0 && honest.granted > 0, "{honest:?}");
        assert_eq!(honest.violations, []);
        let spurious = check(TOTAL, 4, simulated(seed, Some(1000)));
        let unjustified = |v: &Violation| matches!(v, Violation::Unjustified { .. });
        assert!(!spurious.violations.is_empty(), "seed {seed}");
        assert!(spurious.violations.iter().all(unjustified));
    }
}
