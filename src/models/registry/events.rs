//! Events: the pairs of a hash are exact, and no note is left with a sleeper.

use std::sync::{Arc, Weak};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::SequenceHash;
use crate::events::{Bell, KvCacheEvent, Lives, Notes};
use crate::registry::{BlockRegistry, Observer, Tier};

use super::{FakeTier, hash};

/// Takes notes of everything.
struct Observed(Notes<KvCacheEvent>);

impl Observer for Observed {
    fn cleared(&self, _: Weak<dyn Tier>) {}

    fn registered(&self, hash: SequenceHash) -> bool {
        self.0.push(KvCacheEvent::Create(hash));
        true
    }

    fn removed(&self, hash: SequenceHash) {
        self.0.push(KvCacheEvent::Remove(hash));
    }
}

/// What is registered, as somebody thinks who follows the events.
#[derive(Default)]
struct Follower {
    lives: Lives,
    registered: Vec<SequenceHash>,
}

impl Follower {
    fn follow(&mut self, observed: &Observed) -> &[SequenceHash] {
        for note in observed.0.take() {
            if !self.lives.count(&note) {
                continue;
            }
            match note {
                KvCacheEvent::Create(hash) => {
                    assert!(!self.registered.contains(&hash));
                    self.registered.push(hash);
                }
                KvCacheEvent::Remove(hash) => {
                    let at = self.registered.iter().position(|&other| other == hash);
                    self.registered.remove(at.unwrap());
                }
            }
        }
        &self.registered
    }
}

/// Explores a model of a registry that is observed.
fn explore(model: impl Fn(BlockRegistry, Arc<Observed>) + Send + Sync + 'static) {
    super::super::explore(move || {
        let observed = Arc::new(Observed(Notes::new()));
        let registry = BlockRegistry::builder()
            .observer(Arc::clone(&observed) as _)
            .build();
        model(registry, observed);
    });
}

/// The second registration may be noted before the end of the first.
#[test]
fn last_drop_meets_registration() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let mut follower = Follower::default();
        let handle = registry.register_sequence_hash(hash);
        let dropper = thread::spawn(move || drop(handle));
        let handle = registry.register_sequence_hash(hash);
        follower.follow(&observed);
        dropper.join().unwrap();
        assert_eq!(follower.follow(&observed), [hash]);
        drop(handle);
        assert_eq!(follower.follow(&observed), []);
    });
}

#[test]
fn two_registrations_come_and_go() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let mut follower = Follower::default();
        let other = registry.clone();
        let second = thread::spawn(move || drop(other.register_sequence_hash(hash)));
        drop(registry.register_sequence_hash(hash));
        follower.follow(&observed);
        second.join().unwrap();
        assert_eq!(follower.follow(&observed), []);
    });
}

/// Whoever of the block and the handle comes first makes the entry; whoever goes
/// last ends it.
#[test]
fn a_block_meets_a_handle() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let mut follower = Follower::default();
        let other = registry.clone();
        let user = thread::spawn(move || drop(other.register_sequence_hash(hash)));
        tier.register(&registry);
        // Whether the note has been left by now is the user's affair.
        follower.follow(&observed);
        tier.end(&registry);
        user.join().unwrap();
        assert_eq!(follower.follow(&observed), []);
    });
}

#[test]
fn a_block_outlives_a_handle() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let mut follower = Follower::default();
        let other = registry.clone();
        let user = thread::spawn(move || drop(other.register_sequence_hash(hash)));
        tier.register(&registry);
        user.join().unwrap();
        assert_eq!(follower.follow(&observed), [hash]);
        tier.end(&registry);
        assert_eq!(follower.follow(&observed), []);
    });
}

#[test]
fn a_block_goes_while_a_handle_comes() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let mut follower = Follower::default();
        tier.register(&registry);
        let other = registry.clone();
        let user = thread::spawn(move || other.match_sequence_hash(hash, false));
        tier.end(&registry);
        let handle = user.join().unwrap();
        let is_registered = handle.is_some();
        assert_eq!(follower.follow(&observed).len(), usize::from(is_registered));
        drop(handle);
        assert_eq!(follower.follow(&observed), []);
    });
}

#[test]
fn notes_are_read_once_and_in_order() {
    super::super::explore(|| {
        let notes = Arc::new(Notes::new());
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let notes = Arc::clone(&notes);
                thread::spawn(move || {
                    notes.push((writer, 0));
                    notes.push((writer, 1));
                })
            })
            .collect();
        let mut all: Vec<_> = notes.take().collect();
        for writer in writers {
            writer.join().unwrap();
        }
        all.extend(notes.take());
        assert_eq!(all.len(), 4);
        for writer in 0..2 {
            let own: Vec<_> = all.iter().filter(|note| note.0 == writer).collect();
            assert_eq!(own, [&(writer, 0), &(writer, 1)]);
        }
    });
}

/// If the sleeper sleeps with work to do, each of those who left it wakes the sleeper.
#[test]
fn a_sleeper_with_work_is_woken() {
    super::super::explore(|| {
        let bell = Arc::new(Bell::new());
        let work = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let (bell, work) = (Arc::clone(&bell), Arc::clone(&work));
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    bell.ring()
                })
            })
            .collect();
        let sleeps = bell.doze(|| work.load(Ordering::Relaxed) > 0);
        let woken = workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .filter(|&rang| rang)
            .count();
        assert!(!sleeps || woken == 2);
    });
}
