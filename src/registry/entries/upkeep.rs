//! Upkeep: freeing entries that have ended, and shrinking the table.
//!
//! Both wait for [grace periods](super::grace), and both are done in small steps by the
//! operations that cause the work. Every sixteenth operation that ends an entry takes a step of
//! at most [`Effort::PASSING`], which frees entries whose grace period has passed and
//! advances the table's shrinking. A try-lock admits one thread at a time; a thread that
//! finds it held goes on without taking a step.
//!
//! ```text
//! ended ──► retired (a stack) ──► waiting (for one grace period) ──► passed ──► spare, or freed
//! ```
//!
//! Retired entries belong to the registry alone: when the registry goes away, all of them
//! are freed at once. An operation under a guard keeps the registry alive, so no reader can
//! be looking at them then.

use std::ptr;

use crate::sync::canary;
use crate::sync::epoch::Guard;
use crate::sync::limits::{FLUSH_EVERY, UPKEEP_ENTRIES, UPKEEP_EVERY, UPKEEP_MARKERS};
use crate::sync::try_lock::TryLock;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::entry::{DEAD, Entry};
use super::grace::{Grace, Graces};
use super::markers::Markers;
use super::shrinking::Shrinking;
use super::spares::Spares;

/// The limits of one step.
#[derive(Clone, Copy)]
pub(super) struct Effort {
    /// The maximum number of entries to free.
    entries: usize,
    /// The maximum number of the table's markers to visit.
    markers: usize,
}

impl Effort {
    /// The limits of a step that an operation takes in passing.
    pub(super) const PASSING: Self = Self {
        entries: UPKEEP_ENTRIES,
        markers: UPKEEP_MARKERS,
    };

    /// The limits of a step that is taken for its own sake, as in a flush.
    pub(super) const FLUSH: Self = Self {
        entries: 512,
        markers: usize::MAX,
    };
}

/// The work that ended entries leave behind.
pub(super) struct Upkeep {
    retired: AtomicPtr<Entry>,
    /// The number of entries retired and not freed.
    garbage: AtomicU64,
    /// Whether work is in progress. A hint.
    is_busy: AtomicBool,
    work: TryLock<Work>,
}

/// The state of the work, for the thread that holds the lock.
struct Work {
    graces: Graces,
    waiting: Option<(Grace, Retired)>,
    passed: Retired,
    /// The amount of garbage at which the epochs are advanced again.
    flush_at: u64,
    shrinking: Shrinking,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            retired: AtomicPtr::new(ptr::null_mut()),
            garbage: AtomicU64::new(0),
            is_busy: AtomicBool::new(false),
            work: TryLock::new(Work {
                graces: Graces::new(),
                waiting: None,
                passed: Retired::NONE,
                flush_at: FLUSH_EVERY,
                shrinking: Shrinking::Not,
            }),
        }
    }

    /// Returns the number of entries retired and not freed.
    pub(super) fn garbage(&self) -> u64 {
        self.garbage.load(Ordering::Relaxed)
    }

    /// Returns whether an operation that retires nothing should take a step, too.
    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    /// Retires an entry that has ended, is out of the table, and has no extras any more. For
    /// the thread that ended it, or that created it and has not linked it.
    ///
    /// Returns whether it is time for a step.
    pub(super) fn retire(&self, entry: &Entry) -> bool {
        let garbage = self.garbage.fetch_add(1, Ordering::Relaxed) + 1;
        let address = address_of(entry);
        let mut head = self.retired.load(Ordering::Relaxed);
        loop {
            // A retired entry's word is that of a dead one: nobody counts those that are retired.
            // SAFETY: the caller owns the entry.
            unsafe { Entry::link_unused(address, head, DEAD) };
            // Release: pairs with the acquire in `take`.
            match self.retired.compare_exchange_weak(
                head,
                address,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return garbage.is_multiple_of(UPKEEP_EVERY),
                Err(now) => head = now,
            }
        }
    }

    /// Returns whether nothing has been retired since the last grace period began.
    fn is_empty(&self) -> bool {
        self.retired.load(Ordering::Relaxed).is_null()
    }

    /// Takes all retired entries.
    fn take(&self) -> Retired {
        Retired(self.retired.swap(ptr::null_mut(), Ordering::Acquire))
    }

    /// Takes a step, unless another thread is taking one. `entries` is the number of entries
    /// in the table.
    pub(super) fn step(
        &self,
        markers: &Markers,
        spares: &Spares,
        entries: u64,
        effort: Effort,
        guard: &Guard,
    ) {
        if let Some(mut work) = self.work.try_hold() {
            let is_busy = work.step(self, markers, spares, entries, effort, guard);
            if is_busy != self.is_busy() {
                self.is_busy.store(is_busy, Ordering::Relaxed);
            }
        }
    }
}

