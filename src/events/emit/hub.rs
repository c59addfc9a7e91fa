//! How does an event get from a registration to its subscribers, and how are they woken?
//!
//! Registrations *enqueue*; a thread that *dispatches* drains the queue and broadcasts.
//!
//! | participant | action |
//! |---|---|
//! | a thread that begins or ends a registration | pushes onto the queue and rings the [`Doorbell`]; if that is armed, unparks the dispatch thread. Takes no lock |
//! | a subscription that is polled, or created | dispatches, then reads the channel under the same lock |
//! | a subscription that finds nothing to read | registers its waker under the lock, then looks once more |
//! | the dispatch thread | dispatches for subscribers that wait; when idle, arms the doorbell and parks |
//! | the cleaner | ends the registrations of cleared tiers, on a thread of its own |
//!
//! To dispatch is to lock the [`Dispatcher`], drain the queue, broadcast the events in the
//! order of the pushes, take the wakers of waiting subscriptions, unlock, and call them. No
//! user code runs under the lock.
//!
//! # What each ordering protects
//!
//! * *Release push, acquire drain* ([`EventQueue`]): a drained entry is complete, and so is
//!   everything that happened before its push. A drain that happens after a push always
//!   finds the entry, since its swap reads the latest head.
//! * *The doorbell's two sequentially consistent fences*: of a producer that pushes and then
//!   checks the doorbell, and a dispatch thread that arms it and then checks the queue, at
//!   least one sees the other. No entry is left with a parked thread.
//! * *The dispatcher's lock*: broadcasting an event and taking the wakers is one critical
//!   section; finding the channel empty with a waker registered is another. A subscription
//!   that waits is therefore woken by the next event.
//! * *`is_closing`, release in [`Hub::close`], acquire before the drain*: once the flag is
//!   seen, the queue holds everything that was ever pushed, so the drain that follows is the
//!   last and the channel can be closed after it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use crate::sync::{AtomicBool, Ordering};

use super::dispatcher::{Dispatcher, Progress, Queued};
use super::doorbell::Doorbell;
use super::queue::EventQueue;
use super::waiters::{WaiterId, WakeList};

/// The state shared by emitters, subscriptions and the manager's threads.
///
/// All of these keep it alive; the threads exit after the emitter is dropped.
pub(super) struct Hub {
    pub(super) queue: EventQueue<Queued>,
    pub(super) doorbell: Doorbell,
    /// Set when nothing more will be enqueued.
    is_closing: AtomicBool,
    dispatcher: Mutex<Dispatcher>,
    dispatch_thread: OnceLock<Thread>,
}

impl Hub {
    /// Creates a hub without a dispatch thread.
    pub(super) fn new(channel_capacity: usize) -> Self {
        Self {
            queue: EventQueue::new(),
            doorbell: Doorbell::new(),
            is_closing: AtomicBool::new(false),
            dispatcher: Mutex::new(Dispatcher::new(channel_capacity)),
            dispatch_thread: OnceLock::new(),
        }
    }

    /// Sets the thread that is unparked when there is something to dispatch.
    pub(super) fn set_dispatch_thread(&self, thread: Thread) {
        self.dispatch_thread.get_or_init(|| thread);
    }

    /// Adds an entry to the queue. Lock-free: two exchanges, now and then an allocation, and a system
    /// call if the dispatch thread is parked.
    pub(super) fn enqueue(&self, entry: Queued) {
        self.queue.push(entry);
        if self.doorbell.ring() {
            self.unpark_dispatch_thread();
        }
    }

    /// Requests that the channel be closed after everything enqueued so far has been
    /// broadcast. The next thread to dispatch closes it, so this takes no lock.
    pub(super) fn close(&self) {
        // Release: pairs with the acquire in `drain`.
        self.is_closing.store(true, Ordering::Release);
        self.unpark_dispatch_thread();
    }

    /// Broadcasts everything queued and calls `then` with the dispatcher and whether anything
    /// was queued. After unlocking, wakes waiting subscriptions if there is news for them,
    /// except the caller's `own`.
    pub(super) fn dispatch<R>(
        &self,
        own: Option<WaiterId>,
        then: impl FnOnce(&mut Dispatcher, bool) -> R,
    ) -> R {
        let mut dispatcher = self.dispatcher();
        let progress = self.drain(&mut dispatcher);
        let wake_list = if progress.has_news {
            dispatcher.waiters.take_except(own)
        } else {
            WakeList::default()
        };
        let result = then(&mut dispatcher, progress.drained_any);
        let needs_cleaner = dispatcher.cleanups.needs_cleaner();
        drop(dispatcher);
        if needs_cleaner {
            // Before the wakers, which may be slow.
            self.unpark_dispatch_thread();
        }
        wake_list.wake_all();
        result
    }

    /// Makes the dispatcher process the queue, and closes the channel if nothing more will
    /// come.
    fn drain(&self, dispatcher: &mut Dispatcher) -> Progress {
        if dispatcher.is_closed() {
            return Progress::default();
        }
        // Loaded before draining: once the emitter is gone, the queue holds everything that
        // it enqueued.
        // Acquire: pairs with the release in `close`.
        let is_closing = self.is_closing.load(Ordering::Acquire);
        let mut progress = dispatcher.process(self.queue.drain());
        if is_closing {
            dispatcher.close();
            progress.has_news = true;
        }
        progress
    }

    /// Locks the dispatcher without draining the queue.
    pub(super) fn dispatcher(&self) -> MutexGuard<'_, Dispatcher> {
        self.dispatcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unpark_dispatch_thread(&self) {
        if let Some(thread) = self.dispatch_thread.get() {
            thread.unpark();
        }
    }
}
