//! Models of the freelist: puts against takes, takes from another thread's shard, and what the
//! summaries say afterwards.
//!
//! Under loom words have two bits, so that eight blocks have two levels of summaries. A block
//! has one owner at a time, and once all threads are done `take` finds every free block. While
//! a put is half done, `take_hidden` still finds every block that is there.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Contents, explore, join, spawn};
use crate::engine::parts::freelist::FreeList;

struct Blocks {
    list: FreeList,
    /// Written by each block's owner.
    owner: Contents,
    /// The number of times each block is in the list.
    free: RefCell<Vec<i32>>,
}

impl Blocks {
    /// Creates a list without unused blocks, with these blocks free in the first shard.
    fn new(count: u32, shards: usize, free: &[u32]) -> Arc<Self> {
        let blocks = Self {
            list: FreeList::new(count, shards),
            owner: Contents::new(count as usize),
            free: RefCell::new(vec![0; count as usize]),
        };
        blocks.list.take(0, count as usize, |_taken| {});
        free.iter().for_each(|&id| blocks.put(0, id));
        Arc::new(blocks)
    }

    fn put(&self, home: usize, id: u32) {
        self.owner.write(id, 1);
        self.free.borrow_mut()[id as usize] += 1;
        // SAFETY: the count above says that the block is the caller's.
        unsafe { self.list.put(home, id) };
    }

    /// Takes ownership of a block that has just been taken.
    fn own(&self, id: u32) {
        self.owner.write(id, 2);
        self.free.borrow_mut()[id as usize] -= 1;
        assert_eq!(self.free.borrow()[id as usize], 0);
    }

    fn take(&self, home: usize, max: usize) -> usize {
        let taken = self
            .list
            .take(home, max, |taken| taken.for_each(|id| self.own(id)))
            .count;
        assert!(taken <= max);
        taken
    }

    fn take_hidden(&self, max: usize) -> usize {
        self.list
            .take_hidden(max, |taken| taken.for_each(|id| self.own(id)))
    }

    /// Takes all blocks that are left, and checks that none is missing.
    fn finish(&self) {
        let free = self.free.borrow().iter().sum::<i32>() as usize;
        assert_eq!(self.list.len(), free);
        assert_eq!(self.take(0, usize::MAX), free);
    }
}

#[test]
fn a_put_and_a_take_in_one_word() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[4]);
        let putter = spawn(&blocks, |blocks| blocks.put(0, 5));
        assert!(blocks.take(0, 2) >= 1);
        putter.join().unwrap();
        blocks.finish();
    });
}

/// The word equals the one that was seen, but the block has been taken and freed since.
#[test]
fn a_block_comes_back() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[4, 5]);
        let user = spawn(&blocks, |blocks| {
            let mut taken = None;
            blocks.list.take(0, 1, |blocks_taken| {
                blocks_taken.for_each(|id| {
                    blocks.own(id);
                    taken = Some(id);
                });
            });
            blocks.put(0, taken.unwrap());
        });
        blocks.take(0, 1);
        user.join().unwrap();
        blocks.finish();
    });
}

/// Two threads may both find a word empty while it is filled again.
#[test]
fn two_takes_and_a_put() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[4]);
        let taker = spawn(&blocks, |blocks| blocks.take(0, 1));
        let putter = spawn(&blocks, |blocks| blocks.put(0, 5));
        blocks.take(0, 1);
        taker.join().unwrap();
        putter.join().unwrap();
        blocks.finish();
    });
}

/// Both leaf words are under one summary word.
#[test]
fn two_puts_and_a_take_under_one_summary() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[4]);
        let putters = [5, 6].map(|id| spawn(&blocks, move |blocks| blocks.put(0, id)));
        blocks.take(0, 1);
        join(putters);
        blocks.finish();
    });
}

/// One of the two blocks is announced by the other's thread, which may be suspended.
#[test]
fn a_put_half_way_hides_nothing_from_a_search() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[]);
        let sleeper = spawn(&blocks, |blocks| blocks.put(0, 4));
        blocks.put(0, 5);
        assert_eq!(blocks.take_hidden(1), 1);
        sleeper.join().unwrap();
        blocks.finish();
    });
}

#[test]
fn a_search_against_a_take_and_a_put() {
    explore(|| {
        let blocks = Blocks::new(8, 1, &[5]);
        let taker = spawn(&blocks, |blocks| blocks.take(0, 1));
        let putter = spawn(&blocks, |blocks| blocks.put(0, 7));
        blocks.put(0, 4);
        assert_eq!(blocks.take_hidden(1), 1);
        taker.join().unwrap();
        putter.join().unwrap();
        blocks.finish();
    });
}

#[test]
fn a_theft_against_the_owner_of_the_shard() {
    explore(|| {
        let blocks = Blocks::new(4, 2, &[1]);
        let thief = spawn(&blocks, |blocks| blocks.take(1, 2));
        let owner = spawn(&blocks, |blocks| {
            blocks.put(0, 0);
            blocks.take(0, 1)
        });
        blocks.put(1, 3);
        thief.join().unwrap();
        owner.join().unwrap();
        blocks.finish();
    });
}

/// Blocks that have never been used are taken once.
#[test]
fn unused_blocks() {
    explore(|| {
        let blocks = Arc::new(Blocks {
            list: FreeList::new(4, 1),
            owner: Contents::new(4),
            free: RefCell::new(vec![1; 4]),
        });
        let takers = [1, 2].map(|max| spawn(&blocks, move |blocks| blocks.take(0, max)));
        let own = blocks.take(0, 2);
        let others = join(takers);
        assert_eq!(own + others.iter().sum::<usize>(), 4);
        blocks.finish();
    });
}
