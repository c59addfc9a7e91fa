//! A store: the blocks of one manager, and everything about their lifetime.
//!
//! A [`Store`] puts the [parts](crate::engine::parts) of the engine together. What it does
//! with them is in [`ops`](crate::engine::ops).
//!
//! # What keeps a store in service?
//!
//! Its references, the [`StoreRef`]s: its manager has one, each weak guard has one, and its
//! *pool* has one while any block is held. Guards of held blocks are not counted one by one.
//! A held block is a missing credit, and the [credits](crate::engine::parts::credits) report
//! when the last one is back. A guard may therefore use its store until it has returned its
//! credit, and not afterwards: see [`hold`](crate::engine::hold).
//!
//! | event | what it does to the pool's reference |
//! |---|---|
//! | the store is built | creates it |
//! | the manager is dropped ([`Store::retire`]) | drops it if no block is held; otherwise, nothing |
//! | the last credit of a retired store is returned ([`Store::return_credits`]) | drops it |
//! | a weak guard pins a block of a retired store whose credits were all back ([`Store::reserve_credits`]) | creates another |
//!
//! # What happens when the last reference is dropped?
//!
//! The thread that drops it *ends* the store:
//!
//! 1. marks it as ended, so that the registry no longer finds anything in it;
//! 2. detaches it from the registry, and keeps its last gauges in the metrics;
//! 3. ends the registrations of its blocks: O(block count) if the registry has entries;
//! 4. drops the eviction policy;
//! 5. runs the user code that this leaves, such as the drops of attachments.
//!
//! Threads that only look at the store, such as one that asks the registry on behalf of
//! another tier, have a [`Weak`] and keep only its memory alive. So none of them ever has to
//! run that user code.
//!
//! # Where does a slot become its store?
//!
//! Only here, in [`store_of`]: a slot has the untyped address of the store that it is part
//! of.

use std::any::TypeId;
use std::mem;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use crate::engine::parts::credits::{Credits, Released};
use crate::engine::parts::directives::Directives;
use crate::engine::parts::era::Clearing;
use crate::engine::parts::freelist::FreeList;
use crate::engine::parts::index::Index;
use crate::engine::parts::plane::{Planes, PolicySource};
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::sweep::Sweep;
use crate::key::Key;
use crate::metrics::{BlockPoolMetrics, Counter, GaugeSource, OwnRow, Stripes};
use crate::policy::level;
use crate::registry::{Core, Leftovers, Tier};
use crate::sync::limits::{MIN_BLOCKS_TO_SHARD, cores};
use crate::sync::{AtomicBool, AtomicU64, Ordering, thread};
use crate::{ManagerId, SequenceHash};

/// The largest number of blocks a store can have. The central balance of the credits (29
/// bits) and the links of the index (31 bits) would allow more, but 2^28 slots alone take
/// 16 GiB.
pub(crate) const MAX_BLOCKS: usize = 1 << 28;

/// The largest number of shards a store can have: a word has a bit for each.
const MAX_SHARDS: usize = 64;

/// The configuration from which a store is built.
pub(crate) struct Config {
    pub(crate) block_count: u32,
    pub(crate) block_size: usize,
    pub(crate) policy: PolicySource,
    /// Whether the policy evicts a block only after its inactive children.
    pub(crate) is_leaf_first: bool,
    /// The thresholds of the frequency levels, if the policy has levels.
    pub(crate) thresholds: Option<[u8; 3]>,
    /// Whether blocks are reset on their last unpin, unless set otherwise per block.
    pub(crate) reset_on_release: bool,
    pub(crate) registry: Arc<Core>,
    /// The manager's metadata type.
    pub(crate) type_id: TypeId,
    pub(crate) metrics: Arc<BlockPoolMetrics>,
}

/// The blocks of one manager. The module documentation says how long it lives.
pub(crate) struct Store {
    pub(in crate::engine) slots: Box<[Slot]>,
    /// The number of shards, a power of two, less one.
    last_shard: usize,
    pub(in crate::engine) index: Index,
    pub(in crate::engine) credits: Credits,
    pub(in crate::engine) free: FreeList,
    /// The release log of each shard.
    pub(in crate::engine) release_logs: Box<[ReleaseLog]>,
    pub(in crate::engine) planes: Planes,
    pub(in crate::engine) directives: Arc<Directives>,
    pub(in crate::engine) clearing: Clearing,
    pub(in crate::engine) sweep: CachePadded<Sweep>,
    pub(in crate::engine) registry: Arc<Core>,
    pub(in crate::engine) reset_on_release: bool,
    thresholds: Option<[u8; 3]>,
    pub(in crate::engine) metrics: Arc<BlockPoolMetrics>,
    /// The counters of `metrics`.
    counters: Stripes,
    pub(crate) block_size: usize,
    pub(crate) id: ManagerId,
    /// The number of [`StoreRef`]s.
    references: AtomicU64,
    /// Set when the last reference is dropped.
    has_ended: AtomicBool,
}

