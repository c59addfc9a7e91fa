//! When must a producer wake the dispatch thread?
//!
//! Only while that thread is parked. Before it parks, it *arms* the doorbell and then checks
//! once more for work; a producer adds work and then *rings*, which tells it whether the
//! doorbell is armed. A sequentially consistent fence separates the two steps on either
//! side, so at least one of them sees the other.
//!
//! Ringing does not disarm. Every producer that finds the doorbell armed unparks the thread,
//! so one that is suspended before it has done so leaves no other producer relying on it.

use crate::sync::{AtomicBool, Ordering, fence};

/// A flag that a single consumer arms before it parks and producers check after adding work.
pub(crate) struct Doorbell {
    is_armed: AtomicBool,
}

impl Doorbell {
    /// Creates a doorbell that is not armed.
    pub(crate) fn new() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
        }
    }

    /// Returns whether the consumer must be unparked. Producers call this after adding
    /// work.
    #[must_use = "if it returns true, the consumer must be unparked"]
    pub(crate) fn ring(&self) -> bool {
        // Pairs with the fence in `arm`.
        fence(Ordering::SeqCst);
        self.is_armed()
    }

    /// Arms the doorbell unless there is work. Returns whether it is armed, in which case
    /// the consumer may park until it is unparked.
    pub(crate) fn arm(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.is_armed.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        let may_park = !has_work();
        if !may_park {
            self.disarm();
        }
        may_park
    }

    /// Returns whether the consumer is parked or about to park.
    pub(crate) fn is_armed(&self) -> bool {
        self.is_armed.load(Ordering::Relaxed)
    }

    /// Disarms the doorbell: the consumer is awake.
    pub(crate) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Relaxed);
    }
}
