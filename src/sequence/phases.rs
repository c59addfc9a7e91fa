//! Three queues that a block goes through: unassigned, staged, assigned.
//!
//! Blocks move in the order they came, so that a queue each and one set of all ids
//! are enough: moving is O(1), whether an id is there one look-up.

use std::collections::{HashSet, VecDeque};
use std::mem;

use crate::BlockId;

type Queue<B> = VecDeque<(BlockId, B)>;

/// See the module documentation. No id is there twice.
pub(super) struct Phases<U, S, A> {
    unassigned: Queue<U>,
    staged: Queue<S>,
    assigned: Queue<A>,
    ids: HashSet<BlockId>,
}

/// The two by reference, as the public methods give them.
fn apart<B>((id, block): &(BlockId, B)) -> (&BlockId, &B) {
    (id, block)
}

impl<U, S, A> Phases<U, S, A> {
    pub(super) fn new() -> Self {
        Self {
            unassigned: VecDeque::new(),
            staged: VecDeque::new(),
            assigned: VecDeque::new(),
            ids: HashSet::new(),
        }
    }

    pub(super) fn contains(&self, id: BlockId) -> bool {
        self.ids.contains(&id)
    }

    /// The first of `ids` that is there already or comes twice.
    pub(super) fn duplicate(&self, ids: impl IntoIterator<Item = BlockId>) -> Option<BlockId> {
        let mut new = HashSet::new();
        ids.into_iter()
            .find(|&id| self.contains(id) || !new.insert(id))
    }

    // ---- looking ----

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

    // ---- coming: the id is not there yet ----

    pub(super) fn add_unassigned(&mut self, id: BlockId, block: U) {
        let is_new = self.ids.insert(id);
        debug_assert!(is_new, "{id} is there already");
        self.unassigned.push_back((id, block));
    }

    pub(super) fn add_assigned(&mut self, id: BlockId, block: A) {
        let is_new = self.ids.insert(id);
        debug_assert!(is_new, "{id} is there already");
        self.assigned.push_back((id, block));
    }

    // ---- moving on ----

    /// Moves the first unassigned block on, as what `stage` makes of it; if that is
    /// an error the block is gone.
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
                self.ids.remove(&id);
                Err(error)
            }
        })
    }

    /// Moves the first staged block on, as what `assign` makes of it.
    pub(super) fn assign_first(&mut self, assign: impl FnOnce(S) -> A) -> bool {
        let Some((id, block)) = self.staged.pop_front() else {
            return false;
        };
        // Should `assign` panic, the block is gone.
        self.ids.remove(&id);
        let assigned = assign(block);
        self.add_assigned(id, assigned);
        true
    }

    // ---- going ----

    pub(super) fn pop_unassigned(&mut self) -> Option<(BlockId, U)> {
        let last = self.unassigned.pop_back()?;
        self.ids.remove(&last.0);
        Some(last)
    }

    pub(super) fn take_unassigned(&mut self) -> Vec<(BlockId, U)> {
        let taken = mem::take(&mut self.unassigned);
        self.forget(&taken);
        taken.into()
    }

    pub(super) fn take_staged(&mut self) -> Vec<(BlockId, S)> {
        let taken = mem::take(&mut self.staged);
        self.forget(&taken);
        taken.into()
    }

    pub(super) fn take_assigned(&mut self) -> Vec<(BlockId, A)> {
        let taken = mem::take(&mut self.assigned);
        self.forget(&taken);
        taken.into()
    }

    /// Drops all blocks: the assigned ones, the staged ones, the unassigned ones.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.assigned.clear();
        self.staged.clear();
        self.unassigned.clear();
    }

    fn forget<B>(&mut self, blocks: &Queue<B>) {
        for (id, _) in blocks {
            self.ids.remove(id);
        }
    }
}
