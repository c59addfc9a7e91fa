//! Loom models: every interleaving of a few threads, within a bound.
//!
//! ```sh
//! RUSTFLAGS="--cfg kvbm_loom" cargo test --release --lib --target-dir target/loom models::
//! ```
//!
//! Each file models one part, or the pairs of operations that can meet on one
//! block, one entry or one shard. Loom runs a model again and again, once for each
//! way in which its threads can take turns and for each value that a load may
//! see, and fails on the first that breaks an assertion. It explores up to
//! `LOOM_MAX_PREEMPTIONS` preemptions a run, 2 where the variable is not set;
//! a switch of threads at the end of one or where one yields is not counted.
//!
//! Loom takes sequentially consistent accesses for acquire-release ones, and
//! models sequentially consistent fences.
//!
//! loom 0.7 lets a plain store be ordered between the two halves of an exchange
//! (<https://github.com/tokio-rs/loom/issues/254>). An atomic that is both stored
//! to and exchanged can therefore fail a model without a fault of its own, unless
//! an exchange that changes nothing writes nothing.
//!
//! # What the models catch
//!
//! Each of these changes was made, and made the model fail (among others):
//!
//! | change | model that fails |
//! |---|---|
//! | `Slot::unmark_queued` reads the word and then clears the mark | `plane::a_pin_and_a_drain` |
//! | `unmark_queued` without release, or `mark_queued` without acquire | `release_log::a_slot_is_queued_again_while_it_is_drained` |
//! | `unmark_queued` without acquire | `plane::a_drain_and_the_next_tenancy` |
//! | `pin` relaxed | `release_log::a_pin_against_a_late_note_and_its_drain` |
//! | `unpin_last` without acquire | `release_log::a_last_unpin_against_a_late_note_and_its_drain` |
//! | `unpin_last` or `unpin_shared` without release | `slot::holders_let_go_before_a_claim` |
//! | `vacate` without acquire | `sweep::two_sweeps_and_a_pin_that_is_taken_off` |
//! | `vacate` or `pin` from a word read anew | `slot::two_pins_and_a_claim` |
//! | `vacate` that leaves the generation | `slot::a_pin_or_a_claim_wins` |
//! | `word` relaxed, `is_tenancy` without its fence, or `set_key` relaxed | `slot::a_reader_tells_tenancies_apart` |
//! | `promote` without the check of the generation | `index::a_late_helper_leaves_the_next_registration_alone` |
//! | `begin` and `promote` relaxed | `slot::a_pin_or_a_claim_wins` |
//! | a drain without the check of the tenancy | `plane::a_drain_lists_what_it_saw` |
//! | a drain that passes over what has been discarded since its note | `plane::a_discard_and_a_drain` |
//! | push or drain relaxed, a drain by load and store | `release_log::two_pushes_and_a_drain` |
//! | a push that fails and does not link anew | `release_log::two_pushes_and_a_drain` |
//! | a drain that reads the link after the visit | `release_log::a_slot_is_queued_again_while_it_is_drained` |
//! | `put` relaxed, or without the announcement | `freelist::two_takes_and_a_put` |
//! | `retract` without the second look, summaries relaxed | `freelist::two_takes_and_a_put` |
//! | blocks taken relaxed | `freelist::a_block_comes_back` |
//! | links exchanged without release | `index::one_of_two_registrations_wins` |
//! | links without versions | `index::the_head_comes_back` |
//! | the head exchanged as it is, not as the walk began | `index::one_of_two_registrations_wins` |
//! | a pending slot taken for absent, or not promoted | `index::a_registration_is_finished_by_another` |
//! | a walk that does not check the cell it came by | `index::a_slot_moves_under_a_walker` |
//! | a slot's link stored relaxed before it is linked | `index::a_slot_moves_under_a_walker` |
//! | a walk that goes past a dead link | `index::a_walk_past_two_that_are_unlinked` |
//! | an unlink that sweeps only once | `index::two_neighbours_are_unlinked` |
//! | the try-lock taken or let go of relaxed, or let go of by a failed try | `try_lock::holders_take_turns` |
//! | a victim cache that does not mark its blocks | `victim_cache::a_release_takes_a_block_back` |
//! | a leaf-first sweep that takes parents | `sweep::two_leaf_first_sweeps` |
//! | `vacate_inactive` that takes pinned blocks | `sweep::a_sweep_and_a_pin` |
//! | a refusal with other shards open | `credits::demands_that_fit_are_never_refused` |
//! | the phase of a shard read before the central balance | `credits::a_release_meets_a_fold` |
//! | shard balances without versions | `credits::a_grant_is_as_it_was` |
//! | a central balance without versions | `credits::a_shard_is_as_it_was` |
//! | a shard opened whatever the folded bit says | `credits::two_that_open` |
//! | a retired store that comes back to life unnoticed | `credits::an_upgrade_meets_the_end_with_one_pot` |
//! | a watermark that is not armed again | `watermark::two_that_fall_together` |
//! | a fall marked without the fence | `watermark::a_fall_a_rise_and_a_fall` |
//! | a mark taken off without the fence | `watermark::two_that_fall_together` |
//! | a mark taken off after the sum | `watermark::a_fall_and_one_for_a_moment` |
//! | a directive whatever the slot's generation | `plane::a_late_directive_and_the_next_tenancy` |
//! | what was said of an earlier tenancy taken out though it is announced | `plane::a_drain_and_what_is_said_of_the_next_tenancy` |
//! | a directive relaxed, or what it replaces read relaxed | `plane::a_late_directive_and_the_next_tenancy` |
//! | a mark taken off after the directive was read | `plane::two_directives_and_a_drain` |
//! | a directive that is not announced | `plane::a_directive_a_release_and_a_drain` |
//! | a block listed without a look at its directive | `plane::a_directive_a_release_and_a_drain` |
//! | a match without a credit | `lifecycle::match_against_eviction_lru` |
//! | a credit returned before its block | `lifecycle::match_against_eviction_lru` |
//! | a last unpin that leaves no note | `lifecycle::release_against_release` |
//! | a look-up for presence that does not check the tenancy | `lifecycle::a_look_for_blocks_meets_a_block_that_is_only_staged` |
//! | lineage that drains only the stack of its shard | `lifecycle::leaves_first` |
//!
//! # What no model catches
//!
//! * `promote` relaxed: `begin` has published the fields, and an exchange passes
//!   that on.
//! * `mark_queued` without release: the push that follows publishes what led to it.
//! * `vacate` without release: the stores and exchanges of the next tenancy
//!   publish themselves.
//! * The announced stack relaxed, and the mark taken off relaxed: with one slot there is
//!   no link to be read, and the marks' exchanges are in one order anyhow.
//! * A directive that is read relaxed: the plane is let go of and taken in order.
//! * A summary bit that is cleared late, or one that is cleared in spite of its
//!   neighbours: takers correct both, at the cost of a detour.
//! * `Queue::pop` that does not look at the mark: it costs a block its place in
//!   the eviction order, nothing else.
//!
//! Not known to be needed, and not known not to be: the acquire of an exchange of
//! links, that of a walk's load of the next link, the fence of a walk, and the
//! check of the cell in `Index::sweep`.

mod lifecycle;
mod registry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::thread::JoinHandle;

use crate::sync::{canary, thread};

/// Preemptions explored where the environment does not say.
const PREEMPTIONS: usize = 2;

/// Explores a model.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.max_branches = 100_000;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        canary::begin();
        model();
    });
    println!("{} runs", runs.load(Relaxed));
}

/// Starts a thread whose home is shard `home`.
pub(crate) fn spawn<R: 'static>(home: usize, f: impl FnOnce() -> R + 'static) -> JoinHandle<R> {
    loom::thread::spawn(move || {
        thread::set_index(home);
        f()
    })
}
