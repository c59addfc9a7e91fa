//! Eviction: finding victims for blocks that are reserved.
//!
//! Victims come in the policy's order, which the [policy planes](crate::engine::parts::plane)
//! keep under try-locks:
//!
//! 1. Hold the plane of the home shard, and apply what is queued on its release log. (If there is a
//!    single plane, on all logs if the policy needs all updates.)
//! 2. Pop up to 64 candidates off the order, as long as none of the other orders has a victim that
//!    comes first, and release the plane. Go on to the plane whose order has the first victim, until
//!    there are enough candidates. If there are too few, and every so often, apply what is queued on
//!    the logs of all shards.
//! 3. *Vacate* each candidate that still has no pins: one exchange of its word. A candidate
//!    that has become active is skipped; its last unpin queues it again.
//!
//! If the policy allows, step 2 pops more than are needed and leaves the rest in the home
//! shard's [victim cache](crate::engine::parts::victim_cache) for the next allocation. An
//! allocation that finds too few there and in the order also looks into the other shards'
//! caches. Once there are retention directives, victims are no longer prefetched, since a
//! later directive could no longer change their place. A thread that takes the plane to evict
//! returns what is left in the caches to the order.
//!
//! A candidate that is queued has been released again since it was listed, and will be listed again
//! by a drain, so it is *passed over*, like one that has become active. On one thread, only
//! prefetched victims are. But after another thread has held the plane for long, there may be as many
//! such candidates as blocks. So once an allocation has passed over [`PASSED_OVER`], it takes queued
//! ones as well, and after twice as many it leaves the rest to a
//! [search](crate::engine::ops::allocate).
//!
//! # What does it cost?
//!
//! A drain of up to 128 queued updates per log, shared by all blocks popped afterwards (logs
//! rarely have more than 64, see `drain`); a look at the published key of each shard per plane that is
//! held, of which there are at most [`VISITS`]; one step of the policy per victim (see
//! [`policy`](crate::policy)), and per candidate that is passed over; and one exchange per victim.
//! Nothing waits for a lock: if planes are held, [`Store::evict`] may return fewer victims than were
//! asked for.
//!
//! # What can a suspended thread delay?
//!
//! While it holds the plane or a victim cache, others cannot reach the victims there. If they
//! find too few elsewhere, they [sweep](crate::engine::parts::sweep). Candidates that it has
//! popped and not yet vacated are missing from the order, but are still inactive: they can be
//! matched, and a sweep finds them.

use crate::engine::ops::victims::Victims;
use crate::engine::parts::plane::HeldPlane;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::victim_cache::{CAPACITY, PrefetchedVictims, VictimCache};
use crate::engine::store::Store;
use crate::sync::step;

/// The number of candidates that an allocation passes over before it takes queued ones. More than a
/// victim cache has.
pub(super) const PASSED_OVER: u32 = 4 * CAPACITY as u32;

/// A batch in which candidates were passed over counts for as many more, since its drain is work,
/// too.
const PASSED_OVER_BY_BATCH: u32 = 64;

/// The most planes that one search for candidates holds, one after another, because each has the
/// first victim of all. A search that has found too few by then goes on with the next search.
const VISITS: usize = 64;

