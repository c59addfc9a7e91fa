//! The registry: entries, and the table they stand in.
//!
//! * `entry`: a hash has one live entry at most; the entry is there while the
//!   hash has a handle, and while it has a block if a handle was there with it;
//!   once neither is left it is ended, once, whoever of the last two comes last.
//! * `table`: entries stay findable while the table grows, shrinks and loses
//!   their neighbours, and while a marker's linking or an entry's unlinking has
//!   been left half done.
//!
//! In all of them a node that is read after it was freed fails the run: see
//! `sync::canary`. A model's table has room for two to eight buckets, and grows
//! beyond two entries.
//!
//! # What the models catch
//!
//! MUTATIONS

mod entry;
mod table;

use std::any::TypeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::sync::atomic::{AtomicBool, Ordering};

use crate::SequenceHash;
use crate::engine::index::Key;
use crate::registry::{BlockRegistrationHandle, BlockRegistry, Tier};
use crate::sync::canary;

/// Explores a model of a registry.
fn explore(model: impl Fn(BlockRegistry) + Send + Sync + 'static) {
    super::explore(move || {
        canary::begin();
        model(BlockRegistry::new());
    });
}

/// The `nth` hash whose keyed hash is `keyed`, one of four.
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
    /// A tier of `registry`.
    fn new(registry: &BlockRegistry, hash: SequenceHash, is_present: bool) -> Arc<Self> {
        let tier = Arc::new(Self {
            hash,
            is_present: AtomicBool::new(is_present),
        });
        let weak = Arc::downgrade(&tier);
        registry.core().attach(TypeId::of::<Self>(), weak);
        tier
    }

    /// Begins a tenancy. Somebody must see to it that the hash is registered.
    fn begin(&self) {
        self.is_present.store(true, Ordering::Release);
    }

    /// Ends the tenancy, as the engine does.
    fn end(&self, registry: &BlockRegistry) {
        self.is_present.store(false, Ordering::Release);
        let core = registry.core();
        if core.has_entries() {
            core.forget(core.key(self.hash));
        }
    }
}

impl Tier for FakeTier {
    fn holds(&self, key: Key) -> bool {
        key.hash == self.hash && self.is_present.load(Ordering::Acquire)
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

    /// Attaches something to be counted.
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
