//! No block is registered before all of its tokens are computed, and positions reflect what
//! a request holds. One test for each way in which `kvbm-logical` behaves differently.
//!
//! A block is *matchable* if another request would find it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kvbm_lockfree::{
    ApplyError, BlockManager, BlockRegistry, BlockSequence, DecodeOutcome, RequestSequence,
    SchedulableSequence, ScheduleError, SequenceHash, SequenceState,
};

use super::schedules::Tier;

const SIZE: usize = 16;
const PROMPT: usize = 64;

fn manager(block_count: usize, block_size: usize) -> BlockManager<Tier> {
    BlockManager::builder()
        .block_count(block_count)
        .block_size(block_size)
        .registry(BlockRegistry::new())
        .build()
        .unwrap()
}

fn pool() -> BlockManager<Tier> {
    manager(16, SIZE)
}

fn prompt() -> Vec<u32> {
    (0..PROMPT as u32).collect()
}

fn request() -> SchedulableSequence<Tier> {
    SchedulableSequence::new(prompt(), 100, SIZE as u32, None)
}

fn hashes(tokens: Vec<u32>) -> Vec<SequenceHash> {
    BlockSequence::new(tokens, SIZE as u32, None).all_sequence_hashes()
}

/// Returns how many blocks of the prompt another request would find.
fn matchable(manager: &BlockManager<Tier>) -> usize {
    manager.match_blocks(&hashes(prompt())).len()
}

/// Returns how many blocks of all known tokens another request would find.
fn matchable_of(request: &SchedulableSequence<Tier>, manager: &BlockManager<Tier>) -> usize {
    let hashes = request.inner().sequence().all_sequence_hashes();
    manager.match_blocks(&hashes).len()
}

fn evict_all(manager: &BlockManager<Tier>) {
    let all = manager.allocate_blocks(manager.available_blocks());
    assert!(all.is_some());
}

fn prefill(
    request: &mut SchedulableSequence<Tier>,
    num_tokens: usize,
    token: Option<u32>,
    manager: &BlockManager<Tier>,
) {
    request.schedule_prefill(num_tokens, manager).unwrap();
    request.apply_prefill(token, manager).unwrap();
}

fn decode(request: &mut SchedulableSequence<Tier>, token: u32, manager: &BlockManager<Tier>) {
    request.schedule_decode(manager).unwrap();
    request.apply_decode(token, manager).unwrap();
}

fn positions(request: &SchedulableSequence<Tier>) -> (usize, usize) {
    (request.prefill_position(), request.kv_position())
}

// ---- chunks ----

#[test]
fn a_chunk_that_ends_within_a_block_registers_the_blocks_before_it() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, 20, None, &manager);
    assert_eq!(matchable(&manager), 1);
    assert_eq!(
        (request.assigned_blocks(), request.unassigned_blocks()),
        (1, 1)
    );
    // The next chunk starts within a block that is held already.
    request.schedule_prefill(28, &manager).unwrap();
    assert_eq!(
        request.state(),
        SequenceState::PrefillScheduled {
            num_tokens: 28,
            blocks_allocated: 1
        }
    );
    request.apply_prefill(None, &manager).unwrap();
    assert_eq!(matchable(&manager), 3);
    assert_eq!(positions(&request), (48, 48));
}

// ---- release and resumption ----

#[test]
fn blocks_that_were_not_computed_are_reacquired_unregistered() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, 16, None, &manager);
    request.release().unwrap();
    assert!(request.reacquire(&manager).unwrap());
    assert_eq!(matchable(&manager), 1);
    assert_eq!(positions(&request), (16, 16));
    // All blocks are allocated, for prefill to fill.
    request.schedule_prefill(48, &manager).unwrap();
    assert_eq!(
        request.state(),
        SequenceState::PrefillScheduled {
            num_tokens: 48,
            blocks_allocated: 0
        }
    );
    request.apply_prefill(Some(100), &manager).unwrap();
    assert_eq!(matchable(&manager), 4);
}

