//! Asking for a cache line before it is needed.

/// Has the line of `target` fetched for writing, where the machine has an
/// instruction for it. A hint: it changes nothing but time.
#[inline(always)]
pub(super) fn prefetch<T>(target: &T) {
    #[cfg(all(target_arch = "x86_64", not(kvbm_loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch has no effect on memory, and SSE, which it belongs
        // to, is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(target).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(kvbm_loom))))]
    let _ = target;
}
