//! Grace periods that are requested now and checked later, but never waited for.
//!
//! A grace period has passed when every thread that was under an epoch guard at its beginning
//! has dropped that guard. The only thing deferred to the epochs is an update of a number,
//! which has an allocation of its own. Whatever waits for a grace period stays with its owner,
//! which can free it at once when it goes away itself.

use std::sync::Arc;

use crate::sync::epoch::{self, Guard};
use crate::sync::{AtomicU64, Ordering};

/// The number of flushes after which all grace periods have passed if no thread is under a
/// guard: each flush advances the epochs once, and a deferral runs after two advances.
const FLUSHES: usize = 4;

/// The grace periods of one owner.
pub(super) struct Graces {
    begun: u64,
    /// The latest grace period that has passed; all earlier ones have passed, too.
    passed: Arc<AtomicU64>,
}

/// One grace period.
#[derive(Clone, Copy)]
pub(super) struct Grace(u64);

impl Graces {
    pub(super) fn new() -> Self {
        Self {
            begun: 0,
            passed: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Begins a grace period, for something that is out of reach of all threads that create a
    /// guard from now on.
    pub(super) fn begin(&mut self, guard: &Guard) -> Grace {
        self.begun += 1;
        let (begun, passed) = (self.begun, Arc::clone(&self.passed));
        guard.defer(move || {
            // Release: pairs with the acquire in `has_passed`, for what was done under the
            // guards.
            passed.fetch_max(begun, Ordering::Release);
        });
        // Moves the deferral out of this thread's bag, which no other thread can empty.
        guard.flush();
        Grace(begun)
    }

    pub(super) fn has_passed(&self, grace: Grace) -> bool {
        self.passed.load(Ordering::Acquire) >= grace.0
    }
}

impl Drop for Graces {
    fn drop(&mut self) {
        // Frees what is deferred, unless another thread happens to be under a guard.
        for _ in 0..FLUSHES {
            if self.has_passed(Grace(self.begun)) {
                return;
            }
            epoch::pin().flush();
        }
    }
}
