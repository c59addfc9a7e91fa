//! Requests that share a small pool run step by step, next to the same requests of
//! `kvbm-logical`. Some steps are not allowed in their state.
//!
//! # What is not compared?
//!
//! The reference registers blocks that are not computed, and keeps its positions when blocks
//! are gone. Requests are compared up to the point where that matters, and again from the
//! point where it no longer does. Exactly these cases are left out:
//!
//! 1. A chunk that ends within a block whose tokens are all known: the reference registers
//!    the block.
//! 2. A pause after a decode that completed a block, since the reference registers the block
//!    early. The next decode follows at once; if none can, the decode is left out. So with
//!    blocks of one token there are no decodes. For the same reason, a draft whose last
//!    token would complete a block is accepted up to the token before, and a draft of which
//!    nothing is accepted is left out while the last known token completes a block.
//! 3. A draft that ends the generation: the reference drops the last block and still counts
//!    its tokens as computed.
//! 4. The positions of a request without blocks, and every step of a request that was
//!    released with computed tokens, until it has all of them back. A reacquisition is left
//!    out unless all complete blocks are cached and exactly those were computed: the
//!    reference keeps its positions and registers what it allocates.
//! 5. Dropping a partly computed block: the reference keeps its positions.
//! 6. Matching all known tokens: the reference cannot continue from there.
//! 7. Prefill of appended tokens, and appending before the prompt is computed: the reference
//!    cannot continue from there.
//! 8. A token for a chunk although none remains to be generated: the reference panics. Calls
//!    that panic in both crates are left out too: matching or reacquiring while holding blocks,
//!    and dropping blocks during a step.
//!
//! [`computed`](super::computed) and [`model`](super::model) cover these cases.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;

/// The number of concurrent requests.
pub const REQUESTS: usize = 3;

#[derive(Debug, Clone)]
pub enum Step {
    Match,
    Prefill(usize),
    /// Schedules the rest of the prompt.
    PrefillRest,
    ApplyPrefill(Option<u32>),
    /// Applies the chunk, with this token if and only if it is the last chunk.
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

fn step() -> impl Strategy<Value = Step> {
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

/// Generates steps of one request, which mostly fit together.
fn turn() -> impl Strategy<Value = Vec<Step>> {
    let token = || 0..3u32;
    let chunk = (1..40usize, token())
        .prop_map(|(count, token)| vec![Step::Prefill(count), Step::ApplyChunk(token)]);
    let rest = token().prop_map(|token| vec![Step::PrefillRest, Step::ApplyChunk(token)]);
    let tokens = prop::collection::vec(token(), 1..20).prop_map(|tokens| {
        let steps = tokens
            .into_iter()
            .map(|token| [Step::Decode, Step::ApplyDecode(token)]);
        steps.flatten().collect()
    });
    let draft = (1..20usize, prop::collection::vec(token(), 0..20)).prop_map(|(count, tokens)| {
        let accepted = tokens.into_iter().take(count).collect();
        vec![Step::Speculate(count), Step::Accept(accepted)]
    });
    prop_oneof![
        8 => step().prop_map(|step| vec![step]),
        2 => chunk,
        6 => rest,
        6 => tokens,
        4 => draft,
        2 => Just(vec![Step::Release, Step::Reacquire]),
        1 => Just(vec![Step::Release, Step::Match]),
    ]
}

/// Generates steps, each with the index of a request.
pub fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    prop::collection::vec((0..REQUESTS, turn()), 1..60).prop_map(|turns| {
        let steps = turns
            .into_iter()
            .map(|(at, steps)| steps.into_iter().map(move |step| (at, step)));
        steps.flatten().collect()
    })
}

#[derive(Debug, Clone)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    pub max_output: usize,
}

