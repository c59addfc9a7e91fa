//! Loom models: every interleaving of a few threads, up to a bound.
//!
//! ```sh
//! RUSTFLAGS="--cfg kvbm_loom" cargo test --release --lib --target-dir target/loom models::
//! ```
//!
//! Each file models one part, or the pairs of operations that can meet on one block, one entry
//! or one shard.
//!
//! | models of | are in |
//! |---|---|
//! | the engine's parts | `engine::models` |
//! | whole managers | `lifecycle` |
//! | leases that expire | `leases` |
//! | the registry, and events | `registry` |
//!
//! # What does loom explore?
//!
//! It runs a model again and again: once for each way in which its threads can take turns, and
//! for each value that a load may return; and it fails on the first run that breaks an
//! assertion. It explores up to `LOOM_MAX_PREEMPTIONS` preemptions per run, or 2 if that
//! variable is not set. A switch at the end of a thread, or where one yields, does not count.
//!
//! # Where does loom differ from the memory model?
//!
//! * It treats sequentially consistent accesses as acquire-release. Sequentially consistent
//!   fences are modelled.
//! * loom 0.7 lets a plain store be ordered between the two halves of an exchange
//!   (<https://github.com/tokio-rs/loom/issues/254>). A model may therefore fail without a
//!   fault in the code if an atomic is both stored to and exchanged, unless an exchange that
//!   changes nothing writes nothing.
//!
//! # What the models catch
//!
//! Each of these changes was made, and made the model fail (among others):
//!
//! | change | model that fails |
//! |---|---|
//! | `Slot::unmark_queued` reads the word, then clears the mark | `plane::a_pin_and_a_drain` |
//! | `unmark_queued` without release, or `mark_queued` without acquire | `release_log::a_slot_is_queued_again_while_it_is_drained` |
//! | `unmark_queued` without acquire | `plane::a_drain_and_the_next_tenancy` |
//! | `pin` relaxed | `release_log::a_pin_against_a_late_push_and_its_drain` |
//! | `unpin_last` without acquire | `release_log::a_last_unpin_against_a_late_push_and_its_drain` |
//! | `unpin_last` or `unpin_shared` without release | `slot::holders_release_before_a_claim` |
//! | `vacate` without acquire | `sweep::two_sweeps_a_pin_and_its_unpin` |
//! | `vacate` or `pin` from a word that was read again | `slot::two_pins_and_a_claim` |
//! | `vacate` leaves the generation as it is | `slot::a_pin_or_a_claim_wins` |
//! | `word` relaxed, `is_tenancy` without its fence, or `set_key` relaxed | `slot::a_reader_tells_tenancies_apart` |
//! | `promote` does not check the generation | `index::a_late_helper_leaves_the_next_registration_alone` |
//! | `begin` and `promote` relaxed | `slot::a_pin_or_a_claim_wins` |
//! | a drain does not check the tenancy | `plane::a_drain_lists_what_it_saw` |
//! | a drain skips a block that was discarded after its word was read | `plane::a_discard_and_a_drain` |
//! | push or drain relaxed, or a drain by load and store | `release_log::two_pushes_and_a_drain` |
//! | a push that fails does not link anew | `release_log::two_pushes_and_a_drain` |
//! | a drain reads the link after the visit | `release_log::a_slot_is_queued_again_while_it_is_drained` |
//! | `put` relaxed, or without the announcement | `freelist::two_takes_and_a_put` |
//! | `retract` does not look again, or summaries relaxed | `freelist::two_takes_and_a_put` |
//! | blocks are taken relaxed | `freelist::a_block_comes_back` |
//! | links are exchanged without release | `index::one_of_two_registrations_wins` |
//! | links without versions | `index::the_head_comes_back` |
//! | the head is exchanged as it is, not as it was when the walk began | `index::one_of_two_registrations_wins` |
//! | a pending slot counts as absent, or is not promoted | `index::a_registration_is_completed_by_another` |
//! | a walk does not check the cell that it came by | `index::a_slot_moves_under_a_walker` |
//! | a slot's link is stored relaxed before the slot is linked | `index::a_slot_moves_under_a_walker` |
//! | a walk goes past a dead link | `index::a_walk_past_two_that_are_unlinked` |
//! | an unlink sweeps only once | `index::two_neighbours_are_unlinked` |
//! | the try-lock is taken or released relaxed, or released by a failed attempt | `try_lock::holders_take_turns` |
//! | a leaf-first sweep takes parents | `sweep::two_leaf_first_sweeps` |
//! | `vacate_unheld` takes pinned blocks | `sweep::a_sweep_and_a_pin` |
//! | a reservation is refused while other shards are open | `credits::demands_that_fit_are_never_refused` |
//! | the phase of a shard is read before the central balance | `credits::a_release_meets_a_fold` |
//! | shard balances without versions | `credits::a_shard_is_granted_the_same_again` |
//! | a central balance without versions | `credits::a_shard_has_the_same_balance_again` |
//! | a shard is opened whatever the folded bit says | `credits::two_threads_open_a_shard` |
//! | a retired store does not notice that it is in use again | `credits::an_upgrade_meets_the_end_with_only_the_central_balance` |
//! | a watermark is not re-armed | `watermark::two_falls_at_once` |
//! | a fall is marked without the fence | `watermark::a_fall_a_rise_and_a_fall` |
//! | the mark of a fall is cleared without the fence | `watermark::two_falls_at_once` |
//! | the mark of a fall is cleared after the sum | `watermark::a_fall_and_a_momentary_fall` |
//! | a directive ignores the slot's generation | `plane::a_late_directive_and_the_next_tenancy` |
//! | the directive of an earlier tenancy is removed although it is announced | `plane::a_drain_and_a_directive_for_the_next_tenancy` |
//! | a directive is written relaxed, or what it replaces is read relaxed | `plane::a_late_directive_and_the_next_tenancy` |
//! | the announced mark is cleared after the directive was read | `plane::two_directives_and_a_drain` |
//! | a directive is not announced | `plane::a_directive_a_release_and_a_drain` |
//! | a block is listed without a look at its directive | `plane::a_directive_a_release_and_a_drain` |
//! | a drain does not forward a block that another order lists | `shards::a_release_is_applied_while_the_use_before_it_is` |
//! | a directive is read by a load when its block is listed | `shards::a_directive_is_announced_to_one_order_while_the_other_lists_the_block` |
//! | a drain that has taken the key of a log trusts a load that finds the log empty | `shards::two_releases_of_a_shard_and_a_drain` |
//! | a match without a credit | `lifecycle::match_against_eviction_lru` |
//! | a credit is returned before its block | `lifecycle::match_against_eviction_lru` |
//! | a last unpin does not queue the slot | `lifecycle::release_against_release` |
//! | a check for presence does not check the tenancy | `lifecycle::a_presence_check_meets_a_block_that_is_only_staged` |
//! | the place of an event is filled relaxed, or its state is read relaxed | `events::values_are_drained_once_and_in_order` |
//! | a pusher whose place is passed over is not counted among the users of the segment | `events::values_are_drained_once_and_in_order` |
//! | a segment is pushed, claimed or drained relaxed | `events::values_are_drained_once_and_in_order` |
//! | a segment is left relaxed | `events::a_place_is_passed_over` |
//!
//! # What no model catches
//!
//! These changes fail no model, for the reasons given:
//!
//! * `promote` relaxed: `begin` has published the fields, and an exchange passes that on.
//! * `mark_queued` without release: the push that follows publishes what led to it.
//! * `vacate` without release: the stores and exchanges of the next tenancy publish themselves.
//! * The stack of announced slots relaxed, or the announced mark cleared relaxed: with one slot
//!   there is no link to be read, and the exchanges of the mark are in one order anyway.
//! * A push onto a release log without acquire: too few preemptions are explored for a drain to clear
//!   the key of the log in between.
//! * A summary bit that is cleared late, or in spite of its neighbours: takers correct both, at
//!   the cost of a detour.
//!
//! It is not known whether these are needed: the acquire of an exchange of links, the acquire
//! of a walk's load of the next link, the fence of a walk, and the check of the cell in
//! `Index::sweep`.

mod leases;
mod lifecycle;
mod registry;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::thread::JoinHandle;

use crate::sync::{canary, thread};

/// The preemptions explored per run, if the environment does not say.
const PREEMPTIONS: usize = 2;

/// Explores all interleavings of a model, and prints how many runs that took.
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_up_to(PREEMPTIONS, model);
}

/// Explores the interleavings of a model with up to this number of preemptions.
fn explore_up_to(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
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

/// Starts a thread of the model whose home is shard `home`.
pub(crate) fn spawn<R: 'static>(home: usize, f: impl FnOnce() -> R + 'static) -> JoinHandle<R> {
    loom::thread::spawn(move || {
        thread::set_index(home);
        f()
    })
}
