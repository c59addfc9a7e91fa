//! Compares two assignments of one sequence, to plan a transfer between tiers.

use super::ExternalBlockAssignments;
use crate::BlockId;

/// Returns the positions at which both `a` and `b` have an assigned block, in ascending order,
/// each with the id in `a` and the id in `b`. Allocates the vector.
///
/// ```
/// use kvbm_lockfree::{BlockSequence, ExternalBlockAssignments, zip_assigned};
///
/// let prompt = BlockSequence::new((0..12).collect(), 4, None);
/// let mut gpu = ExternalBlockAssignments::new(0);
/// gpu.extend_block_ids([10, 11])?;
/// gpu.assign_pending(prompt.blocks())?;
/// let mut host = ExternalBlockAssignments::new(1);
/// host.extend_block_ids([5, 6])?;
/// host.assign_pending(prompt.blocks())?;
/// assert_eq!(zip_assigned(&gpu, &host), [(1, 11, 5)]);
/// # Ok::<(), kvbm_lockfree::sequence::BlockSequenceError>(())
/// ```
pub fn zip_assigned(
    a: &ExternalBlockAssignments,
    b: &ExternalBlockAssignments,
) -> Vec<(usize, BlockId, BlockId)> {
    let start = a.offset().max(b.offset());
    (start..)
        .map_while(|at| Some((at, a.get_at_position(at)?.0, b.get_at_position(at)?.0)))
        .collect()
}

/// Returns the positions at which `src` has an assigned block and `dst` an unassigned one, in
/// ascending order, each with the id in `src` and the id in `dst`: which block to copy where.
/// Allocates the vector.
///
/// ```
/// use kvbm_lockfree::{BlockSequence, ExternalBlockAssignments, zip_assigned_pending};
///
/// let prompt = BlockSequence::new((0..8).collect(), 4, None);
/// let mut gpu = ExternalBlockAssignments::new(0);
/// gpu.extend_block_ids([10, 11])?;
/// gpu.assign_pending(prompt.blocks())?;
/// let mut host = ExternalBlockAssignments::new(0);
/// host.extend_block_ids([5, 6])?;
/// assert_eq!(zip_assigned_pending(&gpu, &host), [(0, 10, 5), (1, 11, 6)]);
/// # Ok::<(), kvbm_lockfree::sequence::BlockSequenceError>(())
/// ```
pub fn zip_assigned_pending(
    src: &ExternalBlockAssignments,
    dst: &ExternalBlockAssignments,
) -> Vec<(usize, BlockId, BlockId)> {
    let start = src.offset().max(dst.next_position());
    (start..)
        .map_while(|at| {
            let from = src.get_at_position(at)?.0;
            Some((at, from, dst.get_pending_at_position(at)?))
        })
        .collect()
}
