//! Requests that share a small pool, step by step, with steps that are not theirs to
//! take now.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

/// Requests at a time.
pub const REQUESTS: usize = 3;

#[derive(Debug, Clone)]
pub enum Step {
    Match,
    Prefill(usize),
    /// All that is left of the prompt.
    PrefillRest,
    ApplyPrefill(Option<u32>),
    /// With a token exactly if it is the last chunk.
    ApplyChunk(u32),
    Decode,
    ApplyDecode(u32),
    Speculate(usize),
    Accept(Vec<u32>),
    Revert,
    Append(Vec<u32>),
    DropUnassigned(usize),
    Release,
    Reacquire,
}

pub fn step() -> impl Strategy<Value = Step> {
    let token = 0..3u32;
    prop_oneof![
        2 => Just(Step::Match),
        1 => (0..80usize).prop_map(Step::Prefill),
        6 => Just(Step::PrefillRest),
        1 => prop::option::of(token.clone()).prop_map(Step::ApplyPrefill),
        7 => token.clone().prop_map(Step::ApplyChunk),
        8 => Just(Step::Decode),
        9 => token.clone().prop_map(Step::ApplyDecode),
        3 => (0..12usize).prop_map(Step::Speculate),
        4 => prop::collection::vec(token.clone(), 0..8).prop_map(Step::Accept),
        2 => Just(Step::Revert),
        1 => prop::collection::vec(token, 0..4).prop_map(Step::Append),
        1 => (0..3usize).prop_map(Step::DropUnassigned),
        2 => Just(Step::Release),
        3 => Just(Step::Reacquire),
    ]
}

#[derive(Debug, Clone)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    pub max_output: usize,
}

/// Prompts of few different tokens share prefixes, and some are the same blocks.
pub fn prompt() -> impl Strategy<Value = Prompt> {
    let shared = prop_oneof![0..100usize, (0..3usize).prop_map(|blocks| blocks * 32)];
    let own = prop_oneof![
        3 => prop::collection::vec(0..3u32, 0..20),
        1 => Just(Vec::new()),
    ];
    (0..2u32, shared, own, 1..40usize).prop_map(|(first, shared, own, max_output)| Prompt {
        tokens: std::iter::repeat_n(first, shared).chain(own).collect(),
        max_output,
    })
}

#[derive(Clone)]
pub struct Tier;

macro_rules! side {
    ($name:ident, $krate:ident) => {
        mod $name {
            use super::*;
            use $krate::{
                BlockManager, BlockRegistry, SchedulableSequence, SequenceDelegate, SequenceEvent,
                SequenceState,
            };

            #[derive(Default)]
            struct Log(Mutex<Vec<String>>);

            impl SequenceDelegate for Log {
                fn on_event(&self, event: &SequenceEvent) {
                    self.0.lock().unwrap().push(format!("{event:?}"));
                }
            }

            fn take(
                request: &mut SchedulableSequence<Tier>,
                manager: &BlockManager<Tier>,
                step: &Step,
            ) -> String {
                let is_idle = request.state() == SequenceState::Idle;
                let inner = request.inner();
                let has_blocks = !inner.assignments().is_empty();
                let rest = inner.num_input_tokens().saturating_sub(request.prefill_position());
                match step.clone() {
                    // A panic, documented in both.
                    Step::Match | Step::Reacquire if is_idle && has_blocks => String::new(),
                    Step::DropUnassigned(_) if !is_idle => String::new(),
                    // A panic in the reference, an error in this crate: see `refusals`.
                    Step::ApplyPrefill(Some(_)) | Step::ApplyChunk(_) if request.is_complete() => {
                        String::new()
                    }

                    Step::Match => format!("{:?}", request.match_and_add_prefix(manager)),
                    Step::Prefill(count) => {
                        format!("{:?}", request.schedule_prefill(count, manager))
                    }
                    Step::PrefillRest => format!("{:?}", request.schedule_prefill(rest, manager)),
                    Step::ApplyPrefill(token) => {
                        format!("{:?}", request.apply_prefill(token, manager))
                    }
                    Step::ApplyChunk(token) => {
                        let is_last = matches!(
                            request.state(),
                            SequenceState::PrefillScheduled { num_tokens, .. } if num_tokens == rest
                        );
                        format!("{:?}", request.apply_prefill(is_last.then_some(token), manager))
                    }
                    Step::Decode => format!("{:?}", request.schedule_decode(manager)),
                    Step::ApplyDecode(token) => {
                        format!("{:?}", request.apply_decode(token, manager))
                    }
                    Step::Speculate(count) => {
                        format!("{:?}", request.schedule_speculative(count, manager))
                    }
                    Step::Accept(tokens) => {
                        format!("{:?}", request.apply_speculative(&tokens, manager))
                    }
                    Step::Revert => format!("{:?}", request.revert_schedule()),
                    Step::Append(tokens) => format!("{:?}", request.append_tokens(&tokens)),
                    Step::DropUnassigned(count) => request.drop_unassigned(count).to_string(),
                    Step::Release => format!("{:?}", request.release()),
                    Step::Reacquire => format!("{:?}", request.reacquire(manager)),
                }
            }

            pub fn run(
                size: usize,
                blocks: usize,
                prompts: &[Prompt],
                steps: &[(usize, Step)],
            ) -> Vec<String> {
                let manager = BlockManager::<Tier>::builder()
                    .block_count(blocks)
                    .block_size(size)
                    .registry(BlockRegistry::new())
                    .with_lru_backend()
                    .build()
                    .unwrap();
                let log = Arc::new(Log::default());
                let mut requests: Vec<_> = prompts
                    .iter()
                    .map(|prompt| {
                        SchedulableSequence::<Tier>::builder()
                            .tokens(prompt.tokens.clone())
                            .max_output_tokens(prompt.max_output)
                            .block_size(size as u32)
                            .delegate(log.clone())
                            .build()
                            .unwrap()
                    })
                    .collect();
                let mut seen = Vec::new();
                for (at, step) in steps {
                    let request = &mut requests[*at];
                    let answer = take(request, &manager, step);
                    let inner = request.inner();
                    let hashes: Vec<_> = (inner.assignments().assigned_iter())
                        .map(|(_, block)| block.sequence_hash().as_u128())
                        .collect();
                    let metrics = manager.metrics().snapshot();
                    seen.push(format!(
                        "{at} {step:?}: {answer}\n{request:?}\n{} {} {} {} {} {}\n{hashes:?}\n{} {} {} {}",
                        request.tail_tokens(),
                        request.remaining_tokens(),
                        request.is_complete(),
                        inner.new_tokens_for_prefill(),
                        inner.complete_sequence_blocks(),
                        inner.page_indices().len(),
                        manager.available_blocks(),
                        metrics.evictions,
                        metrics.registrations,
                        metrics.match_blocks_returned,
                    ));
                }
                seen.append(&mut log.0.lock().unwrap());
                seen
            }
        }
    };
}

