//! The numbers of a model's threads, in the order in which they were started.

/// Returns the calling thread's number.
#[cfg(kvbm_shuttle)]
pub(crate) fn index() -> usize {
    usize::from(shuttle::current::me())
}

#[cfg(kvbm_loom)]
loom::thread_local! {
    static INDEX: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

/// Returns the calling thread's number: 0 unless it has been given another.
#[cfg(kvbm_loom)]
pub(crate) fn index() -> usize {
    INDEX.with(std::cell::Cell::get)
}

/// Sets the calling thread's number.
#[cfg(all(kvbm_loom, test))]
pub(crate) fn set_index(index: usize) {
    INDEX.with(|cell| cell.set(index));
}

/// Returns an upper bound of all numbers; see the module that this one replaces.
pub(crate) fn used() -> usize {
    usize::MAX
}

pub(crate) fn known_index() -> usize {
    index()
}
