//! An eviction order: a policy in one of the stages of its life, and the names of its blocks.
//!
//! Sequential code, in the hands of the thread that holds the [plane](super).

use std::sync::Arc;

use crate::policy::{First, PlainPolicy, SlotPolicy};
use crate::sync::limits::DRAINED;

use super::feed::{BySlot, Feed, Numbered, View};
use super::keys::key;
use super::numbers::{Numbers, Place};
use super::prioritized::Prioritized;
use crate::engine::parts::directives::Directives;
use crate::engine::parts::release_log::ReleaseLog;

/// The eviction order of a plane.
pub(crate) struct EvictionOrder {
    policy: Policy,
    /// `None` if this is the only order, which knows each block by its slot.
    numbers: Option<Numbers>,
    /// The slots of cancelled releases that a drain has listed and takes out at its end. It has room
    /// for as many as a drain takes.
    cancelled: Vec<u32>,
    /// The tick of blocks that are listed now.
    pub(super) tick: u64,
    directives: Arc<Directives>,
}

/// The policy, in one of the stages of its life.
pub(crate) enum Policy {
    /// It has not been needed yet.
    Unbuilt,
    /// There had been no directive at the last drain.
    Plain(Box<dyn PlainPolicy>),
    /// There are directives, or have been.
    Prioritized(Prioritized),
    /// The store has ended and given up its policy.
    Ended,
}

impl EvictionOrder {
    /// Creates an order. It knows each block by its slot if there are no `numbers`.
    pub(super) fn new(
        policy: Box<dyn PlainPolicy>,
        numbers: Option<Numbers>,
        directives: Arc<Directives>,
    ) -> Self {
        Self {
            policy: Policy::Plain(policy),
            numbers,
            cancelled: Vec::with_capacity(2 * DRAINED as usize),
            tick: 0,
            directives,
        }
    }

    /// Creates what stands for an order that has not been needed yet.
    pub(super) fn unbuilt(directives: Arc<Directives>) -> Self {
        Self {
            policy: Policy::Unbuilt,
            numbers: None,
            cancelled: Vec::new(),
            tick: 0,
            directives,
        }
    }

    /// Returns the policy, unless it has not been built, or the store has [ended](Self::end).
    pub(super) fn policy(&self) -> Option<&dyn SlotPolicy> {
        match &self.policy {
            Policy::Plain(policy) => Some(&**policy),
            Policy::Prioritized(prioritized) => Some(prioritized.policy()),
            Policy::Unbuilt | Policy::Ended => None,
        }
    }

    pub(super) fn is_unbuilt(&self) -> bool {
        matches!(self.policy, Policy::Unbuilt)
    }

    /// Gives up the policy, which may be user code, when the store ends.
    pub(super) fn end(&mut self) -> Policy {
        std::mem::replace(&mut self.policy, Policy::Ended)
    }

    // ---- draining ----

    /// Applies up to [`DRAINED`] updates of a log.
    #[inline]
    pub(super) fn drain_log(&mut self, view: View<'_>, log: &ReleaseLog) {
        let cancelled = &mut self.cancelled;
        match (&mut self.policy, &mut self.numbers) {
            (Policy::Plain(policy), None) => Feed {
                policy: &mut **policy,
                names: BySlot,
                view,
                cancelled,
            }
            .drain(log),
            (Policy::Plain(policy), Some(numbers)) => Feed {
                policy: &mut **policy,
                names: Numbered {
                    numbers,
                    places: view.places,
                    tick: self.tick,
                },
                view,
                cancelled,
            }
            .drain(log),
            (Policy::Prioritized(policy), None) => Feed {
                policy,
                names: BySlot,
                view,
                cancelled,
            }
            .drain(log),
            (Policy::Prioritized(policy), Some(numbers)) => Feed {
                policy,
                names: Numbered {
                    numbers,
                    places: view.places,
                    tick: self.tick,
                },
                view,
                cancelled,
            }
            .drain(log),
            (Policy::Unbuilt | Policy::Ended, _) => {}
        }
    }

    /// Returns whether this order lists a block.
    pub(super) fn lists(&self, view: View<'_>, slot: u32) -> bool {
        match place_in(self.numbers.as_ref(), view)(slot) {
            Place::Here(number) => self.policy().is_some_and(|policy| policy.contains(number)),
            Place::Nowhere | Place::Elsewhere(_) => false,
        }
    }

    /// Returns the slot of a number, which is no longer in use.
    #[inline]
    fn free(&mut self, view: View<'_>, number: u32) -> u32 {
        match &mut self.numbers {
            None => number,
            Some(numbers) => numbers.free(view.places, number),
        }
    }

