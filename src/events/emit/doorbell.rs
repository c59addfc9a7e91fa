//! Wakes a sleeper if it sleeps.
//!
//! The sleeper says that it is about to sleep and then looks once more for work;
//! who leaves work leaves it and then looks for a sleeper. Between the two steps
//! of each is a sequentially consistent fence, so that of two that meet at least
//! one sees the other. All that see the sleeper wake it, until it is awake: one that
//! is suspended before it has done so leaves that to nobody else.

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

    /// Whether there is a sleeper, which the caller is to wake. To be asked after work
    /// has been left.
    pub(crate) fn ring(&self) -> bool {
        // Pairs with the fence in `doze`.
        fence(Ordering::SeqCst);
        self.is_asleep()
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

    /// Whether the sleeper sleeps, or is about to.
    pub(crate) fn is_asleep(&self) -> bool {
        self.is_asleep.load(Ordering::Relaxed)
    }

    /// The sleeper is awake.
    pub(crate) fn wake(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}
