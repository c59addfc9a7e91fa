//! How proptest generates cases.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::forest::Sprout;
use crate::ops::{
    Amount, AttachmentType, Case, Config, Op, Order, Pick, RegistryOp, SecondTier, Shelf,
    TierConfig, TierOp, Tracker,
};
use crate::policy::Policy;

/// Generates a case: short ones for breadth, long ones for evictions under pressure. (A larger
/// minimum would keep failing cases from shrinking below it.)
pub fn case() -> impl Strategy<Value = Case> {
    let ops = prop_oneof![
        1 => vec(op(), 1..60),
        3 => vec(op(), 1..500),
    ];
    let teardown = Just(Shelf::ALL.to_vec()).prop_shuffle();
    (config(), ops, vec(op(), 0..40), teardown).prop_map(|(config, ops, afterlife, teardown)| {
        Case {
            config,
            ops,
            afterlife,
            teardown,
        }
    })
}

fn config() -> impl Strategy<Value = Config> {
    let second = prop_oneof![
        3 => Just(None),
        1 => tier_config().prop_map(|tier| Some((SecondTier::SameType, tier))),
        1 => tier_config().prop_map(|tier| Some((SecondTier::OtherType, tier))),
    ];
    (
        vec(sprout(), 16..64),
        prop::sample::select(vec![1, 2, 16, 64]),
        tracker(),
        tier_config(),
        second,
        prop::sample::select(vec![1, 3, 10, 50]),
    )
        .prop_map(
            |(sprouts, block_size, tracker, first, second, observe_every)| {
                let policies = [
                    Some(first.policy),
                    second.as_ref().map(|(_, tier)| tier.policy),
                ];
                let needs_tracker = policies
                    .into_iter()
                    .flatten()
                    .any(|policy| policy.needs_tracker());
                let tracker = match tracker {
                    Tracker::Absent if needs_tracker => Tracker::TinyLfu { capacity: 64 },
                    tracker => tracker,
                };
                Config {
                    sprouts,
                    block_size,
                    tracker,
                    first,
                    second,
                    observe_every,
                }
            },
        )
}

fn sprout() -> impl Strategy<Value = Sprout> {
    let position = prop::sample::select(vec![1u64, 7, 253, 254, 255, 256, 65_534]);
    prop_oneof![
        8 => (0usize..2).prop_map(Sprout::Child),
        6 => (0usize..64).prop_map(Sprout::Child),
        1 => Just(Sprout::Tokens),
        1 => position.clone().prop_map(Sprout::At),
        1 => position.prop_map(Sprout::Orphan),
    ]
}

/// Generates small sketches, so that keys collide and counters saturate and decay.
fn tracker() -> impl Strategy<Value = Tracker> {
    let capacity = || prop::sample::select(vec![0usize, 1, 4, 16, 64, 1024]);
    prop_oneof![
        2 => Just(Tracker::Absent),
        1 => Just(Tracker::NoOp),
        3 => capacity().prop_map(|capacity| Tracker::TinyLfu { capacity }),
        2 => (capacity(), 1u32..200)
            .prop_map(|(capacity, sample)| Tracker::Decaying { capacity, sample }),
        2 => capacity().prop_map(|capacity| Tracker::Recording { capacity }),
    ]
}

fn tier_config() -> impl Strategy<Value = TierConfig> {
    let block_count = prop_oneof![2 => 2usize..=8, 5 => 9usize..=24, 1 => 25usize..=64];
    let policy = prop_oneof![
        6 => prop::sample::select(Policy::ALL.to_vec()),
        1 => thresholds().prop_map(Policy::MultiLruThresholds),
    ];
    (
        block_count,
        policy,
        any::<bool>(),
        prop::bool::weighted(0.15),
    )
        .prop_map(
            |(block_count, policy, allow_duplicates, reset_on_release)| TierConfig {
                block_count,
                policy,
                allow_duplicates,
                reset_on_release,
            },
        )
}

fn thresholds() -> impl Strategy<Value = [u8; 3]> {
    prop::sample::subsequence((1u8..=15).collect::<Vec<_>>(), 3)
        .prop_map(|chosen| [chosen[0], chosen[1], chosen[2]])
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (prop::bool::weighted(0.35), tier_op())
            .prop_map(|(second, op)| Op::Tier { second, op }),
        1 => registry_op().prop_map(Op::Registry),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    0usize..64
}

fn nodes(max: usize) -> impl Strategy<Value = Vec<Pick>> {
    vec(pick(), 0..max)
}

fn tier_op() -> impl Strategy<Value = TierOp> {
    prop_oneof![
        30 => serving_op(),
        6 => staging_op(),
        8 => sharing_op(),
    ]
}

