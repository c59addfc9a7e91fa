//! Release logs: how the hot path tells the policy plane what has changed.
//!
//! A block that becomes inactive is *queued*: its slot is pushed onto the release log of the thread's
//! shard. One that becomes active again is queued on the log of the shard that has released it. The
//! holder of the policy plane drains the log, and looks at each slot's word to learn the block's
//! current state.
//!
//! A slot is queued at most once. The exchange that makes an update necessary also sets the
//! `queued` mark in the slot's word; the drainer clears the mark and reads the word in one step
//! ([`Slot::unmark_queued`]). So all logs together hold at most one link per block, no update
//! is lost, and nothing grows however long the plane is held.
//!
//! | mark | where the slot is | next step |
//! |---|---|---|
//! | clear | on no log | a thread sets the mark by its exchange |
//! | set | in the hands of that thread | that thread pushes the slot |
//! | set | on one log | the holder of the plane drains the log |
//! | set | in the hands of the drainer | the drainer clears the mark, after reading the link |
//!
//! # Cancelled releases
//!
//! Under a policy to which the order of resurrections does not matter
//! (`SlotPolicy::resurrections_commute`), a block may be matched while its release is still
//! queued. The match then queues nothing of its own, and the release need not be applied: it
//! is *cancelled*, and the log is marked as holding cancelled releases. Single-threaded, all
//! resurrections of such a log come after all its releases, because the log is drained before
//! the next release is pushed onto it.
//!
//! # How long can a log get?
//!
//! A push returns the length of the log. Whoever makes it [`BACKLOG`] long or longer tries to
//! hold the plane and drain it, and runs have at most [`RUN`] slots. So a log that one thread
//! uses has fewer than `BACKLOG` slots between its operations. While another thread holds the
//! plane, logs get longer, up to one slot per block.
//!
//! A drain takes at most [`DRAINED`] slots off the log, or twice as many if others push meanwhile.
//! If there are more, it takes the latest of them, and leaves the others to the next drains. Links
//! lead to earlier slots only, so beginning with the earliest would take a step for each slot.
//!
//! As long as there are more, the threads that come to the log share the work: of those that would
//! drain it, one drains for each `BACKLOG` slots that are pushed, or are found queued. So an
//! operation on a few blocks makes one drain at most, and the log gets shorter all the same.

use crossbeam_utils::CachePadded;

use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::slot_stack::SlotStack;
use crate::sync::limits::{BACKLOG, DRAINED, RUN};
use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// The release log of one shard: a stack of queued slots.
pub(crate) struct ReleaseLog(CachePadded<Log>);

struct Log {
    stack: SlotStack,
    /// Whether the log probably holds cancelled releases. A hint: a wrong value costs those
    /// blocks their exact place in the eviction order.
    cancelled: AtomicBool,
    /// The number of slots that were pushed, or found queued, since a drain left slots on the log.
    /// Counted only while it is longer than a drain takes. A hint.
    waited: AtomicU32,
}

impl ReleaseLog {
    pub(crate) fn new() -> Self {
        Self(CachePadded::new(Log {
            stack: SlotStack::new(),
            cancelled: AtomicBool::new(false),
            waited: AtomicU32::new(0),
        }))
    }

    /// Marks the log as holding cancelled releases.
    #[inline]
    pub(crate) fn mark_cancelled(&self) {
        if !self.has_cancelled() {
            self.0.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether the log is marked as holding cancelled releases.
    #[inline]
    pub(crate) fn has_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Marks the log as holding no cancelled releases, and returns whether it was marked
    /// before. Only for the holder of the plane.
    pub(crate) fn take_cancelled(&self) -> bool {
        let cancelled = self.has_cancelled();
        if cancelled {
            self.0.cancelled.store(false, Ordering::Relaxed);
        }
        cancelled
    }

    /// Pushes one slot. Returns whether the log has become too long: the caller then tries to
    /// drain it.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not pushed it since.
    #[inline]
    pub(crate) unsafe fn push(&self, slot: &Slot) -> bool {
        // SAFETY: the caller's contract.
        let depth = unsafe { self.0.stack.push_run(slot.id(), &slot.next_queued, 1) };
        depth >= BACKLOG
    }

    /// Returns the number of slots on the log. A hint.
    pub(crate) fn len(&self) -> u32 {
        self.0.stack.depth()
    }

    /// Returns whether the log is empty, in the order of all pushes and drains: see
    /// [`SlotStack::is_empty_in_order`].
    pub(crate) fn is_empty_in_order(&self) -> bool {
        self.0.stack.is_empty_in_order()
    }

    /// Returns whether a thread that has pushed `count` slots, or has found so many queued, is the
    /// one that drains the log: always, unless the log is longer than a drain takes.
    #[cold]
    pub(crate) fn is_due(&self, count: u32) -> bool {
        if self.len() <= DRAINED {
            return true;
        }
        let waited = self.0.waited.fetch_add(count, Ordering::Relaxed);
        waited.wrapping_add(count) >= BACKLOG
    }

    /// Takes up to [`DRAINED`] slots off the log, and those that are pushed meanwhile: all of
    /// them, unless other threads have pushed while the plane was held. Calls `look` with each,
    /// the latest first, before any of them is visited. Only for the holder of the plane.
    #[inline]
    pub(crate) fn take<'s>(&self, slots: &'s [Slot], mut look: impl FnMut(&Slot)) -> Drained<'s> {
        let first = self.0.stack.drain(
            DRAINED,
            |id| &slots[id as usize].next_queued,
            |id| look(&slots[id as usize]),
        );
        if self.len() > 0 {
            self.0.waited.store(0, Ordering::Relaxed);
        }
        Drained { slots, first }
    }