impl Store {
    /// Returns the number of blocks, whatever their states.
    #[inline]
    pub(crate) fn block_count(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of the calling thread's home shard.
    #[inline]
    pub(in crate::engine) fn home(&self) -> usize {
        self.home_of(thread::index())
    }

    /// Returns the number of the home shard of the calling thread, whose number is `thread`.
    #[inline]
    pub(in crate::engine) fn home_of(&self, thread: usize) -> usize {
        // The number of shards is a power of two. Threads may share a shard, so a thread
        // without a number of its own can use any.
        thread & self.last_shard
    }

    /// Adds to one of the metrics' counters.
    #[inline]
    pub(crate) fn count(&self, counter: Counter, n: u64) {
        match self.own_row() {
            Some(row) => row.add(counter, n),
            None => self.count_slowly(counter, n),
        }
    }

    /// Takes the store, rather than its counters, so that a caller that has a row does not have to
    /// compute their address.
    #[cold]
    fn count_slowly(&self, counter: Counter, n: u64) {
        self.counters.add(counter, n);
    }

    /// Adds to several of the metrics' counters.
    #[inline]
    pub(crate) fn count_each<const N: usize>(&self, additions: [(Counter, u64); N]) {
        self.counters.add_each(additions);
    }

    /// Returns the calling thread's row of the metrics' counters, if it has one.
    #[inline]
    pub(in crate::engine) fn own_row(&self) -> Option<OwnRow<'_>> {
        self.counters.own_row()
    }

    /// Adds to several of the metrics' counters, for the thread with this number: the calling one.
    #[inline]
    pub(in crate::engine) fn count_each_as<const N: usize>(
        &self,
        thread: usize,
        additions: [(Counter, u64); N],
    ) {
        self.counters.add_each_as(thread, additions);
    }

    /// Returns the number of free and inactive blocks that are not reserved. Exact while no
    /// thread reserves or returns credits (see [`Credits::available`]).
    pub(crate) fn available(&self) -> usize {
        self.credits.available() as usize
    }

    /// Returns whether the policy may keep a block because of its children, and so follows what
    /// becomes of each block.
    pub(crate) fn is_leaf_first(&self) -> bool {
        self.planes.needs_all_updates()
    }

    /// Returns whether the policy has frequency levels.
    #[inline]
    pub(in crate::engine) fn has_levels(&self) -> bool {
        self.thresholds.is_some()
    }

    /// Returns the frequency level of a slot's hash, if the policy has levels and the registry
    /// has a tracker. Calls the tracker, which may be user code.
    pub(in crate::engine) fn level_of(&self, slot: &Slot) -> Option<u8> {
        let thresholds = self.thresholds?;
        let tracker = self.registry.tracker()?;
        Some(level(tracker.count(slot.hash_bits()), thresholds))
    }

    /// Returns the pointer that the store's `Arc` can be restored from.
    fn as_ptr(&self) -> *const Self {
        pointer(&self.slots[0])
    }

    /// Returns a new reference. The caller holds one of the blocks, or has a reference.
    pub(crate) fn reference(&self) -> StoreRef {
        // Relaxed, like a clone of an `Arc`: the caller's block or reference orders everything.
        self.references.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the pointer is that of the `Arc` that `StoreRef::new` created, and the
        // caller's block or reference keeps the store alive.
        StoreRef(unsafe {
            Arc::increment_strong_count(self.as_ptr());
            Arc::from_raw(self.as_ptr())
        })
    }

    /// Retires the store: its manager is about to drop its reference. From then on the return
    /// of the last credit drops the pool's reference; if no block is held, this does.
    pub(crate) fn retire(&self) {
        if self.credits.retire() == Released::StoreDone {
            // SAFETY: the credits have just told this call to drop the pool's reference. The
            // manager still has its own.
            unsafe { Self::drop_pool_reference(self.as_ptr()) };
        }
    }

