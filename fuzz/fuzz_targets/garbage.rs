//! Memory that waits for readers that are long gone.
//!
//! The fuzzer looks for leaks after each input that freed less than it allocated,
//! which is slow. Entries of the registry are reclaimed by epochs, so that nearly
//! every input would be such a one.

/// Frees what has been retired. For a time at which nothing of the crate is in use.
pub fn free() {
    // A thing is freed two epochs after it was retired, and each call is a step.
    for _ in 0..4 {
        crossbeam_epoch::pin().flush();
    }
}
