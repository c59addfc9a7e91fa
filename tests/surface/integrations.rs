//! Request sequences, and the steps of a serving loop.

use std::sync::{Arc, Mutex};

use super::kvbm;
use kvbm::integrations::{
    ApplyError, DecodeOutcome, NoopDelegate, RequestSequence, SchedulableSequence,
    SchedulableSequenceBuilder, ScheduleError, SequenceDelegate, SequenceEvent, SequenceState,
};
use kvbm::{BlockManager, BlockRegistry};

#[derive(Debug, Clone)]
struct Tier;

fn manager(blocks: usize) -> BlockManager<Tier> {
    BlockManager::builder()
        .block_count(blocks)
        .block_size(4)
        .registry(BlockRegistry::new())
        .build()
        .unwrap()
}

fn request(said: &mut Vec<String>) {
    let manager = manager(8);
    let mut request = RequestSequence::<Tier>::new((0..9).collect(), 4, 4);
    say!(said, request.match_and_add_prefix(&manager).unwrap());
    say!(said, request.allocate_blocks(4, &manager));
    say!(said, request.drop_excess_unassigned(3));
    request.complete_and_register_pending(&manager);
    say!(
        said,
        (
            request.assigned_blocks(),
            request.staged_blocks(),
            request.unassigned_blocks()
        )
    );
    say!(
        said,
        (9..12)
            .map(|token| request.append_token(token))
            .collect::<Vec<_>>()
    );
    request.stage_pending();
    say!(said, request.register_staged(&manager));
    say!(said, request.page_indices().len());
    say!(
        said,
        (
            request.total_tokens(),
            request.generated_tokens(),
            request.remaining_tokens()
        )
    );
    say!(
        said,
        (
            request.num_input_tokens(),
            request.max_output_tokens(),
            request.block_size()
        )
    );
    say!(
        said,
        (
            request.num_blocks(),
            request.complete_sequence_blocks(),
            request.is_complete()
        )
    );
    say!(
        said,
        (
            request.new_tokens_for_prefill(),
            request.prefix_matched_blocks()
        )
    );
    say!(said, request.sequence().all_sequence_hashes());
    say!(said, request.assignments().assigned_count());
    request.release();
    say!(said, manager.available_blocks());
    say!(said, request.reacquire(&manager));
    say!(said, request.prefix_matched_blocks());
}

/// A delegate that records its events.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl SequenceDelegate for Told {
    fn on_event(&self, event: &SequenceEvent) {
        let told = match event {
            SequenceEvent::Created {
                num_input_tokens,
                max_output_tokens,
                block_size,
            } => format!("created {num_input_tokens} {max_output_tokens} {block_size}"),
            SequenceEvent::PrefixMatched { blocks_matched } => format!("matched {blocks_matched}"),
            SequenceEvent::PrefillScheduled {
                num_tokens,
                blocks_allocated,
            } => format!("prefill {num_tokens} {blocks_allocated}"),
            SequenceEvent::PrefillApplied {
                num_tokens,
                blocks_registered,
                token_emitted,
            } => format!("prefilled {num_tokens} {blocks_registered} {token_emitted}"),
            SequenceEvent::DecodeScheduled { blocks_allocated } => {
                format!("decode {blocks_allocated}")
            }
            SequenceEvent::DecodeApplied {
                token,
                block_completed,
            } => format!("decoded {token} {block_completed}"),
            SequenceEvent::SpeculativeScheduled {
                num_tokens,
                blocks_allocated,
            } => format!("speculative {num_tokens} {blocks_allocated}"),
            SequenceEvent::SpeculativeApplied {
                accepted,
                scheduled,
                blocks_released,
            } => format!("speculated {accepted} {scheduled} {blocks_released}"),
            SequenceEvent::ScheduleReverted { blocks_released } => {
                format!("reverted {blocks_released}")
            }
            SequenceEvent::Released => "released".to_owned(),
            SequenceEvent::Reacquired {
                success,
                prefix_matched,
            } => format!("reacquired {success} {prefix_matched}"),
            SequenceEvent::UnassignedDropped { count } => format!("dropped {count}"),
        };
        self.0.lock().unwrap().push(told);
    }
}

/// Describes a state, by variant.
fn state(state: SequenceState) -> String {
    match state {
        SequenceState::Idle => "idle".to_owned(),
        SequenceState::PrefillScheduled {
            num_tokens,
            blocks_allocated,
        } => format!("prefill {num_tokens} {blocks_allocated}"),
        SequenceState::DecodeScheduled { blocks_allocated } => format!("decode {blocks_allocated}"),
        SequenceState::SpeculativeScheduled {
            num_tokens,
            blocks_allocated,
        } => format!("speculative {num_tokens} {blocks_allocated}"),
    }
}

fn refused(error: ScheduleError) -> String {
    match error {
        ScheduleError::NotIdle { state } => format!("{state:?}"),
        ScheduleError::PrefillOverrun {
            num_tokens,
            position,
            num_input_tokens,
        } => format!("{num_tokens} at {position} of {num_input_tokens}"),
        ScheduleError::PrefillNotComplete {
            position,
            num_input_tokens,
        } => format!("at {position} of {num_input_tokens}"),
        ScheduleError::GenerationComplete {
            generated,
            max_output,
        } => format!("{generated} of {max_output}"),
        ScheduleError::AllocationFailed { needed } => format!("needs {needed}"),
        ScheduleError::WrongDanglingCount { expected, actual } => format!("{expected} {actual}"),
        other @ ScheduleError::PrefillComplete => other.to_string(),
    }
}