    // ---- priorities ----

    /// Switches to a policy that knows priorities if the first directive had been given when the plane
    /// was held, so that there is room for them.
    #[inline]
    pub(super) fn look_for_directives(&mut self) {
        if matches!(self.policy, Policy::Plain(_)) && self.directives.has_room(self.shard()) {
            self.begin_priorities();
        }
    }

    /// Returns the number of the shard, for what the directives have for each.
    fn shard(&self) -> usize {
        self.numbers.as_ref().map_or(0, Numbers::shard)
    }

    /// Turns a plain policy into one that knows priorities.
    #[cold]
    fn begin_priorities(&mut self) {
        self.policy = match std::mem::replace(&mut self.policy, Policy::Ended) {
            Policy::Plain(policy) => {
                let room = self.directives.take_room(self.shard());
                Policy::Prioritized(Prioritized::new(policy, room))
            }
            other => other,
        };
    }

    /// Applies the directives that were announced, and ends those that have expired: as many as a
    /// visit does.
    pub(super) fn apply_directives(&mut self, view: View<'_>) {
        let shard = self.shard();
        if let Policy::Prioritized(prioritized) = &mut self.policy {
            let place = place_in(self.numbers.as_ref(), view);
            prioritized.apply_directives(&self.directives, shard, view.slots, place);
        }
    }

    // ---- victims ----

    /// Returns what comes before the next victim in a comparison of orders.
    pub(super) fn first_key(&mut self) -> Option<u64> {
        let first = match &mut self.policy {
            Policy::Plain(policy) => policy.first(),
            Policy::Prioritized(prioritized) => prioritized.first(),
            Policy::Unbuilt | Policy::Ended => None,
        };
        first.map(|first| self.key_of(first))
    }

    fn key_of(&self, first: First) -> u64 {
        let tick = self.numbers.as_ref().map_or(0, |it| it.tick(first.slot));
        key(first.class, tick)
    }

    /// Removes the next victims from the order, as many as `candidates` has room for, but none whose
    /// key is above `limit`. Returns how many there were.
    #[inline]
    pub(super) fn pop(&mut self, view: View<'_>, candidates: &mut [u32], limit: u64) -> usize {
        let found = match &mut self.policy {
            Policy::Plain(policy) if limit == u64::MAX => policy.pop_each(candidates),
            Policy::Plain(_) => return self.pop_up_to(view, candidates, limit),
            Policy::Prioritized(_) => return self.pop_prioritized(view, candidates, limit),
            Policy::Unbuilt | Policy::Ended => 0,
        };
        if let Some(numbers) = &mut self.numbers {
            for candidate in &mut candidates[..found] {
                *candidate = numbers.free(view.places, *candidate);
            }
        }
        found
    }

    #[inline(never)]
    fn pop_up_to(&mut self, view: View<'_>, candidates: &mut [u32], limit: u64) -> usize {
        let mut found = 0;
        while found < candidates.len()
            && let Policy::Plain(policy) = &mut self.policy
            && let Some(first) = policy.first()
        {
            let number = first.slot;
            if self.key_of(first) > limit {
                break;
            }
            if let Policy::Plain(policy) = &mut self.policy {
                policy.remove(number);
            }
            candidates[found] = self.free(view, number);
            found += 1;
        }
        found
    }

    #[cold]
    fn pop_prioritized(&mut self, view: View<'_>, candidates: &mut [u32], limit: u64) -> usize {
        let shard = self.shard();
        let Policy::Prioritized(prioritized) = &mut self.policy else {
            return 0;
        };
        let numbers = self.numbers.as_ref();
        prioritized.apply_directives(&self.directives, shard, view.slots, place_in(numbers, view));
        let found = prioritized.pop(candidates, |policy| match numbers {
            None => true,
            Some(numbers) => policy
                .first()
                .is_some_and(|first| key(first.class, numbers.tick(first.slot)) <= limit),
        });
        if let Some(numbers) = &mut self.numbers {
            for candidate in &mut candidates[..found] {
                *candidate = numbers.free(view.places, *candidate);
            }
        }
        found
    }
}

/// Returns a function that returns where a block is listed: here, if blocks are known by their slots.
fn place_in<'a>(numbers: Option<&'a Numbers>, view: View<'a>) -> impl Fn(u32) -> Place + 'a {
    move |slot| {
        numbers.map_or(Place::Here(slot), |numbers| {
            numbers.place(view.places, slot)
        })
    }
}
