//! Which of the user's values have been dropped, and how often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fuse::Fuse;

/// What a value is attached to or owned by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A hash.
    Hash(u128),
    Policy,
    Tracker,
    Emission,
    Low,
}

/// The numbers of values and of drops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lives {
    pub made: u32,
    pub dropped: u32,
}

/// Records values and their drops; see the module documentation.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<Owner, Lives>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Owner, Lives>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lives(&self) -> BTreeMap<Owner, Lives> {
        self.lock().clone()
    }

    /// Returns the owners with values that still exist or have been dropped more than once.
    pub fn open(&self) -> Vec<(Owner, Lives)> {
        let lives = self.lives().into_iter();
        lives.filter(|(_, it)| it.made != it.dropped).collect()
    }
}

/// A user's value, whose drop is recorded.
pub struct Value {
    owner: Owner,
    ledger: Arc<Ledger>,
    fuse: Option<Arc<Fuse>>,
}

impl Value {
    /// Creates a value whose drop calls the fuse, if there is one.
    pub fn new(owner: Owner, ledger: &Arc<Ledger>, fuse: Option<&Arc<Fuse>>) -> Self {
        ledger.lock().entry(owner).or_default().made += 1;
        Self {
            owner,
            ledger: Arc::clone(ledger),
            fuse: fuse.cloned(),
        }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.ledger.lock().entry(self.owner).or_default().dropped += 1;
        if let Some(fuse) = &self.fuse {
            fuse.call();
        }
    }
}

/// A value of a different type.
pub struct Other {
    _value: Value,
}

impl Other {
    pub fn new(value: Value) -> Self {
        Self { _value: value }
    }
}
