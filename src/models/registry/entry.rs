//! An entry's life: its handles, its tenancies, and its single end.

use std::any::TypeId;
use std::sync::Arc;

use loom::thread;

use super::{Dropped, FakeTier, explore, hash};

#[test]
fn last_drop_meets_lookup() {
    explore(|registry| {
        let hash = hash(&registry, 1, 0);
        let handle = registry.register_sequence_hash(hash);
        let dropper = thread::spawn(move || drop(handle));
        if let Some(found) = registry.match_sequence_hash(hash, false) {
            assert_eq!(found.seq_hash(), hash);
            assert!(registry.is_registered(hash));
        }
        dropper.join().unwrap();
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// A lookup may meet an entry that is dead and not unlinked yet.
#[test]
fn last_drop_meets_registration() {
    explore(|registry| {
        let hash = hash(&registry, 1, 0);
        let dropped = Dropped::default();
        let handle = registry.register_sequence_hash(hash);
        dropped.attach_to(&handle);
        let dropper = thread::spawn(move || drop(handle));
        let handle = registry.register_sequence_hash(hash);
        let kept = handle
            .get::<super::Attachment>()
            .with_all(|unique, all| usize::from(unique.is_some()) + all.len());
        dropper.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        assert_eq!(kept + dropped.count(), 1);
        drop(handle);
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// Two threads that register while the last handle is dropped meet the same dead entry, and
/// then each other.
#[test]
fn last_drop_meets_two_registrations() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let handle = registry.register_sequence_hash(hash);
        let dropper = thread::spawn(move || drop(handle));
        let other = registry.clone();
        let second = thread::spawn(move || other.register_sequence_hash(hash));
        let first = registry.register_sequence_hash(hash);
        dropper.join().unwrap();
        let second = second.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        drop((first, second));
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

#[test]
fn two_registrations_make_one_entry() {
    explore(|registry| {
        let hash = hash(&registry, 1, 0);
        let dropped = Dropped::default();
        let (other, also) = (registry.clone(), dropped.clone());
        let second = thread::spawn(move || {
            let handle = other.register_sequence_hash(hash);
            // True even if the other thread has created the entry and got no further.
            assert!(other.is_registered(hash));
            also.attach_to(&handle);
            handle
        });
        let first = registry.register_sequence_hash(hash);
        assert!(registry.is_registered(hash));
        dropped.attach_to(&first);
        let second = second.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        assert_eq!(
            first
                .get::<super::Attachment>()
                .with_all(|unique, all| usize::from(unique.is_some()) + all.len()),
            2
        );
        drop(first);
        assert_eq!(dropped.count(), 0);
        drop(second);
        assert_eq!(dropped.count(), 2);
        assert!(registry.core().audit().is_empty());
    });
}

/// Each thread makes its change and then looks for the other's.
#[test]
fn last_drop_meets_end_of_tenancy() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let tier = FakeTier::new(&registry, hash, true);
        let dropped = Dropped::default();
        let handle = registry.register_sequence_hash(hash);
        dropped.attach_to(&handle);
        let dropper = thread::spawn(move || drop(handle));
        tier.end(&registry);
        dropper.join().unwrap();
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// The tenancy may end before there is an entry, and then does not look for one.
#[test]
fn first_handle_meets_end_of_tenancy() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let tier = FakeTier::new(&registry, hash, true);
        let dropped = Dropped::default();
        let (other, also) = (registry.clone(), dropped.clone());
        let user = thread::spawn(move || {
            let handle = other.register_sequence_hash(hash);
            also.attach_to(&handle);
            drop(handle);
        });
        tier.end(&registry);
        user.join().unwrap();
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
    });
}

/// Neither thread can tell that its tier's tenancy is the last.
#[test]
fn tenancies_of_two_tiers_end() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let tiers = [(); 2].map(|()| FakeTier::new(&registry, hash, true));
        let dropped = Dropped::default();
        dropped.attach_to(&registry.register_sequence_hash(hash));
        assert_eq!(dropped.count(), 0);
        let [first, second] = tiers;
        let other = registry.clone();
        let ender = thread::spawn(move || {
            second.end(&other);
            second
        });
        first.end(&registry);
        // Kept alive: a tier that is gone has no blocks, whatever it said before.
        let _second = ender.join().unwrap();
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
    });
}

