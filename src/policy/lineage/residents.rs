//! Where each slot is in the graph.
//!
//! A slot that was never listed is all zero, as new memory is. So creating the array touches none of
//! it.

/// A slot's place in the graph.
#[derive(Clone, Copy)]
pub(super) struct Resident {
    /// The node the block is, or last was, a resident of. Once the block is taken out, this
    /// is only a guess, which is right if the node stayed as a ghost.
    pub(super) node: u32,
    /// The node of the block's parent; `NIL` if it has none.
    pub(super) parent: u32,
    /// The ring of twins in order of listing. A block without twins links to itself. `NIL`
    /// while the slot is not listed.
    pub(super) next: u32,
    pub(super) prev: u32,
}

/// The indices of the fields. The link to the next twin is stored plus one, so that `NIL` is zero.
const NODE: usize = 0;
const PARENT: usize = 1;
const NEXT: usize = 2;
const PREV: usize = 3;

pub(super) struct Residents(Box<[[u32; 4]]>);

impl Residents {
    pub(super) fn new(slots: usize) -> Self {
        Self(vec![[0; 4]; slots].into_boxed_slice())
    }

    #[inline(always)]
    pub(super) fn get(&self, slot: u32) -> Resident {
        let at = &self.0[slot as usize];
        Resident {
            node: at[NODE],
            parent: at[PARENT],
            next: at[NEXT].wrapping_sub(1),
            prev: at[PREV],
        }
    }

    #[inline(always)]
    pub(super) fn set(&mut self, slot: u32, resident: Resident) {
        let at = &mut self.0[slot as usize];
        at[NODE] = resident.node;
        at[PARENT] = resident.parent;
        at[NEXT] = resident.next.wrapping_add(1);
        at[PREV] = resident.prev;
    }

    #[inline(always)]
    pub(super) fn set_next(&mut self, slot: u32, next: u32) {
        self.0[slot as usize][NEXT] = next.wrapping_add(1);
    }

    /// Sets the link to the twin before. Returns what it was.
    pub(super) fn replace_prev(&mut self, slot: u32, prev: u32) -> u32 {
        std::mem::replace(&mut self.0[slot as usize][PREV], prev)
    }

    #[inline(always)]
    pub(super) fn is_listed(&self, slot: u32) -> bool {
        self.0[slot as usize][NEXT] != 0
    }

    /// Returns the number of listed slots. O(slots).
    pub(super) fn listed(&self) -> usize {
        self.0.iter().filter(|at| at[NEXT] != 0).count()
    }

    /// Returns whether `slot` is a slot.
    pub(super) fn has(&self, slot: u32) -> bool {
        (slot as usize) < self.0.len()
    }
}
