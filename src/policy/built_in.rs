//! The built-in eviction orders, by name.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lineage::fifo::ByFifo;
use super::lineage::lrfu::Lrfu;
use super::lineage::tick::ByTick;
use super::lineage::tinylfu::TinyLfu;
use super::orders::lru::OldestFirst;
use super::orders::multi_lru::ByLevel;
use super::spec::PolicySpec;

/// A built-in eviction order, chosen by name.
///
/// Use this if the order is a setting, or if code iterates over [all orders](Self::ALL). If the
/// order is fixed, the builder has a method for each, such as
/// [`with_lru_backend`](crate::manager::BlockManagerConfigBuilder::with_lru_backend). Orders
/// with parameters have their defaults.
///
/// As text, and when serialized, an order is its [name](Self::name).
///
/// ```
/// use kvbm_lockfree::eviction::BuiltInPolicy;
/// use kvbm_lockfree::manager::FrequencyTrackingCapacity;
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// fn manager(policy: BuiltInPolicy) -> BlockManager<Gpu> {
///     let mut registry = BlockRegistry::builder();
///     if policy.needs_tracker() {
///         registry = registry.frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker());
///     }
///     BlockManager::builder()
///         .block_count(64)
///         .block_size(16)
///         .registry(registry.build())
///         .with_policy(policy)
///         .build()
///         .expect("the configuration is valid")
/// }
///
/// let lrfu: BuiltInPolicy = "lrfu".parse()?;
/// assert!(lrfu.is_leaf_first());
/// assert_eq!(manager(lrfu).total_blocks(), 64);
///
/// for &policy in BuiltInPolicy::ALL {
///     println!("{policy:15}{}", policy.summary());
///     assert_eq!(policy.name().parse(), Ok(policy));
///     manager(policy);
/// }
/// # Ok::<(), kvbm_lockfree::eviction::UnknownPolicy>(())
/// ```
#[derive(Clone, Copy)]
pub struct BuiltInPolicy(pub(crate) &'static dyn PolicySpec);

impl BuiltInPolicy {
    /// All built-in orders, with their default parameters.
    pub const ALL: &'static [Self] = &[
        Self(&OldestFirst::LRU),
        Self(&OldestFirst::HASH_MAP),
        Self(&ByLevel::DEFAULT),
        Self(&ByTick),
        Self(&ByFifo),
        Self(&Lrfu::TUNED),
        Self(&TinyLfu::TUNED),
    ];

    /// Returns the order's name, such as `lru` or `lineage-tick`.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Returns a sentence that says which block is evicted first.
    pub fn summary(self) -> &'static str {
        self.0.summary()
    }

    /// Returns whether the manager's registry must have a frequency tracker.
    pub fn needs_tracker(self) -> bool {
        self.0.frequency_thresholds().is_some()
    }

    /// Returns whether the order yields no block before its inactive children.
    ///
    /// If several threads release and evict at the same time, a parent may nevertheless go first: if it
    /// and its child were released by different threads, and another thread is evicting from the order
    /// that lists the child.
    pub fn is_leaf_first(self) -> bool {
        self.0.is_leaf_first()
    }
}

impl fmt::Debug for BuiltInPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BuiltInPolicy").field(&self.name()).finish()
    }
}

impl fmt::Display for BuiltInPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PartialEq for BuiltInPolicy {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for BuiltInPolicy {}

impl Hash for BuiltInPolicy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

/// The error returned when parsing a name that no built-in order has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no eviction policy is called {0:?}")]
pub struct UnknownPolicy(pub String);

impl FromStr for BuiltInPolicy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::ALL.iter().find(|policy| policy.name() == name);
        found.copied().ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

impl Serialize for BuiltInPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for BuiltInPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(D::Error::custom)
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_order_has_a_name_of_its_own_by_which_it_is_found() {
        let all: HashSet<BuiltInPolicy> = BuiltInPolicy::ALL.iter().copied().collect();
        assert_eq!(all.len(), BuiltInPolicy::ALL.len());
        for &policy in BuiltInPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("{:?}", policy.name()));
            assert_eq!(
                serde_json::from_str::<BuiltInPolicy>(&json).unwrap(),
                policy
            );
        }
        let unknown = "mru".parse::<BuiltInPolicy>().unwrap_err();
        assert_eq!(unknown.to_string(), "no eviction policy is called \"mru\"");
    }

    #[test]
    fn every_order_is_valid_as_it_stands_in_the_table() {
        for BuiltInPolicy(spec) in BuiltInPolicy::ALL {
            spec.validate().unwrap();
            spec.build(8).check().unwrap();
            assert!(spec.summary().ends_with('.') && !spec.title().is_empty());
        }
    }
}
