//! When do streams end, and what must slow user code not delay?

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use kvbm_lockfree::events::{EventEmissionPolicy, EventsManager, KvCacheEvent};
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use super::{available, create, hash, remove};

/// The time limit of a wait, far longer than any takes.
const LONG: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Gpu;

#[test]
fn a_stream_ends_with_the_last_that_could_emit() {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let handle = registry.register_sequence_hash(hash(1));
    drop(registry);
    assert_eq!(available(&mut subscription), [create(1)]);
    assert_eq!(subscription.next().now_or_never(), None);
    drop(handle);
    assert_eq!(available(&mut subscription), [remove(1)]);
    assert_eq!(subscription.next().now_or_never(), Some(None));
}

#[test]
fn a_stream_that_has_ended_stays_so() {
    let events = EventsManager::builder().build();
    let mut subscription = Box::pin(events.subscribe());
    let mut aware = Box::pin(events.subscribe_loss_aware());
    drop(events);
    for _ in 0..3 {
        assert_eq!(subscription.next().now_or_never(), Some(None));
        assert_eq!(aware.next().now_or_never(), Some(None));
    }
}

/// Runs `f` on a separate thread. Returns a receiver of its result.
fn soon<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
    let (done, result) = channel();
    thread::spawn(move || done.send(f()));
    result
}

/// Nothing polls in the meantime, and nothing else happens.
#[test]
fn the_end_wakes_a_waiting_subscriber() {
    for pause in [0, 1, 20, 100] {
        let events = EventsManager::builder().build();
        let mut subscription = Box::pin(events.subscribe());
        let result = soon(move || block_on(subscription.next()));
        thread::sleep(Duration::from_millis(pause));
        drop(events);
        assert_eq!(result.recv_timeout(LONG), Ok(None));
    }
}

/// A value whose drop does not finish until told to.
struct Slow {
    begun: Sender<()>,
    end: Mutex<Receiver<()>>,
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _ = self.begun.send(());
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = end.recv_timeout(10 * LONG);
    }
}

fn slow() -> (Slow, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (may_end, end) = channel();
    let end = Mutex::new(end);
    (Slow { begun, end }, has_begun, may_end)
}

/// Creates a tier with one inactive block, whose hash has an attachment.
fn tier<T: Send + Sync + 'static>(
    registry: &BlockRegistry,
    position: u64,
    attachment: T,
) -> BlockManager<Gpu> {
    let manager = BlockManager::<Gpu>::builder()
        .block_count(4)
        .block_size(1)
        .registry(registry.clone())
        .build()
        .unwrap();
    let hash = hash(position);
    let handle = registry.register_sequence_hash(hash);
    handle.attach(attachment).unwrap();
    let block = manager.allocate_one().unwrap().stage(hash, 1).unwrap();
    drop(manager.register_block(block));
    drop(handle);
    manager
}

/// After a clear, attachments are dropped on the cleaner's thread, which is not the one that
/// wakes subscribers.
#[test]
fn a_slow_drop_holds_up_no_subscriber() {
    let (slow, has_begun, may_end) = slow();
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let manager = tier(&registry, 1, slow);
    manager.clear_inactive_pool();
    has_begun.recv_timeout(LONG).unwrap();
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);

    for position in 2..5 {
        let result = soon(move || {
            let event = block_on(subscription.next());
            (event, subscription)
        });
        thread::sleep(Duration::from_millis(20));
        std::mem::forget(registry.register_sequence_hash(hash(position)));
        let event;
        (event, subscription) = result.recv_timeout(LONG).expect("woken");
        assert_eq!(event, Some(create(position)));
    }
    may_end.send(()).unwrap();
}

/// A value whose drop is counted and panics.
struct Bomb(Arc<AtomicU32>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("asked for");
    }
}

#[test]
fn attachments_that_panic_end_no_stream() {
    let drops = Arc::new(AtomicU32::new(0));
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    // One tier each, so that the same cleaner thread has several to clean.
    let managers: Vec<_> = (1..4)
        .map(|position| tier(&registry, position, Bomb(Arc::clone(&drops))))
        .collect();
    let created = (1..4).map(create).collect::<Vec<_>>();
    assert_eq!(available(&mut subscription), created);
    managers.iter().for_each(BlockManager::clear_inactive_pool);
    let result = soon(move || {
        let next = || block_on(subscription.next()).unwrap();
        std::iter::repeat_with(next).take(3).collect::<Vec<_>>()
    });
    let mut removed = result.recv_timeout(LONG).expect("woken");
    removed.sort_by_key(|event| match event {
        KvCacheEvent::Create(hash) | KvCacheEvent::Remove(hash) => hash.position(),
    });
    assert_eq!(removed, (1..4).map(remove).collect::<Vec<_>>());
    let dropped = soon(move || {
        while drops.load(Ordering::Relaxed) < 3 {
            thread::yield_now();
        }
    });
    dropped.recv_timeout(LONG).expect("all are dropped");
}

/// A policy whose drop is slow or panics.
struct Ends<T>(#[allow(dead_code)] Mutex<T>);

impl<T: Send> EventEmissionPolicy for Ends<T> {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        true
    }
}

#[test]
fn a_slow_policy_holds_up_no_end() {
    let (slow, has_begun, may_end) = slow();
    let events = EventsManager::builder()
        .policy(Arc::new(Ends(Mutex::new(slow))))
        .build();
    let mut subscription = Box::pin(events.subscribe());
    let result = soon(move || block_on(subscription.next()));
    let dropping = soon(move || drop(events));
    has_begun.recv_timeout(LONG).unwrap();
    assert_eq!(result.recv_timeout(LONG), Ok(None));
    may_end.send(()).unwrap();
    dropping.recv_timeout(LONG).unwrap();
}

#[test]
fn a_policy_whose_drop_panics_ends_the_streams() {
    let events = EventsManager::builder()
        .policy(Arc::new(Ends(Mutex::new(Bomb(Arc::default())))))
        .build();
    let mut subscription = Box::pin(events.subscribe());
    let is_waiting = Arc::new(AtomicBool::new(true));
    let result = soon({
        let is_waiting = Arc::clone(&is_waiting);
        move || {
            let end = block_on(subscription.next());
            is_waiting.store(false, Ordering::Relaxed);
            end
        }
    });
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(events))).unwrap_err();
    assert_eq!(result.recv_timeout(LONG), Ok(None));
    assert!(!is_waiting.load(Ordering::Relaxed));
}
