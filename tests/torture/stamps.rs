//! A record of each block's owner, readers and content, kept next to the pool.
//!
//! A guard is accompanied by a token, which is taken when the pool has handed the block over and
//! returned just before the guard is dropped. Taking a [`Claim`] swaps in an owner's stamp, which
//! must replace zero; returning it swaps the stamp out, which must still be the same. A [`Read`]
//! counts a reader, and the content must match the hash when it is taken and when it is returned.
//! Claims and readers exclude each other. All stamps are relaxed atomics, since it is the pool that
//! must order them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;

use kvbm_lockfree::{BlockId, SequenceHash};

pub struct Stamps {
    blocks: Vec<Block>,
    /// A failure found during unwinding, when another panic would abort.
    found: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Block {
    /// Zero unless a thread holds the block exclusively.
    owner: AtomicU64,
    /// The number of guards that share the block.
    readers: AtomicU32,
    /// The stamp of the hash under which the block was last registered.
    content: AtomicU64,
}

impl Stamps {
    pub fn new(block_count: usize) -> Self {
        Stamps {
            blocks: (0..block_count).map(|_| Block::default()).collect(),
            found: Mutex::default(),
        }
    }

    fn check(&self, holds: bool, message: impl FnOnce() -> String) {
        if holds {
            return;
        }
        if !thread::panicking() {
            panic!("{}", message());
        }
        if let Ok(mut found) = self.found.lock() {
            found.push(message());
        }
    }

    /// Records that the pool has handed a block to an owner.
    pub fn claim(&self, id: BlockId, stamp: u64) -> Claim<'_> {
        let block = &self.blocks[id];
        let previous = block.owner.swap(stamp, Relaxed);
        self.check(previous == 0, || {
            format!("block {id} was handed out while owned")
        });
        let readers = block.readers.load(Relaxed);
        self.check(readers == 0, || {
            format!("block {id} was handed out under {readers} readers")
        });
        Claim {
            stamps: self,
            id,
            stamp,
        }
    }

    /// Records a guard that shares a block.
    pub fn read(&self, id: BlockId, hash: SequenceHash) -> Read<'_> {
        self.blocks[id].readers.fetch_add(1, Relaxed);
        let read = Read {
            stamps: self,
            id,
            hash,
        };
        read.assert_intact();
        read
    }

    /// Checks the content of an evicted block: the new owner must see what was written last.
    pub fn assert_held(&self, id: BlockId, hash: SequenceHash) {
        let found = self.blocks[id].content.load(Relaxed);
        self.check(found == content(hash), || {
            format!("block {id} did not hold {hash:?}")
        });
    }

    /// Returns the blocks with an owner and the blocks with readers. For use while no thread runs.
    pub fn in_use(&self) -> (usize, usize) {
        let count = |used: fn(&Block) -> bool| self.blocks.iter().filter(|b| used(b)).count();
        (
            count(|block| block.owner.load(Relaxed) != 0),
            count(|block| block.readers.load(Relaxed) != 0),
        )
    }

    /// Panics if a check failed during unwinding.
    pub fn assert_clean(&self) {
        let found = self.found.lock().expect("checks do not panic");
        assert!(found.is_empty(), "found while unwinding: {found:?}");
    }
}

/// Folds a hash into a stamp, which is never zero.
fn content(hash: SequenceHash) -> u64 {
    let bits = hash.as_u128();
    (bits as u64 ^ (bits >> 64) as u64) | 1
}

/// A thread's exclusive ownership of a block.
pub struct Claim<'a> {
    stamps: &'a Stamps,
    id: BlockId,
    stamp: u64,
}

impl Claim<'_> {
    /// Writes the content and ends the ownership, so that the block can be registered.
    pub fn seal(self, hash: SequenceHash) {
        let block = &self.stamps.blocks[self.id];
        block.content.store(content(hash), Relaxed);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let found = self.stamps.blocks[self.id].owner.swap(0, Relaxed);
        self.stamps.check(found == self.stamp, || {
            format!("block {} changed hands while owned", self.id)
        });
    }
}

/// A guard's share of a block.
pub struct Read<'a> {
    stamps: &'a Stamps,
    id: BlockId,
    hash: SequenceHash,
}

impl Read<'_> {
    pub fn assert_intact(&self) {
        let (id, hash) = (self.id, self.hash);
        let block = &self.stamps.blocks[id];
        let owner = block.owner.load(Relaxed);
        self.stamps
            .check(owner == 0, || format!("block {id} is owned and registered"));
        let found = block.content.load(Relaxed);
        self.stamps.check(found == content(hash), || {
            format!("block {id} does not hold {hash:?}")
        });
    }
}

impl Drop for Read<'_> {
    fn drop(&mut self) {
        self.assert_intact();
        self.stamps.blocks[self.id].readers.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn fails(f: impl FnOnce()) {
        assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    }

    #[test]
    fn violations_are_noticed() {
        let hash = SequenceHash::root(1);
        let stamps = Stamps::new(4);
        let registered = |id| stamps.claim(id, 1).seal(hash);

        let claim = stamps.claim(0, 7);
        fails(|| drop(stamps.claim(0, 8)));
        fails(|| drop(claim));

        registered(1);
        drop(stamps.read(1, hash));
        fails(|| drop(stamps.read(1, SequenceHash::root(2))));

        registered(2);
        let read = stamps.read(2, hash);
        fails(|| drop(stamps.claim(2, 9)));
        fails(|| drop(read));

        registered(3);
        let _claim = stamps.claim(3, 10);
        fails(|| drop(stamps.read(3, hash)));

        let stamps = Stamps::new(1);
        stamps.assert_clean();
        fails(|| {
            let _claim = stamps.claim(0, 11);
            stamps.blocks[0].owner.store(0, Relaxed);
            panic!("the claim finds it while this unwinds");
        });
        fails(|| stamps.assert_clean());
    }
}
