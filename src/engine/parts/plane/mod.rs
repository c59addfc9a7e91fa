//! The policy planes: where eviction order is kept.
//!
//! The order itself is plain sequential code (see [`policy`](crate::policy)). A plane gives an order
//! to one thread at a time, under a try-lock that no thread waits for, and first feeds it the updates
//! that are queued on release logs. Single-threaded, the try-lock always succeeds and every update is
//! applied in order, so eviction follows the policy exactly.
//!
//! | file | idea |
//! |---|---|
//! | [`order`] | a policy in one of the stages of its life |
//! | [`feed`] | how it learns what is queued on the release logs |
//! | [`keys`] | what orders publish, to be compared |
//! | [`numbers`] | how several orders share the memory of one |
//! | [`prioritized`] | the policy once there have been directives |
//!
//! # One order per shard
//!
//! With a single plane, one thread at a time could evict, however many cores there are. So there is
//! one per [shard](crate::engine::store), if the policy allows
//! ([`PolicySpec::is_sharded`](crate::policy::PolicySpec::is_sharded)). A block that is released goes
//! through the log of the releasing thread's shard into the order of that shard. Each shard publishes
//! [`keys`] for the first victim of its order and for what is queued on its log. A thread that needs
//! victims
//!
//! 1. holds the plane whose shard has the smallest key, unless another thread does, and drains its log;
//! 2. pops victims as long as none of the other shards has a smaller key, and goes on with 1.
//!
//! This is a MultiQueue (Rihani, Sanders and Dementiev, *MultiQueues: Simpler, Faster, and Better
//! Relaxed Concurrent Priority Queues*, 2014; Williams and Sanders, *Engineering MultiQueues*, 2024)
//! that looks at all queues rather than at two of them.
//!
//! A policy whose order depends on more than its own blocks, such as one that counts how often all
//! content was used, or a user's own, has a single order, into which all logs are drained.
//!
//! # How exact is the order of several threads?
//!
//! One thread that uses a store alone gets exactly the policy's order, since all of its blocks are in
//! one order. If there are several threads, a victim is the first of its own order, but not always
//! the first of all. It may be ahead of
//!
//! * the blocks of orders that other threads hold at that moment, from which they pop;
//! * blocks that were released earlier, but while both logs had something queued. So at most 127 blocks
//!   of a shard go too early, unless its plane is held for long: those that came to a log before it was
//!   drained, each of which may be ahead of what others have released since the log began to fill.
//!
//! A *leaf* is a block without inactive children among those that the same order lists. Whoever uses a
//! child has used its parent with it. So a child in another order was, as a rule, released earlier than
//! its parent, and goes first; not if it was given a higher priority.
//!
//! # Which order lists a block?
//!
//! The one into whose log the block was pushed by its last release: the releasing thread notes its
//! shard in the slot, and whoever uses the block, discards it, or gives it a directive tells that
//! order. If the slot is on a log already, it stays there, and so does the note. A drain can
//! nevertheless meet a block that another order lists: the block was listed by a thread that had
//! seen it before it was used. Only the holder of that order may take it out. So the drain *forwards*
//! the slot to that order's log, where it is seen in the state that the block has then. For the same
//! reason, an order may list a block that is in use, until it is popped, and passed over, or released.
//!
//! # When are queued updates applied?
//!
//! | a thread that | drains |
//! |---|---|
//! | needs victims | the log of each shard it takes victims from, and all logs that may hold earlier ones |
//! | needs victims of a single order | the log of its own shard; those of all shards if it finds too few, or the policy needs all updates |
//! | is about to queue a slot that is queued already, or to push a release onto a log with cancelled ones | that log, if the plane is free |
//! | has made a log too long by a push | that log, if the plane is free |
//!
//! A drain is bounded: see "How long can a log get?" in
//! [`release_log`](crate::engine::parts::release_log).
//!
//! # What does the policy miss under contention?
//!
//! A slot is queued only once, but its block may change twice between two drains: released,
//! matched, and released again. A thread that would queue it a second time therefore tries to
//! drain first, so that the earlier change takes its place in the order. If the plane is held,
//! the one queued slot stands for both changes: the policy sees only the last state, in the
//! place of the first change. In addition, a sweep follows no order; and if a log has become so long
//! while the plane was held that a drain [leaves some of
//! it](crate::engine::parts::release_log), these are listed behind later releases, and a block
//! whose child is among them may be taken for a leaf.
//!
//! If the order of resurrections does not matter to the policy, a match of a block whose
//! release is still queued does not drain. The next drain decides what becomes of such
//! [cancelled releases](crate::engine::parts::release_log); under a policy that keeps no block because
//! of others, nothing does. A block that is matched soon after its release thus rarely reaches the
//! policy at all.
//!
//! # Priorities
//!
//! A block is listed with the priority of its [directive](crate::engine::parts::directives).
//! Before victims are popped, directives given since the last visit are applied, and expired
//! ones are ended. Until there is a directive, the policy knows nothing of priorities: see
//! [`order::Policy`].

