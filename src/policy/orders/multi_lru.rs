//! Four levels of frequency, with least recently released first within each.
//!
//! This is the [order of release](super::release_order) with all levels.
//!
//! A block has the level of its release, which is not revised while the block is listed: a
//! block that was matched often and then never again keeps its rank until it is evicted.

use super::release_order::ReleaseOrder;
use crate::policy::containers::ensure;
use crate::policy::slot_policy::{LEVELS, PlainPolicy};
use crate::policy::spec::PolicySpec;

/// Returns the level of a block that was used `count` times: the number of the ascending
/// `thresholds` that the count has reached.
pub(crate) fn level(count: u32, thresholds: [u8; 3]) -> u8 {
    thresholds
        .into_iter()
        .map(|threshold| u8::from(count >= u32::from(threshold)))
        .sum()
}

/// The highest frequency that a tracker can report.
const MAX_FREQUENCY: u8 = 15;

/// The order by frequency level, with the frequencies at which the upper three levels begin.
pub(crate) struct ByLevel {
    thresholds: [u8; 3],
}

impl ByLevel {
    pub(crate) const DEFAULT: Self = Self {
        thresholds: [3, 8, 15],
    };

    pub(crate) fn with_thresholds(thresholds: [u8; 3]) -> Self {
        Self { thresholds }
    }
}

impl PolicySpec for ByLevel {
    fn name(&self) -> &'static str {
        "multi-lru"
    }

    fn title(&self) -> &'static str {
        "MultiLRU"
    }

    fn summary(&self) -> &'static str {
        "Least recently used first, in four levels of estimated frequency."
    }

    fn frequency_thresholds(&self) -> Option<[u8; 3]> {
        Some(self.thresholds)
    }

    fn validate(&self) -> Result<(), String> {
        let [warm, hot, very_hot] = self.thresholds;
        ensure(warm < hot && hot < very_hot, || {
            format!("Thresholds must be in ascending order: {warm} < {hot} < {very_hot} failed")
        })?;
        ensure(very_hot <= MAX_FREQUENCY, || {
            format!("hot_to_very_hot threshold ({very_hot}) must be <= 15 (4-bit counter maximum)")
        })?;
        ensure(warm >= 1, || {
            "cold_to_warm threshold must be >= 1 to distinguish from zero-access blocks".into()
        })
    }

    fn is_sharded(&self) -> bool {
        true
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(MultiLru::new(block_count))
    }
}

/// Evicts from the lowest level, and there the block whose release is longest ago.
pub(crate) type MultiLru = ReleaseOrder<{ LEVELS as u32 }>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::slot_policy::SlotPolicy;
    use crate::policy::testing::{Random, any_hash};

    #[test]
    fn a_level_starts_at_its_threshold() {
        let level_of = |count| level(count, [3, 8, 15]);
        assert_eq!(
            [0, 2, 3, 7, 8, 14, 15, u32::MAX].map(level_of),
            [0, 0, 1, 1, 2, 2, 3, 3]
        );
    }

    #[test]
    fn lower_levels_go_first() {
        let mut policy = MultiLru::new(5);
        for (slot, level) in [(0, 3), (1, 0), (2, 1), (3, 0), (4, 2)] {
            policy.insert(slot, any_hash(), level);
        }
        policy.insert(1, any_hash(), 3);
        let order: Vec<u32> = std::iter::from_fn(|| policy.pop()).collect();
        assert_eq!(order, [3, 2, 4, 0, 1]);
    }

    #[test]
    fn agrees_with_a_sorted_queue() {
        const SLOTS: u64 = 12;
        let mut random = Random::new(2);
        let mut policy = MultiLru::new(SLOTS as usize);
        // In order of release; the victim is the first one with the lowest level.
        let mut queue: Vec<(u8, u32)> = Vec::new();
        for _ in 0..20_000 {
            let slot = random.below(SLOTS) as u32;
            match random.below(4) {
                0 | 1 => {
                    let level = random.below(4) as u8;
                    queue.retain(|&(_, listed)| listed != slot);
                    queue.push((level, slot));
                    policy.insert(slot, any_hash(), level);
                }
                2 => {
                    queue.retain(|&(_, listed)| listed != slot);
                    policy.remove(slot);
                }
                _ => {
                    let victim = queue.iter().copied().min_by_key(|&(level, _)| level);
                    queue.retain(|&entry| Some(entry) != victim);
                    assert_eq!(policy.pop(), victim.map(|(_, slot)| slot));
                }
            }
            policy.check().unwrap();
            assert_eq!(policy.len(), queue.len());
            assert_eq!(
                policy.contains(slot),
                queue.iter().any(|&(_, listed)| listed == slot)
            );
        }
    }
}
