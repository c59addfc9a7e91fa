//! Three queues that a block goes through: unassigned, staged, assigned.
//!
//! Blocks move in the order they came, so that a queue each and one count of all ids
//! are enough: moving is O(1), whether an id is there one look-up.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem;

use crate::BlockId;

type Queue<B> = VecDeque<(BlockId, B)>;

/// See the module documentation. No id comes twice; two blocks may become one when
/// they are assigned.
pub(super) struct Phases<U, S, A> {
    unassigned: Queue<U>,
    staged: Queue<S>,
    assigned: Queue<A>,
    /// How many blocks there are under each id.
    ids: HashMap<BlockId, usize>,
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
            ids: HashMap::new(),
        }
    }

    pub(super) fn contains(&self, id: BlockId) -> bool {
        self.ids.contains_key(&id)
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
                self.forget(id);
                Err(error)
            }
        })
    }

    /// Moves the first staged block on, as what `assign` makes of it, under the id
    /// that it has then.
    pub(super) fn assign_first(&mut self, assign: impl FnOnce(BlockId, S) -> (BlockId, A)) -> bool {
        let Some((id, block)) = self.staged.pop_front() else {
            return false;
        };
        // Should `assign` panic, the block is gone.
        self.forget(id);
        let (id, assigned) = assign(id, block);
        self.add_assigned(id, assigned);
        true
    }

    // ---- going ----

    pub(super) fn pop_unassigned(&mut self) -> Option<(BlockId, U)> {
        let last = self.unassigned.pop_back()?;
        self.forget(last.0);
        Some(last)
    }

    pub(super) fn take_unassigned(&mut self) -> Vec<(BlockId, U)> {
        let taken = mem::take(&mut self.unassigned);
        self.forget_all(&taken);
        taken.into()
    }

    pub(super) fn take_staged(&mut self) -> Vec<(BlockId, S)> {
        let taken = mem::take(&mut self.staged);
        self.forget_all(&taken);
        taken.into()
    }

    pub(super) fn take_assigned(&mut self) -> Vec<(BlockId, A)> {
        let taken = mem::take(&mut self.assigned);
        self.forget_all(&taken);
        taken.into()
    }

    /// Drops all blocks: the assigned ones, the staged ones, the unassigned ones.
    pub(super) fn clear(&mut self) {
        self.ids.clear();
        self.assigned.clear();
        self.staged.clear();
        self.unassigned.clear();
    }

    fn forget_all<B>(&mut self, blocks: &Queue<B>) {
        for &(id, _) in blocks {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: BlockId) {
        if let Entry::Occupied(mut count) = self.ids.entry(id) {
            match count.get() {
                1 => drop(count.remove()),
                _ => *count.get_mut() -= 1,
            }
        }
    }
}
