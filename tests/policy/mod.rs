//! The eviction policies under test, and how each is selected on a builder.

// Each test binary uses its part of this.
#![allow(dead_code)]

/// One way to configure the inactive pool of a `BlockManager`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// No backend is selected: whatever the builder falls back to.
    Unset,
    Lru,
    HashMap,
    MultiLru,
    MultiLruThresholds([u8; 3]),
    LineageTick,
    LineageFifo,
}

impl Policy {
    /// Every policy once, with one set of custom thresholds.
    pub const ALL: [Policy; 7] = [
        Policy::Unset,
        Policy::Lru,
        Policy::HashMap,
        Policy::MultiLru,
        Policy::MultiLruThresholds([1, 2, 5]),
        Policy::LineageTick,
        Policy::LineageFifo,
    ];

    /// Whether a builder refuses the policy on a registry without a frequency
    /// tracker.
    pub fn needs_tracker(self) -> bool {
        matches!(self, Policy::MultiLru | Policy::MultiLruThresholds(_))
    }
}

/// Selects `$policy` on `$builder`, a `BlockManagerConfigBuilder` of the crate
/// that the identifier `$kvbm` names.
macro_rules! with_policy {
    ($kvbm:ident, $builder:expr, $policy:expr) => {{
        use $crate::policy::Policy;
        use $kvbm::manager::LineageEviction;
        let builder = $builder;
        match $policy {
            Policy::Unset => builder,
            Policy::Lru => builder.with_lru_backend(),
            Policy::HashMap => builder.with_hashmap_backend(),
            Policy::MultiLru => builder.with_multi_lru_backend(),
            Policy::MultiLruThresholds([warm, hot, very_hot]) => {
                builder.with_multi_lru_backend_custom_thresholds(warm, hot, very_hot)
            }
            Policy::LineageTick => builder.with_lineage_backend(),
            Policy::LineageFifo => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
        }
    }};
}

pub(crate) use with_policy;

/// One way to configure a manager of this crate: as the reference can be, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPolicy {
    Shared(Policy),
    Lrfu,
    LrfuHalfLife(u32),
    TinyLfu,
    TinyLfuWindow(u8),
}

impl OwnPolicy {
    /// Every policy that only this crate has.
    pub const FURTHER: [OwnPolicy; 4] = [
        OwnPolicy::Lrfu,
        OwnPolicy::LrfuHalfLife(2),
        OwnPolicy::TinyLfu,
        OwnPolicy::TinyLfuWindow(30),
    ];

    /// Every policy once.
    pub fn all() -> impl Iterator<Item = OwnPolicy> {
        let shared = Policy::ALL.into_iter().map(OwnPolicy::Shared);
        shared.chain(Self::FURTHER)
    }
}

/// Selects `$policy` on `$builder`, a `BlockManagerConfigBuilder` of this crate.
#[allow(unused_macros)]
macro_rules! with_own_policy {
    ($builder:expr, $policy:expr) => {{
        use $crate::policy::OwnPolicy;
        let builder = $builder;
        match $policy {
            OwnPolicy::Shared(policy) => {
                $crate::policy::with_policy!(kvbm_lockfree, builder, policy)
            }
            OwnPolicy::Lrfu => builder.with_lrfu_backend(),
            OwnPolicy::LrfuHalfLife(releases) => builder.with_lrfu_backend_half_life(releases),
            OwnPolicy::TinyLfu => builder.with_tinylfu_backend(),
            OwnPolicy::TinyLfuWindow(percent) => builder.with_tinylfu_backend_window(percent),
        }
    }};
}

#[allow(unused_imports)]
pub(crate) use with_own_policy;
