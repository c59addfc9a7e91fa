//! Fetching a cache line before it is needed.
//!
//! A line that another core has written takes one round trip to get, and a second one if it
//! was requested for reading and is then written. So the intent matters: a block that is about
//! to be pinned is fetched for writing, a bucket that is about to be looked at is not.
//!
//! These are hints. They change nothing but timing, and do nothing on machines without such
//! an instruction.

#[cfg(all(target_arch = "x86_64", not(any(kvbm_loom, kvbm_shuttle))))]
mod machine {
    use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _mm_prefetch};

    #[inline(always)]
    pub(crate) fn prefetch<T>(target: &T) {
        // SAFETY: a prefetch has no effect on memory, and every x86-64 has SSE, to which the
        // instruction belongs.
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
