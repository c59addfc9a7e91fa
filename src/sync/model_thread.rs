//! The numbers of a model's threads, in the order they were started.

/// The calling thread's number.
#[cfg(kvbm_shuttle)]
pub(crate) fn index() -> usize {
    usize::from(shuttle::current::me())
}

#[cfg(kvbm_loom)]
loom::thread_local! {
    static INDEX: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

/// The calling thread's number: 0 unless it has been given another.
#[cfg(kvbm_loom)]
pub(crate) fn index() -> usize {
    INDEX.with(std::cell::Cell::get)
}

/// Gives the calling thread a number.
#[cfg(all(kvbm_loom, test))]
pub(crate) fn set_index(index: usize) {
    INDEX.with(|cell| cell.set(index));
}

/// As many as there may be: see the module that this stands in for.
pub(crate) fn used() -> usize {
    usize::MAX
}

pub(crate) fn known_index() -> usize {
    index()
}