    /// Reserves `count` credits or none, even if the manager is gone. The caller has a
    /// reference.
    ///
    /// The caller makes no more blocks unavailable than it has credits for, and returns each
    /// credit after its block: so at any time there are at least as many blocks to be found as
    /// there are credits.
    #[inline]
    pub(in crate::engine) fn reserve_credits(&self, home: usize, count: u32) -> bool {
        let reservation = self.credits.reserve(home, count);
        if reservation.references != 0 {
            self.adjust_pool_references(reservation.references);
        }
        reservation.is_made
    }

    /// Creates or drops references of the pool, as a reservation has requested. The caller has
    /// a reference of its own.
    #[cold]
    fn adjust_pool_references(&self, references: i32) {
        for _ in 0..references {
            mem::forget(self.reference());
        }
        for _ in references..0 {
            // SAFETY: the credits have told this call to drop a reference of the pool, and the
            // caller has a reference of its own.
            unsafe { Self::drop_pool_reference(self.as_ptr()) };
        }
    }

    /// Returns credits, and ends the store if nothing else keeps it in service.
    ///
    /// This comes after everything else that an operation does with its blocks: from then on
    /// an allocation may count on them.
    ///
    /// # Safety
    ///
    /// The credits belong to the caller, which gives them up. Afterwards the store may be
    /// gone, unless the caller has more of them, or a reference.
    #[inline]
    pub(in crate::engine) unsafe fn return_credits(store: NonNull<Self>, home: usize, count: u32) {
        // SAFETY: the caller's credits keep the store alive until they are returned.
        unsafe {
            let credits = NonNull::from(&store.as_ref().credits);
            if !Credits::release_at_home(credits, home, count) {
                Self::return_credits_slowly(store, home, count);
            }
        }
    }

    /// Returns credits when the home shard is not open.
    ///
    /// # Safety
    ///
    /// As for [`return_credits`](Self::return_credits).
    #[cold]
    unsafe fn return_credits_slowly(store: NonNull<Self>, home: usize, count: u32) {
        // SAFETY: the caller's credits keep the store alive until they are returned. If they
        // were the last of a store whose manager is gone, the pool's reference keeps it alive
        // until that is dropped, and nothing uses the store after that.
        unsafe {
            let credits = NonNull::from(&store.as_ref().credits);
            if Credits::release(credits, home, count) == Released::StoreDone {
                Self::drop_pool_reference(store.as_ref().as_ptr());
            }
        }
    }

    /// Drops a reference of the pool.
    ///
    /// # Safety
    ///
    /// The credits have told the caller to drop a reference of the pool. The caller does not
    /// use the store afterwards, unless it has a reference of its own.
    unsafe fn drop_pool_reference(store: *const Self) {
        // SAFETY: `StoreRef::new` forgot one reference on behalf of the pool, and a
        // reservation that revived the pool forgot another. Each is dropped once.
        drop(StoreRef(unsafe { Arc::from_raw(store) }));
    }

    /// Ends the store: see "What happens when the last reference is dropped?".
    #[cold]
    fn end(&self) {
        // Set before the registry's entries are looked at: a thread that drops a handle does
        // so first, and only then looks for a tier that has the hash. See
        // `registry::registration`.
        self.has_ended.store(true, Ordering::Release);
        self.registry.detach(self);
        self.metrics.retire(self.gauges(&self.metrics.counts()));
        let mut leftovers = Leftovers::new();
        if self.registry.has_entries() {
            for slot in self.slots.iter().filter(|slot| slot.word().is_primary()) {
                self.registry.end(slot.key(), &mut leftovers);
            }
        }
        for plane in 0..self.planes.count() {
            let held = (self.planes).try_hold_as_is(plane, &self.slots, &self.release_logs);
            let policy = held.map(|mut plane| plane.end());
            leftovers.catch(|| drop(policy));
        }
        leftovers.settle();
    }

    /// Returns whether the store still has references.
    ///
    /// Acquire: pairs with the release in `end`.
    #[inline]
    pub(in crate::engine) fn is_in_service(&self) -> bool {
        !self.has_ended.load(Ordering::Acquire)
    }
}

/// Returns the address of the store that a slot is part of.
#[inline]
fn pointer(slot: &Slot) -> *const Store {
    slot.owner().cast()
}

