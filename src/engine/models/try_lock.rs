//! Models of the try-lock: one holder at a time, and no thread waits.
//!
//! Loom watches the value behind the lock. Two holders at once fail the run, and so does a
//! holder that does not see what the holder before it did.

use std::sync::Arc;

use super::{explore, join, spawn};
use crate::sync::try_lock::TryLock;

fn add_one(lock: &TryLock<u32>) -> bool {
    lock.try_hold().map(|mut held| *held += 1).is_some()
}

#[test]
fn holders_take_turns() {
    explore(|| {
        let lock = Arc::new(TryLock::new(0));
        let others = [(); 2].map(|()| spawn(&lock, add_one));
        let own = add_one(&lock);
        let held = join(others);
        let turns = u32::from(own) + held.map(u32::from).iter().sum::<u32>();
        assert!(turns >= 1);
        assert_eq!(*lock.try_hold().unwrap(), turns);
    });
}

/// A failed attempt leaves the lock as it is.
#[test]
fn a_failed_attempt_leaves_the_lock_held() {
    explore(|| {
        let lock = Arc::new(TryLock::new(0));
        let mut held = lock.try_hold().unwrap();
        let others = [(); 2].map(|()| spawn(&lock, add_one));
        *held = 10;
        assert!(lock.is_taken() && *held == 10);
        drop(held);
        let turns = others.map(|other| u32::from(other.join().unwrap()));
        assert_eq!(*lock.try_hold().unwrap(), 10 + turns.iter().sum::<u32>());
    });
}

/// A holder that never releases the lock blocks no other thread.
#[test]
fn a_holder_that_never_finishes() {
    explore(|| {
        let lock = Arc::new(TryLock::new(0));
        let sleeper = spawn(&lock, |lock| {
            lock.try_hold().map(std::mem::forget).is_some()
        });
        let other = spawn(&lock, add_one);
        let own = add_one(&lock);
        let others = other.join().unwrap();
        let is_asleep = sleeper.join().unwrap();
        assert!(own || others || is_asleep);
        assert_eq!(lock.is_taken(), is_asleep);
        assert_eq!(lock.try_hold().is_none(), is_asleep);
    });
}
