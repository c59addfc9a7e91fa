//! Tests of what becomes of cleared tiers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use futures::StreamExt;
use futures::executor::block_on;

use crate::SequenceHash;
use crate::key::Key;
use crate::registry::{Leftovers, Tier};

use super::super::cleaner::{self, remove_cleared};
use super::super::cleanup_queue::CleanupQueue;
use super::super::dispatcher::Queued;
use super::super::emitter::Emitter;
use super::{LONG, create, wait_until, without_thread};

/// A tier that calls a function when it is cleaned up.
struct FakeTier<F>(F);

impl<F: Fn() + Send + Sync> Tier for FakeTier<F> {
    fn holds(&self, _: Key) -> bool {
        false
    }

    fn mark_held(&self, _: &mut [(SequenceHash, bool)]) {}

    fn for_each(&self, _: &mut dyn FnMut(SequenceHash)) {}

    fn registered(&self) -> usize {
        0
    }

    fn end_cleared(&self) -> Leftovers {
        self.0();
        Leftovers::new()
    }
}

#[test]
fn a_tier_is_queued_once() {
    // Tiers are not zero-sized, so each has an address of its own.
    let tier = |name: u8| -> Arc<dyn Tier> { Arc::new(FakeTier(move || assert!(name > 0))) };
    let (one, two) = (tier(1), tier(2));
    let mut cleanups = CleanupQueue::default();
    assert!(!cleanups.needs_cleaner());
    for tier in [&one, &two, &one, &one] {
        cleanups.push(Arc::downgrade(tier));
    }
    assert!(cleanups.needs_cleaner());
    cleanups.begin();
    assert!(!cleanups.needs_cleaner());
    let next = |cleanups: &mut CleanupQueue| cleanups.next().and_then(|tier| tier.upgrade());
    assert!(Arc::ptr_eq(&next(&mut cleanups).unwrap(), &one));
    // It may have been cleared again since it was taken.
    cleanups.push(Arc::downgrade(&one));
    assert!(Arc::ptr_eq(&next(&mut cleanups).unwrap(), &two));
    assert!(Arc::ptr_eq(&next(&mut cleanups).unwrap(), &one));
    assert!(next(&mut cleanups).is_none());
    assert!(!cleanups.needs_cleaner());
    cleanups.push(Arc::downgrade(&one));
    assert!(cleanups.needs_cleaner());
}

#[test]
fn a_panicking_tier_is_contained() {
    let cleaned = Arc::new(AtomicU32::new(0));
    let tier: Arc<dyn Tier> = {
        let cleaned = Arc::clone(&cleaned);
        Arc::new(FakeTier(move || {
            cleaned.fetch_add(1, Ordering::Relaxed);
            panic!("asked for");
        }))
    };
    let weak = Arc::downgrade(&tier);
    remove_cleared(&weak);
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
    assert_eq!(Arc::strong_count(&tier), 1);
    drop(tier);
    remove_cleared(&weak);
    assert_eq!(cleaned.load(Ordering::Relaxed), 1);
}

#[test]
fn a_slow_cleanup_delays_neither_events_nor_their_end() {
    let (begun, has_begun) = mpsc::channel();
    let (may_end, end) = mpsc::channel::<()>();
    let end = Mutex::new(end);
    let tier: Arc<dyn Tier> = Arc::new(FakeTier(move || {
        begun.send(()).unwrap();
        end.lock().unwrap().recv().unwrap();
    }));
    let emitter = Emitter::new(16);
    let hub = Arc::downgrade(&emitter.0);
    let mut subscription = emitter.subscribe();
    emitter.enqueue(Queued::Cleared(Arc::downgrade(&tier)));
    has_begun.recv_timeout(LONG).unwrap();
    emitter.enqueue(create(1));
    assert_eq!(block_on(subscription.next()), Some(Ok(create(1))));
    drop(emitter);
    assert_eq!(block_on(subscription.next()), None);
    drop(subscription);
    // The dispatch thread has exited; the cleaner is still running.
    wait_until(|| hub.strong_count() == 1);
    assert_eq!(Arc::strong_count(&tier), 2);
    may_end.send(()).unwrap();
    wait_until(|| hub.strong_count() == 0);
    assert_eq!(Arc::strong_count(&tier), 1);
}

#[test]
fn an_idle_cleaner_exits_and_is_started_again() {
    let cleaned = Arc::new(AtomicU32::new(0));
    let tier: Arc<dyn Tier> = {
        let cleaned = Arc::clone(&cleaned);
        Arc::new(FakeTier(move || {
            cleaned.fetch_add(1, Ordering::Relaxed);
        }))
    };
    let emitter = Emitter::new(16);
    for round in 1..4 {
        emitter.enqueue(Queued::Cleared(Arc::downgrade(&tier)));
        wait_until(|| cleaned.load(Ordering::Relaxed) == round);
        // The emitter and the dispatch thread.
        wait_until(|| Arc::strong_count(&emitter.0) == 2);
        assert_eq!(Arc::strong_count(&tier), 1);
    }
}

#[test]
fn without_a_cleaner_thread_cleanup_runs_in_place() {
    let cleaner = Arc::new(Mutex::new(None));
    let tier: Arc<dyn Tier> = {
        let cleaner = Arc::clone(&cleaner);
        Arc::new(FakeTier(move || {
            *cleaner.lock().unwrap() = Some(thread::current().id());
        }))
    };
    let emitter = without_thread();
    emitter.enqueue(Queued::Cleared(Arc::downgrade(&tier)));
    emitter
        .0
        .dispatch(None, |dispatcher, _| dispatcher.cleanups.begin());
    let impossible = thread::Builder::new().stack_size(1 << 60);
    cleaner::start(&emitter.0, impossible);
    assert_eq!(*cleaner.lock().unwrap(), Some(thread::current().id()));
    assert!(!emitter.0.dispatcher().cleanups.needs_cleaner());
    assert_eq!(Arc::strong_count(&emitter.0), 1);
}
