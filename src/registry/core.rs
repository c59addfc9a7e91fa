//! What all handles of a registry share: the entries, the tiers, and the rule
//! by which a hash is registered.
//!
//! **A hash is registered while it has a handle or a block.** Blocks are found
//! in the indexes of the managers that share the registry, so a block needs no
//! entry: registering and evicting one leaves the registry alone, as long as
//! nobody has asked for a handle to its hash. That makes the common case cheap;
//! what it costs is this rule for the end of an entry, since attachments live as
//! long as the hash is registered:
//!
//! * who drops the last handle looks whether a tier still has the hash, and if
//!   not, ends the entry;
//! * who ends the last tenancy of a hash looks whether there is an entry without
//!   handles, and if so, ends it.
//!
//! Each first makes its own change and then looks for the other's, with a
//! sequentially consistent fence in between, so of two that meet at least one
//! sees both. Both may; the exchange in `Entry::die` lets one of them act, and none
//! if somebody has had a handle since the look at the handles: that handle may have
//! been left to a block that the look for blocks came too early for.
//!
//! Tiers are looked at one after the other, so between two looks a block can come to
//! the first and the last one go from the second. Where there are several, whoever
//! registers a block of a hash that has an entry therefore holds that meanwhile, like
//! a handle ([`Core::hold`]): a look that began before comes to nothing, and one that
//! begins later sees the block.
//!
//! With an [`Observer`] blocks have entries too: who registers the first block of
//! a hash makes sure of one, while it pins the block.
//!
//! User code (the drops of attachments, the observer's policy, the frequency tracker) is
//! called with nothing held and nothing half done: operations leave it to their callers, as
//! [`Leftovers`].

use std::any::TypeId;
use std::sync::{Arc, Weak};

use ahash::RandomState;
use arc_swap::ArcSwap;

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::epoch::{self, Guard};
use crate::sync::step;
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};
use crate::tinylfu::FrequencyTracker;

use super::entry::{Entry, Lone};
use super::handle::BlockRegistrationHandle;
use super::leftovers::Leftovers;
use super::observer::Observer;
use super::table::Table;
use super::upkeep::{self, Effort, Upkeep};

/// Rounds without success after which a flush gives up. An entry is freed after
/// three, the markers of a table that shrinks after six.
const FRUITLESS: u64 = 16;

/// Accesses counted together.
const TOUCHES: usize = 32;

/// A manager's blocks, as the registry sees them.
pub(crate) trait Tier: Send + Sync {
    /// Whether a block of the hash, active or inactive, is registered here.
    fn holds(&self, key: Key) -> bool;

    /// Sets the flag of each hash of which a block is registered here, and leaves
    /// the others.
    fn mark_held(&self, presence: &mut [(SequenceHash, bool)]);

    /// Calls `visit` with every hash that is registered here.
    fn for_each(&self, visit: &mut dyn FnMut(SequenceHash));

    /// How many hashes are registered here: what [`for_each`](Self::for_each) visits, from a
    /// few words.
    fn registered(&self) -> usize;

    /// Ends what is left of the registrations of blocks that were cleared together.
    #[cfg(feature = "events")]
    fn end_cleared(&self) -> Leftovers;
}

/// A tier and its metadata type.
#[derive(Clone)]
struct Attached {
    type_id: TypeId,
    tier: Weak<dyn Tier>,
}

/// See the module documentation.
pub(crate) struct Core {
    table: Table,
    hasher: RandomState,
    /// Entries made and not ended.
    entries: AtomicU64,
    upkeep: Upkeep,
    tiers: ArcSwap<Vec<Attached>>,
    /// Whether there is, or was, more than one tier.
    has_tiers: AtomicBool,
    /// Whether a tier has ever been cleared.
    has_cleared: AtomicBool,
    tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
    observer: Option<Arc<dyn Observer>>,
}

