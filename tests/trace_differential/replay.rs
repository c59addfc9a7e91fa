//! Replays requests through one manager. Compiled twice: the parent module decides which
//! crate `kvbm` is.

use std::collections::VecDeque;
use std::sync::Arc;

use dynamo_tokens::PositionalLineageHash;

use super::{kvbm, layout};
use crate::policy::{Policy, with_policy};
use crate::trace::Request;
use crate::{BLOCK_SIZE, IN_FLIGHT, Replayed, Step};
use kvbm::tinylfu::TinyLFUSettings;
use kvbm::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock};

/// Serves every request in order, and returns what happened to each.
pub fn replay(requests: &[Request], policy: Policy, block_count: usize) -> Replayed {
    let manager = manager(policy, block_count);
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
    let steps = requests
        .iter()
        .map(|request| serve(&manager, &mut in_flight, request))
        .collect();
    let metrics = manager.metrics().snapshot();
    Replayed {
        steps,
        evictions: metrics.evictions,
        registrations: metrics.registrations,
        available: manager.available_blocks(),
        registered: manager.block_registry().registered_count(),
    }
}

fn manager(policy: Policy, block_count: usize) -> BlockManager<()> {
    let mut registry = BlockRegistry::builder();
    if policy.needs_tracker() {
        let settings = layout(TinyLFUSettings::builder().capacity(block_count))
            .build()
            .expect("the capacity is set");
        registry = registry.frequency_tracker(Arc::new(settings.into_tracker::<u128>()));
    }
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .registry(registry.build());
    with_policy!(kvbm, builder, policy)
        .build()
        .expect("the configuration is valid")
}

fn serve(
    manager: &BlockManager<()>,
    in_flight: &mut VecDeque<Vec<ImmutableBlock<()>>>,
    request: &Request,
) -> Step {
    if in_flight.len() == IN_FLIGHT {
        in_flight.pop_front();
    }
    let mut blocks = manager.match_blocks(request);
    let hits = blocks.len();
    let missing = &request[hits..];
    let allocated = allocate(manager, in_flight, missing.len());
    let refused = allocated.is_none();
    let (fresh, evicted) = allocated.unwrap_or_default();
    if refused {
        drop(blocks);
    } else {
        let staged = fresh
            .into_iter()
            .zip(missing)
            .map(|(block, &hash)| block.stage(hash, BLOCK_SIZE).expect("the size fits"))
            .collect();
        blocks.extend(manager.register_blocks(staged));
        in_flight.push_back(blocks);
    }
    Step {
        hits,
        refused,
        in_flight: in_flight.len(),
        evicted: evicted.len(),
        evicted_digest: digest(&evicted),
    }
}

type Allocated = (Vec<MutableBlock<()>>, Vec<PositionalLineageHash>);

/// Allocates blocks, and drops the oldest request in flight as long as that is refused.
fn allocate(
    manager: &BlockManager<()>,
    in_flight: &mut VecDeque<Vec<ImmutableBlock<()>>>,
    count: usize,
) -> Option<Allocated> {
    loop {
        if let Some(allocated) = manager.allocate_blocks_with_evictions(count) {
            return Some(allocated);
        }
        in_flight.pop_front()?;
    }
}

/// Returns the FNV-1a digest of the hashes in order.
fn digest(hashes: &[PositionalLineageHash]) -> u64 {
    hashes
        .iter()
        .flat_map(|hash| hash.as_u128().to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |digest, byte| {
            (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        })
}
