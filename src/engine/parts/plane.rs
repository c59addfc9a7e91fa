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
//! | needs victims, every [`DRAIN_ALL`]th time, or finds too few, or uses a policy that observes resurrections | the logs of all shards |
//! | is about to queue a slot that is queued already, or to push a release onto a log with cancelled ones | the logs of all shards, if the plane is free |
//!
//! Under a policy that observes resurrections all logs are always drained, because a block must
//! not be taken for a leaf while its child's release is still queued.
//!
//! # What does the policy miss under contention?
//!
//! A slot is queued only once, but its block may change twice between two drains: released,
//! matched, and released again. A thread that would queue it a second time therefore tries to
//! drain first, so that the earlier change takes its place in the order. If the plane is held,
//! the one queued slot stands for both changes: the policy sees only the last state, in the
//! place of the first change. Besides this, an eviction may precede what is still queued on the
//! logs of other shards, or cached as a victim by them; and a sweep follows no order.
//!
//! If the policy does not care in which order blocks become active again, a match of a block
//! whose release is still queued does not drain. The next drain works out what becomes of such
//! [cancelled releases](crate::engine::parts::release_log). A block that is matched soon after
//! its release thus rarely reaches the policy at all.
//!
//! # Priorities
//!
//! A block is listed with the priority of its [directive](crate::engine::parts::directives).
//! Before victims are popped, directives that were given since are applied, and those that have
//! expired are ended. Until there is a directive, the policy is one that knows nothing of
//! priorities.

use std::sync::Arc;

use crate::policy::{PolicyKind, SlotPolicy};
use crate::retention::Priority;
use crate::sync::step;
use crate::sync::try_lock::{Held, TryLock};

use crate::engine::parts::deadlines::Deadlines;
use crate::engine::parts::directives::Directives;
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
    resurrections_commute: bool,
    hands_out_ahead: bool,
}

impl Plane {
    pub(crate) fn new(policy: Box<dyn SlotPolicy>, directives: Arc<Directives>) -> Self {
        Self {
            observes_resurrection: policy.observes_resurrection(),
            resurrections_commute: policy.resurrections_commute(),
            hands_out_ahead: policy.hands_out_ahead(),
            order: TryLock::new(EvictionOrder {
                cancelled: Vec::new(),
                observes_resurrection: policy.observes_resurrection(),
                policy,
                turns: 0,
                directives,
                has_directives: false,
                deadlines: Deadlines::default(),
            }),
        }
    }

    /// Returns whether a block that becomes active again is queued.
    #[inline]
    pub(crate) fn observes_resurrection(&self) -> bool {
        self.observes_resurrection
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
    pub(crate) fn try_hold(&self) -> Option<Held<'_, EvictionOrder>> {
        self.order.try_hold()
    }
}

/// The eviction order, in the hands of the thread that holds the plane.
pub(crate) struct EvictionOrder {
    policy: Box<dyn SlotPolicy>,
    observes_resurrection: bool,
    /// Cancelled releases that a drain has listed and removes at its end. Keeps its capacity
    /// from one drain to the next.
    cancelled: Vec<u32>,
    /// How often the plane was held for victims.
    turns: u32,
    directives: Arc<Directives>,
    /// Whether there had been a directive when notes were applied last; then the policy
    /// knows priorities.
    has_directives: bool,
    /// Of the listed blocks.
    deadlines: Deadlines,
}

