//! The wakers of subscriptions that wait for events.
//!
//! A waker is user code: it may panic, re-enter the events, or be slow. It is therefore
//! cloned, woken and dropped with nothing locked, and if one panics the others are woken
//! all the same.

use std::collections::BTreeMap;
use std::mem;
use std::task::Waker;

use crate::user_code::contain;

/// Identifies a subscription of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat(u64);

/// See the module documentation.
#[derive(Default)]
pub(super) struct Sleepers {
    /// In the order of subscription.
    wakers: BTreeMap<Seat, Waker>,
    seats: u64,
}

impl Sleepers {
    /// Assigns a seat to a new subscription.
    pub(super) fn seat(&mut self) -> Seat {
        self.seats += 1;
        Seat(self.seats)
    }

    /// Whether the subscription is already registered with this waker.
    pub(super) fn waits(&self, seat: Seat, waker: &Waker) -> bool {
        self.wakers
            .get(&seat)
            .is_some_and(|registered| registered.will_wake(waker))
    }

    /// Registers a subscription to be woken once. Returns the waker that is replaced,
    /// which the caller must drop after unlocking.
    #[must_use]
    pub(super) fn register(&mut self, seat: Seat, waker: Waker) -> Option<Waker> {
        self.wakers.insert(seat, waker)
    }

    /// Removes a subscription. Returns its waker, which the caller must drop after
    /// unlocking.
    #[must_use]
    pub(super) fn remove(&mut self, seat: Seat) -> Option<Waker> {
        self.wakers.remove(&seat)
    }

    /// Takes all wakers except that of one subscription: the caller's own, which is awake
    /// and stays registered for the next time.
    pub(super) fn take(&mut self, except: Option<Seat>) -> Woken {
        let own = except.and_then(|seat| self.wakers.remove_entry(&seat));
        let woken = mem::take(&mut self.wakers);
        self.wakers.extend(own);
        Woken(woken)
    }
}

/// Wakers to be called after unlocking.
#[must_use]
#[derive(Default)]
pub(super) struct Woken(BTreeMap<Seat, Waker>);

impl Woken {
    /// Calls each waker, in the order of subscription.
    pub(super) fn wake(self) {
        for waker in self.0.into_values() {
            contain("a waker panicked", || waker.wake());
        }
    }
}
