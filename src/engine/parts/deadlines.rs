//! When do the directives of listed blocks expire?
//!
//! Sequential code that belongs to the policy plane. All operations are O(log n) in the number
//! of listed blocks that have a deadline, and the maps allocate as they grow.

use std::collections::{BTreeMap, BTreeSet};

/// The deadlines of listed blocks, earliest first.
///
/// Times are milliseconds on the clock of [`Directives::now`].
///
/// [`Directives::now`]: crate::engine::parts::directives::Directives::now
#[derive(Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(u64, u32)>,
    of: BTreeMap<u32, u64>,
}

impl Deadlines {
    /// Sets a slot's deadline, or removes it, whatever it was before.
    pub(crate) fn set(&mut self, slot: u32, deadline: Option<u64>) {
        self.forget(slot);
        if let Some(deadline) = deadline {
            self.of.insert(slot, deadline);
            self.order.insert((deadline, slot));
        }
    }

    /// Removes a slot's deadline, if it has one.
    #[inline]
    pub(crate) fn forget(&mut self, slot: u32) {
        if !self.of.is_empty()
            && let Some(deadline) = self.of.remove(&slot)
        {
            self.order.remove(&(deadline, slot));
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Removes the slot with the earliest deadline, if that has passed, and returns it.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<u32> {
        let &(deadline, slot) = self.order.first()?;
        (deadline <= now).then(|| {
            self.forget(slot);
            slot
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_out_in_order() {
        let mut deadlines = Deadlines::default();
        for (slot, deadline) in [(0, Some(30)), (1, Some(10)), (2, Some(20)), (3, Some(10))] {
            deadlines.set(slot, deadline);
        }
        deadlines.set(2, None);
        deadlines.set(3, Some(20));
        deadlines.forget(7);
        let mut due =
            |now| -> Vec<u32> { std::iter::from_fn(|| deadlines.take_due(now)).collect() };
        assert!(due(9).is_empty());
        assert_eq!(due(20), [1, 3]);
        assert_eq!(due(30), [0]);
        assert!(deadlines.is_empty());
    }
}