/// A block that arrived while there were handles keeps the attachments, even from a thread
/// that drops another handle at the same time.
#[test]
fn a_block_takes_over_from_the_handles() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let dropped = Dropped::default();
        let first = registry.register_sequence_hash(hash);
        dropped.attach_to(&first);
        let second = first.clone();
        let dropper = thread::spawn(move || drop(first));
        tier.begin();
        drop(second);
        dropper.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        assert_eq!(dropped.count(), 0);
        tier.end(&registry);
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
    });
}

/// A tenancy of one tier ends while another's begins and a handle is dropped.
#[test]
fn a_block_moves_to_another_tier() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let [from, to] = [true, false].map(|is| FakeTier::new(&registry, hash, is));
        let dropped = Dropped::default();
        let handle = registry.register_sequence_hash(hash);
        dropped.attach_to(&handle);
        let other = registry.clone();
        let ender = thread::spawn(move || {
            from.end(&other);
            from
        });
        to.begin();
        drop(handle);
        let _from = ender.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        assert_eq!(dropped.count(), 0);
    });
}

/// A thread drops the last handle, looks for a block, finds none, and is slow to end the
/// entry. Meanwhile a block arrives, and somebody attaches a value and leaves it to the
/// block.
#[test]
fn a_late_end_meets_a_new_handle() {
    explore(|registry| {
        let hash = hash(&registry, 1, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let dropped = Dropped::default();
        let handle = registry.register_sequence_hash(hash);
        let dropper = thread::spawn(move || drop(handle));
        tier.begin();
        let handle = registry.register_sequence_hash(hash);
        dropped.attach_to(&handle);
        drop(handle);
        dropper.join().unwrap();
        assert_eq!(dropped.count(), 0);
        assert_eq!(registry.core().audit(), [hash]);
        tier.end(&registry);
        assert_eq!(dropped.count(), 1);
        assert!(registry.core().audit().is_empty());
    });
}

/// A block moves to a tier that a thread about to end the entry has already looked into.
#[test]
fn a_block_moves_behind_a_look() {
    explore(|registry| {
        let hash = hash(&registry, 0, 0);
        let [to, from] = [false, true].map(|is| FakeTier::new(&registry, hash, is));
        let dropped = Dropped::default();
        let handle = registry.register_sequence_hash(hash);
        dropped.attach_to(&handle);
        let dropper = thread::spawn(move || drop(handle));
        to.register(&registry);
        from.end(&registry);
        dropper.join().unwrap();
        assert_eq!(registry.core().audit(), [hash]);
        assert_eq!(dropped.count(), 0);
        to.end(&registry);
        assert!(registry.core().audit().is_empty());
        assert_eq!(dropped.count(), 1);
    });
}

/// Threads take spare entries, while those that they end become spare again.
#[test]
fn spare_entries_meet_two_registrations() {
    explore(|registry| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|keyed| hash(&registry, keyed, 0));
        drop(registry.register_sequence_hashes([a, b]));
        assert_eq!(registry.pending_garbage(), 0, "both are spare");
        let other = registry.clone();
        let second = thread::spawn(move || {
            drop(other.register_sequence_hash(c));
            other.register_sequence_hash(d)
        });
        let first = registry.register_sequence_hash(a);
        let second = second.join().unwrap();
        assert_eq!(first.seq_hash(), a);
        assert_eq!(second.seq_hash(), d);
        assert_eq!(registry.core().audit().len(), 2);
        drop((first, second));
        assert!(registry.core().audit().is_empty());
        assert_eq!(registry.pending_garbage(), 0);
    });
}

/// An entry without handles gets two at once. Both of them keep the registry, until the last is
/// dropped.
#[test]
fn two_first_handles_keep_the_registry() {
    explore(|registry| {
        let hash = hash(&registry, 1, 0);
        let state = Arc::downgrade(registry.core());
        let tier = FakeTier::new(&registry, hash, true);
        drop(registry.register_sequence_hash(hash));
        let other = registry.clone();
        let second = thread::spawn(move || other.register_sequence_hash(hash));
        let first = registry.register_sequence_hash(hash);
        drop(registry);
        assert_eq!(first.seq_hash(), hash);
        drop(first);
        let second = second.join().unwrap();
        assert!(state.upgrade().is_some());
        assert!(second.has_any_block(&[TypeId::of::<FakeTier>()]));
        drop(second);
        assert!(state.upgrade().is_none());
        drop(tier);
    });
}
