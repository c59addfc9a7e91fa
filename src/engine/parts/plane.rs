//! The policy plane: where eviction order is kept.
//!
//! The order itself is plain sequential code (see [`policy`](crate::policy)).
//! The plane lets one thread at a time at it, by a `try_lock` that nobody waits
//! for, and feeds it the notes of the released stacks first. From one thread the
//! try-lock always succeeds and every note is applied in order, so eviction is
//! exactly the policy's.
//!
//! # When notes are applied
//!
//! Whoever needs victims drains its own shard's stack, whose slots are in its
//! cache, and every so often, or when it finds too few victims, those of all
//! shards. Under a policy that observes resurrections it always drains all: a
//! block must not be taken for a leaf because its child's release lies undrained.
//! From one thread there is one stack, and the order is exact.
//!
//! Besides, a slot is queued only once,
//! but may change twice between two drains: released, matched, and released
//! again. Where it would be queued a second time, the thread tries to drain
//! first, so that the earlier change takes its place in the order. If the plane
//! is taken, the one note stands for both: the policy then sees only the last
//! state, at the place of the first note. That is the one liberty the order
//! takes under contention.
//!
//! Where it does not matter to the policy in which order blocks come into use
//! again, a match of a block whose release is queued goes on without a drain; what
//! becomes of such [cancelled releases](crate::engine::parts::release_log) is for the next drain to find
//! out. A block matched soon after it was released mostly never reaches the policy.
//!
//! # Priorities
//!
//! A block is listed with the priority that its [directive](crate::engine::parts::directives) says.
//! Directives that came later are applied, and those whose time is up are ended, before
//! victims are popped. Before there is any, the policy is one that knows nothing of
//! priorities: see [`Policy`].

use std::sync::Arc;

use crate::policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;
use crate::sync::step;
use crate::sync::try_lock::{Held, TryLock};

use crate::engine::parts::deadlines::Deadlines;
use crate::engine::parts::directives::Directives;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

/// How often all stacks are drained, and not only the holder's own.
const DRAIN_ALL: u32 = 8;

/// See the module documentation.
pub(crate) struct Plane {
    order: TryLock<Order>,
    observes_resurrection: bool,
    resurrections_commute: bool,
    hands_out_ahead: bool,
}

impl Plane {
    pub(crate) fn new(policy: Box<dyn PlainPolicy>, directives: Arc<Directives>) -> Self {
        Self {
            observes_resurrection: policy.observes_resurrection(),
            resurrections_commute: policy.resurrections_commute(),
            hands_out_ahead: policy.hands_out_ahead(),
            order: TryLock::new(Order {
                cancelled: Vec::new(),
                observes_resurrection: policy.observes_resurrection(),
                policy: Policy::Plain(policy),
                turns: 0,
                directives,
            }),
        }
    }

    /// Whether blocks that come into use again are to be queued.
    #[inline]
    pub(crate) fn observes_resurrection(&self) -> bool {
        self.observes_resurrection
    }

    /// Whether a block can be matched before its release has been applied.
    #[inline]
    pub(crate) fn resurrections_commute(&self) -> bool {
        self.resurrections_commute
    }

    /// Whether victims can be popped ahead of need.
    #[inline]
    pub(crate) fn hands_out_ahead(&self) -> bool {
        self.hands_out_ahead
    }

    /// Whether someone has the plane.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.order.is_taken()
    }

    /// Takes the plane, unless someone has it.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<Held<'_, Order>> {
        self.order.try_hold()
    }
}

/// What the holder of the plane has in hand.
pub(crate) struct Order {
    policy: Policy,
    observes_resurrection: bool,
    /// Blocks listed by a drain that are to be taken out at its end. As long as the
    /// longest run of them so far.
    cancelled: Vec<u32>,
    /// Counts the times the plane was held to evict.
    turns: u32,
    directives: Arc<Directives>,
}

/// The policy, and what goes with it: one of the three stages of its life.
pub(crate) enum Policy {
    /// There had been no directive when notes were applied last.
    Plain(Box<dyn PlainPolicy>),
    /// There are directives, or have been.
    Prioritized(Prioritized),
    /// The store is not used any more, and has given its policy up.
    Ended,
}

