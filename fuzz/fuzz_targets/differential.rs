//! Whatever a single thread does, this crate behaves exactly like the published
//! `kvbm-logical`.
//!
//! The bytes choose a configuration (every eviction policy, both duplication policies, reset
//! on release, frequency trackers, one or two managers on one registry) and operations. Both
//! crates run them side by side, and results, evicted hashes, counts, metrics, presence and
//! frequencies must agree. The driver and the comparison are those of `tests/differential`,
//! which says what is compared and what cannot be.
//!
//! When built for fuzzing, this crate keeps only two bits of its keyed hashes, so that nearly
//! all hashes of a case collide in the tables.

#![no_main]

mod draw;
#[path = "../../tests/differential/forest.rs"]
mod forest;
mod garbage;
#[path = "../../tests/differential/ops.rs"]
mod ops;
#[path = "../../tests/differential/ours.rs"]
mod ours;
#[path = "../../tests/differential/outcome.rs"]
mod outcome;
#[path = "../../tests/differential/pair.rs"]
mod pair;
#[path = "../../tests/policy/mod.rs"]
mod policy;
// Both sides compile the same driver, each against its own crate.
#[allow(clippy::duplicate_mod)]
#[path = "../../tests/differential/reference.rs"]
mod reference;
#[path = "../../tests/differential/shelf.rs"]
mod shelf;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

use draw::Draw;
use forest::Sprout;
use ops::{
    Amount, AttachmentType, Case, Config, Op, Order, RegistryOp, SecondTier, Shelf, TierConfig,
    TierOp, Tracker,
};
use policy::Policy;

const MAX_OPS: usize = 160;

/// Picks are taken modulo the number of choices, which is less than this.
const PICKS: usize = 64;

fuzz_target!(|case: Case| {
    if let Err(divergence) = pair::agree(&case) {
        panic!("{divergence}");
    }
    garbage::free();
});

impl<'b> Arbitrary<'b> for Case {
    fn arbitrary(bytes: &mut Unstructured<'b>) -> arbitrary::Result<Self> {
        let mut draw = Draw(bytes);
        let config = config(&mut draw);
        let teardown = teardown(&mut draw);
        let afterlife = draw.below(40);
        let mut ops = draw.rest(MAX_OPS, op);
        let afterlife = ops.split_off(ops.len().saturating_sub(afterlife));
        Ok(Case {
            config,
            ops,
            afterlife,
            teardown,
        })
    }
}

fn config(draw: &mut Draw) -> Config {
    let first = tier_config(draw);
    let second = match draw.below(4) {
        0 | 1 => None,
        2 => Some((SecondTier::SameType, tier_config(draw))),
        _ => Some((SecondTier::OtherType, tier_config(draw))),
    };
    let needs_tracker = first.policy.needs_tracker()
        || second
            .as_ref()
            .is_some_and(|(_, tier)| tier.policy.needs_tracker());
    let tracker = match tracker(draw) {
        Tracker::Absent if needs_tracker => Tracker::TinyLfu { capacity: 64 },
        tracker => tracker,
    };
    Config {
        sprouts: draw.several(48, sprout),
        block_size: draw.one_of(&[1, 2, 16, 64]),
        tracker,
        first,
        second,
        observe_every: draw.one_of(&[1, 3, 10, 50]),
    }
}

fn tier_config(draw: &mut Draw) -> TierConfig {
    TierConfig {
        block_count: 1 + draw.below(32),
        policy: match draw.below(8) {
            7 => {
                let first = 1 + draw.below(5) as u8;
                let second = first + 1 + draw.below(5) as u8;
                Policy::MultiLruThresholds([first, second, second + 1 + draw.below(4) as u8])
            }
            at => Policy::ALL[at],
        },
        allow_duplicates: draw.once_in(2),
        reset_on_release: draw.once_in(8),
    }
}

/// Small sketches, so that keys collide and counters saturate and decay.
fn tracker(draw: &mut Draw) -> Tracker {
    let capacity = draw.one_of(&[0, 1, 4, 16, 64]);
    match draw.below(5) {
        0 => Tracker::Absent,
        1 => Tracker::NoOp,
        2 => Tracker::TinyLfu { capacity },
        3 => Tracker::Decaying {
            capacity,
            sample: 1 + draw.below(200) as u32,
        },
        _ => Tracker::Recording { capacity },
    }
}

fn sprout(draw: &mut Draw) -> Sprout {
    let position = |draw: &mut Draw| draw.one_of(&[1, 7, 253, 254, 255, 256, 65_534]);
    match draw.below(10) {
        0..=3 => Sprout::Child(draw.below(2)),
        4..=6 => Sprout::Child(draw.below(PICKS)),
        7 => Sprout::Tokens,
        8 => Sprout::At(position(draw)),
        _ => Sprout::Orphan(position(draw)),
    }
}

fn teardown(draw: &mut Draw) -> Vec<Shelf> {
    let mut shelves = Shelf::ALL.to_vec();
    for at in 0..shelves.len() {
        let other = at + draw.below(shelves.len() - at);
        shelves.swap(at, other);
    }
    shelves
}

