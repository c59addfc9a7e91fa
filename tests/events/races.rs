//! Threads race to register the same hashes; subscribers still see exact pairs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kvbm_lockfree::events::{EventEmissionPolicy, EventsManager, KvCacheEvent};
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use super::{available, hash};

const THREADS: u64 = 4;
const ROUNDS: u64 = 20_000;
const HASHES: u64 = 5;

/// More than the number of events, so that none is lost.
const CAPACITY: usize = 1 << 20;

#[derive(Clone)]
struct Gpu;

/// A policy that keeps changing its answer.
#[derive(Default)]
struct Fickle(AtomicU64);

impl EventEmissionPolicy for Fickle {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        !self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
    }
}

/// Applies events, and panics if a pair is not exact.
#[derive(Default)]
struct Follower {
    registered: HashSet<SequenceHash>,
    events: usize,
}

impl Follower {
    fn follow(&mut self, event: KvCacheEvent) {
        self.events += 1;
        match event {
            KvCacheEvent::Create(hash) => {
                assert!(self.registered.insert(hash), "created twice: {hash:?}");
            }
            KvCacheEvent::Remove(hash) => {
                assert!(self.registered.remove(&hash), "not there: {hash:?}");
            }
        }
    }

    fn follow_all(&mut self, events: &mut (impl Stream<Item = KvCacheEvent> + Unpin)) {
        for event in available(events) {
            self.follow(event);
        }
    }
}

fn churn(registry: &BlockRegistry, thread: u64) {
    let manager = BlockManager::<Gpu>::builder()
        .block_count(3)
        .block_size(1)
        .registry(registry.clone())
        .build()
        .unwrap();
    let mut kept = None;
    for round in 0..ROUNDS {
        let hash = hash((round * (thread + 1)) % HASHES);
        match (round + thread) % 4 {
            0 => kept = Some(registry.register_sequence_hash(hash)),
            1 => drop(registry.register_sequence_hash(hash)),
            2 => {
                if let Some(block) = manager.allocate_one() {
                    drop(manager.register_block(block.stage(hash, 1).unwrap()));
                }
            }
            _ => drop(registry.match_sequence_hash(hash, false)),
        }
    }
    drop(kept);
}

fn pairs_are_exact(events: EventsManager) {
    let events = Arc::new(events);
    let mut subscription = Box::pin(events.subscribe());
    let mut late = Vec::new();
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(&events))
        .build();
    let mut follower = Follower::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let registry = &registry;
                scope.spawn(move || churn(registry, thread))
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            follower.follow_all(&mut subscription);
            if late.len() < 3 {
                late.push(Box::pin(events.subscribe()));
            }
            thread::yield_now();
        }
    });
    follower.follow_all(&mut subscription);
    assert_eq!(follower.registered.len(), registry.registered_count());
    assert_eq!(follower.registered, HashSet::new());
    assert!(follower.events > 1000, "only {}", follower.events);

    // A late subscriber sees the ends of earlier registrations, and nothing else of them.
    for mut late in late {
        let mut unknown = HashSet::new();
        let mut registered = HashSet::new();
        for event in available(&mut late) {
            match event {
                KvCacheEvent::Create(hash) => assert!(registered.insert(hash)),
                KvCacheEvent::Remove(hash) => {
                    assert!(registered.remove(&hash) || unknown.insert(hash));
                }
            }
        }
        assert_eq!(registered, HashSet::new());
        assert!(unknown.len() <= HASHES as usize);
    }
}

#[test]
fn pairs_are_exact_for_all_hashes() {
    pairs_are_exact(EventsManager::builder().channel_capacity(CAPACITY).build());
}

#[test]
fn pairs_are_exact_when_the_policy_wavers() {
    pairs_are_exact(
        EventsManager::builder()
            .channel_capacity(CAPACITY)
            .policy(Arc::new(Fickle::default()))
            .build(),
    );
}

/// No subscriber polls in the meantime, so the dispatch thread must do it.
#[test]
fn a_waiting_subscriber_is_woken() {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for (round, pause) in [0, 1, 20, 100].into_iter().cycle().take(16).enumerate() {
        let hash = hash(round as u64);
        let event = thread::scope(|scope| {
            let subscriber = scope.spawn(|| {
                runtime.block_on(async {
                    tokio::time::timeout(Duration::from_secs(60), subscription.next())
                        .await
                        .expect("woken in a minute")
                })
            });
            // The subscriber may be waiting and the dispatch thread parked.
            thread::sleep(Duration::from_millis(pause));
            std::mem::forget(registry.register_sequence_hash(hash));
            subscriber.join().unwrap()
        });
        assert_eq!(event, Some(KvCacheEvent::Create(hash)));
    }
}