fn failed(error: ApplyError) -> String {
    match error {
        ApplyError::WrongState { expected, actual } => format!("{expected}, not {actual:?}"),
        ApplyError::AcceptedExceedsScheduled {
            accepted,
            scheduled,
        } => format!("{accepted} of {scheduled}"),
        ApplyError::AppendExceedsRemaining {
            requested,
            remaining,
        } => format!("{requested} into {remaining}"),
        other @ (ApplyError::MissingTokenOnFinalChunk | ApplyError::TokenOnNonFinalChunk) => {
            other.to_string()
        }
    }
}

fn is_last(outcome: DecodeOutcome) -> bool {
    match outcome {
        DecodeOutcome::Continue | DecodeOutcome::BlockCompleted => false,
        DecodeOutcome::MaxLength | DecodeOutcome::BlockCompletedAndMaxLength => true,
    }
}

fn schedulable(said: &mut Vec<String>) {
    let manager = manager(8);
    let told = Arc::new(Told::default());
    let builder: SchedulableSequenceBuilder = SchedulableSequence::<Tier>::builder();
    let mut sequence: SchedulableSequence<Tier> = builder
        .tokens((0..9).collect())
        .max_output_tokens(6)
        .block_size(4)
        .delegate(Arc::clone(&told) as _)
        .build()
        .unwrap();
    say!(said, sequence.match_and_add_prefix(&manager).unwrap());
    say!(
        said,
        refused(sequence.schedule_decode(&manager).unwrap_err())
    );
    say!(
        said,
        refused(sequence.schedule_prefill(99, &manager).unwrap_err())
    );
    say!(said, sequence.schedule_prefill(4, &manager));
    say!(said, state(sequence.state()));
    say!(
        said,
        refused(sequence.schedule_prefill(4, &manager).unwrap_err())
    );
    say!(
        said,
        failed(sequence.apply_prefill(Some(9), &manager).unwrap_err())
    );
    say!(said, sequence.apply_prefill(None, &manager));
    say!(
        said,
        (
            sequence.prefill_position(),
            sequence.kv_position(),
            sequence.is_prefill_complete()
        )
    );
    say!(said, sequence.schedule_prefill(5, &manager));
    say!(said, sequence.revert_schedule());
    say!(said, sequence.schedule_prefill(5, &manager));
    say!(
        said,
        failed(sequence.apply_prefill(None, &manager).unwrap_err())
    );
    say!(said, sequence.apply_prefill(Some(9), &manager));
    say!(
        said,
        refused(sequence.schedule_prefill(1, &manager).unwrap_err())
    );
    say!(said, sequence.schedule_decode(&manager));
    say!(said, state(sequence.state()));
    say!(said, sequence.apply_decode(10, &manager).map(is_last));
    say!(said, sequence.schedule_speculative(3, &manager));
    say!(said, state(sequence.state()));
    say!(
        said,
        failed(
            sequence
                .apply_speculative(&[1, 2, 3, 4], &manager)
                .unwrap_err()
        )
    );
    say!(
        said,
        sequence.apply_speculative(&[11, 12], &manager).map(is_last)
    );
    say!(
        said,
        failed(sequence.apply_decode(1, &manager).unwrap_err())
    );
    say!(said, failed(sequence.append_tokens(&[0; 9]).unwrap_err()));
    say!(said, sequence.tail_tokens());
    say!(
        said,
        (
            sequence.total_tokens(),
            sequence.generated_tokens(),
            sequence.remaining_tokens()
        )
    );
    say!(
        said,
        (
            sequence.num_input_tokens(),
            sequence.max_output_tokens(),
            sequence.block_size()
        )
    );
    say!(
        said,
        (
            sequence.num_blocks(),
            sequence.prefix_matched_blocks(),
            sequence.is_complete()
        )
    );
    say!(
        said,
        (
            sequence.assigned_blocks(),
            sequence.staged_blocks(),
            sequence.unassigned_blocks()
        )
    );
    // Block ids are unspecified, so only their number is compared.
    say!(said, sequence.inner().page_indices().len());
    say!(said, sequence.drop_unassigned(0));
    say!(said, sequence.release());
    say!(said, sequence.reacquire(&manager));
    while !sequence.is_complete() {
        sequence.schedule_decode(&manager).unwrap();
        say!(said, sequence.apply_decode(20, &manager).map(is_last));
    }
    say!(
        said,
        refused(sequence.schedule_decode(&manager).unwrap_err())
    );
    say!(said, told.0.lock().unwrap().clone());
    sequence.delegate().on_event(&SequenceEvent::Released);
    say!(said, told.0.lock().unwrap().len());

    let full = manager.allocate_blocks(manager.available_blocks()).unwrap();
    let mut refused_one =
        SchedulableSequence::<Tier>::new((50..60).collect(), 1, 4, Some(Arc::new(NoopDelegate)));
    say!(
        said,
        refused(refused_one.schedule_prefill(10, &manager).unwrap_err())
    );
    drop(full);
    say!(
        said,
        SchedulableSequenceBuilder::default()
            .build::<Tier>()
            .is_err()
    );
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    request(&mut said);
    schedulable(&mut said);
    said
}
