//! Everything else that the documentation promises.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

use futures::{FutureExt, StreamExt};
use kvbm_lockfree::events::protocol::EventReleaseHandle;
use kvbm_lockfree::events::{EventEmissionPolicy, EventsManager, EventsManagerSettings};
use kvbm_lockfree::{BlockRegistry, SequenceHash};
use tokio::sync::broadcast;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::{available, create, hash, remove};

#[test]
fn a_handle_of_another_registry_is_followed() {
    let events = EventsManager::builder().build();
    let mut subscription = Box::pin(events.subscribe());
    let handle = BlockRegistry::new().register_sequence_hash(hash(1));
    events.on_block_registered(&handle).unwrap();
    // A second call concerns the same registration.
    events.on_block_registered(&handle).unwrap();
    assert_eq!(available(&mut subscription), [create(1)]);
    drop(handle);
    assert_eq!(available(&mut subscription), [remove(1)]);
}

#[test]
fn a_handle_of_its_own_registry_is_followed_already() {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(&events))
        .build();
    let handle = registry.register_sequence_hash(hash(1));
    events.on_block_registered(&handle).unwrap();
    drop(handle);
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

#[test]
fn a_refused_attachment_takes_its_event_back() {
    let events = EventsManager::builder().build();
    let mut subscription = Box::pin(events.subscribe());
    let (channel, _) = broadcast::channel(1);
    let handle = BlockRegistry::new().register_sequence_hash(hash(1));
    let other = Arc::new(EventReleaseHandle::new(hash(1), channel));
    handle.attach(other).unwrap();
    events.on_block_registered(&handle).unwrap_err();
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
    drop(handle);
    assert_eq!(available(&mut subscription), []);
}

#[test]
fn a_release_handle_tells_its_channel() {
    let (channel, mut receiver) = broadcast::channel(1);
    drop(EventReleaseHandle::new(hash(1), channel));
    assert_eq!(receiver.try_recv(), Ok(remove(1)));
}

/// A policy that panics or emits.
struct Panics(Mutex<bool>);

impl EventEmissionPolicy for Panics {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        assert!(
            !*self.0.lock().unwrap_or_else(|e| e.into_inner()),
            "asked for"
        );
        true
    }
}

#[test]
fn a_policy_that_panics_leaves_nothing_behind() {
    let policy = Arc::new(Panics(Mutex::new(true)));
    let events = Arc::new(
        EventsManager::builder()
            .policy(Arc::clone(&policy) as _)
            .build(),
    );
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        registry.register_sequence_hash(hash(1))
    }));
    assert!(panic.is_err());
    assert!(!registry.is_registered(hash(1)));
    *policy.0.lock().unwrap_or_else(|e| e.into_inner()) = false;
    drop(registry.register_sequence_hash(hash(1)));
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

#[test]
fn a_policy_that_panics_leaves_nothing_at_a_foreign_handle() {
    let policy = Arc::new(Panics(Mutex::new(true)));
    let events = EventsManager::builder()
        .policy(Arc::clone(&policy) as _)
        .build();
    let mut subscription = Box::pin(events.subscribe());
    let handle = BlockRegistry::new().register_sequence_hash(hash(1));
    catch_unwind(AssertUnwindSafe(|| events.on_block_registered(&handle))).unwrap_err();
    assert_eq!(available(&mut subscription), []);
    *policy.0.lock().unwrap_or_else(|e| e.into_inner()) = false;
    events.on_block_registered(&handle).unwrap();
    drop(handle);
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

/// A waker that panics when it is woken.
struct Startles;

impl Wake for Startles {
    fn wake(self: Arc<Self>) {
        panic!("asked for");
    }
}

/// Both the event and the end of the channel call a waker that panics.
#[test]
fn a_release_handle_survives_its_channels_wakers() {
    let dropped = |is_unwinding: bool| {
        let (channel, mut one) = broadcast::channel(1);
        let mut other = channel.subscribe();
        let handle = EventReleaseHandle::new(hash(1), channel);
        let waker = Waker::from(Arc::new(Startles));
        let mut context = Context::from_waker(&waker);
        let mut waiting = pin!(one.recv());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let panic = catch_unwind(AssertUnwindSafe(|| {
            let handle = handle;
            assert!(!is_unwinding, "something else");
            drop(handle);
        }))
        .unwrap_err();
        assert_eq!(other.try_recv(), Ok(remove(1)));
        *panic.downcast::<&str>().unwrap()
    };
    assert_eq!(dropped(false), "asked for");
    assert_eq!(dropped(true), "something else");
}

/// A subscription yields all available events, however many, even in a task, whose cooperative
/// budget is limited.
#[tokio::test]
async fn a_task_gets_all_events_at_once() {
    const EVENTS: u64 = 1000;
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    for position in 0..EVENTS / 2 {
        drop(registry.register_sequence_hash(hash(position)));
    }
    let mut next = || subscription.next().now_or_never().flatten();
    for position in 0..EVENTS / 2 {
        assert_eq!(next(), Some(create(position)));
        assert_eq!(next(), Some(remove(position)));
    }
    assert_eq!(next(), None);
}

#[test]
fn impossible_capacities_are_refused() {
    // Apart from 0, these would allocate at least 64 TiB.
    for capacity in [0, 1 << 40, 1 << 60, usize::MAX / 2, usize::MAX] {
        let error = EventsManagerSettings::builder()
            .channel_capacity(capacity)
            .build()
            .err()
            .unwrap();
        assert!(error.to_string().contains(&capacity.to_string()), "{error}");
        let built = catch_unwind(|| EventsManager::builder().channel_capacity(capacity).build());
        assert!(built.is_err());
    }
}

#[test]
fn a_channel_of_one_event_keeps_the_last() {
    let events = Arc::new(EventsManager::builder().channel_capacity(1).build());
    let mut subscription = Box::pin(events.subscribe());
    let mut aware = Box::pin(events.subscribe_loss_aware());
    let registry = BlockRegistry::builder().event_manager(events).build();
    drop(registry.register_sequence_hash(hash(1)));
    assert_eq!(available(&mut subscription), [remove(1)]);
    let lost = BroadcastStreamRecvError::Lagged(1);
    assert_eq!(available(&mut aware), [Err(lost), Ok(remove(1))]);
}
