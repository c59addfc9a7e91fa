//! An allocator that counts, for the whole process and per thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

/// The number of bytes that all threads have allocated and not freed.
static LIVE: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// Needs neither heap memory nor a destructor, so the allocator can use it at any time.
    static OWN: Cell<Tally> = const { Cell::new(Tally { allocations: 0, bytes: 0 }) };
    /// The size of the largest allocation that was not asked to be zero.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// What a thread has done with the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// The number of allocations. A reallocation to a larger size counts as one.
    pub allocations: u64,
    /// Bytes allocated, minus bytes freed.
    pub bytes: isize,
}

struct Counting;

fn count(allocations: u64, bytes: isize) {
    LIVE.fetch_add(bytes, Relaxed);
    let mut own = OWN.get();
    own.allocations += allocations;
    own.bytes += bytes;
    OWN.set(own);
}

// SAFETY: forwards to `System`, apart from counting, which does not allocate. The default
// implementations of the other methods call these.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as isize);
        // SAFETY: the caller upholds the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, -(layout.size() as isize));
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of bytes that all threads together have on the heap.
pub fn live() -> isize {
    LIVE.load(Relaxed)
}

/// Runs `work` and returns what *this thread* has done with the heap in the meantime. The result is
/// exact, whatever other threads do.
pub fn tally<R>(work: impl FnOnce() -> R) -> (R, Tally) {
    let before = OWN.get();
    let result = work();
    let after = OWN.get();
    let tally = Tally {
        allocations: after.allocations - before.allocations,
        bytes: after.bytes - before.bytes,
    };
    (result, tally)
}

/// Runs `work` and returns the bytes of the largest allocation that *this thread* has made in the
/// meantime and has to write itself: those that come zeroed from the allocator do not count.
pub fn largest(work: impl FnOnce()) -> usize {
    let before = LARGEST.replace(0);
    work();
    let largest = LARGEST.get();
    LARGEST.set(before.max(largest));
    largest
}

#[test]
fn memory_that_comes_zeroed_is_not_written() {
    let sizes = [100, 2_000, 30].map(|size| largest(|| drop(vec![1_u8; size])));
    assert_eq!(sizes, [100, 2_000, 30]);
    assert_eq!(largest(|| drop(vec![0_u8; 100])), 0);
}

#[test]
fn the_counts_are_this_threads() {
    let (held, first) = tally(|| {
        std::thread::spawn(|| vec![1_u8; 1_000].len())
            .join()
            .expect("the thread ends");
        let (vector, counted) = tally(|| Vec::<u64>::with_capacity(10));
        assert_eq!(counted.allocations, 1);
        assert_eq!(counted.bytes, 80);
        vector
    });
    assert!(first.allocations > 1, "a thread is not for nothing");
    let ((), last) = tally(|| drop(held));
    assert_eq!(
        last,
        Tally {
            allocations: 0,
            bytes: -80
        }
    );
}