#[test]
fn a_request_whose_blocks_were_evicted_begins_again() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    assert_eq!(matchable(&manager), 4);
    request.release().unwrap();
    assert_eq!(positions(&request), (0, 0));
    evict_all(&manager);
    assert!(request.reacquire(&manager).unwrap());
    assert_eq!(matchable(&manager), 0);
    assert_eq!(positions(&request), (0, 0));
    assert!(!request.is_prefill_complete());

    // Prefill in chunks, including the token that was sampled before.
    prefill(&mut request, 40, None, &manager);
    assert_eq!(matchable(&manager), 2);
    prefill(&mut request, 24, None, &manager);
    assert_eq!(matchable(&manager), 4);
    assert_eq!(positions(&request), (64, 64));
    assert_eq!(request.tail_tokens(), 1);
    decode(&mut request, 101, &manager);
    assert_eq!((request.total_tokens(), request.kv_position()), (66, 65));
}

#[test]
fn a_chunk_that_reaches_the_last_known_token_yields_the_next() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    decode(&mut request, 101, &manager);
    request.release().unwrap();
    evict_all(&manager);
    let refused = request.schedule_prefill(67, &manager);
    assert!(matches!(
        refused,
        Err(ScheduleError::PrefillOverrun {
            position: 0,
            num_tokens: 67,
            num_input_tokens: 66
        })
    ));
    request.schedule_prefill(66, &manager).unwrap();
    let refused = request.apply_prefill(None, &manager);
    assert!(matches!(refused, Err(ApplyError::MissingTokenOnFinalChunk)));
    request.apply_prefill(Some(102), &manager).unwrap();
    assert_eq!(matchable(&manager), 4);
    assert_eq!((request.kv_position(), request.tail_tokens()), (66, 1));
    decode(&mut request, 103, &manager);
}

#[test]
fn a_decode_without_blocks_says_what_is_missing() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    request.release().unwrap();
    evict_all(&manager);
    for _ in 0..2 {
        for refused in [
            request.schedule_decode(&manager),
            request.schedule_speculative(3, &manager),
        ] {
            assert!(matches!(
                refused,
                Err(ScheduleError::PrefillNotComplete {
                    position: 0,
                    num_input_tokens: PROMPT
                })
            ));
        }
        // The same with blocks that have never been written to.
        request.release().unwrap();
        assert!(request.reacquire(&manager).unwrap());
    }

    // The prompt is still cached, but the generated tokens are not.
    let mut request = self::request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    for token in 101..130 {
        decode(&mut request, token, &manager);
    }
    request.release().unwrap();
    evict_all(&manager);
    let mut other = self::request();
    prefill(&mut other, PROMPT, Some(1), &manager);
    assert!(request.reacquire(&manager).unwrap());
    assert_eq!(positions(&request), (64, 64));
    let refused = request.schedule_decode(&manager);
    assert!(matches!(
        refused,
        Err(ScheduleError::WrongDanglingCount {
            expected: 1,
            actual: 30
        })
    ));
    prefill(&mut request, 29, None, &manager);
    assert_eq!(matchable_of(&request, &manager), 5);
    decode(&mut request, 130, &manager);
}

#[test]
fn prefill_after_a_release_goes_on_where_the_blocks_end() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, 32, None, &manager);
    request.release().unwrap();
    evict_all(&manager);

    // The chunk that would have come next is no longer the last one.
    request.schedule_prefill(32, &manager).unwrap();
    let refused = request.apply_prefill(Some(100), &manager);
    assert!(matches!(refused, Err(ApplyError::TokenOnNonFinalChunk)));
    assert_eq!(matchable(&manager), 0);
    request.revert_schedule().unwrap();
    assert_eq!(manager.available_blocks(), 16);

    assert_eq!(positions(&request), (0, 0));
    prefill(&mut request, 16, None, &manager);
    assert_eq!(matchable(&manager), 1);
    assert_eq!(positions(&request), (16, 16));

    // If the blocks are still cached, they can be matched.
    request.release().unwrap();
    assert_eq!(request.match_and_add_prefix(&manager).unwrap(), 1);
    assert_eq!(positions(&request), (16, 16));
}

