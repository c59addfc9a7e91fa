//! Tests of the freelist as a whole. The loom models are in `models/freelist`.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{FreeList, Puts, TakenFree};

fn take(list: &FreeList, home: usize, max: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    let taken = list.take(home, max, |taken| taken.for_each(|id| ids.push(id)));
    assert_eq!(taken.count, ids.len());
    ids
}

/// Frees a block that the test has taken.
fn put(list: &FreeList, home: usize, id: u32) {
    // SAFETY: the tests free each block that they have taken once.
    unsafe { list.put(home, id) };
}

#[test]
fn unused_blocks_come_in_ascending_order() {
    let list = FreeList::new(10, 2);
    assert_eq!(take(&list, 1, 4), [0, 1, 2, 3]);
    assert_eq!(take(&list, 0, 4), [4, 5, 6, 7]);
    assert_eq!(take(&list, 0, 4), [8, 9]);
    assert!(take(&list, 1, 1).is_empty());
}

#[test]
fn the_home_shard_comes_first_and_the_others_are_stolen_from() {
    let list = FreeList::new(8, 2);
    take(&list, 0, 8);
    put(&list, 0, 3);
    put(&list, 1, 5);
    assert_eq!(take(&list, 1, 1), [5]);
    let taken = list.take(1, 2, |taken| taken.for_each(|id| assert_eq!(id, 3)));
    assert_eq!(
        taken,
        TakenFree {
            count: 1,
            stolen: 1
        }
    );
}

#[test]
fn blocks_put_together_are_all_there() {
    let list = FreeList::new(4097, 2);
    take(&list, 0, 4097);
    let ids = [0, 1, 63, 64, 4096, 7, 130];
    let mut puts = Puts::new(&list, 1);
    for id in ids {
        // SAFETY: the test has taken all blocks.
        unsafe { puts.add(id) };
    }
    drop(puts);
    assert_eq!(take(&list, 1, 99), [0, 1, 7, 63, 64, 130, 4096]);
    drop(Puts::new(&list, 1));
    assert_eq!(list.len(), 0);
}

#[test]
fn every_size_keeps_every_block() {
    for count in [1, 2, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 70_000] {
        let list = FreeList::new(count, 3);
        let ids = take(&list, 0, count as usize);
        assert_eq!(ids.len(), count as usize);
        for &id in &ids {
            put(&list, id as usize % 3, id);
        }
        assert_eq!(list.len(), count as usize);
        let mut back = take(&list, 2, usize::MAX);
        back.sort_unstable();
        assert_eq!(back, ids);
        assert_eq!(list.len(), 0);
        for &id in &ids {
            put(&list, 0, id);
        }
        let mut hidden = Vec::new();
        list.take_hidden(usize::MAX, |taken| taken.for_each(|id| hidden.push(id)));
        assert_eq!(hidden, ids);
    }
}

#[test]
fn one_at_a_time_the_lowest_comes_first() {
    let list = FreeList::new(4097, 1);
    let ids = take(&list, 0, 4097);
    assert_eq!(list.take_one(0), None);
    // The leaf where searches begin is the lowest that got a block.
    for id in [4096, 64, 70, 3] {
        put(&list, 0, id);
    }
    assert_eq!(list.take_one(0), Some(3));
    assert_eq!(list.take_one(0), None, "the next is in another leaf");
    assert_eq!(take(&list, 0, 1), [64]);
    assert_eq!(list.take_one(0), Some(70));
    assert_eq!(take(&list, 0, 2), [4096]);
    assert_eq!(ids.len(), 4097);
}

/// Each block belongs to one thread or is in the list, however the summaries race.
#[test]
fn threads_share_no_block() {
    const BLOCKS: u32 = 200;
    let list = FreeList::new(BLOCKS, 2);
    let owners: Vec<AtomicUsize> = (0..BLOCKS).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 1..=4_usize {
            let (list, owners) = (&list, &owners);
            scope.spawn(move || {
                for round in 0..5_000 {
                    let mut held = Vec::new();
                    list.take(thread % 2, 1 + round % 70, |taken| {
                        taken.for_each(|id| held.push(id));
                    });
                    for &id in &held {
                        assert_eq!(owners[id as usize].swap(thread, Ordering::Relaxed), 0);
                    }
                    for id in held {
                        assert_eq!(owners[id as usize].swap(0, Ordering::Relaxed), thread);
                        put(list, (thread + round) % 2, id);
                    }
                }
            });
        }
    });
    assert_eq!(list.len(), BLOCKS as usize);
    assert_eq!(take(&list, 0, usize::MAX).len(), BLOCKS as usize);
}