/// Generates prompts of so few distinct tokens that they share prefixes, and some have equal
/// blocks.
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

            /// A request, and how far it was when it was released.
            struct Request {
                sequence: SchedulableSequence<Tier>,
                /// The `kv_position` at the release, until the request has its blocks back.
                released_at: Option<usize>,
            }

            impl Request {
                fn is_idle(&self) -> bool {
                    self.sequence.state() == SequenceState::Idle
                }

                fn is_empty(&self) -> bool {
                    self.sequence.inner().assignments().is_empty()
                }

                /// Returns how many prompt tokens remain to be computed.
                fn rest(&self) -> usize {
                    let sequence = &self.sequence;
                    sequence.num_input_tokens().saturating_sub(sequence.prefill_position())
                }

                /// Returns how many blocks of the known tokens are cached.
                fn cached(&self, manager: &BlockManager<Tier>) -> usize {
                    let hashes = self.sequence.inner().sequence().all_sequence_hashes();
                    manager.match_blocks(&hashes).len()
                }

                /// Returns whether a step is left out. See the module documentation.
                fn is_left_out(&self, manager: &BlockManager<Tier>, step: &Step) -> bool {
                    let sequence = &self.sequence;
                    let size = sequence.block_size();
                    let (known, computed) = (sequence.total_tokens(), sequence.kv_position());
                    let blocks = sequence.num_blocks();
                    let was_computed = self.released_at.is_some_and(|at| at > 0);
                    match step {
                        Step::Release | Step::Revert => false,
                        Step::Reacquire => {
                            let at = self.released_at.unwrap_or(computed);
                            let is_all = at == blocks * size
                                && (known - usize::from(known > 0)) / size == blocks
                                && self.cached(manager) == blocks;
                            self.is_idle() && (!self.is_empty() || !is_all)
                        }
                        _ if was_computed => true,
                        Step::Match => {
                            let is_whole = || {
                                let cached = self.cached(manager);
                                cached > 0 && cached * size == known
                            };
                            self.is_idle() && (!self.is_empty() || is_whole())
                        }
                        Step::Prefill(_) | Step::PrefillRest => {
                            let count = match step {
                                Step::Prefill(count) => *count,
                                _ => self.rest(),
                            };
                            let end = computed + count;
                            self.is_idle()
                                && (end % size != 0 && end / size < blocks
                                    || sequence.is_prefill_complete() && known > computed + 1)
                        }
                        Step::ApplyPrefill(token) => token.is_some() && sequence.is_complete(),
                        Step::ApplyChunk(_) => sequence.is_complete(),
                        Step::Decode | Step::Speculate(_) => size == 1,
                        Step::ApplyDecode(_) => {
                            self.completes(1)
                                && (sequence.remaining_tokens() < 2
                                    || manager.available_blocks() == 0)
                        }
                        Step::Accept(tokens) => {
                            let accepted = self.accepted(tokens).len();
                            matches!(sequence.state(), SequenceState::SpeculativeScheduled { .. })
                                && (accepted == sequence.remaining_tokens()
                                    || accepted == 0 && self.completes(0))
                        }
                        Step::Append(tokens) => {
                            !tokens.is_empty() && !sequence.is_prefill_complete()
                        }
                        Step::DropUnassigned(count) => {
                            let dropped = sequence.unassigned_blocks().min(*count);
                            let held = sequence.assigned_blocks() + sequence.unassigned_blocks();
                            !self.is_idle() || (held - dropped) * size < computed
                        }
                    }
                }

                /// Returns whether `count` more tokens would end with a complete block.
                fn completes(&self, count: usize) -> bool {
                    let sequence = &self.sequence;
                    (sequence.total_tokens() + count) % sequence.block_size() == 0
                }

                /// Returns the tokens, without the last one if it would complete a block.
                fn accepted<'a>(&self, tokens: &'a [u32]) -> &'a [u32] {
                    match tokens.split_last() {
                        Some((_, others)) if self.completes(tokens.len()) => others,
                        _ => tokens,
                    }
                }

                fn take(&mut self, manager: &BlockManager<Tier>, step: &Step) -> String {
                    if self.is_left_out(manager, step) {
                        return "left out".to_owned();
                    }
                    let (rest, completes) = (self.rest(), self.completes(1));
                    let accepted = match step {
                        Step::Accept(tokens) => self.accepted(tokens).to_vec(),
                        _ => Vec::new(),
                    };
                    let (is_idle, is_empty) = (self.is_idle(), self.is_empty());
                    let computed = self.sequence.kv_position();
                    let sequence = &mut self.sequence;
                    match step.clone() {
                        Step::Match => {
                            self.released_at = None;
                            format!("{:?}", sequence.match_and_add_prefix(manager))
                        }
                        Step::Prefill(count) => {
                            format!("{:?}", sequence.schedule_prefill(count, manager))
                        }
                        Step::PrefillRest => {
                            format!("{:?}", sequence.schedule_prefill(rest, manager))
                        }
                        Step::ApplyPrefill(token) => {
                            format!("{:?}", sequence.apply_prefill(token, manager))
                        }
                        Step::ApplyChunk(token) => {
                            let is_last = matches!(
                                sequence.state(),
                                SequenceState::PrefillScheduled { num_tokens, .. }
                                    if num_tokens == rest
                            );
                            let token = is_last.then_some(token);
                            format!("{:?}", sequence.apply_prefill(token, manager))
                        }
                        Step::Decode => format!("{:?}", sequence.schedule_decode(manager)),
                        Step::ApplyDecode(token) => {
                            let mut said = format!("{:?}", sequence.apply_decode(token, manager));
                            if completes && !is_idle && sequence.state() == SequenceState::Idle {
                                said += &format!(
                                    " {:?} {:?}",
                                    sequence.schedule_decode(manager),
                                    sequence.apply_decode(token, manager)
                                );
                            }
                            said
                        }
                        Step::Speculate(count) => {
                            format!("{:?}", sequence.schedule_speculative(count, manager))
                        }
                        Step::Accept(_) => {
                            format!("{:?}", sequence.apply_speculative(&accepted, manager))
                        }
                        Step::Revert => format!("{:?}", sequence.revert_schedule()),
                        Step::Append(tokens) => format!("{:?}", sequence.append_tokens(&tokens)),
                        Step::DropUnassigned(count) => sequence.drop_unassigned(count).to_string(),
                        Step::Release => {
                            if is_idle && !is_empty {
                                self.released_at = Some(computed);
                            }
                            format!("{:?}", sequence.release())
                        }
                        Step::Reacquire => {
                            self.released_at = None;
                            format!("{:?}", sequence.reacquire(manager))
                        }
                    }
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
                        let sequence = SchedulableSequence::<Tier>::builder()
                            .tokens(prompt.tokens.clone())
                            .max_output_tokens(prompt.max_output)
                            .block_size(size as u32)
                            .delegate(log.clone())
                            .build()
                            .unwrap();
                        Request {
                            sequence,
                            released_at: None,
                        }
                    })
                    .collect();
                let mut seen = Vec::new();
                for (at, step) in steps {
                    let request = &mut requests[*at];
                    let answer = request.take(&manager, step);
                    let is_empty = request.is_empty();
                    let request = &request.sequence;
                    let inner = request.inner();
                    let hashes: Vec<_> = (inner.assignments().assigned_iter())
                        .map(|(_, block)| block.sequence_hash().as_u128())
                        .collect();
                    let positions = (!is_empty).then(|| {
                        (
                            request.prefill_position(),
                            request.kv_position(),
                            request.is_prefill_complete(),
                            request.tail_tokens(),
                        )
                    });
                    let metrics = manager.metrics().snapshot();
                    seen.push(format!(
                        "{at} {step:?}: {answer}\n{:?} {inner:?} {positions:?}\n\
                         {} {} {} {} {}\n{hashes:?}\n{} {} {} {}",
                        request.state(),
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
        steps in steps(),
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