#[test]
fn a_request_released_after_a_decode_goes_on() {
    let manager = pool();
    for is_reacquired in [false, true] {
        let mut request = request();
        prefill(&mut request, PROMPT, Some(100), &manager);
        decode(&mut request, 101, &manager);
        request.release().unwrap();
        if is_reacquired {
            assert!(request.reacquire(&manager).unwrap());
        } else {
            assert_eq!(request.match_and_add_prefix(&manager).unwrap(), 4);
        }
        assert_eq!(request.assigned_blocks(), 4);
        assert_eq!(request.unassigned_blocks(), 0);
        assert_eq!(positions(&request), (64, 64));
        // The decode recomputes the token of the lost partial block along with the last one.
        assert_eq!((request.total_tokens(), request.tail_tokens()), (66, 2));
        decode(&mut request, 102, &manager);
        assert_eq!((request.kv_position(), request.tail_tokens()), (66, 1));
        for token in 103..120 {
            decode(&mut request, token, &manager);
        }
        assert_eq!(request.assigned_blocks(), 5);
    }
}

#[test]
fn what_a_partial_block_held_can_be_computed_by_prefill() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    for token in 101..105 {
        decode(&mut request, token, &manager);
    }
    request.release().unwrap();
    assert!(request.reacquire(&manager).unwrap());
    assert_eq!(request.tail_tokens(), 5);
    prefill(&mut request, 3, None, &manager);
    let refused = request.schedule_prefill(3, &manager);
    assert!(matches!(refused, Err(ScheduleError::PrefillOverrun { .. })));
    prefill(&mut request, 1, None, &manager);
    let refused = request.schedule_prefill(1, &manager);
    assert!(matches!(refused, Err(ScheduleError::PrefillComplete)));
    decode(&mut request, 105, &manager);
    assert_eq!(positions(&request), (64, 69));
}

#[test]
fn a_prompt_that_ends_within_a_block_goes_on_after_a_release() {
    let manager = pool();
    let mut request = SchedulableSequence::new((0..40).collect(), 8, SIZE as u32, None);
    prefill(&mut request, 40, Some(100), &manager);
    request.release().unwrap();
    assert!(request.reacquire(&manager).unwrap());
    assert_eq!(positions(&request), (32, 32));
    request.schedule_speculative(2, &manager).unwrap();
    request.apply_speculative(&[101, 102], &manager).unwrap();
    assert_eq!((request.kv_position(), request.tail_tokens()), (42, 1));
}

#[test]
fn a_failed_reacquisition_leaves_nothing() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, 16, None, &manager);
    request.release().unwrap();
    let before = format!("{request:?}");
    let others = manager.allocate_blocks(14).unwrap();
    assert!(!request.reacquire(&manager).unwrap());
    assert_eq!(format!("{request:?}"), before);
    assert_eq!(manager.available_blocks(), 2);
    drop(others);
    assert!(request.reacquire(&manager).unwrap());
}

#[test]
fn positions_go_back_with_a_block_that_is_dropped() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, 40, None, &manager);
    assert_eq!(request.drop_unassigned(1), 1);
    assert_eq!(positions(&request), (32, 32));
    prefill(&mut request, 32, Some(100), &manager);
    assert_eq!(matchable(&manager), 4);

    decode(&mut request, 101, &manager);
    decode(&mut request, 102, &manager);
    assert_eq!(request.drop_unassigned(9), 1);
    assert_eq!(positions(&request), (64, 64));
    decode(&mut request, 103, &manager);
    assert_eq!(request.kv_position(), 67);
}

// ---- generated tokens ----

#[test]
fn a_block_completed_by_a_decode_is_registered_by_the_next_step() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    for token in 101..115 {
        decode(&mut request, token, &manager);
    }
    request.schedule_decode(&manager).unwrap();
    let outcome = request.apply_decode(115, &manager).unwrap();
    assert_eq!(outcome, DecodeOutcome::BlockCompleted);
    assert_eq!((request.total_tokens(), request.kv_position()), (80, 79));
    assert_eq!(matchable_of(&request, &manager), 4);
    request.schedule_decode(&manager).unwrap();
    assert_eq!(matchable_of(&request, &manager), 4);
    request.apply_decode(116, &manager).unwrap();
    assert_eq!(matchable_of(&request, &manager), 5);
}

#[test]
fn a_block_completed_by_a_draft_is_registered_by_the_next_step() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    let draft: Vec<_> = (101..116).collect();
    request.schedule_speculative(20, &manager).unwrap();
    let outcome = request.apply_speculative(&draft, &manager).unwrap();
    assert_eq!(outcome, DecodeOutcome::BlockCompleted);
    assert_eq!((request.total_tokens(), request.kv_position()), (80, 79));
    assert_eq!(matchable_of(&request, &manager), 4);
    // No token is accepted, so the last token must still be computed.
    request.schedule_speculative(4, &manager).unwrap();
    request.apply_speculative(&[], &manager).unwrap();
    assert_eq!(matchable_of(&request, &manager), 4);
    request.schedule_speculative(4, &manager).unwrap();
    request.apply_speculative(&[116], &manager).unwrap();
    assert_eq!(matchable_of(&request, &manager), 5);
}