    /// Calls `visit` with every slot on the log. Only while no other thread uses it.
    pub(crate) fn for_each(&self, slots: &[Slot], mut visit: impl FnMut(&Slot)) {
        self.0.stack.for_each(
            |id| &slots[id as usize].next_queued,
            |id| visit(&slots[id as usize]),
        );
    }
}

/// The slots that were drained from a log, still marked as queued.
#[must_use = "slots that are not visited are never queued again"]
pub(crate) struct Drained<'s> {
    slots: &'s [Slot],
    first: u32,
}

impl Drained<'_> {
    /// Calls `visit` with each slot, in the order of the pushes. `visit` clears the slot's
    /// mark; from then on another thread may queue the slot again.
    #[inline]
    pub(crate) fn for_each(self, mut visit: impl FnMut(&Slot)) {
        let mut at = self.first;
        while at != NIL {
            let slot = &self.slots[at as usize];
            at = slot.next_queued.load(Ordering::Relaxed);
            visit(slot);
        }
    }
}

/// Up to [`RUN`] slots that will be pushed onto a log together, in the order in which they were
/// added.
pub(crate) struct Run<'a> {
    ends: Option<(&'a Slot, &'a Slot)>,
    count: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn new() -> Self {
        Self {
            ends: None,
            count: 0,
        }
    }

    /// Adds a slot. Returns whether the run is then full: the caller pushes it before it adds
    /// another slot.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not pushed it or added it to a run
    /// since.
    #[inline]
    pub(crate) unsafe fn add(&mut self, slot: &'a Slot) -> bool {
        debug_assert!(self.count < RUN);
        self.ends = match self.ends {
            None => Some((slot, slot)),
            Some((top, bottom)) => {
                slot.next_queued.store(top.id(), Ordering::Relaxed);
                Some((slot, bottom))
            }
        };
        self.count += 1;
        self.count == RUN
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    /// Returns the number of slots.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    /// Pushes the slots onto a log: one exchange for all of them. Returns whether the log has
    /// become too long, as [`ReleaseLog::push`] does.
    #[inline]
    pub(crate) fn push_to(self, log: &ReleaseLog) -> bool {
        let Some((top, bottom)) = self.ends else {
            return false;
        };
        // SAFETY: each slot was marked by the thread that added it, which pushes it here.
        let depth = unsafe { (log.0.stack).push_run(top.id(), &bottom.next_queued, self.count) };
        depth >= BACKLOG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u32) -> Vec<Slot> {
        (0..count).map(|id| Slot::new(id, false)).collect()
    }

    fn drained(log: &ReleaseLog, slots: &[Slot]) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut looked = 0;
        let taken = log.take(slots, |_| looked += 1);
        taken.for_each(|slot| {
            slot.unmark_queued();
            ids.push(slot.id());
        });
        assert_eq!(ids.len(), looked);
        ids
    }

    #[test]
    fn slots_come_out_in_the_order_they_went_in() {
        let slots = slots(8);
        let log = ReleaseLog::new();
        // SAFETY: the slot is on no log.
        let _ = unsafe { log.push(&slots[3]) };
        let mut run = Run::new();
        for at in [5, 1, 7] {
            // SAFETY: the slot is on no log.
            assert!(!unsafe { run.add(&slots[at]) });
        }
        assert!(!run.push_to(&log));
        // SAFETY: the slot is on no log.
        let _ = unsafe { log.push(&slots[0]) };
        assert_eq!(drained(&log, &slots), [3, 5, 1, 7, 0]);
        assert!(drained(&log, &slots).is_empty());
    }

    #[test]
    fn a_log_says_when_it_is_too_long() {
        let slots = slots(BACKLOG + RUN);
        let log = ReleaseLog::new();
        for slot in &slots[..BACKLOG as usize] {
            // SAFETY: the slot is on no log.
            let is_long = unsafe { log.push(slot) };
            assert_eq!(is_long, slot.id() + 1 == BACKLOG);
        }
        let mut run = Run::new();
        for slot in &slots[BACKLOG as usize..] {
            // SAFETY: the slot is on no log.
            let is_full = unsafe { run.add(slot) };
            assert_eq!(is_full, slot.id() + 1 == BACKLOG + RUN);
        }
        assert!(run.push_to(&log));
        assert_eq!(log.len(), BACKLOG + RUN);
        assert_eq!(drained(&log, &slots).len() as u32, BACKLOG + RUN);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn a_drain_takes_a_limited_number_and_leaves_none_behind() {
        let slots = slots(2 * DRAINED + 3);
        let log = ReleaseLog::new();
        for slot in &slots {
            slot.mark_queued();
            // SAFETY: the slot is on no log.
            let _ = unsafe { log.push(slot) };
        }
        let mut parts = Vec::new();
        while parts.is_empty() || log.len() > 0 {
            parts.push(drained(&log, &slots));
            let mut left = 0;
            log.for_each(&slots, |slot| {
                assert!(slot.word().is_queued());
                left += 1;
            });
            let taken: usize = parts.iter().map(Vec::len).sum();
            assert_eq!(left + taken, slots.len());
        }
        let ids = |range: std::ops::Range<u32>| range.collect::<Vec<u32>>();
        let expected = [
            ids(DRAINED + 3..2 * DRAINED + 3),
            ids(3..DRAINED + 3),
            ids(0..3),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn a_log_longer_than_a_drain_is_due_once_in_a_while() {
        let slots = slots(4 * DRAINED);
        let log = ReleaseLog::new();
        let dues = |slots: &[Slot]| {
            let due = slots.iter().filter(|slot| {
                // SAFETY: the slot is on no log.
                let _ = unsafe { log.push(slot) };
                log.is_due(1)
            });
            due.count()
        };
        let (first, rest) = slots.split_at(DRAINED as usize);
        assert_eq!(
            dues(first),
            first.len(),
            "always, as long as a drain empties it"
        );
        let (second, rest) = rest.split_at(BACKLOG as usize - 1);
        assert_eq!(dues(second), 0);
        // It stays due until it is drained.
        assert_eq!(dues(rest), rest.len());
        assert_eq!(drained(&log, &slots).len(), DRAINED as usize);
        assert!(!log.is_due(BACKLOG - 1));
        assert!(log.is_due(BACKLOG));
        while !drained(&log, &slots).is_empty() {}
        assert!(log.is_due(1));
    }

    #[test]
    fn threads_lose_no_queued_slot() {
        const SLOTS: u32 = 64;
        let slots = slots(SLOTS);
        let log = ReleaseLog::new();
        let mut seen = vec![0; SLOTS as usize];
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|part| {
                    let (slots, log) = (&slots, &log);
                    scope.spawn(move || {
                        let own = &slots[part * 16..][..16];
                        let mut pushed = vec![0; 16];
                        for round in 0..40_000 {
                            let slot = &own[round % 16];
                            if !slot.mark_queued().is_queued() {
                                // SAFETY: the slot is on no log.
                                let _ = unsafe { log.push(slot) };
                                pushed[round % 16] += 1;
                            }
                        }
                        pushed
                    })
                })
                .collect();
            while pushers.iter().any(|pusher| !pusher.is_finished()) {
                for id in drained(&log, &slots) {
                    seen[id as usize] += 1;
                }
            }
            for id in drained(&log, &slots) {
                seen[id as usize] += 1;
            }
            let pushed: Vec<i32> = pushers
                .into_iter()
                .flat_map(|pusher| pusher.join().unwrap())
                .collect();
            assert_eq!(seen, pushed);
        });
        assert!(slots.iter().all(|slot| !slot.word().is_queued()));
    }
}
