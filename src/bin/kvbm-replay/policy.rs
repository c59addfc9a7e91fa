//! The eviction policies a pool can run, under the names the command line and the reports use.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use kvbm_lockfree::manager::{
    BlockManager, BlockManagerBuilderError, FrequencyTrackingCapacity, LineageEviction,
};
use kvbm_lockfree::registry::BlockRegistry;
use kvbm_lockfree::tinylfu::{TinyLFUSettings, TinyLFUTracker};
use serde::Serialize;

/// The metadata type of the replayed blocks, which carry no data.
#[derive(Clone, Debug)]
pub struct Replayed;

/// An eviction policy.
///
/// Another policy needs a variant here, which makes it an option of `--policy`, and an arm in
/// [`build`](Policy::build).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Least recently used.
    Lru,
    /// First in, first out, over a hash map.
    Hashmap,
    /// LRU in four levels, chosen by the estimated frequency of a block.
    MultiLru,
    /// As `multi-lru`, with frequencies estimated as `kvbm-logical` does; runs only if named.
    MultiLruReference,
    /// Leaves of the lineage tree first, oldest insertion first.
    LineageTick,
    /// Leaves of the lineage tree first, in the order they became leaves.
    LineageFifo,
    /// Leaves of the lineage tree first, the least used and longest unused first.
    Lrfu,
    /// Leaves of the lineage tree first, the least used first behind a window for new ones.
    Tinylfu,
}

impl Policy {
    /// The policies that run unless some are named: all but those that are there to be
    /// compared with another.
    pub fn usual() -> Vec<Self> {
        let mut policies = Self::value_variants().to_vec();
        policies.retain(|&policy| policy != Self::MultiLruReference);
        policies
    }

    /// Builds an empty pool that evicts by this policy.
    ///
    /// Each pool has its own registry, which tracks frequencies if the policy reads them. LRFU
    /// finds its half-life itself unless one is given.
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
        match self {
            Self::Lru => builder.with_lru_backend(),
            Self::Hashmap => builder.with_hashmap_backend(),
            Self::MultiLru | Self::MultiLruReference => builder.with_multi_lru_backend(),
            Self::LineageTick => builder.with_lineage_backend_eviction(LineageEviction::Tick),
            Self::LineageFifo => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
            Self::Lrfu => match lrfu_half_life {
                Some(releases) => builder.with_lrfu_backend_half_life(releases),
                None => builder.with_lrfu_backend(),
            },
            Self::Tinylfu => builder.with_tinylfu_backend(),
        }
        .build()
    }

    /// What estimates frequencies for this policy.
    fn tracker(self) -> Option<Arc<TinyLFUTracker<u128>>> {
        let size = FrequencyTrackingCapacity::Small;
        match self {
            Self::MultiLru => Some(size.create_tracker()),
            Self::MultiLruReference => {
                let settings = TinyLFUSettings::builder()
                    .capacity(size.size())
                    .reference_layout()
                    .build()
                    .expect("the capacity is set");
                Some(Arc::new(settings.into_tracker()))
            }
            _ => None,
        }
    }

    /// The name on the command line and in the reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Hashmap => "hashmap",
            Self::MultiLru => "multi-lru",
            Self::MultiLruReference => "multi-lru-reference",
            Self::LineageTick => "lineage-tick",
            Self::LineageFifo => "lineage-fifo",
            Self::Lrfu => "lrfu",
            Self::Tinylfu => "tinylfu",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_one_name_and_builds() {
        for &policy in Policy::value_variants() {
            let on_the_command_line = policy.to_possible_value().unwrap();
            assert_eq!(on_the_command_line.get_name(), policy.name());
            let in_json = serde_json::to_value(policy).unwrap();
            assert_eq!(in_json, policy.name());
            assert_eq!(policy.build(8, 16, Some(2)).unwrap().total_blocks(), 8);
        }
    }
}
