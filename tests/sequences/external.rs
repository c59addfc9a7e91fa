//! Assignments of ids, compared with the reference.

use std::ops::Range;

use proptest::prelude::*;

/// So few ids that duplicates are common.
const IDS: Range<usize> = 0..12;

#[derive(Debug, Clone)]
enum Op {
    /// Extends with the present ids, followed by these.
    Grow(Vec<usize>),
    /// Extends with these ids only, whichever are present.
    ExtendIds(Vec<usize>),
    /// Adds these ids with the hashes of the sequence from this position on.
    ExtendAssigned(Vec<usize>, usize),
    /// Stages with this range of the blocks of the sequence.
    Stage(Range<usize>),
    Assign(Range<usize>),
    Commit,
    TakeStaged,
    Clear,
}

fn ids() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(IDS, 0..6)
}

/// Generates a range that mostly starts at 0, as it should.
fn blocks() -> impl Strategy<Value = Range<usize>> {
    prop_oneof![
        5 => (0..12usize).prop_map(|end| 0..end),
        1 => (0..4usize, 4..12usize).prop_map(|(start, end)| start..end),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => ids().prop_map(Op::Grow),
        2 => ids().prop_map(Op::ExtendIds),
        2 => (ids(), 0..6usize).prop_map(|(ids, from)| Op::ExtendAssigned(ids, from)),
        3 => blocks().prop_map(Op::Stage),
        3 => blocks().prop_map(Op::Assign),
        2 => Just(Op::Commit),
        1 => Just(Op::TakeStaged),
        1 => Just(Op::Clear),
    ]
}

macro_rules! side {
    ($name:ident, $krate:ident) => {
        fn $name(offset: usize, other: usize, ops: &[Op]) -> Vec<String> {
            use $krate::{BlockSequence, ExternalBlockAssignments};

            let sequence = BlockSequence::new((0..48).collect(), 4, None);
            let hashes = sequence.all_sequence_hashes();
            // Another tier, half of whose blocks are assigned.
            let mut tier = ExternalBlockAssignments::new(other);
            tier.extend_block_ids(100..103).unwrap();
            tier.assign_pending(sequence.blocks()).unwrap();
            tier.extend_block_ids(100..106).unwrap();

            let mut all = ExternalBlockAssignments::new(offset);
            let mut seen = Vec::new();
            for op in ops {
                let answer = match op.clone() {
                    Op::Grow(ids) => {
                        let there: Vec<_> = all
                            .assigned_iter()
                            .chain(all.staged_iter())
                            .map(|(id, _)| id)
                            .chain(all.unassigned_iter())
                            .collect();
                        let list = there.into_iter().chain(ids);
                        format!(
                            "{:?}",
                            all.extend_block_ids(list).map_err(|e| e.to_string())
                        )
                    }
                    Op::ExtendIds(ids) => {
                        format!("{:?}", all.extend_block_ids(ids).map_err(|e| e.to_string()))
                    }
                    Op::ExtendAssigned(ids, from) => {
                        let items = ids.into_iter().zip(hashes[from..].iter().copied());
                        format!(
                            "{:?}",
                            all.extend_assigned(items).map_err(|e| e.to_string())
                        )
                    }
                    Op::Stage(blocks) => {
                        let staged = all.stage_pending(&sequence.blocks()[blocks]);
                        format!("{:?}", staged.map_err(|e| e.to_string()))
                    }
                    Op::Assign(blocks) => {
                        let assigned = all.assign_pending(&sequence.blocks()[blocks]);
                        format!("{:?}", assigned.map_err(|e| e.to_string()))
                    }
                    Op::Commit => format!("{:?}", all.commit_staged()),
                    Op::TakeStaged => format!("{:?}", all.take_staged()),
                    Op::Clear => {
                        all.clear();
                        String::new()
                    }
                };
                let at: Vec<_> = (0..14)
                    .map(|at| {
                        (
                            all.get_assigned(at),
                            all.get_staged(at),
                            all.get_at_position(at),
                            all.get_pending_at_position(at),
                            all.contains(&at),
                        )
                    })
                    .collect();
                seen.push(format!(
                    "{op:?}: {answer}\n{all:?} {:?} {:?} {:?} {} {}\n{:?} {:?} {:?}\n{at:?}\n\
                     {:?} {:?} {:?}",
                    all.assigned_positions(),
                    all.staged_positions(),
                    all.pending_positions(),
                    all.next_position(),
                    all.offset(),
                    all.assigned_iter().collect::<Vec<_>>(),
                    all.staged_iter().collect::<Vec<_>>(),
                    all.unassigned_iter().collect::<Vec<_>>(),
                    $krate::zip_assigned(&all, &tier),
                    $krate::zip_assigned_pending(&all, &tier),
                    $krate::zip_assigned_pending(&tier, &all),
                ));
            }
            seen
        }
    };
}

side!(ours, kvbm_lockfree);
side!(reference, kvbm_logical);

proptest! {
    #[test]
    fn ids_are_assigned_alike(
        offset in 0..4usize,
        other in 0..6usize,
        ops in prop::collection::vec(op(), 1..30),
    ) {
        prop_assert_eq!(ours(offset, other, &ops), reference(offset, other, &ops));
    }
}
