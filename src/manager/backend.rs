//! The choice of an eviction order, from the builder's settings to a built policy.

use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

use crate::engine::PolicySource;
use crate::policy::{
    BuiltInPolicy, ByFifo, ByLevel, ByTick, Custom, EvictionPolicy, OldestFirst, PolicySpec,
};
use crate::user_code::Contained;

/// An eviction order of `kvbm-logical`, as a value.
///
/// No method of this crate takes one: it is here, as in `kvbm-logical`, for code that names
/// the type. To choose an order, use the builder's methods, such as
/// [`with_lru_backend`](super::BlockManagerConfigBuilder::with_lru_backend), or
/// [`with_policy`](super::BlockManagerConfigBuilder::with_policy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InactiveBackendConfig {
    /// First released, first evicted. A match takes a block out of the order and its release
    /// puts it at the end, so this is the same order as [`Lru`](Self::Lru).
    HashMap,
    /// The least recently released block first.
    Lru,
    /// Four levels of frequency, the lowest first, and within a level the least recently
    /// released block first. A block's level is that of its hash at the time of its release.
    MultiLru {
        /// The lowest frequencies of the second, third and fourth level.
        frequency_thresholds: [u8; 3],
    },
    /// Only leaves, that is, blocks without inactive children: a prefix is not evicted before
    /// its continuations.
    Lineage {
        /// The order among the leaves.
        eviction: LineageEviction,
    },
}

/// The order in which the lineage policy evicts leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineageEviction {
    /// The least recently released leaf first. A block that becomes a leaf by the eviction of
    /// its children takes the place of its own last release.
    #[default]
    Tick,
    /// The block that became a leaf first.
    Fifo,
}

/// The eviction order, not yet built.
pub(super) enum Backend {
    BuiltIn(BuiltInPolicy),
    /// A built-in order with other than its default parameters.
    Configured(Box<dyn PolicySpec>),
    Custom(Contained<Box<dyn EvictionPolicy>>),
}

impl From<InactiveBackendConfig> for Backend {
    fn from(config: InactiveBackendConfig) -> Self {
        let spec: &'static dyn PolicySpec = match config {
            InactiveBackendConfig::HashMap => &OldestFirst::HASH_MAP,
            InactiveBackendConfig::Lru => &OldestFirst::LRU,
            InactiveBackendConfig::MultiLru {
                frequency_thresholds,
            } => return Self::Configured(Box::new(ByLevel::with_thresholds(frequency_thresholds))),
            InactiveBackendConfig::Lineage { eviction } => match eviction {
                LineageEviction::Tick => &ByTick,
                LineageEviction::Fifo => &ByFifo,
            },
        };
        Self::BuiltIn(BuiltInPolicy(spec))
    }
}

/// The name of a user's own eviction order in logs.
const CUSTOM: &str = "custom";

/// A [`Backend`] that has been built.
pub(super) struct BuiltOrder {
    pub(super) policy: PolicySource,
    pub(super) is_leaf_first: bool,
    pub(super) thresholds: Option<[u8; 3]>,
    pub(super) name: &'static str,
}

impl Backend {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::BuiltIn(policy) => policy.name(),
            Self::Configured(spec) => spec.name(),
            Self::Custom(_) => CUSTOM,
        }
    }

    /// Builds the order, or returns why it cannot be built.
    pub(super) fn order(self, block_count: usize, has_tracker: bool) -> Result<BuiltOrder, String> {
        match self {
            Self::BuiltIn(policy) => BuiltOrder::of(policy.0, block_count, has_tracker),
            Self::Configured(spec) => BuiltOrder::of(spec, block_count, has_tracker),
            Self::Custom(policy) => Ok(BuiltOrder {
                is_leaf_first: policy.is_leaf_first(),
                policy: PolicySource::Single(Box::new(Custom::new(
                    policy.into_inner(),
                    block_count,
                ))),
                thresholds: None,
                name: CUSTOM,
            }),
        }
    }
}

impl BuiltOrder {
    fn of(
        spec: impl Deref<Target = dyn PolicySpec> + Send + Sync + UnwindSafe + RefUnwindSafe + 'static,
        block_count: usize,
        has_tracker: bool,
    ) -> Result<Self, String> {
        let thresholds = spec.frequency_thresholds();
        if thresholds.is_some() && !has_tracker {
            return Err(format!(
                "{} backend requires a registry with frequency tracking",
                spec.title()
            ));
        }
        spec.validate()?;
        Ok(Self {
            is_leaf_first: spec.is_leaf_first(),
            thresholds,
            name: spec.name(),
            policy: if spec.is_sharded() {
                PolicySource::PerShard(Box::new(move || spec.build(block_count)))
            } else {
                PolicySource::Single(spec.build(block_count))
            },
        })
    }
}
