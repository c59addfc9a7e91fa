//! Guards of one kind, which operations select by [`Pick`].

use crate::ops::Pick;
use crate::outcome::Outcome;

/// Calls `f` with the picked element, or does nothing if there is none.
pub fn with<G>(
    shelf: &mut Vec<G>,
    pick: Pick,
    act: impl FnOnce(&mut Vec<G>, usize) -> Outcome,
) -> Outcome {
    if shelf.is_empty() {
        return Outcome::Skipped;
    }
    let at = pick % shelf.len();
    act(shelf, at)
}

/// Drops the picked guard.
pub fn remove<G>(shelf: &mut Vec<G>, pick: Pick) -> Outcome {
    with(shelf, pick, |shelf, at| {
        drop(shelf.remove(at));
        Outcome::Done
    })
}

/// Removes and returns up to `count` adjacent guards, starting with the picked one.
pub fn take_some<G>(shelf: &mut Vec<G>, pick: Pick, count: usize) -> Vec<G> {
    if shelf.is_empty() {
        return Vec::new();
    }
    let start = pick % shelf.len();
    let end = (start + count).min(shelf.len());
    shelf.drain(start..end).collect()
}