impl Core {
    pub(super) fn new(
        tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self {
            table: Table::new(),
            hasher: hasher(),
            entries: AtomicU64::new(0),
            upkeep: Upkeep::new(),
            tiers: ArcSwap::default(),
            has_tiers: AtomicBool::new(false),
            has_cleared: AtomicBool::new(false),
            tracker,
            observer,
        }
    }

    #[inline]
    pub(crate) fn key(&self, hash: SequenceHash) -> Key {
        Key::new(&self.hasher, hash)
    }

    #[inline]
    pub(crate) fn tracker(&self) -> Option<&Arc<dyn FrequencyTracker<u128>>> {
        self.tracker.as_ref()
    }

    /// Counts an access of each hash. A panic of the tracker is left to the caller.
    #[inline]
    pub(crate) fn touch_all(&self, hashes: &[SequenceHash], leftovers: &mut Leftovers) {
        if let Some(tracker) = &self.tracker {
            touch_all(&**tracker, hashes, leftovers);
        }
    }

    /// Counts an access of a hash. A panic of the tracker is left to the caller.
    #[inline]
    pub(crate) fn touch(&self, hash: SequenceHash, leftovers: &mut Leftovers) {
        if let Some(tracker) = &self.tracker {
            leftovers.catch(|| tracker.touch(hash.as_u128()));
        }
    }

    // ---- tiers ----

    /// Adds a tier.
    pub(crate) fn attach(&self, type_id: TypeId, tier: Weak<dyn Tier>) {
        let before = self.tiers.rcu(|tiers| {
            let mut tiers = Vec::clone(tiers);
            tiers.push(Attached {
                type_id,
                tier: tier.clone(),
            });
            tiers
        });
        if !before.is_empty() {
            // Before the new tier has blocks.
            self.has_tiers.store(true, Ordering::Relaxed);
        }
    }

    /// Leaves out a tier that ends.
    pub(crate) fn detach(&self, tier: &dyn Tier) {
        self.tiers.rcu(|tiers| {
            let is_other = |attached: &&Attached| !std::ptr::addr_eq(attached.tier.as_ptr(), tier);
            tiers.iter().filter(is_other).cloned().collect::<Vec<_>>()
        });
    }

    /// The tiers there are.
    fn tiers(&self) -> Vec<Arc<dyn Tier>> {
        self.tiers
            .load()
            .iter()
            .filter_map(|attached| attached.tier.upgrade())
            .collect()
    }

    /// Whether any tier of these metadata types, or of all, has the hash.
    pub(super) fn is_present(&self, key: Key, type_ids: Option<&[TypeId]>) -> bool {
        self.tiers
            .load()
            .iter()
            .filter(|attached| type_ids.is_none_or(|ids| ids.contains(&attached.type_id)))
            .any(|attached| attached.tier.upgrade().is_some_and(|tier| tier.holds(key)))
    }

    /// For every hash, whether any tier of these metadata types has it.
    pub(super) fn presence(
        &self,
        hashes: &[SequenceHash],
        type_ids: &[TypeId],
    ) -> Vec<(SequenceHash, bool)> {
        let mut presence: Vec<_> = hashes.iter().map(|&hash| (hash, false)).collect();
        for attached in self.tiers.load().iter() {
            if type_ids.contains(&attached.type_id)
                && let Some(tier) = attached.tier.upgrade()
            {
                tier.mark_held(&mut presence);
            }
        }
        presence
    }

    // ---- registration ----

    pub(crate) fn is_registered(&self, key: Key) -> bool {
        let is_held = {
            let guard = &epoch::pin();
            self.find(key, guard).is_some_and(Entry::is_held)
        };
        is_held || self.is_present(key, None)
    }

