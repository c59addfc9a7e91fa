//! One manager's blocks: the parts of the engine put together.
//!
//! What a store does stands in [`ops`](crate::engine::ops), one operation per file.
//!
//! # Lifetime
//!
//! A store is in service as long as its manager, its weak guards, and its *pool*, which
//! has one reference while any block is held: these are its [`StoreRef`]s. Guards are not
//! counted: a held block is a credit that is missing, and the credits say when the last one
//! is back (see [`credits`](crate::engine::parts::credits)). A guard may therefore use its
//! store until it has returned its credit, and not a moment longer: see
//! [`hold`](crate::engine::hold).
//!
//! Whoever drops the last of these *ends* the store: its registrations end, and with them
//! attachments of the user's, and the policy, which may be the user's too. Those who only
//! look at it, such as the registry on behalf of another tier, keep no more than its
//! memory, so nobody who looks has to do that.

use std::any::TypeId;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crossbeam_utils::CachePadded;

use crate::metrics::{BlockPoolMetrics, Counter, GaugeSource, Stripes};
use crate::policy::{PlainPolicy, level};
use crate::registry::{Core, Leftovers, Tier};
use crate::{ManagerId, SequenceHash};

use crate::engine::parts::credits::{Credits, MAX_SHARDS, Released};
use crate::engine::parts::directives::Directives;
use crate::engine::parts::era::Clearing;
use crate::engine::parts::freelist::FreeList;
use crate::engine::parts::index::Index;
use crate::engine::parts::plane::Plane;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::sweep::Sweep;
use crate::engine::parts::victim_cache::VictimCache;
use crate::key::Key;
use crate::sync::limits::{MIN_BLOCKS_TO_SHARD, cores};
use crate::sync::{AtomicBool, AtomicU64, Ordering, thread};

/// Blocks a store can have. The central balance of the credits has 29 bits and the index's links
/// have 31, which would do for more; but 2^28 slots alone are 16 GiB.
pub(crate) const MAX_BLOCKS: usize = 1 << 28;

/// What a store is built from.
pub(crate) struct Config {
    pub(crate) block_count: u32,
    pub(crate) block_size: usize,
    pub(crate) policy: Box<dyn PlainPolicy>,
    /// Whether the policy evicts no block before its inactive children.
    pub(crate) is_leaf_first: bool,
    /// The thresholds of the frequency levels, for the policy that has them.
    pub(crate) thresholds: Option<[u8; 3]>,
    /// Whether blocks are reset on their last unpin unless told otherwise.
    pub(crate) reset_on_release: bool,
    pub(crate) registry: Arc<Core>,
    /// The metadata type.
    pub(crate) type_id: TypeId,
    pub(crate) metrics: Arc<BlockPoolMetrics>,
}

/// See the module documentation.
pub(crate) struct Store {
    pub(in crate::engine) slots: Box<[Slot]>,
    pub(in crate::engine) index: Index,
    pub(in crate::engine) credits: Credits,
    pub(in crate::engine) free: FreeList,
    /// One for each shard.
    pub(in crate::engine) release_logs: Box<[ReleaseLog]>,
    pub(in crate::engine) plane: Plane,
    pub(in crate::engine) directives: Arc<Directives>,
    pub(in crate::engine) clearing: Clearing,
    /// One for each shard.
    pub(in crate::engine) victim_caches: Box<[VictimCache]>,
    pub(in crate::engine) sweep: CachePadded<Sweep>,
    pub(in crate::engine) registry: Arc<Core>,
    pub(in crate::engine) reset_on_release: bool,
    thresholds: Option<[u8; 3]>,
    pub(in crate::engine) metrics: Arc<BlockPoolMetrics>,
    /// Those of the metrics.
    counters: Stripes,
    pub(crate) block_size: usize,
    pub(crate) id: ManagerId,
    /// The [`StoreRef`]s.
    references: AtomicU64,
    /// Whether the last of them is gone.
    has_ended: AtomicBool,
}

impl Store {
    #[inline]
    pub(crate) fn block_count(&self) -> usize {
        self.slots.len()
    }

    /// The calling thread's shard.
    #[inline]
    pub(in crate::engine) fn home(&self) -> usize {
        // A thread without a number of its own goes where any other may. The
        // number of shards is a power of two.
        thread::index() & (self.release_logs.len() - 1)
    }

    #[inline]
    pub(crate) fn count(&self, counter: Counter, n: u64) {
        self.counters.add(counter, n);
    }

    #[inline]
    pub(crate) fn count_each<const N: usize>(&self, additions: [(Counter, u64); N]) {
        self.counters.add_each(additions);
    }

    /// Blocks free or inactive; see `Credits::available`.
    pub(crate) fn available(&self) -> usize {
        self.credits.available() as usize
    }

