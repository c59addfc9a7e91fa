//! The eviction orders a pool can run, under the names the command line and the reports use.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use kvbm_lockfree::manager::{BlockManager, BlockManagerBuilderError, FrequencyTrackingCapacity};
use kvbm_lockfree::registry::BlockRegistry;

pub use kvbm_lockfree::eviction::BuiltInPolicy as Policy;

/// The metadata type of the replayed blocks, which carry no data.
#[derive(Clone, Debug)]
pub struct Replayed;

/// Reads the name of an order on the command line.
pub fn parser() -> impl TypedValueParser<Value = Policy> {
    let names = Policy::ALL.iter().map(|policy| {
        PossibleValue::new(policy.name()).help(policy.summary().trim_end_matches('.'))
    });
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Policy>())
}

/// Builds an empty pool that evicts in the given order.
///
/// Each pool has its own registry, which tracks frequencies only if the order reads them.
pub fn build(
    policy: Policy,
    blocks: usize,
    block_size: usize,
) -> Result<BlockManager<Replayed>, BlockManagerBuilderError> {
    let mut registry = BlockRegistry::builder();
    if policy.needs_tracker() {
        registry = registry.frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker());
    }
    BlockManager::builder()
        .block_count(blocks)
        .block_size(block_size)
        .registry(registry.build())
        .with_policy(policy)
        .build()
}

/// The order of that name.
#[cfg(test)]
pub fn named(name: &str) -> Policy {
    name.parse().expect("it is built in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_builds() {
        for &policy in Policy::ALL {
            assert_eq!(build(policy, 8, 16).unwrap().total_blocks(), 8);
        }
    }
}