/// Generates whole requests and releases, which make up most of a server's operations.
fn serving_op() -> impl Strategy<Value = TierOp> {
    let order = prop::sample::select(vec![
        Order::OldestFirst,
        Order::NewestFirst,
        Order::Interleaved,
    ]);
    prop_oneof![
        14 => (pick(), any::<bool>()).prop_map(|(node, batch)| TierOp::Request { node, batch }),
        3 => nodes(6).prop_map(|nodes| TierOp::Publish { nodes }),
        2 => pick().prop_map(|node| TierOp::MatchPath { node }),
        2 => nodes(8).prop_map(|nodes| TierOp::Match { nodes }),
        2 => nodes(8).prop_map(|nodes| TierOp::MatchScattered { nodes }),
        2 => (nodes(8), any::<bool>()).prop_map(|(nodes, touch)| TierOp::Scan { nodes, touch }),
        16 => (pick(), 1usize..16, order)
            .prop_map(|(pick, count, order)| TierOp::DropBlocks { pick, count, order }),
    ]
}

/// Generates single steps of the lifecycle before registration, including errors.
fn staging_op() -> impl Strategy<Value = TierOp> {
    let amount = prop_oneof![
        8 => (0usize..6).prop_map(Amount::Exactly),
        1 => (0usize..2).prop_map(Amount::Available),
        1 => (0usize..2).prop_map(Amount::Total),
        1 => Just(Amount::Max),
    ];
    prop_oneof![
        4 => (amount, any::<bool>()).prop_map(|(amount, report_evictions)| TierOp::Allocate {
            amount,
            report_evictions
        }),
        4 => pick().prop_map(|pick| TierOp::DropMutable { pick }),
        5 => (pick(), pick()).prop_map(|(pick, node)| TierOp::Stage { pick, node }),
        1 => (pick(), pick(), 1usize..4).prop_map(|(pick, node, excess)| {
            TierOp::StageWrongSize { pick, node, excess }
        }),
        3 => (pick(), pick()).prop_map(|(pick, node)| TierOp::CompleteTokens { pick, node }),
        1 => pick().prop_map(|pick| TierOp::CompleteWrongSize { pick }),
        1 => pick().prop_map(|pick| TierOp::ResetComplete { pick }),
        2 => pick().prop_map(|pick| TierOp::DropComplete { pick }),
        4 => pick().prop_map(|pick| TierOp::Register { pick }),
        2 => (pick(), 0usize..5, any::<bool>()).prop_map(|(pick, count, newest_first)| {
            TierOp::RegisterBatch { pick, count, newest_first }
        }),
    ]
}

/// Generates clones, weak guards, pins, and rare operations on the whole pool.
fn sharing_op() -> impl Strategy<Value = TierOp> {
    let own = prop_oneof![
        3 => pick().prop_map(|pick| TierOp::Clone { pick }),
        2 => (pick(), prop::bool::weighted(0.4))
            .prop_map(|(pick, value)| TierOp::SetEvictOnReset { pick, value }),
        2 => pick().prop_map(|pick| TierOp::Pin { pick }),
        1 => pick().prop_map(|pick| TierOp::ClonePin { pick }),
        3 => pick().prop_map(|pick| TierOp::DropPin { pick }),
        1 => pick().prop_map(|pick| TierOp::TakeHandle { pick }),
        1 => pick().prop_map(|pick| TierOp::TakePinHandle { pick }),
    ];
    let weak = prop_oneof![
        3 => pick().prop_map(|pick| TierOp::Downgrade { pick }),
        5 => pick().prop_map(|pick| TierOp::Upgrade { pick }),
        1 => pick().prop_map(|pick| TierOp::CloneWeak { pick }),
        3 => pick().prop_map(|pick| TierOp::DropWeak { pick }),
    ];
    prop_oneof![
        300 => own,
        250 => weak,
        8 => Just(TierOp::ResetInactive),
        8 => Just(TierOp::ClearInactive),
        2 => Just(TierOp::DropManager),
    ]
}

fn registry_op() -> impl Strategy<Value = RegistryOp> {
    let kind = || prop::sample::select(vec![AttachmentType::Number, AttachmentType::Text]);
    let registration = prop_oneof![
        3 => pick().prop_map(|node| RegistryOp::Register { node }),
        2 => (nodes(6), any::<bool>())
            .prop_map(|(nodes, hold)| RegistryOp::RegisterBatch { nodes, hold }),
        3 => (pick(), any::<bool>(), any::<bool>())
            .prop_map(|(node, touch, hold)| RegistryOp::Lookup { node, touch, hold }),
        5 => pick().prop_map(|node| RegistryOp::Touch { node }),
        2 => pick().prop_map(|node| RegistryOp::Count { node }),
        1 => pick().prop_map(|pick| RegistryOp::CloneHandle { pick }),
        6 => pick().prop_map(|pick| RegistryOp::DropHandle { pick }),
    ];
    let attachment = prop_oneof![
        4 => (pick(), kind(), any::<bool>(), 0u64..100).prop_map(|(pick, kind, unique, value)| {
            RegistryOp::Attach { pick, kind, unique, value }
        }),
        2 => (pick(), kind()).prop_map(|(pick, kind)| RegistryOp::ReadAttachments { pick, kind }),
        2 => (pick(), kind())
            .prop_map(|(pick, kind)| RegistryOp::ChangeAttachments { pick, kind }),
        2 => pick().prop_map(|pick| RegistryOp::OnTouch { pick }),
        2 => pick().prop_map(|pick| RegistryOp::FireTouch { pick }),
    ];
    prop_oneof![3 => registration, 2 => attachment]
}