/// A policy that knows priorities, and the times at which they end.
pub(crate) struct Prioritized {
    policy: Box<dyn PrioritizedPolicy>,
    /// Of the listed blocks.
    deadlines: Deadlines,
}

impl Order {
    /// The policy, unless the store has [ended](Self::end).
    pub(crate) fn policy(&self) -> Option<&dyn SlotPolicy> {
        match &self.policy {
            Policy::Plain(policy) => Some(&**policy),
            Policy::Prioritized(prioritized) => Some(&*prioritized.policy),
            Policy::Ended => None,
        }
    }

    /// Whether it is time to drain the stacks of all shards.
    pub(crate) fn is_turn_to_drain_all(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(DRAIN_ALL)
    }

    /// Applies the notes of some shards.
    pub(crate) fn drain<'r>(
        &mut self,
        slots: &[Slot],
        stacks: impl IntoIterator<Item = &'r ReleaseLog>,
    ) {
        self.look_for_directives();
        for stack in stacks {
            if stack.take_cancelled() {
                self.drain_cancelled(slots, stack);
                continue;
            }
            stack.take(slots, |_| {}).for_each(|slot| {
                let word = slot.unmark_queued();
                step!(NoteTaken);
                if word.is_unheld() {
                    self.list(slot, word);
                } else if self.observes_resurrection {
                    self.remove(slot.id());
                }
            });
        }
    }

    /// Applies the notes of a stack that may hold cancelled releases: notes of blocks
    /// that are in use and not listed.
    ///
    /// Such a block is listed in its turn, and taken out after all others have had
    /// theirs. Unless this changes nothing for sure: if the stack holds no other
    /// notes, and none of these blocks would leave a trace.
    fn drain_cancelled(&mut self, slots: &[Slot], stack: &ReleaseLog) {
        let mut changes_nothing = true;
        let taken = match self.policy() {
            Some(policy) => stack.take(slots, |slot| {
                changes_nothing = changes_nothing
                    && slot.word().is_in_use()
                    && policy.leaves_no_trace(slot.id(), slot.hash());
            }),
            None => stack.take(slots, |_| {}),
        };
        taken.for_each(|slot| {
            let word = slot.unmark_queued();
            step!(NoteTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else if changes_nothing {
                // It was not listed, and nobody else has listed it.
            } else if !word.is_in_use() || self.contains(slot) {
                self.remove(slot.id());
            } else if self.list(slot, word) {
                self.cancelled.push(slot.id());
            }
        });
        for at in 0..self.cancelled.len() {
            self.remove(self.cancelled[at]);
        }
        self.cancelled.clear();
    }

    fn contains(&self, slot: &Slot) -> bool {
        self.policy()
            .is_some_and(|policy| policy.contains(slot.id()))
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        match &mut self.policy {
            Policy::Plain(policy) => policy.remove(slot),
            Policy::Prioritized(prioritized) => prioritized.remove(slot),
            Policy::Ended => {}
        }
    }

    /// Lists a block whose word was `seen`. Returns whether it has; not if the block has been
    /// taken since, for whoever releases it next queues it again.
    #[inline(always)]
    fn list(&mut self, slot: &Slot, seen: Word) -> bool {
        self.list_as_seen(slot, seen) || self.list_discarded(slot)
    }

    #[inline(always)]
    fn list_as_seen(&mut self, slot: &Slot, seen: Word) -> bool {
        let (hash, level) = (slot.hash(), slot.level());
        if !slot.is_tenancy(seen) {
            return false;
        }
        match &mut self.policy {
            Policy::Plain(policy) => policy.insert(slot.id(), hash, level),
            Policy::Prioritized(prioritized) => {
                prioritized.policy.insert(slot.id(), hash, level);
                // One that is given meanwhile is announced, and found before the next victim.
                prioritized.apply_directive(&self.directives, slot, seen);
            }
            Policy::Ended => return false,
        }
        true
    }

    /// Lists a block that has been discarded since it was taken off its release log. It is in
    /// its next generation, but nobody has taken it, and nobody queues it again. (If it is taken
    /// now, whoever releases it does: only what has been released can be discarded once more.)
    #[cold]
    fn list_discarded(&mut self, slot: &Slot) -> bool {
        let seen = slot.word();
        seen.is_discarded() && !seen.is_queued() && self.list_as_seen(slot, seen)
    }

    #[inline]
    fn look_for_directives(&mut self) {
        if matches!(self.policy, Policy::Plain(_)) && self.directives.are_used() {
            self.begin_priorities();
        }
    }

    /// Has the policy know priorities, if it does not yet. Returns it, unless the store has
    /// ended.
    #[cold]
    fn begin_priorities(&mut self) -> Option<&mut Prioritized> {
        self.policy = match std::mem::replace(&mut self.policy, Policy::Ended) {
            Policy::Plain(policy) => Policy::Prioritized(Prioritized {
                policy: policy.with_priorities(),
                deadlines: Deadlines::default(),
            }),
            other => other,
        };
        match &mut self.policy {
            Policy::Prioritized(prioritized) => Some(prioritized),
            _ => None,
        }
    }

    /// Gives the policy up, which may be the user's, with the store that is not used any more.
    pub(crate) fn end(&mut self) -> Policy {
        std::mem::replace(&mut self.policy, Policy::Ended)
    }

    /// Takes a block back that was handed out ahead of need, with the priority that it has
    /// by now.
    pub(crate) fn put_back(&mut self, slot: &Slot) {
        let directives = Arc::clone(&self.directives);
        if let Some(prioritized) = self.begin_priorities() {
            let (hash, level) = (slot.hash(), slot.level());
            prioritized.policy.put_back(slot.id(), hash, level);
            prioritized.apply_directive(&directives, slot, slot.word());
        }
    }

    /// Takes the next candidates out of the order, as many as `candidates` has
    /// room for. Returns how many there were.
    ///
    /// They are the caller's to vacate, in this order, once it has let go of the
    /// plane: their lines are then fetched while nobody waits for it. One that
    /// has come into use unnoticed is no victim, and is queued again by its last
    /// unpin.
    #[inline]
    pub(crate) fn pop(&mut self, slots: &[Slot], candidates: &mut [u32]) -> usize {
        match &mut self.policy {
            Policy::Plain(policy) => pop_each(&mut **policy, candidates),
            Policy::Prioritized(prioritized) => {
                prioritized.pop(&self.directives, slots, candidates)
            }
            Policy::Ended => 0,
        }
    }
}

