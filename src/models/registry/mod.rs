//! The registry: entries, and the table that holds them.
//!
//! * `entry`: a hash has at most one live entry. The entry exists while the hash has a
//!   handle, and while the hash has a block if there was a handle together with it. Once
//!   neither is left, the entry is ended exactly once, by whichever of the two went last.
//! * `table`: entries stay findable while the table grows, shrinks and loses their
//!   neighbours, and while linking a marker or unlinking an entry has been left half done.
//! * `events`: what an observer is told forms exact pairs.
//!
//! In all of them, reading a node after it was freed fails the run: see `sync::canary`. A
//! model's table has room for two to eight buckets, and grows beyond two entries.
//!
//! # What do the models catch?
//!
//! Each step was removed or weakened in a scratch copy of the registry.
//!
//! | step | without it fails |
//! |---|---|
//! | the fence in `Core::release` | `entry::last_drop_meets_end_of_tenancy`, `first_handle_meets_end_of_tenancy` |
//! | the fence in `Entries::may_be_left` | `entry::first_handle_meets_end_of_tenancy` |
//! | `Core::release` looks for a block | `entry::a_block_takes_over_from_the_handles` and two others |
//! | `Core::end` looks for another tier's block | `entry::a_block_moves_to_another_tier` |
//! | a `Ticket` holds the entry while a block is registered | `entry::a_block_moves_behind_a_look` |
//! | `Entries::acquire` counts an entry before it is inserted | `entry::two_registrations_make_one_entry` |
//! | `Core::release` pins the epoch before it releases the handle | `entry::last_drop_meets_end_of_tenancy`, `first_handle_meets_end_of_tenancy` |
//! | `Entry::die` exchanges only what was seen before the look for blocks | `entry::a_late_end_meets_a_new_handle`, `events::a_block_outlives_a_handle` |
//! | `Entry::die` exchanges instead of storing | `entry::last_drop_meets_registration` and six others |
//! | `Core::end_entry` defers instead of freeing | ten, `entry::last_drop_meets_lookup` first |
//! | `EntryTable::remove` kills before it unlinks | all that end an entry |
//! | `EntryTable::remove` unlinks before it returns | all that end an entry |
//! | `find_or_insert` unlinks an entry whose killer is suspended | `entry::last_drop_meets_registration` and three others |
//! | a marker is announced only once it is linked | `table::two_link_the_same_markers`, `entry::two_registrations_make_one_entry` |
//! | `Shrinking` waits before it unlinks markers | `table::shrinking_meets_lookup_and_insertion`, `shrinking_meets_growth_and_lookup` |
//! | `Shrinking` unlinks markers before it frees them | all that shrink |
//! | `Shrinking` waits before it frees markers | `table::shrinking_meets_two_lookups` |
//! | `SHRINKING` keeps the size while the table shrinks | `table::shrinking_meets_growth_and_lookup`, but only with `LOOM_MAX_PREEMPTIONS=4` |
//! | acquire and release in `Node::exchange_next` | eleven, `table::neighbours_leave_and_come` among them |
//!
//! One weakening is not caught: making the release in `Entry::release` relaxed. It orders
//! what was done through a handle before the end of the entry. That is done under the locks
//! of `Extras`, which loom does not see, and the epoch guard of every release has a fence of
//! its own.

mod entry;
#[cfg(feature = "events")]
mod events;
mod table;

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::sync::atomic::{AtomicBool, Ordering};

use crate::SequenceHash;
use crate::key::Key;
use crate::registry::{BlockRegistrationHandle, BlockRegistry, Leftovers, Tier};

/// Explores a model of a registry.
fn explore(model: impl Fn(BlockRegistry) + Send + Sync + 'static) {
    super::explore(move || model(BlockRegistry::new()));
}

/// Returns the `nth` hash whose keyed hash is `keyed`, one of four.
fn hash(registry: &BlockRegistry, keyed: u64, nth: usize) -> SequenceHash {
    (0..)
        .map(|content| SequenceHash::new(content, None, 0))
        .filter(|&hash| registry.core().key(hash).keyed == keyed)
        .nth(nth)
        .unwrap()
}

/// A manager that has, or does not have, a block of one hash.
struct FakeTier {
    hash: SequenceHash,
    is_present: AtomicBool,
}

impl FakeTier {
    /// Creates a tier of `registry`.
    fn new(registry: &BlockRegistry, hash: SequenceHash, is_present: bool) -> Arc<Self> {
        let tier = Arc::new(Self {
            hash,
            is_present: AtomicBool::new(is_present),
        });
        let weak = Arc::downgrade(&tier);
        registry.core().attach(TypeId::of::<Self>(), weak);
        tier
    }

    /// Begins a tenancy. The caller must make sure that the hash is registered.
    fn begin(&self) {
        self.is_present.store(true, Ordering::Release);
    }

    /// Registers a block, as a manager does.
    fn register(&self, registry: &BlockRegistry) {
        let core = registry.core();
        let mut leftovers = Leftovers::new();
        let key = core.key(self.hash);
        let ticket = core.begin(key, &mut leftovers);
        self.begin();
        ticket.commit(key, self, &mut leftovers);
        leftovers.settle();
    }

    /// Ends the tenancy, as the engine does.
    fn end(&self, registry: &BlockRegistry) {
        self.is_present.store(false, Ordering::Release);
        let core = registry.core();
        if core.has_entries() {
            let mut leftovers = Leftovers::new();
            core.end(core.key(self.hash), &mut leftovers);
            leftovers.settle();
        }
    }
}

impl Tier for FakeTier {
    fn holds(&self, key: Key) -> bool {
        key.hash == self.hash && self.is_present.load(Ordering::Acquire)
    }

    fn mark_held(&self, presence: &mut [(SequenceHash, bool)]) {
        for (hash, is_held) in presence {
            *is_held |= *hash == self.hash && self.is_present.load(Ordering::Acquire);
        }
    }

    fn registered(&self) -> usize {
        usize::from(self.is_present.load(Ordering::Acquire))
    }

    #[cfg(feature = "events")]
    fn end_cleared(&self) -> Leftovers {
        Leftovers::new()
    }

    fn for_each(&self, visit: &mut dyn FnMut(SequenceHash)) {
        if self.is_present.load(Ordering::Acquire) {
            visit(self.hash);
        }
    }
}

/// Counts the attachments that have been dropped.
#[derive(Clone, Default)]
struct Dropped(Arc<AtomicUsize>);

impl Dropped {
    fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Attaches a value whose drop is counted.
    fn attach_to(&self, handle: &BlockRegistrationHandle) {
        handle.attach(Attachment(Arc::clone(&self.0))).unwrap();
    }
}

struct Attachment(Arc<AtomicUsize>);

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}
