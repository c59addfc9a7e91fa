//! Wakes a sleeper if it sleeps.
//!
//! The sleeper says that it is about to sleep and then looks once more for work;
//! who leaves work leaves it and then looks for a sleeper. Between the two steps
//! of each is a sequentially consistent fence, so that of two that meet at least
//! one sees the other. Of several that see the sleeper the exchange lets one wake
//! it.

use crate::sync::{AtomicBool, Ordering, fence};

/// See the module documentation.
pub(crate) struct Bell {
    is_asleep: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self {
            is_asleep: AtomicBool::new(false),
        }
    }

    /// Whether there is a sleeper to be woken, by the caller. To be asked after
    /// work has been left.
    pub(crate) fn ring(&self) -> bool {
        // Pairs with the fence in `doze`.
        fence(Ordering::SeqCst);
        // Looked at first, so that no line is written while the sleeper is awake.
        self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed)
    }

    /// Whether the sleeper may sleep until it is woken. For the sleeper, of which
    /// there is one.
    pub(crate) fn doze(&self, has_work: impl FnOnce() -> bool) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
        let may_sleep = !has_work();
        if !may_sleep {
            self.wake();
        }
        may_sleep
    }

    /// The sleeper is awake.
    pub(crate) fn wake(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}
