//! Which subscriptions does a new event wake?
//!
//! Those that were polled and found nothing. A waker is user code: it may panic, be slow, or
//! use the events itself. Wakers are therefore cloned, woken and dropped with no lock held,
//! and if one panics, the others are still woken.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use crate::user_code::contain;

/// Identifies a subscription of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaiterId(u64);

/// The wakers of subscriptions that wait for an event.
#[derive(Default)]
pub(super) struct Waiters {
    /// In order of subscription.
    wakers: BTreeMap<WaiterId, Waker>,
    last_id: u64,
}

impl Waiters {
    /// Assigns an id to a new subscription.
    pub(super) fn next_id(&mut self) -> WaiterId {
        self.last_id += 1;
        WaiterId(self.last_id)
    }

    /// Returns whether the subscription is registered with a waker that wakes the same task.
    pub(super) fn will_wake(&self, id: WaiterId, waker: &Waker) -> bool {
        self.wakers
            .get(&id)
            .is_some_and(|registered| registered.will_wake(waker))
    }

    /// Registers a subscription to be woken once. Returns the waker it replaces, which the
    /// caller must drop after unlocking.
    #[must_use]
    pub(super) fn register(&mut self, id: WaiterId, waker: Waker) -> Option<Waker> {
        self.wakers.insert(id, waker)
    }

    /// Removes a subscription. Returns its waker, which the caller must drop after
    /// unlocking.
    #[must_use]
    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waker> {
        self.wakers.remove(&id)
    }

    /// Takes all wakers except the caller's own: that one is awake, and stays registered
    /// for the next event.
    pub(super) fn take_except(&mut self, own: Option<WaiterId>) -> WakeList {
        let own = own.and_then(|id| self.wakers.remove_entry(&id));
        let list = mem::take(&mut self.wakers);
        self.wakers.extend(own);
        WakeList(list)
    }
}

/// Wakers to call after unlocking.
#[must_use = "subscriptions in the list are woken by `wake_all` only"]
#[derive(Default)]
pub(super) struct WakeList(BTreeMap<WaiterId, Waker>);

impl WakeList {
    /// Calls each waker, in order of subscription.
    pub(super) fn wake_all(self) {
        for waker in self.0.into_values() {
            contain("a waker panicked", || waker.wake());
        }
    }
}