side!(ours, kvbm_lockfree);
side!(reference, kvbm_logical);

proptest! {
    #[test]
    fn requests_are_served_alike(
        size in (0..=6u32).prop_map(|log| 1_usize << log),
        blocks in 1..40usize,
        prompts in prop::collection::vec(prompt(), REQUESTS),
        steps in prop::collection::vec((0..REQUESTS, step()), 1..80),
    ) {
        let expected = reference::run(size, blocks, &prompts, &steps);
        prop_assert_eq!(ours::run(size, blocks, &prompts, &steps), expected);
    }
}

mod refusals {
    use kvbm_lockfree::{
        ApplyError, BlockManager, BlockRegistry, SchedulableSequence, ScheduleError,
    };

    use super::Tier;

    fn manager(size: usize) -> BlockManager<Tier> {
        BlockManager::builder()
            .block_count(8)
            .block_size(size)
            .registry(BlockRegistry::new())
            .build()
            .unwrap()
    }

    #[test]
    fn no_token_is_taken_where_none_is_to_be_generated() {
        let manager = manager(4);
        let mut request = SchedulableSequence::new((0..8).collect(), 0, 4, None);
        request.schedule_prefill(8, &manager).unwrap();
        let before = format!("{request:?}");
        let refused = request.apply_prefill(Some(1), &manager);
        assert!(matches!(
            refused,
            Err(ApplyError::AppendExceedsRemaining {
                requested: 1,
                remaining: 0
            })
        ));
        assert_eq!(format!("{request:?}"), before);
        request.apply_prefill(None, &manager).unwrap();
        assert_eq!(request.assigned_blocks(), 2);
    }

    #[test]
    fn a_prompt_has_no_more_tokens_than_there_are_numbers() {
        let manager = manager(4);
        let mut request = SchedulableSequence::new((0..8).collect(), 1, 4, None);
        request.schedule_prefill(4, &manager).unwrap();
        request.apply_prefill(None, &manager).unwrap();
        let refused = request.schedule_prefill(usize::MAX, &manager);
        assert!(matches!(refused, Err(ScheduleError::PrefillOverrun { .. })));
    }

    #[test]
    fn a_builder_says_what_is_missing() {
        let builder = SchedulableSequence::<Tier>::builder;
        let error = |built: anyhow::Result<SchedulableSequence<Tier>>| {
            built.expect_err("it is refused").to_string()
        };
        assert!(error(builder().build()).contains("tokens"));
        let half = builder().tokens(Vec::new()).max_output_tokens(1);
        assert!(error(half.build()).contains("block_size"));
        let zero = builder()
            .tokens(Vec::new())
            .max_output_tokens(1)
            .block_size(0);
        assert!(error(zero.build()).contains("at least 1"));
    }
}
