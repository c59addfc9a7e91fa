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
