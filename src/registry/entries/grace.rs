//! Grace periods: asked for, and looked at later, but never waited for.
//!
//! A grace period has passed when every thread that was under an epoch guard as it began
//! has dropped that guard. What is deferred to the epochs is a number in an allocation of
//! its own and nothing else: whatever waits for a grace period stays with its owner, who
//! frees it at once where the owner itself ends.

use std::sync::Arc;

use crate::sync::epoch::{self, Guard};
use crate::sync::{AtomicU64, Ordering};

/// Flushes after which all grace periods have passed, if no thread is under a guard: the
/// epochs advance once with each, and a deferral runs after two of them.
const FLUSHES: usize = 4;

/// The grace periods of one owner.
pub(super) struct Graces {
    begun: u64,
    /// The last that has passed, and with it all before.
    passed: Arc<AtomicU64>,
}

/// A grace period.
#[derive(Clone, Copy)]
pub(super) struct Grace(u64);

impl Graces {
    pub(super) fn new() -> Self {
        Self {
            begun: 0,
            passed: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Begins a grace period: for what nobody can reach who comes under a guard from now on.
    pub(super) fn begin(&mut self, guard: &Guard) -> Grace {
        self.begun += 1;
        let (begun, passed) = (self.begun, Arc::clone(&self.passed));
        guard.defer(move || {
            // Release: pairs with the acquire in `has_passed`, for what was done under the
            // guards.
            passed.fetch_max(begun, Ordering::Release);
        });
        // Out of this thread's bag, which nobody else can empty.
        guard.flush();
        Grace(begun)
    }

    pub(super) fn has_passed(&self, grace: Grace) -> bool {
        self.passed.load(Ordering::Acquire) >= grace.0
    }
}

impl Drop for Graces {
    fn drop(&mut self) {
        // Frees what is deferred, unless another thread is under a guard just now.
        for _ in 0..FLUSHES {
            if self.has_passed(Grace(self.begun)) {
                return;
            }
            epoch::pin().flush();
        }
    }
}
