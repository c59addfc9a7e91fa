//! The table: growing, shrinking, and work left half done.

use loom::thread;

use super::{FakeTier, explore, hash};

/// One thread makes the table double while another walks it.
#[test]
fn growth_meets_lookup_and_insertion() {
    explore(|registry| {
        let hashes = [0, 1, 2, 3].map(|keyed| hash(&registry, keyed, 0));
        let [a, b, c, d] = hashes;
        let kept = registry.register_sequence_hashes([a, d]);
        let other = registry.clone();
        let grower = thread::spawn(move || other.register_sequence_hash(b));
        assert!(registry.is_registered(d));
        let handle = registry.register_sequence_hash(c);
        let grown = grower.join().unwrap();
        assert_eq!(registry.core().audit().len(), 4);
        assert!(registry.is_registered(a) && registry.is_registered(d));
        drop((kept, handle, grown));
        assert!(registry.core().audit().is_empty());
    });
}

/// Both threads need a bucket whose marker is not linked yet, nor is its parent's.
#[test]
fn two_link_the_same_markers() {
    explore(|registry| {
        let fillers = registry.register_sequence_hashes((0..3).map(|n| hash(&registry, 0, n)));
        let [a, b] = [0, 1].map(|nth| hash(&registry, 3, nth));
        let other = registry.clone();
        let linker = thread::spawn(move || other.register_sequence_hash(a));
        let handle = registry.register_sequence_hash(b);
        assert!(registry.is_registered(b));
        let linked = linker.join().unwrap();
        assert_eq!(registry.core().audit().len(), 5);
        drop((fillers, handle, linked));
        assert!(registry.core().audit().is_empty());
    });
}

/// One of two neighbours in a chain is unlinked while the other is, or while an entry is
/// inserted between them.
#[test]
fn neighbours_leave_and_come() {
    explore(|registry| {
        let [a, b, c] = [0, 1, 2].map(|nth| hash(&registry, 1, nth));
        let first = registry.register_sequence_hash(a);
        let second = registry.register_sequence_hash(b);
        let dropper = thread::spawn(move || drop(first));
        drop(second);
        let third = registry.register_sequence_hash(c);
        dropper.join().unwrap();
        assert_eq!(registry.core().audit(), [c]);
        drop(third);
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// The last but one entry of a table of four buckets is removed, and the upper two buckets
/// are unlinked and freed while the other entry is looked up through their markers.
#[test]
fn shrinking_meets_lookup_and_insertion() {
    explore(|registry| {
        let [a, b, c] = [2, 3, 1].map(|keyed| hash(&registry, keyed, 0));
        let first = registry.register_sequence_hash(a);
        let second = registry.register_sequence_hash(b);
        drop(registry.register_sequence_hash(c));
        assert!(registry.is_registered(a) && registry.is_registered(b));
        let dropper = thread::spawn(move || drop(first));
        assert!(registry.is_registered(b));
        let third = registry.register_sequence_hash(a);
        dropper.join().unwrap();
        assert_eq!(registry.core().audit().len(), 2);
        drop((second, third));
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// Another thread needs the buckets that are being given up.
#[test]
fn shrinking_meets_growth() {
    explore(|registry| {
        let [a, b, c, d] = [2, 3, 1, 0].map(|keyed| hash(&registry, keyed, 0));
        let first = registry.register_sequence_hash(a);
        let second = registry.register_sequence_hash(b);
        drop(registry.register_sequence_hash(c));
        let dropper = thread::spawn(move || drop(first));
        let more = registry.register_sequence_hashes([c, d]);
        assert!(registry.is_registered(b));
        dropper.join().unwrap();
        assert_eq!(registry.core().audit().len(), 3);
        drop((second, more));
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// As in `shrinking_meets_growth`, with a third thread that links the markers again: what it
/// links must not be freed with the segments of the shrinking table. For that to happen, one
/// thread must add two entries between the steps of another's shrinking, and the third must
/// link a marker between two steps of the second. That takes four preemptions, which
/// `LOOM_MAX_PREEMPTIONS=4` allows, and a long time.
#[test]
fn shrinking_meets_growth_and_lookup() {
    explore(|registry| {
        let [a, b, c, d] = [2, 3, 1, 0].map(|keyed| hash(&registry, keyed, 0));
        let tier = FakeTier::new(&registry, d, false);
        let first = registry.register_sequence_hash(a);
        let second = registry.register_sequence_hash(b);
        drop(registry.register_sequence_hash(c));
        let dropper = thread::spawn(move || drop(first));
        let other = registry.clone();
        let looker = thread::spawn(move || assert!(other.is_registered(b)));
        let more = registry.register_sequence_hashes([c, d]);
        dropper.join().unwrap();
        looker.join().unwrap();
        assert_eq!(registry.core().audit().len(), 3);
        drop((second, more, tier));
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// A walker may stand on a marker that is being unlinked, having reached it from a lower
/// one.
#[test]
fn shrinking_meets_two_lookups() {
    explore(|registry| {
        let [a, b, c] = [2, 3, 1].map(|keyed| hash(&registry, keyed, 0));
        let first = registry.register_sequence_hash(a);
        let second = registry.register_sequence_hash(b);
        drop(registry.register_sequence_hash(c));
        assert!(registry.is_registered(a) && registry.is_registered(b));
        let dropper = thread::spawn(move || drop(first));
        let other = registry.clone();
        let looker = thread::spawn(move || assert!(other.is_registered(b)));
        assert!(registry.is_registered(b));
        dropper.join().unwrap();
        looker.join().unwrap();
        assert_eq!(registry.core().audit(), [b]);
        drop(second);
        assert!(registry.core().audit().is_empty());
    });
}
