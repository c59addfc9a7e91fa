//! The eviction policies under test, and how each is selected on a builder.

// Each test binary uses its part of this.
#![allow(dead_code)]

use kvbm_lockfree::eviction::BuiltInPolicy;

/// One way to configure the inactive pool of a `BlockManager` of either crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// No backend is selected: the builder's default.
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

    /// The names of the built-in policies that the reference has too.
    const SHARED: [&str; 5] = [
        "lru",
        "hashmap",
        "multi-lru",
        "lineage-tick",
        "lineage-fifo",
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
    /// One that the reference does not have.
    Further(BuiltInPolicy),
    LrfuHalfLife(u32),
    TinyLfuWindow(u8),
}

impl OwnPolicy {
    /// Every policy once. Later ones come last.
    pub fn all() -> impl Iterator<Item = OwnPolicy> {
        let shared = Policy::ALL.into_iter().map(OwnPolicy::Shared);
        shared.chain(Self::further())
    }

    /// Every built-in policy that only this crate has, and behind it the same with a
    /// parameter, if it takes one.
    fn further() -> impl Iterator<Item = OwnPolicy> {
        let all = BuiltInPolicy::ALL.iter();
        let own = all.filter(|policy| !Policy::SHARED.contains(&policy.name()));
        own.flat_map(|&policy| {
            let with_parameter = match policy.name() {
                "lrfu" => Some(OwnPolicy::LrfuHalfLife(2)),
                "tinylfu" => Some(OwnPolicy::TinyLfuWindow(30)),
                _ => None,
            };
            std::iter::once(OwnPolicy::Further(policy)).chain(with_parameter)
        })
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
            OwnPolicy::Further(policy) => builder.with_policy(policy),
            OwnPolicy::LrfuHalfLife(releases) => builder.with_lrfu_backend_half_life(releases),
            OwnPolicy::TinyLfuWindow(percent) => builder.with_tinylfu_backend_window(percent),
        }
    }};
}

#[allow(unused_imports)]
pub(crate) use with_own_policy;