mod feed;
mod keys;
mod numbers;
mod order;
mod prioritized;

use std::ops::Range;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::policy::{PlainPolicy, SlotPolicy};
use crate::sync::once_box::OnceBox;
use crate::sync::try_lock::{TryLock, TryLockGuard};
use crate::sync::{AtomicU32, Ordering};

use crate::engine::parts::directives::Directives;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;

use feed::View;
use keys::Keys;
use numbers::{Numbers, Places};
use order::EvictionOrder;

pub(crate) use order::Policy;

/// What a store's eviction orders are made of.
pub(crate) enum PolicySource {
    /// The only order.
    Single(Box<dyn PlainPolicy>),
    /// Each shard has an order of its own, which this builds.
    PerShard(BuildOrder),
}

/// What becomes of a release that is still queued when the block is matched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// It is applied before the match.
    AppliedFirst,
    /// The log is marked as holding [cancelled
    /// releases](crate::engine::parts::release_log), since each may leave a trace in the policy.
    Marked,
    /// Nothing: to the policy it is as if there had been neither the release nor the match.
    Forgotten,
}

/// Builds an order for all blocks of a store.
pub(crate) type BuildOrder =
    Box<dyn Fn() -> Box<dyn PlainPolicy> + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// The planes of a store, and what the hot path may know of the policy without holding any.
pub(crate) struct Planes {
    /// A single one, or one for each shard.
    planes: Box<[Plane]>,
    keys: Keys,
    places: Places,
    /// Counts searches for victims once there are directives.
    turns: CachePadded<AtomicU32>,
    /// What builds the orders that have not been needed yet, for this number of blocks.
    build: Option<BuildOrder>,
    block_count: usize,
    directives: Arc<Directives>,
    needs_all_updates: bool,
    cancelled: Cancelled,
}

struct Plane {
    order: TryLock<EvictionOrder>,
    /// The order that takes the place of an unbuilt one. It is built before the plane is held, since
    /// that takes memory.
    built: OnceBox<TryLock<Option<EvictionOrder>>>,
}

impl PolicySource {
    /// Returns the number of orders in a store with this number of shards.
    pub(crate) fn orders(&self, shards: usize) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::PerShard(_) => shards,
        }
    }
}

impl Planes {
    /// Creates the planes of a store with this number of blocks and of shards, at most 64. If there are
    /// several orders, builds that of the shard `home`.
    pub(crate) fn new(
        source: PolicySource,
        block_count: usize,
        shards: usize,
        home: usize,
        directives: Arc<Directives>,
    ) -> Self {
        let orders = source.orders(shards);
        let (first, build) = match source {
            PolicySource::Single(policy) => (policy, None),
            PolicySource::PerShard(build) => (build(), Some(build)),
        };
        let needs_all_updates = first.needs_all_updates();
        let cancelled = match (first.resurrections_commute(), needs_all_updates) {
            (false, _) => Cancelled::AppliedFirst,
            (true, true) => Cancelled::Marked,
            (true, false) => Cancelled::Forgotten,
        };
        let is_sharded = orders > 1;
        let mut first = Some(first);
        let plane = |shard| {
            let directives = Arc::clone(&directives);
            let order = match first.take_if(|_| shard == home % orders) {
                None => EvictionOrder::unbuilt(directives),
                Some(policy) => {
                    let numbers = is_sharded.then(|| Numbers::new(shard, block_count));
                    EvictionOrder::new(policy, numbers, directives)
                }
            };
            Plane {
                order: TryLock::new(order),
                built: OnceBox::new(),
            }
        };
        Self {
            planes: (0..orders).map(plane).collect(),
            keys: Keys::new(orders),
            places: Places::new(if is_sharded { block_count } else { 0 }),
            turns: CachePadded::new(AtomicU32::new(0)),
            build,
            block_count,
            directives,
            needs_all_updates,
            cancelled,
        }
    }

