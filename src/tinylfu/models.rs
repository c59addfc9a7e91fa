//! Loom models of the table of counters: touches that meet each other and a halving.
//!
//! A line has one word here, and the table one line.

use std::sync::Arc;

use super::SketchKey;
use super::counters::Layout;
use super::decay::Decay;
use super::table::Table;
use super::tally::Age;
use crate::models::{explore, spawn};

/// A key that is its own hash, whichever the secret.
#[derive(Clone, Copy)]
struct Plain(u64);

impl SketchKey for Plain {
    fn hash_with_secret(&self, _: &[u8; 192]) -> u64 {
        self.0
    }
}

/// A key that selects counters 0 to 3 of the word: 0 and 1 by the lower half of its hash.
const KEY: Plain = Plain(0x48 << 32);
/// A key that selects counters 4 to 7.
const OTHER: Plain = Plain(0xd8 << 32 | 0x90);

/// Returns a table of one word, in which `touches` of `KEY` have been counted.
fn table(sample_size: u32, touches: u32) -> Arc<Table> {
    let table = Table::new(4, Decay::Fixed { sample_size }, Layout::Spread);
    (0..touches).for_each(|_| table.touch(KEY));
    Arc::new(table)
}

fn age(table: &Table) -> (u32, u32) {
    let Age { size, halvings } = table.age();
    (size, halvings)
}

#[test]
fn touches_of_one_word_are_not_lost() {
    explore(|| {
        let table = table(100, 0);
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.touch(OTHER)
        });
        table.touch(KEY);
        other.join().unwrap();
        assert_eq!([KEY, OTHER].map(|key| table.estimate(key)), [1, 1]);
        assert_eq!(age(&table), (2, 0));
    });
}

#[test]
fn a_counter_does_not_overflow() {
    explore(|| {
        let table = table(100, 14);
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.touch(KEY)
        });
        table.touch(KEY);
        other.join().unwrap();
        assert_eq!([KEY, OTHER].map(|key| table.estimate(key)), [15, 0]);
        let (size, _) = age(&table);
        assert!((15..=16).contains(&size), "{size}");
    });
}

/// Both touches reach the sample, and the counters are halved once.
#[test]
fn two_touches_halve_once() {
    explore(|| {
        let table = table(4, 3);
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.touch(KEY)
        });
        table.touch(KEY);
        other.join().unwrap();
        let (size, halvings) = age(&table);
        assert_eq!(halvings, 1);
        // Five halved, or four halved and then one.
        assert!((2..=3).contains(&table.estimate(KEY)));
        assert!(size <= 3, "{size}");
    });
}

/// Two threads find the word behind. It is halved once, and both touches count.
#[test]
fn two_touches_catch_up_a_line_once() {
    explore(|| {
        let table = table(3, 3);
        assert_eq!(age(&table), (0, 1));
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.touch(OTHER)
        });
        table.touch(OTHER);
        other.join().unwrap();
        assert_eq!(table.estimate(KEY), 1);
        // One of them may have come between the claim and the shift.
        assert!((1..=2).contains(&table.estimate(OTHER)));
    });
}

/// A count beside a touch that halves may miss either.
#[test]
fn a_count_beside_a_halving() {
    explore(|| {
        let table = table(6, 5);
        let other = spawn(1, {
            let table = Arc::clone(&table);
            move || table.touch(KEY)
        });
        let count = table.estimate(KEY);
        assert!([2, 3, 5, 6].contains(&count), "{count}");
        other.join().unwrap();
        assert_eq!(table.estimate(KEY), 3);
    });
}
