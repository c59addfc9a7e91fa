//! A thread's events, compared with the reference's.

use kvbm_lockfree::SequenceHash;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::hash;

/// The number of positions, and therefore of hashes, that operations use.
const HASHES: u64 = 20;

#[derive(Debug, Clone)]
pub enum Op {
    /// Registers a hash.
    Register(u64),
    /// Registers several hashes in one call.
    RegisterAll(Vec<u64>),
    /// Looks up a handle.
    Match(u64),
    DropHandle(usize),
    /// Allocates and registers a block in one of the tiers.
    Fill(usize, u64),
    /// Matches a block in one of the tiers.
    MatchBlock(usize, u64),
    DropBlock(usize),
    /// Downgrades a guard to a weak one.
    Downgrade(usize),
    DropWeak(usize),
    /// Resets the inactive blocks of a tier, whose order is unspecified.
    Reset(usize),
    /// Adds a subscriber.
    Subscribe,
    /// Has a subscriber read all available events.
    Read(usize),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub blocks: [usize; 2],
    pub capacity: usize,
    /// Whether to emit events for powers of two only.
    pub is_sparse: bool,
    pub ops: Vec<Op>,
}

/// The events that a subscriber has read.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Read {
    Create(SequenceHash),
    Remove(SequenceHash),
    Lost(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let hash = 0..HASHES;
    let tier = 0..2_usize;
    prop_oneof![
        3 => hash.clone().prop_map(Op::Register),
        1 => prop::collection::vec(hash.clone(), 0..5).prop_map(Op::RegisterAll),
        1 => hash.clone().prop_map(Op::Match),
        4 => any::<usize>().prop_map(Op::DropHandle),
        6 => (tier.clone(), hash.clone()).prop_map(|(tier, hash)| Op::Fill(tier, hash)),
        2 => (tier.clone(), hash).prop_map(|(tier, hash)| Op::MatchBlock(tier, hash)),
        6 => any::<usize>().prop_map(Op::DropBlock),
        1 => any::<usize>().prop_map(Op::Downgrade),
        1 => any::<usize>().prop_map(Op::DropWeak),
        1 => tier.prop_map(Op::Reset),
        1 => Just(Op::Subscribe),
        4 => any::<usize>().prop_map(Op::Read),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (
        [2..8_usize, 2..8],
        1..64_usize,
        any::<bool>(),
        prop::collection::vec(op(), 0..200),
    )
        .prop_map(|(blocks, capacity, is_sparse, ops)| Case {
            blocks,
            capacity,
            is_sparse,
            ops,
        })
}

macro_rules! side {
    ($side:ident, $kvbm:ident) => {
        mod $side {
            use std::pin::Pin;
            use std::sync::Arc;

            use futures::{FutureExt, Stream, StreamExt};
            use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
            use $kvbm::events::{EventsManager, KvCacheEvent, PowerOfTwoPolicy};
            use $kvbm::{BlockManager, BlockRegistry};

            use super::{Case, Op, Read, hash};

            #[derive(Clone)]
            struct Upper;
            #[derive(Clone)]
            struct Lower;

            type Events =
                Pin<Box<dyn Stream<Item = Result<KvCacheEvent, BroadcastStreamRecvError>> + Send>>;

            fn read(events: &mut Events) -> Vec<Read> {
                let mut all = Vec::new();
                loop {
                    all.push(match events.next().now_or_never() {
                        None | Some(None) => return all,
                        Some(Some(Ok(KvCacheEvent::Create(hash)))) => Read::Create(hash),
                        Some(Some(Ok(KvCacheEvent::Remove(hash)))) => Read::Remove(hash),
                        Some(Some(Err(BroadcastStreamRecvError::Lagged(lost)))) => Read::Lost(lost),
                    });
                }
            }

            /// Returns the available events in an order that does not depend on theirs, or
            /// only their number if some were lost.
            fn read_unordered(events: &mut Events) -> Vec<Read> {
                let mut all = read(events);
                all.sort();
                let lost = all.iter().map(|read| match read {
                    Read::Lost(lost) => *lost,
                    _ => 0,
                });
                match lost.sum::<u64>() {
                    0 => all,
                    lost => vec![Read::Lost(lost + all.len() as u64)],
                }
            }

            macro_rules! tier {
                ($metadata:ty, $registry:expr, $blocks:expr) => {
                    BlockManager::<$metadata>::builder()
                        .block_count($blocks)
                        .block_size(1)
                        .registry($registry.clone())
                        .with_lru_backend()
                        .build()
                        .unwrap()
                };
            }

            macro_rules! fill {
                ($tier:expr, $shelf:expr, $hash:expr) => {
                    if let Some(mut blocks) = $tier.allocate_blocks(1) {
                        let block = blocks.pop().unwrap().stage(hash($hash), 1).unwrap();
                        $shelf.push($tier.register_block(block));
                    }
                };
            }

            /// Runs the operations. Returns what subscribers read, and which resets succeeded.
            pub fn run(case: &Case) -> (Vec<Vec<Read>>, Vec<bool>) {
                let mut events = EventsManager::builder().channel_capacity(case.capacity);
                if case.is_sparse {
                    events = events.policy(Arc::new(PowerOfTwoPolicy::with_range(2, 8)));
                }
                let events = Arc::new(events.build());
                let mut subscriptions: Vec<Events> = vec![Box::pin(events.subscribe_loss_aware())];
                let registry = BlockRegistry::builder()
                    .event_manager(Arc::clone(&events))
                    .build();
                let upper = tier!(Upper, registry, case.blocks[0]);
                let lower = tier!(Lower, registry, case.blocks[1]);
                let mut handles = Vec::new();
                let (mut uppers, mut lowers) = (Vec::new(), Vec::new());
                let mut weak = Vec::new();
                let mut log = Vec::new();
                let mut resets = Vec::new();
                for op in &case.ops {
                    match op {
                        Op::Register(at) => {
                            handles.push(registry.register_sequence_hash(hash(*at)));
                        }
                        Op::RegisterAll(all) => handles.extend(
                            registry.register_sequence_hashes(all.iter().map(|&at| hash(at))),
                        ),
                        Op::Match(at) => {
                            handles.extend(registry.match_sequence_hash(hash(*at), false));
                        }
                        Op::DropHandle(at) if !handles.is_empty() => {
                            drop(handles.remove(at % handles.len()));
                        }
                        Op::Fill(0, at) => fill!(upper, uppers, *at),
                        Op::Fill(_, at) => fill!(lower, lowers, *at),
                        Op::MatchBlock(0, at) => uppers.extend(upper.match_blocks(&[hash(*at)])),
                        Op::MatchBlock(_, at) => lowers.extend(lower.match_blocks(&[hash(*at)])),
                        Op::DropBlock(at) if at % 2 == 0 && !uppers.is_empty() => {
                            drop(uppers.remove(at / 2 % uppers.len()));
                        }
                        Op::DropBlock(at) if !lowers.is_empty() => {
                            drop(lowers.remove(at / 2 % lowers.len()));
                        }
                        Op::Downgrade(at) if !uppers.is_empty() => {
                            weak.push(uppers[at % uppers.len()].downgrade());
                        }
                        Op::DropWeak(at) if !weak.is_empty() => {
                            drop(weak.remove(at % weak.len()));
                        }
                        Op::Reset(tier) => {
                            log.extend(subscriptions.iter_mut().map(read));
                            let is_reset = if *tier == 0 {
                                upper.reset_inactive_pool().is_ok()
                            } else {
                                lower.reset_inactive_pool().is_ok()
                            };
                            resets.push(is_reset);
                            log.extend(subscriptions.iter_mut().map(read_unordered));
                        }
                        Op::Subscribe => {
                            subscriptions.push(Box::pin(events.subscribe_loss_aware()));
                        }
                        Op::Read(at) => {
                            let at = at % subscriptions.len();
                            log.push(read(&mut subscriptions[at]));
                        }
                        _ => {}
                    }
                }
                log.extend(subscriptions.iter_mut().map(read));
                drop((events, registry, upper, lower));
                log.extend(subscriptions.iter_mut().map(read_unordered));
                drop((uppers, lowers));
                log.extend(subscriptions.iter_mut().map(read_unordered));
                drop(weak);
                log.extend(subscriptions.iter_mut().map(read_unordered));
                drop(handles);
                log.extend(subscriptions.iter_mut().map(read_unordered));
                for events in &mut subscriptions {
                    assert_eq!(events.next().now_or_never(), Some(None));
                }
                (log, resets)
            }
        }
    };
}

side!(ours, kvbm_lockfree);
side!(reference, kvbm_logical);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn subscribers_get_the_same(case in case()) {
        let (ours, reference) = (ours::run(&case), reference::run(&case));
        prop_assert_eq!(ours.1, reference.1);
        let (ours, reference) = (ours.0, reference.0);
        if ours != reference {
            let at = ours.iter().zip(&reference).position(|(a, b)| a != b);
            return Err(TestCaseError::fail(format!(
                "reading {at:?}: {:?} and {:?}",
                at.map(|at| &ours[at]),
                at.map(|at| &reference[at]),
            )));
        }
    }
}
