//! The policy plane: where eviction order is kept.
//!
//! The order itself is plain sequential code (see [`policy`](crate::policy)). The plane gives
//! it to one thread at a time, under a try-lock that no thread waits for, and first feeds it
//! the updates that are queued on the release logs. Single-threaded, the try-lock always
//! succeeds and every update is applied in order, so eviction follows the policy exactly.
//!
//! # When are queued updates applied?
//!
//! | a thread that | drains |
//! |---|---|
//! | needs victims | the log of its own shard, whose slots are in its cache |
//! | needs victims, every [`DRAIN_ALL`]th time, or finds too few, or uses a policy that needs all updates | the logs of all shards |
//! | is about to queue a slot that is queued already, or to push a release onto a log with cancelled ones | the logs of all shards, if the plane is free |
//! | has made a log too long by a push | that log, if the plane is free |
//!
//! Under a policy that needs all updates, all logs are always drained, because a block must
//! not be taken for a leaf while its child's release is still queued. A drain is bounded: see
//! "How long can a log get?" in [`release_log`](crate::engine::parts::release_log).
//!
//! # What does the policy miss under contention?
//!
//! A slot is queued only once, but its block may change twice between two drains: released,
//! matched, and released again. A thread that would queue it a second time therefore tries to
//! drain first, so that the earlier change takes its place in the order. If the plane is held,
//! the one queued slot stands for both changes: the policy sees only the last state, in the
//! place of the first change. In addition, an eviction may precede what is still queued on the
//! logs of other shards, or cached there as a victim; a sweep follows no order; and if a log has
//! become so long while the plane was held that a drain [leaves some of
//! it](crate::engine::parts::release_log), these are listed behind later releases, and a block
//! whose child is among them may be taken for a leaf.
//!
//! If the order of resurrections does not matter to the policy, a match of a block whose
//! release is still queued does not drain. The next drain decides what becomes of such
//! [cancelled releases](crate::engine::parts::release_log). A block that is matched soon after
//! its release thus rarely reaches the policy at all.
//!
//! # Priorities
//!
//! A block is listed with the priority of its [directive](crate::engine::parts::directives).
//! Before victims are popped, directives given since the last visit are applied, and expired
//! ones are ended. Until there is a directive, the policy knows nothing of priorities: see
//! [`Policy`].

use std::sync::Arc;

use crate::policy::{PlainPolicy, SlotPolicy};
use crate::sync::limits::DRAINED;
use crate::sync::step;
use crate::sync::try_lock::{TryLock, TryLockGuard};

use crate::engine::parts::directives::Directives;
use crate::engine::parts::prioritized::Prioritized;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

/// One in this many visits for victims drains the logs of all shards, not only the thread's
/// own.
const DRAIN_ALL: u32 = 8;

/// The policy plane of a store: the lock, and what the hot path may know of the policy without
/// holding it.
pub(crate) struct Plane {
    order: TryLock<EvictionOrder>,
    observes_resurrection: bool,
    needs_all_updates: bool,
    resurrections_commute: bool,
    hands_out_ahead: bool,
}

impl Plane {
    pub(crate) fn new(policy: Box<dyn PlainPolicy>, directives: Arc<Directives>) -> Self {
        Self {
            observes_resurrection: policy.observes_resurrection(),
            needs_all_updates: policy.needs_all_updates(),
            resurrections_commute: policy.resurrections_commute(),
            hands_out_ahead: policy.hands_out_ahead(),
            order: TryLock::new(EvictionOrder {
                cancelled: Vec::with_capacity(2 * DRAINED as usize),
                observes_resurrection: policy.observes_resurrection(),
                policy: Policy::Plain(policy),
                turns: 0,
                directives,
            }),
        }
    }

    /// Returns whether a block that becomes active again is queued.
    #[inline]
    pub(crate) fn observes_resurrection(&self) -> bool {
        self.observes_resurrection
    }