    /// Returns whether each shard has an order of its own.
    #[inline]
    pub(crate) fn are_sharded(&self) -> bool {
        self.planes.len() > 1
    }

    /// Returns the number of planes.
    pub(crate) fn count(&self) -> usize {
        self.planes.len()
    }

    /// Returns the plane that the log of a shard is drained into.
    #[inline]
    pub(crate) fn of_shard(&self, shard: usize) -> usize {
        if self.are_sharded() { shard } else { 0 }
    }

    /// Returns whether the next victim depends on updates of all threads.
    #[inline]
    pub(crate) fn needs_all_updates(&self) -> bool {
        self.needs_all_updates
    }

    /// Returns what becomes of the release of a block that is matched while it is still queued.
    #[inline]
    pub(crate) fn cancelled(&self) -> Cancelled {
        self.cancelled
    }

    /// Returns a plane, each of them in turn.
    pub(crate) fn take_turn(&self) -> usize {
        self.turns.fetch_add(1, Ordering::Relaxed) as usize % self.count()
    }

    /// Returns whether a thread holds a plane. A hint.
    #[inline]
    pub(crate) fn is_taken(&self, plane: usize) -> bool {
        self.planes[plane].order.is_taken()
    }

    /// Holds a plane, unless another thread does.
    #[inline]
    pub(crate) fn try_hold<'a>(
        &'a self,
        plane: usize,
        slots: &'a [Slot],
        logs: &'a [ReleaseLog],
    ) -> Option<HeldPlane<'a>> {
        if self.directives.are_used() {
            self.directives.make_room(plane);
        }
        let mut held = self.try_hold_as_is(plane, slots, logs)?;
        if held.order.is_unbuilt() {
            // Once for each plane: the order is built while the plane is not held.
            drop(held);
            self.build(plane);
            held = self.try_hold_as_is(plane, slots, logs)?;
            let built = self.build(plane).try_hold();
            if let Some(order) = built.and_then(|mut built| built.take()) {
                *held.order = order;
            }
        }
        Some(held)
    }

    /// Holds a plane, unless another thread does, even if its policy has not been built.
    #[inline]
    pub(crate) fn try_hold_as_is<'a>(
        &'a self,
        plane: usize,
        slots: &'a [Slot],
        logs: &'a [ReleaseLog],
    ) -> Option<HeldPlane<'a>> {
        let order = self.planes[plane].order.try_hold()?;
        let view = View {
            slots,
            logs,
            places: &self.places,
            keys: &self.keys,
            directives: &self.directives,
        };
        Some(HeldPlane {
            planes: self,
            plane,
            view,
            has_changed: false,
            order,
        })
    }

    /// Builds the order of a plane, if it has not been.
    #[cold]
    fn build(&self, plane: usize) -> &TryLock<Option<EvictionOrder>> {
        self.planes[plane].built.get_or_make(|| {
            TryLock::new(self.build.as_ref().map(|build| {
                let numbers = Numbers::new(plane, self.block_count);
                EvictionOrder::new(build(), Some(numbers), Arc::clone(&self.directives))
            }))
        })
    }

    /// Returns the plane whose shard has published the smallest key, not counting those whose bits are
    /// set in `except`, nor what is queued on the logs of those in `drained`; `None` if there is nothing
    /// else.
    #[inline]
    pub(crate) fn first(&self, except: u64, drained: u64) -> Option<usize> {
        self.keys.first(except, drained).map(|(plane, _)| plane)
    }

    /// Returns whether something is listed or queued in the shard of a plane, if each has its own.
    pub(crate) fn has_any(&self, plane: usize) -> bool {
        self.keys.has_any(plane)
    }

    /// Records that slots have been pushed onto the log of a shard.
    #[inline]
    pub(crate) fn note_queued(&self, shard: usize) {
        if self.are_sharded() {
            self.keys.note_queued(shard, self.directives.are_used());
        }
    }
}