impl Work {
    /// Takes a step. Returns whether there is more to do.
    fn step(
        &mut self,
        upkeep: &Upkeep,
        markers: &Markers,
        spares: &Spares,
        entries: u64,
        effort: Effort,
        guard: &Guard,
    ) -> bool {
        if self.passed.is_none()
            && let Some((grace, _)) = self.waiting
            && self.graces.has_passed(grace)
        {
            self.passed = self.waiting.take().map_or(Retired::NONE, |(_, all)| all);
        }
        // SAFETY: this thread holds the upkeep, so no other adds spares.
        let freed = self
            .passed
            .free(effort.entries, |entry| unsafe { spares.put(entry, guard) });
        if freed > 0 {
            upkeep.garbage.fetch_sub(freed, Ordering::Relaxed);
        }
        let garbage = upkeep.garbage();
        if self.waiting.is_none() && !upkeep.is_empty() {
            let all = upkeep.take();
            self.waiting = Some((self.graces.begin(guard), all));
            self.flush_at = garbage + FLUSH_EVERY;
        } else if self.waiting.is_some() && garbage >= self.flush_at {
            guard.flush();
            self.flush_at = garbage + FLUSH_EVERY;
        }
        self.shrinking
            .step(markers, entries, effort.markers, &mut self.graces, guard);
        self.waiting.is_some() || !self.passed.is_none() || self.shrinking.is_under_way()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        let keep_none = |_entry| false;
        self.take().free(usize::MAX, keep_none);
        if let Some(mut work) = self.work.try_hold() {
            work.passed.free(usize::MAX, keep_none);
            if let Some((_, mut all)) = work.waiting.take() {
                all.free(usize::MAX, keep_none);
            }
        }
    }
}

/// Entries that are out of the table, each linked to the next. Their owner frees them when
/// no reader can be looking at them any more.
struct Retired(*mut Entry);

// SAFETY: the entries belong to the owner of the first.
unsafe impl Send for Retired {}

impl Retired {
    const NONE: Self = Self(ptr::null_mut());

    fn is_none(&self) -> bool {
        self.0.is_null()
    }

    /// Frees up to `max` of them, or passes them on to `keep`, which returns whether it has kept
    /// the entry. Returns how many.
    fn free(&mut self, max: usize, keep: impl Fn(*mut Entry) -> bool) -> u64 {
        let mut freed = 0;
        while freed < max as u64 && !self.is_none() {
            let entry = self.0;
            // SAFETY: as for `Send`.
            self.0 = unsafe { Entry::next_unused(entry).0 };
            // SAFETY: no reader can reach the entry any more, and its extras have been
            // taken.
            unsafe {
                (*entry).node.canary().kill();
                if !keep(entry) {
                    free_spare(entry);
                }
            }
            freed += 1;
        }
        freed
    }
}

/// Returns the address of the box an entry is in.
pub(super) fn address_of(entry: &Entry) -> *mut Entry {
    // `EntryTable::make` has exposed the box's own pointer.
    ptr::with_exposed_provenance_mut(ptr::from_ref(entry).addr())
}

/// Frees an entry.
///
/// # Safety
///
/// The address is that of an entry of a table. No reader can reach the entry any more, and
/// its extras have been taken.
pub(super) unsafe fn free(entry: *mut Entry) {
    // SAFETY: the caller's contract.
    unsafe {
        (*entry).node.canary().kill();
        free_spare(entry);
    }
}

/// Frees an entry whose canary has been killed.
///
/// # Safety
///
/// As for [`free`].
pub(super) unsafe fn free_spare(entry: *mut Entry) {
    // SAFETY: entries come from `Box::into_raw` in `EntryTable::find_or_insert`.
    canary::free(unsafe { Box::from_raw(entry) });
}