    /// Returns whether all queued updates are applied before victims are taken.
    #[inline]
    pub(crate) fn needs_all_updates(&self) -> bool {
        self.needs_all_updates
    }

    /// Returns whether a block may be matched while its release is still queued.
    #[inline]
    pub(crate) fn resurrections_commute(&self) -> bool {
        self.resurrections_commute
    }

    /// Returns whether victims may be popped ahead of need.
    #[inline]
    pub(crate) fn hands_out_ahead(&self) -> bool {
        self.hands_out_ahead
    }

    /// Returns whether a thread holds the plane. A hint.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.order.is_taken()
    }

    /// Locks the plane, unless another thread holds it.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<TryLockGuard<'_, EvictionOrder>> {
        self.order.try_hold()
    }
}

/// The eviction order, in the hands of the thread that holds the plane.
pub(crate) struct EvictionOrder {
    policy: Policy,
    observes_resurrection: bool,
    /// Cancelled releases that a drain has listed and removes at its end. Keeps its capacity
    /// from one drain to the next.
    cancelled: Vec<u32>,
    /// The number of times the plane was held for victims.
    turns: u32,
    directives: Arc<Directives>,
}

/// The policy, in one of the three stages of its life.
pub(crate) enum Policy {
    /// There had been no directive at the last drain.
    Plain(Box<dyn PlainPolicy>),
    /// There are directives, or have been.
    Prioritized(Prioritized),
    /// The store has ended and given up its policy.
    Ended,
}

impl EvictionOrder {
    /// Returns the policy, unless the store has [ended](Self::end).
    pub(crate) fn policy(&self) -> Option<&dyn SlotPolicy> {
        match &self.policy {
            Policy::Plain(policy) => Some(&**policy),
            Policy::Prioritized(prioritized) => Some(prioritized.policy()),
            Policy::Ended => None,
        }
    }

    /// Counts a visit for victims. Returns whether this one drains the logs of all shards.
    pub(crate) fn is_turn_to_drain_all(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(DRAIN_ALL)
    }

