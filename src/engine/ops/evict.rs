//! Eviction: finding victims for blocks that are reserved.
//!
//! Victims come in the policy's order, which the [policy planes](crate::engine::parts::plane)
//! keep under try-locks:
//!
//! 1. Hold the plane whose shard has published the smallest key, and apply what is queued on its
//!    release log. (If there is a single plane: on all logs, if the policy needs all updates or there
//!    are too few victims.)
//! 2. Pop up to 64 candidates off the order, as long as no other shard has a smaller key, and release
//!    the plane. If there are too few, go on with the plane that then has the smallest key.
//! 3. *Vacate* each candidate that still has no pins: one exchange of its word. A candidate
//!    that has become active is skipped; its last unpin queues it again.
//!
//! Once there are retention directives, a search first has the orders apply those that were announced.
//! It also has one order, a different one each time, end those that have expired: so a block of another
//! shard may keep a high priority that has expired until as many batches of victims have been taken as
//! there are shards.
//!
//! A candidate that is queued has been released again since it was listed, and will be listed again
//! by a drain, so it is *passed over*, like one that has become active. On one thread, none is. But
//! after another thread has held the plane for long, there may be as many such candidates as blocks. So
//! once an allocation has passed over [`PASSED_OVER`], it takes queued ones as well, and after twice as
//! many it leaves the rest to a [search](crate::engine::ops::allocate).
//!
//! # What does it cost?
//!
//! Two looks at the published keys of all shards for each plane that is held, of which there are at most
//! [`VISITS`] for a batch, and one for each shard; a drain of up to 128 queued updates each (logs rarely have more than 64, see
//! `drain`); one step of the policy per victim (see [`policy`](crate::policy)), and per candidate that is
//! passed over; and one exchange per victim. With directives, also a visit to each order to which some
//! were announced, and to one more. Nothing waits for a lock: if planes are held, [`Store::evict`] may
//! return fewer victims than were asked for.
//!
//! # What can a suspended thread delay?
//!
//! While it holds a plane, others cannot reach the victims there. If they find too few elsewhere, they
//! [sweep](crate::engine::parts::sweep). Candidates that it has popped and not yet vacated are missing
//! from the order, but are still inactive: they can be matched, and a sweep finds them.

use crate::engine::ops::victims::Victims;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::store::Store;
use crate::sync::step;

/// The number of candidates that are popped at once.
const CANDIDATES: usize = 64;

/// The number of candidates that an allocation passes over before it takes queued ones.
pub(super) const PASSED_OVER: u32 = 4 * CANDIDATES as u32;

/// A batch in which candidates were passed over counts for as many more, since its drain is work,
/// too.
const PASSED_OVER_BY_BATCH: u32 = 64;

/// The most planes, besides one visit to each, that are held to pop candidates. If these yield too few,
/// for example because many shards hold similarly old blocks, the next batch continues.
const VISITS: usize = 64;

impl Store {
    /// Vacates up to `max` blocks in the policy's order and adds them to `victims`. Returns
    /// how many it has vacated: fewer if the order has run out, another thread holds the plane, or
    /// too many candidates are passed over.
    pub(super) fn evict<'a>(&'a self, home: usize, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut evicted = 0;
        while evicted < max && !victims.have_passed_over_too_many() {
            let mut candidates = [NIL; CANDIDATES];
            let wanted = CANDIDATES.min(max - evicted);
            let found = self.candidates(home, &mut candidates[..wanted]);
            if found == 0 {
                break;
            }
            let mut batch = 0;
            for &candidate in &candidates[..found] {
                let slot = &self.slots[candidate as usize];
                batch += usize::from(self.evict_one(slot, victims));
            }
            if batch < found {
                victims.pass_over(PASSED_OVER_BY_BATCH);
            }
            evicted += batch;
        }
        evicted
    }

    /// Vacates a candidate if it still has no pins. Returns whether it did.
    #[inline]
    fn evict_one<'a>(&'a self, slot: &'a Slot, victims: &mut Victims<'a>) -> bool {
        // A queued slot has been released again since it was listed, on another shard, whose
        // release log has not been drained. It will be listed again, and is not a victim yet.
        let is_early = slot.word().is_queued() && !victims.have_passed_over_many();
        if !is_early && let Some(before) = slot.vacate_unheld(self.reset_on_release) {
            self.index.prefetch_to_write(slot.key().keyed);
            // SAFETY: the slot has been vacated just now, and the caller has reserved a credit for
            // each victim it asks for.
            unsafe { victims.push(slot, before) };
            return true;
        }
        victims.pass_over(1);
        false
    }

    /// Pops the next candidates, and prefetches their slots. Returns how many there were: none if other
    /// threads hold the planes that have any.
    fn candidates(&self, home: usize, candidates: &mut [u32]) -> usize {
        let found = if self.planes.are_sharded() {
            self.candidates_of_all(candidates)
        } else {
            self.candidates_of_one(home, candidates)
        };
        step!(VictimsInHand);
        for &candidate in &candidates[..found] {
            prefetch_to_write(&self.slots[candidate as usize]);
        }
        found
    }

    /// Pops the next candidates of the only order.
    fn candidates_of_one(&self, home: usize, candidates: &mut [u32]) -> usize {
        let Some(mut plane) = self.try_hold(0) else {
            return 0;
        };
        if self.planes.needs_all_updates() {
            plane.drain();
        } else {
            plane.drain_log(home);
        }
        let mut found = plane.pop(candidates, 0, 0);
        if found < candidates.len() {
            plane.drain();
            found += plane.pop(&mut candidates[found..], 0, 0);
        }
        step!(VictimsPopped);
        found
    }

    /// Pops the next candidates of the orders of all shards, each of them from the order whose first
    /// victim comes first.
    fn candidates_of_all(&self, candidates: &mut [u32]) -> usize {
        if self.directives.are_used() {
            self.apply_announced();
        }
        let mut found = 0;
        // One bit for each plane that another thread holds, and for each whose log has been drained: if
        // others push onto it meanwhile, that is for later searches.
        let (mut held_up, mut drained) = (0, 0);
        for _ in 0..self.planes.count() + VISITS {
            let Some(at) = self.planes.first(held_up, drained) else {
                break;
            };
            if let Some(mut plane) = self.try_hold(at) {
                plane.drain();
                drained |= 1 << at;
                found += plane.pop(&mut candidates[found..], held_up, drained);
                step!(VictimsPopped);
            } else {
                held_up |= 1 << at;
            }
            if found == candidates.len() {
                break;
            }
        }
        found
    }

    /// Has the orders apply the directives that were announced to them, and one of the orders in turn
    /// end those that have expired.
    #[cold]
    fn apply_announced(&self) {
        let turn = self.planes.take_turn();
        // What one order passes on to another is applied by the second pass.
        for _ in 0..2 {
            for plane in 0..self.planes.count() {
                if self.directives.are_announced(plane) {
                    self.apply_directives(plane);
                }
            }
        }
        if self.planes.has_any(turn) {
            self.apply_directives(turn);
        }
    }

    /// Vacates up to `max` blocks without the plane, by looking at the slots. Returns how many it
    /// has vacated.
    pub(super) fn sweep<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        self.sweep
            .evict(max, &self.slots, self.reset_on_release, |slot, before| {
                self.queue_removal(slot);
                // SAFETY: the sweep has vacated the slot, and the caller has reserved `max`
                // credits.
                unsafe { victims.push(slot, before) };
            })
    }
}
