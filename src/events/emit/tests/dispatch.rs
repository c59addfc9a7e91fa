//! Tests of which thread dispatches, which subscriptions are woken, and how streams end.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;

use futures::executor::block_on;
use futures::{Stream, StreamExt};

use crate::events::event::KvCacheEvent;

use super::super::dispatch_thread::{IDLE_LOOKS, NAP};
use super::super::emitter::Emitter;
use super::super::subscription::Subscription;
use super::{LONG, counted, create, wait_until, without_thread};

fn poll(subscription: &mut Subscription, waker: &Waker) -> Poll<Option<KvCacheEvent>> {
    let polled = Pin::new(subscription).poll_next(&mut Context::from_waker(waker));
    polled.map(|item| item.map(Result::unwrap))
}

#[test]
fn a_parked_thread_exits_with_the_emitter() {
    let emitter = Emitter::new(16);
    let hub = Arc::downgrade(&emitter.0);
    wait_until(|| emitter.0.doorbell.is_armed());
    drop(emitter);
    wait_until(|| hub.strong_count() == 0);
}

#[test]
fn a_parked_thread_is_unparked() {
    let emitter = Emitter::new(16);
    let mut subscription = emitter.subscribe();
    let (counted, waker) = counted();
    for content in 0..3 {
        assert_eq!(poll(&mut subscription, &waker), Poll::Pending);
        wait_until(|| emitter.0.doorbell.is_armed());
        emitter.enqueue(create(content));
        wait_until(|| counted.get() == content as u32 + 1);
        let polled = poll(&mut subscription, &waker);
        assert_eq!(polled, Poll::Ready(Some(create(content))));
    }
}

/// A poller that dispatches stands in for the dispatch thread, which will find an empty
/// queue: the poller must wake the others.
#[test]
fn a_poller_wakes_all_other_waiters() {
    let emitter = without_thread();
    let mut own = emitter.subscribe();
    let mut others = [emitter.subscribe(), emitter.subscribe()];
    let (own_count, own_waker) = counted();
    let (count, waker) = counted();
    assert_eq!(poll(&mut own, &own_waker), Poll::Pending);
    for other in &mut others {
        assert_eq!(poll(other, &waker), Poll::Pending);
    }
    emitter.enqueue(create(1));
    assert_eq!(count.get(), 0);
    assert_eq!(poll(&mut own, &own_waker), Poll::Ready(Some(create(1))));
    assert_eq!((own_count.get(), count.get()), (0, 2));

    // Subscribing dispatches, too. The poller has not been woken, and is still registered.
    assert_eq!(poll(&mut own, &own_waker), Poll::Pending);
    for other in &mut others {
        assert_eq!(poll(other, &waker), Poll::Ready(Some(create(1))));
        assert_eq!(poll(other, &waker), Poll::Pending);
    }
    emitter.enqueue(create(2));
    drop(emitter.subscribe());
    assert_eq!((own_count.get(), count.get()), (1, 4));

    // The end wakes every subscription. None is woken without news.
    for subscription in others.iter_mut().chain([&mut own]) {
        assert_eq!(poll(subscription, &waker), Poll::Ready(Some(create(2))));
        assert_eq!(poll(subscription, &waker), Poll::Pending);
    }
    drop(emitter.subscribe());
    assert_eq!(count.get(), 4);
    drop(emitter);
    assert_eq!(poll(&mut own, &waker), Poll::Ready(None));
    assert_eq!(count.get(), 6);
    for other in &mut others {
        assert_eq!(poll(other, &waker), Poll::Ready(None));
    }
}

thread_local! {
    /// The function that cloning a [`cloner`] runs, once.
    static ON_CLONE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

/// Creates a waker whose first clone runs `on_clone`.
fn cloner(on_clone: impl FnOnce() + 'static) -> Waker {
    const VTABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            if let Some(on_clone) = ON_CLONE.take() {
                on_clone();
            }
            RawWaker::new(data, &VTABLE)
        },
        |_| {},
        |_| {},
        |_| {},
    );
    ON_CLONE.set(Some(Box::new(on_clone)));
    // SAFETY: the functions do nothing with the data.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &VTABLE)) }
}

/// Between the read that finds nothing and the registration of the waker, another thread
/// dispatches and finds no waker to call.
#[test]
fn an_event_queued_before_the_waker_is_registered_is_found() {
    let emitter = Arc::new(without_thread());
    let mut subscription = emitter.subscribe();
    let other = Arc::clone(&emitter);
    let waker = cloner(move || {
        other.enqueue(create(1));
        other.0.dispatch(None, |_, _| ());
    });
    assert_eq!(
        poll(&mut subscription, &waker),
        Poll::Ready(Some(create(1)))
    );
    // So is the end. It takes another waker, since the first one is registered by now.
    let (_, first) = counted();
    assert_eq!(poll(&mut subscription, &first), Poll::Pending);
    let waker = cloner(move || {
        let hub = Arc::clone(&emitter.0);
        drop(emitter);
        hub.dispatch(None, |_, _| ());
    });
    assert_eq!(poll(&mut subscription, &waker), Poll::Ready(None));
}

/// Subscribers that wait between any two events, pollers that dispatch for others, and the
/// dispatch thread: the thread that dispatches an event wakes all other subscribers.
#[test]
fn no_wake_up_is_lost() {
    const EVENTS: u64 = 20_000;
    let emitter = Arc::into_inner(Emitter::new(1 << 15)).unwrap();
    let (done, finished) = mpsc::channel();
    for _ in 0..3 {
        let (mut subscription, done) = (emitter.subscribe(), done.clone());
        thread::spawn(move || {
            for content in 0..EVENTS {
                let event = block_on(subscription.next()).unwrap().unwrap();
                assert_eq!(event, create(content));
            }
            assert_eq!(block_on(subscription.next()), None);
            done.send(())
        });
    }
    for content in 0..EVENTS {
        emitter.enqueue(create(content));
        match content % 1000 {
            // Now and then all subscribers wait, and the dispatch thread is parked.
            0 => thread::sleep(NAP * 2 * IDLE_LOOKS),
            1..50 => thread::sleep(NAP),
            _ => {}
        }
    }
    drop(emitter);
    for _ in 0..3 {
        finished
            .recv_timeout(LONG)
            .expect("a subscriber was not woken");
    }
}
