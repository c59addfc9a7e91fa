//! The eviction policies a pool can run, under the names the command line and the reports use.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use kvbm_lockfree::eviction::{BuiltInPolicy, UnknownPolicy};
use kvbm_lockfree::manager::{BlockManager, BlockManagerBuilderError, FrequencyTrackingCapacity};
use kvbm_lockfree::registry::BlockRegistry;
use kvbm_lockfree::tinylfu::{TinyLFUSettings, TinyLFUTracker};
use serde::{Serialize, Serializer};

/// The metadata type of the replayed blocks, which carry no data.
#[derive(Clone, Debug)]
pub struct Replayed;

/// An eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// One of the manager's built-in orders.
    BuiltIn(BuiltInPolicy),
    /// Multi-level LRU with frequencies estimated as `kvbm-logical` does, to show what that
    /// costs in hits.
    MultiLruReference,
}

impl Policy {
    /// Returns the policies that run unless some are named.
    pub fn usual() -> impl Iterator<Item = Self> {
        BuiltInPolicy::ALL.iter().copied().map(Self::BuiltIn)
    }

    /// Returns all policies.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::usual().chain([Self::MultiLruReference])
    }

    /// The name on the command line and in the reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuiltIn(order) => order.name(),
            Self::MultiLruReference => "multi-lru-reference",
        }
    }

    fn summary(self) -> &'static str {
        match self {
            Self::BuiltIn(order) => order.summary().trim_end_matches('.'),
            Self::MultiLruReference => {
                "As `multi-lru`, with frequencies estimated as `kvbm-logical` does; runs only if named"
            }
        }
    }

    /// Returns a parser for the names of policies on the command line.
    pub fn parser() -> impl TypedValueParser<Value = Self> {
        let names =
            Self::all().map(|policy| PossibleValue::new(policy.name()).help(policy.summary()));
        PossibleValuesParser::new(names).try_map(|name| name.parse::<Self>())
    }

    /// Builds an empty pool that evicts by this policy.
    ///
    /// Each pool has its own registry, which tracks frequencies only if the order reads them.
    /// LRFU tunes its half-life itself unless one is given.
    pub fn build(
        self,
        blocks: usize,
        block_size: usize,
        lrfu_half_life: Option<u32>,
    ) -> Result<BlockManager<Replayed>, BlockManagerBuilderError> {
        let mut registry = BlockRegistry::builder();
        if let Some(tracker) = self.tracker() {
            registry = registry.frequency_tracker(tracker);
        }
        let builder = BlockManager::builder()
            .block_count(blocks)
            .block_size(block_size)
            .registry(registry.build());
        match (self, lrfu_half_life) {
            (Self::BuiltIn(order), Some(releases)) if order.name() == "lrfu" => {
                builder.with_lrfu_backend_half_life(releases)
            }
            (Self::BuiltIn(order), _) => builder.with_policy(order),
            (Self::MultiLruReference, _) => builder.with_multi_lru_backend(),
        }
        .build()
    }

    /// Returns the tracker that estimates frequencies for this policy.
    fn tracker(self) -> Option<Arc<TinyLFUTracker<u128>>> {
        let size = FrequencyTrackingCapacity::Small;
        match self {
            Self::BuiltIn(order) => order.needs_tracker().then(|| size.create_tracker()),
            Self::MultiLruReference => {
                let settings = TinyLFUSettings::builder()
                    .capacity(size.size())
                    .reference_layout()
                    .build()
                    .expect("the capacity is set");
                Some(Arc::new(settings.into_tracker()))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let found = Self::all().find(|policy| policy.name() == name);
        found.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Returns the policy of that name.
#[cfg(test)]
pub fn named(name: &str) -> Policy {
    name.parse().expect("there is such a policy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_one_name_and_builds() {
        for policy in Policy::all() {
            assert_eq!(named(policy.name()), policy);
            let in_json = serde_json::to_value(policy).unwrap();
            assert_eq!(in_json, policy.name());
            assert_eq!(policy.build(8, 16, Some(2)).unwrap().total_blocks(), 8);
        }
        assert_eq!(Policy::all().count(), Policy::usual().count() + 1);
    }
}