/// A plane that the current thread holds. When it is dropped, it publishes its order's first key.
pub(crate) struct HeldPlane<'a> {
    planes: &'a Planes,
    plane: usize,
    view: View<'a>,
    has_changed: bool,
    order: TryLockGuard<'a, EvictionOrder>,
}

impl HeldPlane<'_> {
    /// Returns the policy, unless it has not been built, or the store has [ended](Self::end).
    pub(crate) fn policy(&self) -> Option<&dyn SlotPolicy> {
        self.order.policy()
    }

    /// Returns whether this order lists a block.
    pub(crate) fn lists(&self, slot: u32) -> bool {
        self.order.lists(self.view, slot)
    }

    /// Applies the updates of the log of this plane's shard, or of all logs if there is one plane.
    pub(crate) fn drain(&mut self) {
        for shard in self.shards() {
            self.drain_log(shard);
        }
    }

    /// Does what [`drain`](Self::drain) does, but only for logs of which this call is
    /// [due](ReleaseLog::is_due) to do so.
    pub(crate) fn drain_due(&mut self) {
        for shard in self.shards() {
            if self.view.logs[shard].is_due(1) {
                self.drain_log(shard);
            }
        }
    }

    /// Returns the shards whose logs are drained into this plane.
    fn shards(&self) -> Range<usize> {
        if self.planes.are_sharded() {
            self.plane..self.plane + 1
        } else {
            0..self.view.logs.len()
        }
    }

    /// Applies the updates of the log of a shard, which is drained into this plane.
    #[inline]
    pub(crate) fn drain_log(&mut self, shard: usize) {
        self.order.look_for_directives();
        let log = &self.view.logs[shard];
        if self.planes.are_sharded() {
            return self.drain_own(log);
        }
        self.order.drain_log(self.view, log);
    }

    /// Applies the updates of the log of this plane's shard.
    #[inline]
    fn drain_own(&mut self, log: &ReleaseLog) {
        let keys = &self.planes.keys;
        let key = keys.take_queued(self.plane);
        self.has_changed |= key.is_some();
        if log.len() == 0 && (key.is_none() || log.is_empty_in_order()) {
            return;
        }
        self.has_changed = true;
        self.order.tick = keys.tick(key);
        self.order.drain_log(self.view, log);
        if log.len() > 0 {
            match key {
                Some(key) => keys.put_back_queued(self.plane, key),
                None => self.planes.note_queued(self.plane),
            }
        }
    }

    /// Applies the directives that were announced, and ends those that have expired: as many as a
    /// visit does.
    pub(crate) fn apply_directives(&mut self) {
        self.has_changed = true;
        self.order.apply_directives(self.view);
    }

    /// Removes the next candidates from the order, as many as `candidates` has room for, and as long
    /// as no other shard has published a smaller key, as [`Planes::first`] sees it. Returns how many
    /// there were.
    ///
    /// The caller vacates them, in this order, after it has released the plane: so their cache
    /// lines arrive while others may use the plane. A candidate that has become active again
    /// without the policy's knowledge is not a victim; its last unpin queues it again.
    #[inline]
    pub(crate) fn pop(&mut self, candidates: &mut [u32], except: u64, drained: u64) -> usize {
        let limit = if self.planes.are_sharded() {
            self.has_changed = true;
            let others = self.planes.keys.first(except | 1 << self.plane, drained);
            others.map_or(u64::MAX, |(_, key)| key)
        } else {
            u64::MAX
        };
        self.order.pop(self.view, candidates, limit)
    }

    /// Gives up the policy, which may be user code, when the store ends.
    pub(crate) fn end(&mut self) -> Policy {
        self.order.end()
    }
}

impl Drop for HeldPlane<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.has_changed && self.planes.are_sharded() {
            let first = self.order.first_key();
            self.planes.keys.publish_first(self.plane, first);
        }
    }
}