    /// Applies the updates that are queued on these logs.
    pub(crate) fn drain<'r>(
        &mut self,
        slots: &[Slot],
        logs: impl IntoIterator<Item = &'r ReleaseLog>,
    ) {
        self.look_for_directives();
        for log in logs {
            self.drain_log(slots, log);
        }
    }

    /// Applies up to [`DRAINED`] updates of a log.
    #[inline(always)]
    fn drain_log(&mut self, slots: &[Slot], log: &ReleaseLog) {
        if log.take_cancelled() {
            return self.drain_cancelled(slots, log);
        }
        log.take(slots, |_| {}).for_each(|slot| {
            let word = slot.unmark_queued();
            step!(QueuedTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else if self.observes_resurrection {
                self.remove(slot.id());
            }
        });
    }

    /// Applies the updates of a log that may hold cancelled releases: queued slots whose
    /// blocks are active and not listed.
    ///
    /// Such a block is listed in its turn, and removed after all other updates of the log have
    /// been applied. It is not listed at all if listing it provably changes nothing: if the
    /// log holds only such slots, and none of their blocks would leave a trace in the policy.
    fn drain_cancelled(&mut self, slots: &[Slot], log: &ReleaseLog) {
        let mut changes_nothing = true;
        let taken = match self.policy() {
            Some(policy) => log.take(slots, |slot| {
                changes_nothing = changes_nothing
                    && slot.word().is_in_use()
                    && policy.leaves_no_trace(slot.id(), slot.hash());
            }),
            None => log.take(slots, |_| {}),
        };
        if log.len() > 0 {
            log.mark_cancelled();
        }
        taken.for_each(|slot| {
            let word = slot.unmark_queued();
            step!(QueuedTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else if changes_nothing {
                // It was not listed when all slots were looked at, and only this thread lists
                // blocks.
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

    /// Removes a block from the order, if it is listed.
    #[inline]
    fn remove(&mut self, slot: u32) {
        match &mut self.policy {
            Policy::Plain(policy) => policy.remove(slot),
            Policy::Prioritized(prioritized) => prioritized.remove(slot),
            Policy::Ended => {}
        }
    }

    /// Lists a block whose word was `seen`. Returns whether it has listed it. It does not if
    /// the block has been taken since, in which case the block's next release queues it again.
    #[inline(always)]
    fn list(&mut self, slot: &Slot, seen: Word) -> bool {
        self.list_as_seen(slot, seen) || self.list_discarded(slot)
    }

    /// Lists a block if it is still in the tenancy in which `seen` was read.
    #[inline(always)]
    fn list_as_seen(&mut self, slot: &Slot, seen: Word) -> bool {
        let (hash, level) = (slot.hash(), slot.level());
        if !slot.is_tenancy(seen) {
            return false;
        }
        match &mut self.policy {
            Policy::Plain(policy) => policy.insert(slot.id(), hash, level),
            Policy::Prioritized(prioritized) => {
                prioritized.list(&self.directives, slot, seen, (hash, level));
            }
            Policy::Ended => return false,
        }
        true
    }

    /// Lists a block that has been discarded since its word was read. It is of the next
    /// generation, but no thread has taken it, so none will queue it again. (If it is taken
    /// now, its next release queues it: only a block that has been released can be discarded
    /// again.)
    #[cold]
    fn list_discarded(&mut self, slot: &Slot) -> bool {
        let seen = slot.word();
        seen.is_discarded() && !seen.is_queued() && self.list_as_seen(slot, seen)
    }

    /// Switches to a policy that knows priorities if the first directive has been given.
    #[inline]
    fn look_for_directives(&mut self) {
        if matches!(self.policy, Policy::Plain(_)) && self.directives.are_used() {
            self.begin_priorities();
        }
    }

    /// Turns the policy into one that knows priorities, if it is not one yet. Returns it, unless
    /// the store has ended.
    #[cold]
    fn begin_priorities(&mut self) -> Option<&mut Prioritized> {
        self.policy = match std::mem::replace(&mut self.policy, Policy::Ended) {
            Policy::Plain(policy) => {
                Policy::Prioritized(Prioritized::new(policy, self.directives.take_room()))
            }
            other => other,
        };
        match &mut self.policy {
            Policy::Prioritized(prioritized) => Some(prioritized),
            _ => None,
        }
    }

    /// Gives up the policy, which may be user code, when the store ends.
    pub(crate) fn end(&mut self) -> Policy {
        std::mem::replace(&mut self.policy, Policy::Ended)
    }

    /// Returns a prefetched victim to the order, with its current priority.
    pub(crate) fn put_back(&mut self, slot: &Slot) {
        let directives = Arc::clone(&self.directives);
        if let Some(prioritized) = self.begin_priorities() {
            prioritized.put_back(&directives, slot);
        }
    }

    /// Applies the directives that were announced, and ends those that have expired: as many as a
    /// visit does.
    pub(crate) fn apply_directives(&mut self, slots: &[Slot]) {
        if let Policy::Prioritized(prioritized) = &mut self.policy {
            prioritized.apply_directives(&self.directives, slots);
        }
    }

    /// Removes the next candidates from the order, as many as `candidates` has room for.
    /// Returns how many there were.
    ///
    /// The caller vacates them, in this order, after it has released the plane: so their cache
    /// lines arrive while others may use the plane. A candidate that has become active again
    /// without the policy's knowledge is not a victim; its last unpin queues it again.
    #[inline]
    pub(crate) fn pop(&mut self, slots: &[Slot], candidates: &mut [u32]) -> usize {
        match &mut self.policy {
            Policy::Plain(policy) => policy.pop_each(candidates),
            Policy::Prioritized(prioritized) => {
                prioritized.pop(&self.directives, slots, candidates)
            }
            Policy::Ended => 0,
        }
    }
}