    /// Whether the policy has frequency levels.
    #[inline]
    pub(in crate::engine) fn has_levels(&self) -> bool {
        self.thresholds.is_some()
    }

    /// The frequency level of a slot's hash, where the policy has levels.
    pub(in crate::engine) fn level_of(&self, slot: &Slot) -> Option<u8> {
        let thresholds = self.thresholds?;
        let tracker = self.registry.tracker()?;
        Some(level(tracker.count(slot.hash_bits()), thresholds))
    }

    /// The pointer of the `Arc` the store is in.
    pub(in crate::engine) fn as_ptr(&self) -> *const Self {
        pointer(&self.slots[0])
    }

    /// A reference to the store. The caller holds one of its blocks, or has a
    /// reference.
    pub(crate) fn reference(&self) -> StoreRef {
        // Relaxed, as a clone of an `Arc`: the caller's block or reference orders everything.
        self.references.fetch_add(1, Ordering::Relaxed);
        // SAFETY: this is the pointer of the `Arc` that `new` made, and the
        // caller's block or reference keeps the store alive.
        StoreRef(unsafe {
            Arc::increment_strong_count(self.as_ptr());
            Arc::from_raw(self.as_ptr())
        })
    }

    /// Lets go of the store on behalf of its manager, who has a reference.
    pub(crate) fn retire(&self) {
        if self.credits.retire() == Released::StoreDone {
            // SAFETY: no block is held, and this call was told so.
            unsafe { Self::drop_pool_reference(self.as_ptr()) };
        }
    }

    /// # Safety
    ///
    /// The caller was told by the credits to drop the pool's reference, and does
    /// not use the store afterwards unless it has a reference of its own.
    pub(in crate::engine) unsafe fn drop_pool_reference(store: *const Self) {
        // SAFETY: `new` forgot one reference for the pool, and a reservation that
        // revived the pool took another; each is dropped once.
        drop(StoreRef(unsafe { Arc::from_raw(store) }));
    }

    /// Ends the registrations, and whatever user code the store has.
    #[cold]
    fn end(&self) {
        // Before the look at the entries: whoever gives up a handle to one first does so, and
        // then looks whether there is a tier. See `registry::registration`.
        self.has_ended.store(true, Ordering::Release);
        self.registry.detach(self);
        self.metrics.retire(self.gauges(&self.metrics.counts()));
        let mut leftovers = Leftovers::new();
        if self.registry.has_entries() {
            for slot in self.slots.iter().filter(|slot| slot.word().is_primary()) {
                self.registry.end(slot.key(), &mut leftovers);
            }
        }
        let policy = self.plane.try_hold().map(|mut plane| plane.end());
        leftovers.catch(|| drop(policy));
        leftovers.settle();
    }

    #[inline]
    pub(in crate::engine) fn is_in_service(&self) -> bool {
        !self.has_ended.load(Ordering::Acquire)
    }
}

/// The store that a slot belongs to. This is the only place where a slot becomes its store.
#[inline]
fn pointer(slot: &Slot) -> *const Store {
    slot.owner().cast()
}

/// The store of a slot.
///
/// # Safety
///
/// The store is alive for as long as the result is used: the caller holds the block, or
/// has a reference to the store.
#[inline]
pub(in crate::engine) unsafe fn store_of<'a>(slot: NonNull<Slot>) -> &'a Store {
    // SAFETY: slots are adopted when their store is built, which has not moved since;
    // the caller's contract is that it is alive.
    unsafe { &*pointer(slot.as_ref()) }
}

/// Keeps a store in service: see [`store`](self).
pub(crate) struct StoreRef(Arc<Store>);

impl StoreRef {
    /// Builds a store.
    pub(crate) fn new(config: Config) -> Self {
        let block_count = config.block_count;
        let shards = shard_count(block_count as usize);
        let directives = Arc::new(Directives::new(block_count));
        let store = Arc::new(Store {
            slots: (0..block_count)
                .map(|id| Slot::new(id, config.reset_on_release))
                .collect(),
            index: Index::new(block_count),
            credits: Credits::new(block_count, shards),
            free: FreeList::new(block_count, shards),
            release_logs: (0..shards).map(|_| ReleaseLog::new()).collect(),
            victim_caches: (0..shards).map(VictimCache::new).collect(),
            plane: Plane::new(config.policy, Arc::clone(&directives)),
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
        // The pool's reference; `Released::StoreDone` says who drops it.
        std::mem::forget(store.clone());
        store
    }

    /// For those who only look.
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
        self.references.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for StoreRef {
    fn drop(&mut self) {
        // Release, and acquire for the last: what was done with the store through other
        // references happens before its end.
        if self.references.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end();
        }
    }
}

/// One shard for a small store, and else one for each core there is, rounded up
/// to a power of two.
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
            let word = slot.word();
            if word.is_primary() && !self.is_cleared(slot, word) {
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
