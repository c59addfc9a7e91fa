//! Events: pairs are exact per hash, and no entry stays queued while the dispatch thread is
//! parked.

use std::sync::{Arc, Mutex, Weak};

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::SequenceHash;
use crate::events::{Doorbell, EventQueue, KvCacheEvent, LiveCounts};
use crate::registry::{BlockRegistry, Observer, Tier};

use super::{FakeTier, hash};

/// An observer that records everything it is told, in order.
///
/// The record is one that loom does not see, so that an event takes one step here. That the queue
/// keeps the order of its pushes is what its own models say.
#[derive(Default)]
struct Observed(Mutex<Vec<KvCacheEvent>>);

impl Observed {
    fn push(&self, event: KvCacheEvent) {
        self.0.lock().unwrap().push(event);
    }

    fn drain(&self) -> Vec<KvCacheEvent> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Observed {
    fn cleared(&self, _: Weak<dyn Tier>) {}

    fn registered(&self, hash: SequenceHash) -> bool {
        self.push(KvCacheEvent::Create(hash));
        true
    }

    fn removed(&self, hash: SequenceHash) {
        self.push(KvCacheEvent::Remove(hash));
    }
}

/// The hashes that are registered according to the events.
#[derive(Default)]
struct Follower {
    live_counts: LiveCounts,
    registered: Vec<SequenceHash>,
}

impl Follower {
    fn follow(&mut self, observed: &Observed) -> &[SequenceHash] {
        for event in observed.drain() {
            if !self.live_counts.apply(&event) {
                continue;
            }
            match event {
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

/// Explores a model of a registry that has an observer.
fn explore(model: impl Fn(BlockRegistry, Arc<Observed>) + Send + Sync + 'static) {
    super::super::explore(move || {
        let observed = Arc::new(Observed::default());
        let registry = BlockRegistry::builder()
            .observer(Arc::clone(&observed) as _)
            .build();
        model(registry, observed);
    });
}

/// The second registration may be queued before the end of the first.
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

/// The block or the handle creates the entry, whichever comes first; whichever goes last
/// ends it.
#[test]
fn a_block_meets_a_handle() {
    explore(|registry, observed| {
        let hash = hash(&registry, 1, 0);
        let tier = FakeTier::new(&registry, hash, false);
        let mut follower = Follower::default();
        let other = registry.clone();
        let user = thread::spawn(move || drop(other.register_sequence_hash(hash)));
        tier.register(&registry);
        // The event may or may not be queued by now.
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
fn values_are_drained_once_and_in_order() {
    super::super::explore(|| {
        let queue = Arc::new(EventQueue::new());
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    queue.push((writer, 0));
                    queue.push((writer, 1));
                })
            })
            .collect();
        let mut all: Vec<_> = queue.drain().collect();
        for writer in writers {
            writer.join().unwrap();
        }
        all.extend(queue.drain());
        assert_eq!(all.len(), 4);
        for writer in 0..2 {
            let own: Vec<_> = all.iter().filter(|value| value.0 == writer).collect();
            assert_eq!(own, [&(writer, 0), &(writer, 1)]);
        }
    });
}

/// The place of a pusher that has not filled it yet is passed over. The pusher and the drain then
/// leave the segment, in either order.
#[test]
fn a_place_is_passed_over() {
    super::super::explore(|| {
        let queue = Arc::new(EventQueue::new());
        queue.push(0);
        let [pusher, drainer] = [(); 2].map(|()| Arc::clone(&queue));
        let pusher = thread::spawn(move || pusher.push(1));
        let drainer = thread::spawn(move || drainer.drain().collect::<Vec<_>>());
        pusher.join().unwrap();
        let mut all = drainer.join().unwrap();
        all.extend(queue.drain());
        assert_eq!(all, [0, 1]);
    });
}

/// If the consumer parks although there is work, each producer of that work unparks it.
#[test]
fn a_parked_consumer_with_work_is_unparked() {
    super::super::explore(|| {
        let doorbell = Arc::new(Doorbell::new());
        let work = Arc::new(AtomicUsize::new(0));
        let producers: Vec<_> = (0..2)
            .map(|_| {
                let (doorbell, work) = (Arc::clone(&doorbell), Arc::clone(&work));
                thread::spawn(move || {
                    work.fetch_add(1, Ordering::Relaxed);
                    doorbell.ring()
                })
            })
            .collect();
        let is_parked = doorbell.arm(|| work.load(Ordering::Relaxed) > 0);
        let unparks = producers
            .into_iter()
            .map(|producer| producer.join().unwrap())
            .filter(|&rang| rang)
            .count();
        assert!(!is_parked || unparks == 2);
    });
}
