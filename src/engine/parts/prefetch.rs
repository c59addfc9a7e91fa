//! Asking for a cache line before it is needed.
//!
//! A line that another core has written takes a round trip to get, and a second
//! one if it was asked for to be read and is then written. So the intention
//! matters: a block that is about to be pinned is fetched to be written, a bucket
//! that is about to be looked at is not.
//!
//! Hints only: they change nothing but time, and do nothing where the machine has
//! no such instruction.

#[cfg(all(target_arch = "x86_64", not(any(kvbm_loom, kvbm_shuttle))))]
mod machine {
    use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};

    #[inline(always)]
    pub(crate) fn prefetch<T>(target: &T) {
        // SAFETY: a prefetch has no effect on memory, and SSE, which it belongs
        // to, is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(target).cast()) };
    }

    #[inline(always)]
    pub(crate) fn prefetch_to_write<T>(target: &T) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(target).cast()) };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(kvbm_loom, kvbm_shuttle)))))]
mod machine {
    #[inline(always)]
    pub(crate) fn prefetch<T>(_target: &T) {}

    #[inline(always)]
    pub(crate) fn prefetch_to_write<T>(_target: &T) {}
}

pub(crate) use machine::{prefetch, prefetch_to_write};