/// Fills `candidates` with victims. Returns how many there were.
#[inline]
fn pop_each<P: SlotPolicy + ?Sized>(policy: &mut P, candidates: &mut [u32]) -> usize {
    let mut found = 0;
    while found < candidates.len()
        && let Some(slot) = policy.pop()
    {
        candidates[found] = slot;
        found += 1;
    }
    found
}

impl Prioritized {
    fn remove(&mut self, slot: u32) {
        self.policy.remove(slot);
        self.forget_deadlines(&[slot]);
    }

    /// Applies the directive for a listed block whose word was `seen`, if there is one.
    /// Returns whether there is.
    #[cold]
    fn apply_directive(&mut self, directives: &Directives, slot: &Slot, seen: Word) -> bool {
        self.deadlines.forget(slot.id());
        let in_force = directives.in_force(slot, seen.generation(), || directives.now());
        if let Some(directive) = in_force {
            self.policy.set_priority(slot.id(), directive.priority);
            self.deadlines.set(slot.id(), directive.deadline);
        }
        in_force.is_some()
    }

    /// Applies the directives that were given to listed blocks, and ends those whose time
    /// is up.
    #[cold]
    fn apply_directives(&mut self, directives: &Directives, slots: &[Slot]) {
        directives.take_announced(|slot| {
            if self.policy.contains(slot) {
                let slot = &slots[slot as usize];
                if !self.apply_directive(directives, slot, slot.word()) {
                    // It has replaced one, and is over already.
                    self.policy.set_priority(slot.id(), Priority::DEFAULT);
                }
            }
        });
        if !self.deadlines.is_empty() {
            let now = directives.now();
            while let Some(slot) = self.deadlines.take_due(now) {
                self.policy.set_priority(slot, Priority::DEFAULT);
            }
        }
    }

    fn pop(&mut self, directives: &Directives, slots: &[Slot], candidates: &mut [u32]) -> usize {
        self.apply_directives(directives, slots);
        let found = pop_each(&mut *self.policy, candidates);
        self.forget_deadlines(&candidates[..found]);
        found
    }

    #[cold]
    fn forget_deadlines(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.deadlines.forget(slot);
        }
    }
}