impl Store {
    /// Vacates up to `max` blocks in the policy's order and adds them to `victims`. Returns
    /// how many it has vacated: fewer if the order has run out, another thread holds the plane, or
    /// too many candidates are passed over.
    pub(super) fn evict<'a>(&'a self, home: usize, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut evicted = 0;
        if self.planes.hands_out_ahead()
            && let Some(mut victim_cache) = self.victim_caches[home].try_hold()
            && !self.directives.are_used()
        {
            step!(VictimCacheHeld);
            loop {
                evicted += self.evict_cached(&mut victim_cache, max - evicted, victims);
                if evicted == max {
                    return evicted;
                }
                if self.directives.are_used() || victims.have_passed_over_too_many() {
                    break;
                }
                let mut candidates = [NIL; CAPACITY];
                let found = self.candidates(home, &mut candidates);
                if found == 0 {
                    break;
                }
                victim_cache.fill(&self.slots, &candidates[..found]);
            }
            drop(victim_cache);
            if !self.directives.are_used() {
                // The order has run out or is held, so the remaining victims are in other
                // shards' caches.
                for mut other in self.victim_caches.iter().filter_map(VictimCache::try_hold) {
                    evicted += self.evict_cached(&mut other, max - evicted, victims);
                }
                return evicted;
            }
        }
        while evicted < max && !victims.have_passed_over_too_many() {
            let mut candidates = [NIL; CAPACITY];
            let wanted = CAPACITY.min(max - evicted);
            let found = self.candidates(home, &mut candidates[..wanted]);
            let mut batch = 0;
            for &candidate in &candidates[..found] {
                let slot = &self.slots[candidate as usize];
                batch += usize::from(self.evict_one(slot, victims));
            }
            if batch < found {
                victims.pass_over(PASSED_OVER_BY_BATCH);
            }
            evicted += batch;
            if found < wanted {
                break;
            }
        }
        evicted
    }

    /// Vacates up to `max` blocks of a victim cache. Returns how many it has vacated.
    fn evict_cached<'a>(
        &'a self,
        victim_cache: &mut PrefetchedVictims,
        max: usize,
        victims: &mut Victims<'a>,
    ) -> usize {
        let mut evicted = 0;
        let mut popped = 0;
        // Victims chosen before the first directive must not be evicted after it: the rest
        // returns to the plane, see `empty_victim_caches`.
        while evicted < max
            && !self.directives.are_used()
            && let Some(slot) = victim_cache.pop(&self.slots)
        {
            popped += 1;
            evicted += usize::from(self.evict_one(slot, victims));
        }
        if evicted < popped {
            victims.pass_over(PASSED_OVER_BY_BATCH);
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

    /// Pops the next candidates and prefetches their slots. Returns how many there were: none if other
    /// threads hold the planes.
    fn candidates(&self, home: usize, candidates: &mut [u32]) -> usize {
        let found = if self.planes.are_sharded() {
            self.candidates_of_all(home, candidates)
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
        if self.planes.hands_out_ahead() && self.directives.are_used() {
            self.empty_victim_caches(&mut plane);
        }
        if self.planes.needs_all_updates() || plane.is_turn_to_drain_all() {
            plane.drain();
        } else {
            plane.drain_log(home);
        }
        let mut found = plane.pop(candidates, 0);
        if found < candidates.len() {
            plane.drain();
            found += plane.pop(&mut candidates[found..], 0);
        }
        step!(VictimsPopped);
        found
    }

    /// Pops the next candidates of the orders of all shards, each of them from the order whose first
    /// victim comes first.
    fn candidates_of_all(&self, home: usize, candidates: &mut [u32]) -> usize {
        if self.directives.are_used() {
            self.apply_announced();
        }
        let mut found = 0;
        // One bit for each plane that another thread holds.
        let mut held_up = 0;
        let mut has_drained_all = false;
        let mut next = Some(home);
        for _ in 0..VISITS {
            let Some(at) = next else {
                if has_drained_all {
                    break;
                }
                has_drained_all = true;
                self.drain_others(home);
                next = self.planes.first(held_up).map(|(plane, _)| plane);
                continue;
            };
            if let Some(mut plane) = self.try_hold(at) {
                if self.planes.hands_out_ahead() && self.directives.are_used() {
                    self.empty_victim_caches(&mut plane);
                }
                plane.drain();
                found += plane.pop(&mut candidates[found..], held_up);
                step!(VictimsPopped);
                let drains_all = at == home && plane.is_turn_to_drain_all();
                drop(plane);
                if drains_all {
                    self.drain_others(home);
                }
            } else {
                held_up |= 1 << at;
            }
            if found == candidates.len() {
                break;
            }
            next = self.planes.first(held_up).map(|(plane, _)| plane);
        }
        found
    }

    /// Applies what is queued on the logs of the other shards, unless other threads hold their planes.
    #[inline(never)]
    fn drain_others(&self, home: usize) {
        for shard in 0..self.release_logs.len() {
            if shard != home && self.release_logs[shard].len() > 0 {
                self.try_drain_of(shard);
            }
        }
    }

    /// Has each order apply the directives that were announced to it.
    #[cold]
    fn apply_announced(&self) {
        for plane in 0..self.planes.count() {
            if self.directives.are_announced(plane) {
                self.apply_directives(plane);
            }
        }
    }

    /// Returns all prefetched victims to the order, once there are directives. From then on,
    /// the caches are no longer filled, see [`evict`](Self::evict).
    #[cold]
    pub(super) fn empty_victim_caches(&self, plane: &mut HeldPlane<'_>) {
        for mut victim_cache in self.victim_caches.iter().filter_map(VictimCache::try_hold) {
            while let Some(slot) = victim_cache.pop(&self.slots) {
                plane.put_back(slot);
            }
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