    /// The number of hashes that are registered.
    pub(super) fn len(&self) -> usize {
        let tiers = self.tiers();
        if let [] | [_] = &tiers[..] {
            let blocks = tiers.first().map_or(0, |tier| tier.registered());
            return blocks + self.held_without_block(&tiers);
        }
        let mut len = 0;
        for (at, tier) in tiers.iter().enumerate() {
            tier.for_each(&mut |hash| {
                let key = self.key(hash);
                len += usize::from(!tiers[..at].iter().any(|other| other.holds(key)));
            });
        }
        len + self.held_without_block(&tiers)
    }

    /// The number of hashes that have a handle and no block.
    fn held_without_block(&self, tiers: &[Arc<dyn Tier>]) -> usize {
        if self.entries.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let mut len = 0;
        let guard = &epoch::pin();
        self.table.for_each(guard, |entry| {
            let is_held = entry.is_held();
            len += usize::from(is_held && !tiers.iter().any(|tier| tier.holds(entry.key())));
        });
        len
    }

    /// Whether a registration is to [`hold`](Self::hold) its hash.
    #[inline]
    pub(crate) fn has_tiers(&self) -> bool {
        self.has_tiers.load(Ordering::Relaxed)
    }

    /// A tier is about to register a block of a hash. What is left of a registration that was
    /// cleared ends before, and where there are several tiers the hash is held meanwhile.
    #[inline]
    pub(crate) fn prepare(
        self: &Arc<Self>,
        key: Key,
        leftovers: &mut Leftovers,
    ) -> Option<BlockRegistrationHandle> {
        if self.has_tiers() {
            return self.hold(key, leftovers);
        }
        if self.has_cleared.load(Ordering::Relaxed) {
            self.forget_cleared(key, leftovers);
        }
        None
    }

    /// Keeps the entry of a hash from being ended, if there is one: for a tier that
    /// is about to register a block, until it has.
    #[cold]
    pub(crate) fn hold(
        self: &Arc<Self>,
        key: Key,
        leftovers: &mut Leftovers,
    ) -> Option<BlockRegistrationHandle> {
        if self.has_cleared.load(Ordering::Relaxed) {
            self.forget_cleared(key, leftovers);
        }
        let guard = &epoch::pin();
        let entry = self.find(key, guard).filter(|entry| entry.try_acquire())?;
        Some(BlockRegistrationHandle::from_acquired(
            entry,
            Arc::clone(self),
        ))
    }

    /// A tier has the first block of a hash, and has `held` it meanwhile if it was to.
    /// If the hash was not registered before, it is an access, and the observer is
    /// told. The caller pins the block.
    #[inline]
    pub(crate) fn acquired(
        self: &Arc<Self>,
        key: Key,
        tier: &dyn Tier,
        held: Option<BlockRegistrationHandle>,
        leftovers: &mut Leftovers,
    ) {
        if self.has_tiers() {
            // If there is none, an entry may have come since.
            let held = held.or_else(|| self.hold(key, leftovers));
            if let Some(held) = held {
                held.release(leftovers);
            }
        }
        let is_access = self.tracker.is_some() && !self.is_registered_besides(key, tier);
        if self.observer.is_some() {
            self.ensure_entry(key, leftovers);
        }
        if is_access {
            self.touch(key.hash, leftovers);
        }
    }

    /// Makes an entry for a hash that a tier has, if there is none.
    #[cold]
    fn ensure_entry(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) {
        // The handle made for it is given up; the block keeps the entry.
        let (handle, _) = self.handle(key.hash, leftovers);
        handle.release(leftovers);
    }

    fn is_registered_besides(&self, key: Key, besides: &dyn Tier) -> bool {
        let in_a_tier = self.tiers.load().iter().any(|attached| {
            !std::ptr::addr_eq(attached.tier.as_ptr(), besides)
                && attached.tier.upgrade().is_some_and(|tier| tier.holds(key))
        });
        in_a_tier || {
            let guard = &epoch::pin();
            self.find(key, guard).is_some_and(Entry::is_held)
        }
    }

    // ---- entries ----

    fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        if self.entries.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.table.find(key, guard)
    }

    /// A handle to a hash, and whether the hash was registered before. If that begins a
    /// registration, the observer is asked, whose panic is left to the caller.
    pub(crate) fn handle(
        self: &Arc<Self>,
        hash: SequenceHash,
        leftovers: &mut Leftovers,
    ) -> (BlockRegistrationHandle, bool) {
        self.register(self.key(hash), leftovers)
    }

    fn register(
        self: &Arc<Self>,
        key: Key,
        leftovers: &mut Leftovers,
    ) -> (BlockRegistrationHandle, bool) {
        if self.has_cleared.load(Ordering::Relaxed) {
            self.forget_cleared(key, leftovers);
        }
        let (handle, is_made) = self.find_or_make(key);
        let was_registered = !is_made || self.is_present(key, None);
        step!(HandleMade);
        if is_made && self.observer.is_some() {
            // Out of the epoch guard: the observer may be slow, and the handle keeps the entry.
            self.tell_registered(&handle, leftovers);
        }
        (handle, was_registered)
    }

    /// A handle to a hash, and whether its entry was made for it.
    #[inline]
    fn find_or_make(self: &Arc<Self>, key: Key) -> (BlockRegistrationHandle, bool) {
        let guard = &epoch::pin();
        // Before the entry: who finds none counted must not miss one. See the
        // module documentation.
        let count = self.entries.fetch_add(1, Ordering::SeqCst) + 1;
        step!(EntryCounted);
        let (entry, is_made) = self.table.find_or_insert(key, guard);
        let handle = BlockRegistrationHandle::from_acquired(entry, Arc::clone(self));
        if is_made {
            step!(EntryInserted);
            self.table.grow_for(count);
            if self.upkeep.is_busy() {
                self.keep_up(count, guard);
            }
        } else {
            self.entries.fetch_sub(1, Ordering::Relaxed);
        }
        (handle, is_made)
    }

    /// A handle to a hash, if it is registered.
    pub(super) fn registered_handle(
        self: &Arc<Self>,
        hash: SequenceHash,
        leftovers: &mut Leftovers,
    ) -> Option<BlockRegistrationHandle> {
        let key = self.key(hash);
        if let Some(handle) = self.existing_handle(key) {
            step!(HandleMade);
            return Some(handle);
        }
        self.is_present(key, None)
            .then(|| self.register(key, leftovers).0)
    }

    /// A further handle to a hash that has one.
    #[inline(always)]
    fn existing_handle(self: &Arc<Self>, key: Key) -> Option<BlockRegistrationHandle> {
        let guard = &epoch::pin();
        let entry = self.find(key, guard).filter(|entry| entry.try_share())?;
        Some(BlockRegistrationHandle::from_acquired(
            entry,
            Arc::clone(self),
        ))
    }

    /// Takes a handle off an entry.
    ///
    /// # Safety
    ///
    /// The handle is the caller's, and the entry is one of this registry.
    pub(super) unsafe fn release(self: &Arc<Self>, entry: *const Entry, leftovers: &mut Leftovers) {
        // Pinned first: without its handle the entry may be ended and freed.
        let guard = epoch::pin();
        // SAFETY: the caller's handle, and after it the guard, keep the entry.
        let entry = unsafe { &*entry };
        if let Some(lone) = entry.release() {
            step!(HandleReleased);
            fence(Ordering::SeqCst);
            if !self.is_present(entry.key(), None) {
                self.end(entry, lone, &guard, leftovers);
            }
        }
        self.leave(guard);
    }

    /// Whether there are entries that may have to be ended with a tenancy. To be
    /// asked after the tenancies have ended, once for a batch.
    #[inline]
    pub(crate) fn has_entries(&self) -> bool {
        fence(Ordering::SeqCst);
        self.entries.load(Ordering::SeqCst) != 0
    }

    /// Ends the entry of a hash that a tier has just lost, if it has no handles
    /// and no other tier has the hash.
    #[cold]
    pub(crate) fn forget(&self, key: Key, leftovers: &mut Leftovers) {
        let guard = epoch::pin();
        if let Some(entry) = self.find(key, &guard)
            && let Some(lone) = entry.lone()
            && !self.is_present(key, None)
        {
            self.end(entry, lone, &guard, leftovers);
        }
        self.leave(guard);
    }

    /// Ends the entry of a hash if it is left to a block that has been cleared: it
    /// would end with that block's tenancy.
    #[cold]
    fn forget_cleared(&self, key: Key, leftovers: &mut Leftovers) {
        if self.entries.load(Ordering::Relaxed) != 0 {
            self.forget(key, leftovers);
        }
    }

    /// Ends an entry that was seen without handles, unless someone else does or it
    /// has got one since.
    #[inline(never)]
    fn end(&self, entry: &Entry, lone: Lone, guard: &Guard, leftovers: &mut Leftovers) {
        if !entry.die(lone) {
            return;
        }
        step!(EntryDead);
        self.table.remove(entry, guard);
        step!(EntryRemoved);
        if entry.is_observed() {
            self.tell_removed(entry.hash());
        }
        if let Some(extras) = entry.take_extras() {
            leftovers.leave(extras);
        }
        let left = self.entries.fetch_sub(1, Ordering::Relaxed) - 1;
        if self.upkeep.retire(entry) {
            self.keep_up(left, guard);
        }
    }

    /// Takes a step of the upkeep, in passing.
    #[inline(never)]
    fn keep_up(&self, entries: u64, guard: &Guard) {
        self.upkeep
            .step(&self.table, entries, Effort::PASSING, guard);
    }

    /// Drops the guard of an operation that may have ended an entry. A model frees what may
    /// be freed then, since that is when a reader that breaks the rules gets hurt.
    #[inline]
    fn leave(&self, guard: Guard) {
        drop(guard);
        if cfg!(any(kvbm_loom, kvbm_shuttle)) {
            let guard = &epoch::pin();
            self.keep_up(self.entries.load(Ordering::Relaxed), guard);
        }
    }

    /// For whoever made the entry.
    #[cold]
    fn tell_registered(&self, handle: &BlockRegistrationHandle, leftovers: &mut Leftovers) {
        let entry = handle.entry();
        if let Some(observer) = &self.observer
            && leftovers.catch(|| observer.registered(entry.hash())) == Some(true)
        {
            entry.observe();
        }
    }

    /// A tier is about to clear its inactive blocks.
    pub(crate) fn will_clear(&self) {
        // Before entries may be left to cleared blocks alone.
        self.has_cleared.store(true, Ordering::Relaxed);
    }

    /// A tier has cleared its inactive blocks.
    pub(crate) fn cleared(&self, tier: Weak<dyn Tier>) {
        if let Some(observer) = &self.observer {
            observer.cleared(tier);
        }
    }

    #[cold]
    fn tell_removed(&self, hash: SequenceHash) {
        if let Some(observer) = &self.observer {
            observer.removed(hash);
        }
    }

    /// Whether this is who is told of registrations.
    #[cfg(feature = "events")]
    pub(super) fn is_observed_by(&self, other: &dyn Observer) -> bool {
        self.observer
            .as_ref()
            .is_some_and(|observer| std::ptr::addr_eq(Arc::as_ptr(observer), other))
    }

    /// Entries that have been removed and may still be read by someone.
    pub(crate) fn garbage(&self) -> u64 {
        if cfg!(any(kvbm_loom, kvbm_shuttle)) {
            // A model asks when it is done, and then all of it can be freed.
            for _ in 0..FRUITLESS {
                self.leave(epoch::pin());
            }
        }
        self.upkeep.garbage()
    }

    /// See [`BlockRegistry::flush_garbage`](super::BlockRegistry::flush_garbage).
    pub(super) fn flush_garbage(&self) -> u64 {
        let mut left = self.garbage();
        let mut fruitless = 0;
        // What others make meanwhile is not counted, so this comes to an end.
        let mut rounds = left + FRUITLESS;
        while rounds > 0 && fruitless < FRUITLESS {
            let guard = epoch::pin();
            let entries = self.entries.load(Ordering::Relaxed);
            self.upkeep
                .step(&self.table, entries, Effort::FLUSH, &guard);
            guard.flush();
            drop(guard);
            let now = self.garbage();
            fruitless = if now < left { 0 } else { fruitless + 1 };
            left = now;
            rounds -= 1;
        }
        left
    }

    /// The hashes of the entries there are, dead ones left out; checks that each
    /// can be found and was counted. While nobody else uses the registry.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn audit(&self) -> Vec<SequenceHash> {
        let guard = &epoch::pin();
        let mut hashes = Vec::new();
        self.table.for_each(guard, |entry| {
            let found = self.table.find(entry.key(), guard);
            assert!(found.is_some_and(|found| std::ptr::eq(found, entry)));
            hashes.push(entry.hash());
        });
        assert_eq!(self.entries.load(Ordering::Relaxed), hashes.len() as u64);
        hashes
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let mut leftovers = Leftovers::new();
        // Handles keep the core, so what is left has none: entries of hashes
        // whose last tier went away unnoticed, with their attachments.
        let mut entries = Vec::new();
        {
            let guard = &epoch::pin();
            self.table.for_each(guard, |entry| {
                if entry.is_observed() {
                    self.tell_removed(entry.hash());
                }
                if let Some(extras) = entry.take_extras() {
                    leftovers.leave(extras);
                }
                entries.push(upkeep::address_of(entry));
            });
        }
        for entry in entries {
            // SAFETY: whoever could reach it would have the core.
            unsafe { upkeep::free(entry) };
        }
        // Ends streams of events, so it comes before what may take its time.
        let observer = self.observer.take();
        leftovers.catch(|| drop(observer));
        let tracker = self.tracker.take();
        leftovers.catch(|| drop(tracker));
        leftovers.settle();
    }
}