#[test]
fn a_block_completed_by_the_last_token_is_never_registered() {
    let manager = pool();
    let mut request = SchedulableSequence::new(prompt(), SIZE, SIZE as u32, None);
    prefill(&mut request, PROMPT, Some(100), &manager);
    request.schedule_speculative(SIZE, &manager).unwrap();
    let draft: Vec<_> = (101..116).collect();
    let outcome = request.apply_speculative(&draft, &manager).unwrap();
    assert_eq!(outcome, DecodeOutcome::BlockCompletedAndMaxLength);
    assert_eq!(matchable_of(&request, &manager), 4);
    request.release().unwrap();
    assert_eq!(matchable_of(&request, &manager), 4);
}

#[test]
fn tokens_that_were_appended_are_computed_by_prefill() {
    let manager = pool();
    let mut request = request();
    prefill(&mut request, PROMPT, Some(100), &manager);
    request.append_tokens(&[101, 102]).unwrap();
    let refused = request.schedule_decode(&manager);
    assert!(matches!(
        refused,
        Err(ScheduleError::WrongDanglingCount {
            expected: 1,
            actual: 3
        })
    ));
    prefill(&mut request, 2, None, &manager);
    decode(&mut request, 103, &manager);
    assert_eq!((request.total_tokens(), request.kv_position()), (68, 67));
}

// ---- a prompt that is cached ----

#[test]
fn a_prompt_that_is_cached_whole_yields_its_last_logits() {
    let manager = pool();
    let mut first = request();
    prefill(&mut first, PROMPT, Some(100), &manager);

    let mut second = request();
    assert_eq!(second.match_and_add_prefix(&manager).unwrap(), 3);
    assert_eq!(positions(&second), (48, 48));
    let rest = second.num_input_tokens() - second.prefill_position();
    prefill(&mut second, rest, Some(100), &manager);
    assert_eq!(matchable(&manager), 4);
    decode(&mut second, 101, &manager);

    // Resumed before a token was sampled, with everything still cached.
    let mut third = request();
    prefill(&mut third, 48, None, &manager);
    third.release().unwrap();
    assert!(third.reacquire(&manager).unwrap());
    assert_eq!(positions(&third), (48, 48));
    assert_eq!(third.unassigned_blocks(), 1);
    prefill(&mut third, 16, Some(100), &manager);

    // Without tokens to generate, no logits are needed.
    let mut embedded = SchedulableSequence::new(prompt(), 0, SIZE as u32, None);
    assert_eq!(embedded.match_and_add_prefix(&manager).unwrap(), 4);
    assert!(embedded.is_prefill_complete() && embedded.is_complete());
}

// ---- requests whose steps the caller orders ----

#[test]
fn a_prefix_that_is_matched_again_counts_once() {
    let manager = pool();
    let mut first = request();
    prefill(&mut first, PROMPT, Some(100), &manager);

    let mut request = RequestSequence::new((0..32).collect(), 8, SIZE as u32);
    assert_eq!(request.match_and_add_prefix(&manager).ok(), Some(2));
    request.release();
    assert_eq!(request.match_and_add_prefix(&manager).ok(), Some(2));
    assert_eq!(request.prefix_matched_blocks(), 2);
    assert_eq!(request.new_tokens_for_prefill(), 0);

    request.release();
    first.release().unwrap();
    evict_all(&manager);
    assert_eq!(request.match_and_add_prefix(&manager).ok(), Some(0));
    assert_eq!(request.prefix_matched_blocks(), 0);
}

#[test]
fn a_request_registers_nothing_that_it_has_just_allocated() {
    let manager = pool();
    let mut request = RequestSequence::new(prompt(), 8, SIZE as u32);
    assert!(request.reacquire(&manager));
    assert_eq!(matchable(&manager), 0);
    assert_eq!(
        (request.assigned_blocks(), request.unassigned_blocks()),
        (0, 4)
    );
    request.complete_and_register_pending(&manager);
    assert_eq!(matchable(&manager), 4);
}