/// Returns the store that a slot is part of.
///
/// # Safety
///
/// The store stays alive while the result is used: the caller holds the block, or has a
/// reference to the store.
#[inline]
pub(in crate::engine) unsafe fn store_of<'a>(slot: NonNull<Slot>) -> &'a Store {
    // SAFETY: a slot's owner is set when its store is built, at the address where the store
    // stays; the caller guarantees that the store is alive.
    unsafe { &*pointer(slot.as_ref()) }
}

/// A counted reference, which keeps a store in service. Dropping the last one ends the store,
/// which may run user code: see the [module documentation](self).
pub(crate) struct StoreRef(Arc<Store>);

impl StoreRef {
    /// Builds a store whose blocks are all free, and attaches it to its registry and metrics.
    pub(crate) fn new(config: Config) -> Self {
        let block_count = config.block_count;
        let shards = shard_count(block_count as usize);
        let orders = config.policy.orders(shards);
        let directives = Arc::new(Directives::new(block_count, orders));
        let store = Arc::new(Store {
            slots: (0..block_count)
                .map(|id| Slot::new(id, config.reset_on_release))
                .collect(),
            last_shard: shards - 1,
            index: Index::new(block_count),
            credits: Credits::new(block_count, shards),
            free: FreeList::new(block_count, shards),
            release_logs: (0..shards).map(|_| ReleaseLog::new()).collect(),
            planes: Planes::new(
                config.policy,
                block_count as usize,
                shards,
                thread::index(),
                Arc::clone(&directives),
            ),
            directives,
            clearing: Clearing::new(block_count),
            sweep: CachePadded::new(Sweep::new(config.is_leaf_first)),
            registry: config.registry,
            reset_on_release: config.reset_on_release,
            thresholds: config.thresholds,
            counters: config.metrics.counters(),
            metrics: config.metrics,
            block_size: config.block_size,
            id: ManagerId::next(),
            references: AtomicU64::new(1),
            has_ended: AtomicBool::new(false),
        });
        for slot in &store.slots {
            slot.set_owner(Arc::as_ptr(&store).cast());
        }
        store.metrics.attach(Arc::downgrade(&store) as _);
        let tier: Weak<Store> = Arc::downgrade(&store);
        store.registry.attach(config.type_id, tier);
        let store = Self(store);
        // The pool's reference. The call that gets `Released::StoreDone` drops it.
        mem::forget(store.clone());
        store
    }

    /// Returns a pointer that keeps only the store's memory alive, for threads that only look
    /// at the store.
    pub(crate) fn downgrade(&self) -> Weak<Store> {
        Arc::downgrade(&self.0)
    }
}

impl Deref for StoreRef {
    type Target = Store;

    #[inline]
    fn deref(&self) -> &Store {
        &self.0
    }
}

impl Clone for StoreRef {
    fn clone(&self) -> Self {
        // Relaxed, like a clone of an `Arc`: the caller's own reference orders everything.
        self.references.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for StoreRef {
    fn drop(&mut self) {
        // Release, and acquire for the last one: everything done with the store through other
        // references happens before its end.
        if self.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }
}

/// Returns the number of shards: one for a small store, otherwise one per core, rounded up to
/// a power of two and at most [`MAX_SHARDS`].
fn shard_count(block_count: usize) -> usize {
    if block_count < MIN_BLOCKS_TO_SHARD {
        return 1;
    }
    cores().next_power_of_two().min(MAX_SHARDS)
}

impl Tier for Store {
    fn holds(&self, key: Key) -> bool {
        self.is_in_service() && self.finds(key)
    }

    fn mark_held(&self, presence: &mut [(SequenceHash, bool)]) {
        if self.is_in_service() {
            self.mark_registered(presence);
        }
    }

    fn for_each(&self, visit: &mut dyn FnMut(SequenceHash)) {
        if !self.is_in_service() {
            return;
        }
        for slot in &self.slots {
            let mut word = slot.word();
            let is_cleared = loop {
                match self.was_cleared(slot, word) {
                    Some(was_cleared) => break was_cleared,
                    None => word = slot.word(),
                }
            };
            if word.is_primary() && !is_cleared {
                let hash = slot.hash();
                if slot.is_tenancy(word) {
                    visit(hash);
                }
            }
        }
    }

    fn registered(&self) -> usize {
        if self.is_in_service() {
            Self::registered(self) as usize
        } else {
            0
        }
    }

    #[cfg(feature = "events")]
    fn end_cleared(&self) -> Leftovers {
        Self::end_cleared(self)
    }
}