impl EvictionOrder {
    /// Returns the policy.
    pub(crate) fn policy(&mut self) -> &mut dyn SlotPolicy {
        &mut *self.policy
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
            if log.take_cancelled() {
                self.drain_cancelled(slots, log);
                continue;
            }
            log.take(slots, |_| {}).for_each(|slot| {
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

    /// Applies the updates of a log that may hold cancelled releases: queued slots whose
    /// blocks are active and not listed.
    ///
    /// Such a block is listed in its turn, and removed after all other updates of the log have
    /// been applied. It is not listed at all if that provably changes nothing: if the log holds
    /// only such slots, and none of their blocks would leave a trace in the policy.
    fn drain_cancelled(&mut self, slots: &[Slot], log: &ReleaseLog) {
        let mut changes_nothing = true;
        let taken = log.take(slots, |slot| {
            let word = slot.word();
            changes_nothing = changes_nothing
                && is_in_use(word)
                && self.policy.leaves_no_trace(slot.id(), slot.hash());
        });
        taken.for_each(|slot| {
            let word = slot.unmark_queued();
            step!(NoteTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else if changes_nothing {
                // It was not listed when all were looked at, and only this thread lists blocks.
            } else if !is_in_use(word) || self.policy.contains(slot.id()) {
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

    /// Takes a block out of the order, if it is listed.
    #[inline]
    fn remove(&mut self, slot: u32) {
        self.policy.remove(slot);
        if self.has_directives {
            self.forget_deadlines(&[slot]);
        }
    }

    /// Lists a block whose word was `seen`. Returns whether it did: not if the block has been
    /// taken since, in which case its next release queues it again.
    #[inline(always)]
    fn list(&mut self, slot: &Slot, seen: Word) -> bool {
        self.list_as_seen(slot, seen) || self.list_discarded(slot)
    }

    /// Lists a block if it is still in the tenancy in which `seen` was read.
    #[inline(always)]
    fn list_as_seen(&mut self, slot: &Slot, seen: Word) -> bool {
        let (hash, level) = (slot.hash(), slot.level());
        let is_tenancy = slot.is_tenancy(seen);
        if is_tenancy {
            self.policy.insert(slot.id(), hash, level);
            // A directive that is given meanwhile is announced, and applied before the next
            // victim is popped.
            if self.has_directives {
                self.apply_directive(slot, seen);
            }
        }
        is_tenancy
    }

    /// Lists a block that has been discarded since its word was read. It is of the next
    /// generation, but nobody has taken it, so nobody queues it again. (If it is taken now, its
    /// next release queues it: only a block that has been released can be discarded again.)
    #[cold]
    fn list_discarded(&mut self, slot: &Slot) -> bool {
        let seen = slot.word();
        seen.is_discarded() && !seen.is_queued() && self.list_as_seen(slot, seen)
    }

    /// Switches to a policy that knows priorities if the first directive has been given.
    #[inline]
    fn look_for_directives(&mut self) {
        if !self.has_directives && self.directives.are_used() {
            self.begin_priorities();
        }
    }

    /// Has the policy know priorities.
    #[cold]
    fn begin_priorities(&mut self) {
        let nothing = PolicyKind::Lru.build(0);
        self.policy = std::mem::replace(&mut self.policy, nothing).with_priorities();
        self.has_directives = true;
    }

    /// Gives the policy up, which may be the user's, with the store that is not used any more.
    pub(crate) fn end(&mut self) -> Box<dyn SlotPolicy> {
        std::mem::replace(&mut self.policy, PolicyKind::Lru.build(0))
    }

    /// Applies the directive for a listed block whose word was `seen`, if there is one.
    /// Returns whether there is.
    #[cold]
    fn apply_directive(&mut self, slot: &Slot, seen: Word) -> bool {
        self.deadlines.forget(slot.id());
        let directives = &*self.directives;
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
    fn apply_directives(&mut self, slots: &[Slot]) {
        let directives = Arc::clone(&self.directives);
        directives.take_announced(|slot| {
            if self.policy.contains(slot) {
                let slot = &slots[slot as usize];
                if !self.apply_directive(slot, slot.word()) {
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

    /// Returns a prefetched victim to the order, with the priority that it has by now.
    pub(crate) fn put_back(&mut self, slot: &Slot) {
        self.look_for_directives();
        self.policy.put_back(slot.id());
        self.apply_directive(slot, slot.word());
    }

    /// Removes the next candidates from the order, as many as `candidates` has room for.
    /// Returns how many there were.
    ///
    /// The caller vacates them, in this order, after it has released the plane: so their cache
    /// lines are fetched while others may use the plane. A candidate that has become active
    /// again without the policy's knowledge is no victim; its last unpin queues it again.
    #[inline]
    pub(crate) fn pop(&mut self, slots: &[Slot], candidates: &mut [u32]) -> usize {
        if self.has_directives {
            self.apply_directives(slots);
        }
        let mut found = 0;
        while found < candidates.len()
            && let Some(slot) = self.policy.pop()
        {
            candidates[found] = slot;
            found += 1;
        }
        if self.has_directives {
            self.forget_deadlines(&candidates[..found]);
        }
        found
    }

    /// Removes the deadlines of blocks that have left the order.
    #[cold]
    fn forget_deadlines(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.deadlines.forget(slot);
        }
    }
}

/// Returns whether a word is that of a primary with pins.
fn is_in_use(word: Word) -> bool {
    word.is_primary() && !word.is_inactive()
}
