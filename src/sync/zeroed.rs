//! Arrays of atomics that are zero, without a pass over their memory.
//!
//! Memory that is new to the process is zero, and is not even provided before it is used: an array
//! as long as a pool takes no longer to make than a short one.

use crate::sync::{AtomicU32, AtomicU64};

/// An atomic whose bytes are all zero if its value is.
///
/// # Safety
///
/// Bytes that are all zero are a valid value: zero.
pub(crate) unsafe trait Zeroable: Sized {
    #[cfg(any(kvbm_loom, kvbm_shuttle))]
    fn zero() -> Self;
}

// SAFETY: an atomic integer has the representation of the integer. (In a model it has not, but
// then `array` does not rely on it.)
unsafe impl Zeroable for AtomicU32 {
    #[cfg(any(kvbm_loom, kvbm_shuttle))]
    fn zero() -> Self {
        Self::new(0)
    }
}

// SAFETY: as above.
unsafe impl Zeroable for AtomicU64 {
    #[cfg(any(kvbm_loom, kvbm_shuttle))]
    fn zero() -> Self {
        Self::new(0)
    }
}

/// Creates an array of zeros.
#[cfg(not(any(kvbm_loom, kvbm_shuttle)))]
pub(crate) fn array<A: Zeroable>(len: usize) -> Box<[A]> {
    let zeroed = Box::<[A]>::new_zeroed_slice(len);
    // SAFETY: the trait's contract.
    unsafe { zeroed.assume_init() }
}

/// Creates an array of zeros, one by one.
#[cfg(any(kvbm_loom, kvbm_shuttle))]
pub(crate) fn array<A: Zeroable>(len: usize) -> Box<[A]> {
    (0..len).map(|_| A::zero()).collect()
}