// ---- managers ----

/// Returns the message with which a call panics.
fn panic_of<R>(call: impl FnOnce() -> R) -> String {
    let unwound = catch_unwind(AssertUnwindSafe(call));
    let payload = unwound.err().expect("the call panics");
    payload.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_manager_with_blocks_of_another_size_is_named() {
    let other = manager(8, 8);
    let mut request = request();
    let mismatch = request.check_block_size(&other).unwrap_err();
    assert_eq!((mismatch.expected, mismatch.actual), (16, 8));
    assert_eq!(
        mismatch.to_string(),
        "a sequence with blocks of 16 tokens cannot use a manager with blocks of 8"
    );

    let before = format!("{request:?}");
    let said = mismatch.to_string();
    assert_eq!(panic_of(|| request.schedule_prefill(48, &other)), said);
    assert_eq!(panic_of(|| request.match_and_add_prefix(&other)), said);
    assert_eq!(panic_of(|| request.reacquire(&other)), said);
    assert_eq!(format!("{request:?}"), before);

    let manager = pool();
    assert!(request.check_block_size(&manager).is_ok());
    prefill(&mut request, PROMPT, Some(100), &manager);
    let before = format!("{request:?}");
    assert_eq!(panic_of(|| request.schedule_decode(&other)), said);
    assert_eq!(panic_of(|| request.schedule_speculative(2, &other)), said);
    assert_eq!(format!("{request:?}"), before);

    let mut request = RequestSequence::new(prompt(), 4, SIZE as u32);
    assert!(request.check_block_size(&other).is_err());
    assert_eq!(panic_of(|| request.allocate_blocks(2, &other)), said);
    assert_eq!(panic_of(|| request.match_and_add_prefix(&other)), said);
    assert_eq!(panic_of(|| request.reacquire(&other)), said);
    assert_eq!(other.available_blocks(), 8);
}

#[test]
fn blocks_of_another_manager_release_the_request() {
    let (manager, other) = (pool(), pool());
    let mut request = request();
    prefill(&mut request, 32, None, &manager);
    request.schedule_prefill(32, &manager).unwrap();
    panic_of(|| request.apply_prefill(Some(100), &other));
    assert_eq!(request.state(), SequenceState::Idle);
    assert_eq!(positions(&request), (0, 0));
    assert_eq!(manager.available_blocks(), 16);
    assert_eq!(matchable(&manager), 2);
    assert!(request.reacquire(&manager).unwrap());
    prefill(&mut request, 32, Some(100), &manager);
}

/// An attachment that panics when its block is evicted.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", "evicted".to_owned());
    }
}

/// Caches a block with a bomb attached.
fn plant(manager: &BlockManager<Tier>) {
    let tokens: Vec<_> = (500..517).collect();
    let mut other = SchedulableSequence::new(tokens.clone(), 1, SIZE as u32, None);
    prefill(&mut other, 16, None, manager);
    let block = manager.match_blocks(&hashes(tokens)).remove(0);
    block.registration_handle().attach_unique(Bomb).unwrap();
}

#[test]
fn a_panic_while_blocks_are_allocated_changes_nothing() {
    let manager = manager(4, SIZE);
    let mut request = request();
    prefill(&mut request, 16, None, &manager);
    plant(&manager);
    let before = format!("{request:?}");
    assert_eq!(
        panic_of(|| request.schedule_prefill(48, &manager)),
        "evicted"
    );
    assert_eq!(format!("{request:?}"), before);
    assert_eq!(manager.available_blocks(), 3);

    request.release().unwrap();
    plant(&manager);
    let before = format!("{request:?}");
    assert_eq!(panic_of(|| request.reacquire(&manager)), "evicted");
    assert_eq!(format!("{request:?}"), before);
    assert_eq!(manager.available_blocks(), 4);
    assert!(request.reacquire(&manager).unwrap());
}

#[test]
fn a_draft_of_any_length_is_refused_for_want_of_blocks() {
    let manager = pool();
    let mut request = SchedulableSequence::new(prompt(), usize::MAX, SIZE as u32, None);
    prefill(&mut request, PROMPT, Some(100), &manager);
    let refused = request.schedule_speculative(usize::MAX, &manager);
    assert!(matches!(
        refused,
        Err(ScheduleError::AllocationFailed { .. })
    ));
}