/// Out of line, for the sake of those who have no tracker.
#[inline(never)]
fn touch_all(
    tracker: &dyn FrequencyTracker<u128>,
    hashes: &[SequenceHash],
    leftovers: &mut Leftovers,
) {
    let mut keys = [0; TOUCHES];
    for hashes in hashes.chunks(TOUCHES) {
        let keys = &mut keys[..hashes.len()];
        for (key, hash) in keys.iter_mut().zip(hashes) {
            *key = hash.as_u128();
        }
        leftovers.catch(|| tracker.touch_all(keys));
    }
}

/// A hash function of this registry's own, except where runs must be the same.
fn hasher() -> RandomState {
    if cfg!(any(fuzzing, kvbm_loom, kvbm_shuttle)) {
        RandomState::with_seeds(1, 2, 3, 4)
    } else {
        RandomState::new()
    }
}

#[cfg(all(test, not(any(fuzzing, kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;
    use crate::key::testing::meeting_hashes;

    /// See `key::testing` for what the hashes have in common.
    #[test]
    fn hashes_chosen_to_meet_do_not() {
        const HASHES: usize = 100_000;
        let core = Arc::new(Core::new(None, None));
        let handles: Vec<_> = meeting_hashes(HASHES)
            .map(|hash| core.handle(hash, &mut Leftovers::new()).0)
            .collect();
        let buckets = core.table.buckets();
        let mut lengths = vec![0_u32; buckets];
        core.table.for_each(&epoch::pin(), |entry| {
            lengths[entry.key().keyed as usize & (buckets - 1)] += 1;
        });
        let longest = lengths.into_iter().max().unwrap();
        // 100,000 balls in 2^17 bins: that any bin gets 30 has a chance below
        // 2^17 / 30! < 10^-27.
        assert!(longest < 30, "{longest} in one bucket");
        drop(handles);
    }
}
