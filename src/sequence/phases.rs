//! Three queues that a block goes through: unassigned, staged, assigned.
//!
//! Blocks move on in the order in which they were added, so one queue per phase and one
//! count per id are enough: moving a block is O(1), and so is looking up an id.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;

use crate::BlockId;

type Queue<B> = VecDeque<(BlockId, B)>;

/// See the module documentation. Ids are added at most once, but two blocks may become the
/// same one when they are assigned.
pub(super) struct Phases<U, S, A> {
    unassigned: Queue<U>,
    staged: Queue<S>,
    assigned: Queue<A>,
    /// The number of blocks under each id.
    ids: HashMap<BlockId, usize>,
}

/// References to both fields, as the public methods return them.
fn apart<B>((id, block): &(BlockId, B)) -> (&BlockId, &B) {
    (id, block)
}

impl<U, S, A> Phases<U, S, A> {
    pub(super) fn new() -> Self {
        Self {
            unassigned: VecDeque::new(),
            staged: VecDeque::new(),
            assigned: VecDeque::new(),
            ids: HashMap::new(),
        }
    }

    pub(super) fn contains(&self, id: BlockId) -> bool {
        self.ids.contains_key(&id)
    }

    /// Returns the first of `ids` that is present already or occurs twice.
    pub(super) fn duplicate(&self, ids: impl IntoIterator<Item = BlockId>) -> Option<BlockId> {
        let mut new = HashSet::new();
        ids.into_iter()
            .find(|&id| self.contains(id) || !new.insert(id))
    }

    // ---- counts and blocks ----

    pub(super) fn unassigned(&self) -> impl ExactSizeIterator<Item = (&BlockId, &U)> {
        self.unassigned.iter().map(apart)
    }

    pub(super) fn staged(&self) -> impl ExactSizeIterator<Item = (&BlockId, &S)> {
        self.staged.iter().map(apart)
    }

    pub(super) fn assigned(&self) -> impl ExactSizeIterator<Item = (&BlockId, &A)> {
        self.assigned.iter().map(apart)
    }

    pub(super) fn get_unassigned(&self, at: usize) -> Option<(&BlockId, &U)> {
        self.unassigned.get(at).map(apart)
    }

    pub(super) fn get_staged(&self, at: usize) -> Option<(&BlockId, &S)> {
        self.staged.get(at).map(apart)
    }

    pub(super) fn get_assigned(&self, at: usize) -> Option<(&BlockId, &A)> {
        self.assigned.get(at).map(apart)
    }

    // ---- adding: the id must not be present yet ----

    pub(super) fn add_unassigned(&mut self, id: BlockId, block: U) {
        self.count(id);
        self.unassigned.push_back((id, block));
    }

    pub(super) fn add_assigned(&mut self, id: BlockId, block: A) {
        self.count(id);
        self.assigned.push_back((id, block));
    }

    fn count(&mut self, id: BlockId) {
        *self.ids.entry(id).or_default() += 1;
    }

    // ---- moving to the next phase ----

    /// Moves the first unassigned block to the staged ones, as what `stage` turns it into. If
    /// `stage` fails, the block is removed. Returns `None` if no block is unassigned.
    pub(super) fn stage_first<E>(
        &mut self,
        stage: impl FnOnce(U) -> Result<S, E>,
    ) -> Option<Result<(), E>> {
        let (id, block) = self.unassigned.pop_front()?;
        Some(match stage(block) {
            Ok(staged) => {
                self.staged.push_back((id, staged));
                Ok(())
            }
            Err(error) => {
                self.uncount(id);
                Err(error)
            }
        })
    }

    /// Moves the first staged block to the assigned ones, as what `assign` turns it into and
    /// under the id that `assign` returns. Returns `false` if no block is staged.
    pub(super) fn assign_first(&mut self, assign: impl FnOnce(BlockId, S) -> (BlockId, A)) -> bool {
        let Some((id, block)) = self.staged.pop_front() else {
            return false;
        };
        // First, since the block is gone if `assign` panics.
        self.uncount(id);
        let (id, assigned) = assign(id, block);
        self.add_assigned(id, assigned);
        true
    }

    // ---- removing ----

    pub(super) fn pop_unassigned(&mut self) -> Option<(BlockId, U)> {
        let last = self.unassigned.pop_back()?;
        self.uncount(last.0);
        Some(last)
    }

    pub(super) fn take_unassigned(&mut self) -> Vec<(BlockId, U)> {
        let taken = mem::take(&mut self.unassigned);
        self.uncount_all(&taken);
        taken.into()
    }

    pub(super) fn take_staged(&mut self) -> Vec<(BlockId, S)> {
        let taken = mem::take(&mut self.staged);
        self.uncount_all(&taken);
        taken.into()
    }

    pub(super) fn take_assigned(&mut self) -> Vec<(BlockId, A)> {
        let taken = mem::take(&mut self.assigned);
        self.uncount_all(&taken);
        taken.into()
    }

    /// Drops all blocks: the assigned ones, then the staged ones, then the unassigned ones.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.assigned.clear();
        self.staged.clear();
        self.unassigned.clear();
    }

    fn uncount_all<B>(&mut self, blocks: &Queue<B>) {
        for &(id, _) in blocks {
            self.uncount(id);
        }
    }

    fn uncount(&mut self, id: BlockId) {
        if let Entry::Occupied(mut count) = self.ids.entry(id) {
            match count.get() {
                1 => drop(count.remove()),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}