fn op(draw: &mut Draw) -> Op {
    match draw.below(8) {
        0..=4 => Op::Tier {
            second: false,
            op: tier_op(draw),
        },
        5 | 6 => Op::Tier {
            second: true,
            op: tier_op(draw),
        },
        _ => Op::Registry(registry_op(draw)),
    }
}

fn pick(draw: &mut Draw) -> usize {
    draw.below(PICKS)
}

fn tier_op(draw: &mut Draw) -> TierOp {
    match draw.below(48) {
        0..=5 => TierOp::Request {
            node: pick(draw),
            batch: draw.once_in(2),
        },
        6..=10 => TierOp::DropBlocks {
            pick: pick(draw),
            count: 1 + draw.below(16),
            order: draw.one_of(&[Order::OldestFirst, Order::NewestFirst, Order::Interleaved]),
        },
        11 | 12 => TierOp::Publish {
            nodes: draw.several(6, pick),
        },
        13 => TierOp::MatchPath { node: pick(draw) },
        14 => TierOp::Match {
            nodes: draw.several(8, pick),
        },
        15 => TierOp::MatchScattered {
            nodes: draw.several(8, pick),
        },
        16 => TierOp::Scan {
            nodes: draw.several(8, pick),
            touch: draw.once_in(2),
        },
        17..=19 => TierOp::Allocate {
            amount: amount(draw),
            report_evictions: draw.once_in(2),
        },
        20 => TierOp::DropMutable { pick: pick(draw) },
        21..=23 => TierOp::Stage {
            pick: pick(draw),
            node: pick(draw),
        },
        24 => TierOp::StageWrongSize {
            pick: pick(draw),
            node: pick(draw),
            excess: 1 + draw.below(3),
        },
        25 => TierOp::CompleteTokens {
            pick: pick(draw),
            node: pick(draw),
        },
        26 => TierOp::CompleteWrongSize { pick: pick(draw) },
        27 => TierOp::ResetComplete { pick: pick(draw) },
        28 => TierOp::DropComplete { pick: pick(draw) },
        29 | 30 => TierOp::Register { pick: pick(draw) },
        31 => TierOp::RegisterBatch {
            pick: pick(draw),
            count: draw.below(5),
            newest_first: draw.once_in(2),
        },
        32 | 33 => TierOp::Clone { pick: pick(draw) },
        34 => TierOp::SetEvictOnReset {
            pick: pick(draw),
            value: draw.once_in(2),
        },
        35 | 36 => TierOp::Downgrade { pick: pick(draw) },
        37 | 38 => TierOp::Upgrade { pick: pick(draw) },
        39 => TierOp::CloneWeak { pick: pick(draw) },
        40 => TierOp::DropWeak { pick: pick(draw) },
        41 => TierOp::Pin { pick: pick(draw) },
        42 => TierOp::ClonePin { pick: pick(draw) },
        43 => TierOp::DropPin { pick: pick(draw) },
        44 => TierOp::TakeHandle { pick: pick(draw) },
        45 => TierOp::TakePinHandle { pick: pick(draw) },
        46 if draw.once_in(2) => TierOp::ClearInactive,
        46 => TierOp::ResetInactive,
        // Rare, so that the managers are alive during most of a case.
        _ if draw.once_in(4) => TierOp::DropManager,
        _ => TierOp::ResetInactive,
    }
}

fn amount(draw: &mut Draw) -> Amount {
    match draw.below(10) {
        0 => Amount::Available(draw.below(2)),
        1 => Amount::Total(draw.below(2)),
        2 => Amount::Max,
        count => Amount::Exactly(count - 3),
    }
}

fn registry_op(draw: &mut Draw) -> RegistryOp {
    let kind = |draw: &mut Draw| draw.one_of(&[AttachmentType::Number, AttachmentType::Text]);
    match draw.below(18) {
        0 | 1 => RegistryOp::Register { node: pick(draw) },
        2 => RegistryOp::RegisterBatch {
            nodes: draw.several(6, pick),
            hold: draw.once_in(2),
        },
        3 | 4 => RegistryOp::Lookup {
            node: pick(draw),
            touch: draw.once_in(2),
            hold: draw.once_in(2),
        },
        5 | 6 => RegistryOp::Touch { node: pick(draw) },
        7 => RegistryOp::Count { node: pick(draw) },
        8 => RegistryOp::CloneHandle { pick: pick(draw) },
        9..=11 => RegistryOp::DropHandle { pick: pick(draw) },
        12 | 13 => RegistryOp::Attach {
            pick: pick(draw),
            kind: kind(draw),
            unique: draw.once_in(2),
            value: draw.below(100) as u64,
        },
        14 => RegistryOp::ReadAttachments {
            pick: pick(draw),
            kind: kind(draw),
        },
        15 => RegistryOp::ChangeAttachments {
            pick: pick(draw),
            kind: kind(draw),
        },
        16 => RegistryOp::OnTouch { pick: pick(draw) },
        _ => RegistryOp::FireTouch { pick: pick(draw) },
    }
}
