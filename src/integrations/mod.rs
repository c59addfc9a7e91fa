//! Requests: a prompt, its generated tokens and its blocks, from arrival to completion.
//!
//! [`SchedulableSequence`] is the request of a serving loop. Each step is first
//! *scheduled*, which allocates the blocks it needs, and then either *applied*, which
//! records what the model computed and sampled, or *reverted*. [`RequestSequence`], which
//! it builds on, pairs tokens with guards and leaves the order of operations to you.
//!
//! # What is the life of a sequence?
//!
//! ```text
//!        schedule_prefill       ┌──────────────────────┐  apply_prefill
//!      ┌───────────────────────▶│   PrefillScheduled   │────────────────────┐
//!      │ schedule_decode        ├──────────────────────┤  apply_decode      ▼
//!    Idle ─────────────────────▶│   DecodeScheduled    │─────────────────▶ Idle
//!      │ schedule_speculative   ├──────────────────────┤  apply_speculative ▲
//!      └───────────────────────▶│ SpeculativeScheduled │────────────────────┘
//!                               └──────────────────────┘  or revert_schedule
//! ```
//!
//! A new sequence holds no blocks. It matches cached ones, prefills the rest of its
//! prompt, and decodes until it [is complete]. Between two steps it can be preempted and
//! resumed. Whatever has happened to it, the same few lines choose its next step:
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SchedulableSequence, ScheduleError};
//!
//! type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
//!
//! /// The most tokens to prefill per step.
//! const CHUNK: usize = 8;
//!
//! /// Stands for the model: computes KV into these blocks and samples a token.
//! fn forward(_block_table: Vec<u32>) -> u32 {
//!     100
//! }
//!
//! /// Runs one step of a request.
//! fn step(request: &mut SchedulableSequence<()>, manager: &BlockManager<()>) -> Result<()> {
//!     match request.schedule_decode(manager) {
//!         Ok(()) => {
//!             let token = forward(request.inner().page_indices());
//!             request.apply_decode(token, manager)?;
//!         }
//!         // Known tokens must be computed first.
//!         Err(
//!             ScheduleError::PrefillNotComplete { .. } | ScheduleError::WrongDanglingCount { .. },
//!         ) => {
//!             let tail = request.tail_tokens();
//!             let chunk = tail.min(CHUNK);
//!             request.schedule_prefill(chunk, manager)?;
//!             let token = forward(request.inner().page_indices());
//!             // Only the last chunk samples a token.
//!             request.apply_prefill((chunk == tail).then_some(token), manager)?;
//!         }
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<()> {
//! let manager = BlockManager::<()>::builder()
//!     .block_count(16)
//!     .block_size(4)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let mut request = SchedulableSequence::<()>::builder()
//!     .tokens((0..18).collect())
//!     .max_output_tokens(5)
//!     .block_size(4)
//!     .build()?;
//!
//! request.match_and_add_prefix(&manager)?;
//! while !request.is_complete() {
//!     step(&mut request, &manager)?;
//! }
//! assert_eq!(request.total_tokens(), 23);
//! request.release()?;
//! assert_eq!(manager.available_blocks(), 16);
//! # Ok(())
//! # }
//! ```
//!
//! # Which blocks are registered?
//!
//! A step computes the KV of tokens from [`kv_position`] on: a prefill computes as many as were
//! scheduled, a decode the [tail], and a speculative decode the tail and the draft. Applying
//! the step advances `kv_position` and registers exactly the blocks whose tokens are now all
//! computed. From then on, other requests can match them.
//!
//! KV lives and dies with its block. Releasing all blocks resets `kv_position` to 0.
//! Reacquiring them moves it to the end of the cached ones, where the next step begins.
//!
//! # Chunked prefill
//!
//! A chunk may end anywhere, even within a block. The chunk that reaches the last known
//! token samples the next one; earlier chunks sample none.
//!
//! ```
//! # use kvbm_lockfree::{BlockManager, BlockRegistry, SchedulableSequence};
//! # let manager = BlockManager::<()>::builder()
//! #     .block_count(16)
//! #     .block_size(4)
//! #     .registry(BlockRegistry::new())
//! #     .build()?;
//! let mut request = SchedulableSequence::<()>::new((0..12).collect(), 20, 4, None);
//! request.schedule_prefill(6, &manager)?;
//! request.apply_prefill(None, &manager)?;
//! // The second block holds two tokens so far: only the first is registered.
//! assert_eq!((request.kv_position(), request.assigned_blocks()), (6, 1));
//!
//! request.schedule_prefill(6, &manager)?;
//! request.apply_prefill(Some(100), &manager)?;
//! assert_eq!((request.kv_position(), request.assigned_blocks()), (12, 3));
//! // The sampled token is known but not computed: the next decode computes it.
//! assert_eq!((request.total_tokens(), request.tail_tokens()), (13, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Speculative decoding
//!
//! A step verifies a draft of several tokens at once, and the model accepts some of them.
//! Blocks allocated for rejected tokens are returned to the manager.
//!
//! ```
//! # use kvbm_lockfree::{BlockManager, BlockRegistry, DecodeOutcome, SchedulableSequence};
//! # let manager = BlockManager::<()>::builder()
//! #     .block_count(16)
//! #     .block_size(4)
//! #     .registry(BlockRegistry::new())
//! #     .build()?;
//! # let mut request = SchedulableSequence::<()>::new((0..12).collect(), 20, 4, None);
//! # request.schedule_prefill(12, &manager)?;
//! # request.apply_prefill(Some(100), &manager)?;
//! // `request` is prefilled, and has sampled its first token.
//! assert_eq!((request.total_tokens(), request.kv_position()), (13, 12));
//!
//! // A draft of six tokens needs blocks for tokens 12 to 18. Three are accepted.
//! request.schedule_speculative(6, &manager)?;
//! assert_eq!(manager.available_blocks(), 16 - 5);
//! let outcome = request.apply_speculative(&[101, 102, 103], &manager)?;
//! assert_eq!(outcome, DecodeOutcome::BlockCompleted);
//!
//! // The last accepted token completes a block but is not computed yet, so the block is
//! // not registered yet either.
//! assert_eq!((request.total_tokens(), request.kv_position()), (16, 15));
//! assert_eq!(request.assigned_blocks(), 3);
//! request.schedule_decode(&manager)?;
//! request.apply_decode(104, &manager)?;
//! assert_eq!(request.assigned_blocks(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Preemption and resumption
//!
//! When the manager runs out of blocks, [`release`] one request to let another continue, and
//! [`reacquire`] its blocks later. Registered blocks usually survive in the cache. Those
//! that do not, and the partial block, are computed again.
//!
//! ```
//! # use kvbm_lockfree::{BlockManager, BlockRegistry, SchedulableSequence, ScheduleError};
//! # let manager = BlockManager::<()>::builder()
//! #     .block_count(16)
//! #     .block_size(4)
//! #     .registry(BlockRegistry::new())
//! #     .build()?;
//! # let mut request = SchedulableSequence::<()>::new((0..12).collect(), 20, 4, None);
//! # request.schedule_prefill(12, &manager)?;
//! # request.apply_prefill(Some(100), &manager)?;
//! # request.schedule_decode(&manager)?;
//! # request.apply_decode(101, &manager)?;
//! // 13 tokens are computed: three complete blocks and the first token of a fourth.
//! assert_eq!((request.total_tokens(), request.kv_position()), (14, 13));
//! request.release()?;
//! assert_eq!(request.kv_position(), 0);
//! assert_eq!(manager.available_blocks(), 16);
//!
//! // Resumed at once, it finds its three registered blocks. The next decode computes the
//! // token that the partial block held, along with the token sampled last.
//! assert!(request.reacquire(&manager)?);
//! assert_eq!((request.kv_position(), request.tail_tokens()), (12, 2));
//! request.schedule_decode(&manager)?;
//! request.apply_decode(102, &manager)?;
//!
//! // Preempted again. This time, another request evicts everything.
//! request.release()?;
//! drop(manager.allocate_blocks(16));
//! assert!(request.reacquire(&manager)?);
//! assert_eq!((request.kv_position(), request.tail_tokens()), (0, 15));
//! let error = request.schedule_decode(&manager).unwrap_err();
//! assert!(matches!(error, ScheduleError::PrefillNotComplete { .. }));
//! // Prefill computes generated tokens, too.
//! request.schedule_prefill(15, &manager)?;
//! request.apply_prefill(Some(103), &manager)?;
//! request.schedule_decode(&manager)?;
//! request.apply_decode(104, &manager)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What if the whole prompt is cached?
//!
//! The first token is sampled from the logits of the last prompt token, so that token must
//! be computed in any case. While tokens remain to be generated, [`match_and_add_prefix`]
//! and [`reacquire`] therefore never match the block of the last known token. A fully cached
//! prompt needs no special case: prefill computes the rest.
//!
//! ```
//! # use kvbm_lockfree::{BlockManager, BlockRegistry, SchedulableSequence};
//! # let manager = BlockManager::<()>::builder()
//! #     .block_count(16)
//! #     .block_size(4)
//! #     .registry(BlockRegistry::new())
//! #     .build()?;
//! # let mut first = SchedulableSequence::<()>::new((0..12).collect(), 20, 4, None);
//! # first.schedule_prefill(12, &manager)?;
//! # first.apply_prefill(Some(100), &manager)?;
//! // Another request has computed all three blocks of this prompt.
//! let mut request = SchedulableSequence::<()>::new((0..12).collect(), 20, 4, None);
//! assert_eq!(request.match_and_add_prefix(&manager)?, 2);
//! request.schedule_prefill(12 - request.prefill_position(), &manager)?;
//! request.apply_prefill(Some(100), &manager)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What do the errors mean?
//!
//! A call that returns an error has changed nothing.
//!
//! | error | meaning | what to do |
//! |---|---|---|
//! | [`AllocationFailed`] | the manager has too few available blocks | wait, or preempt another request |
//! | [`PrefillNotComplete`] | prompt tokens are not computed, or their blocks are gone | `schedule_prefill` |
//! | [`WrongDanglingCount`] | tokens after the prompt are not computed | `schedule_prefill` for the [tail] |
//! | [`PrefillComplete`] | only the last token is left to compute | `schedule_decode` |
//! | [`GenerationComplete`] | all output tokens are generated | [`release`] the sequence |
//! | [`NotIdle`], [`WrongState`] | the call does not fit the step that is scheduled, or none is | apply or revert that step first, or schedule one |
//! | all others | the arguments do not fit the step | fix the caller |
//!
//! [`reacquire`] reports a lack of blocks by returning `false`; the sequence then holds
//! none. A manager whose blocks have another size is a configuration error, on which calls
//! panic; [`check_block_size`] checks for it in advance.
//!
//! # What does it cost?
//!
//! A sequence is plain, single-threaded data: it takes no locks of its own and starts no
//! threads. Getting blocks and registering them costs what the manager's operations cost.
//! Matching and reacquiring collect the hashes of all complete blocks in a vector: O(blocks),
//! whatever is cached. Scheduling a step allocates memory only if the step needs blocks.
//!
//! [is complete]: SchedulableSequence::is_complete
//! [`kv_position`]: SchedulableSequence::kv_position
//! [tail]: SchedulableSequence::tail_tokens
//! [`match_and_add_prefix`]: SchedulableSequence::match_and_add_prefix
//! [`release`]: SchedulableSequence::release
//! [`reacquire`]: SchedulableSequence::reacquire
//! [`check_block_size`]: SchedulableSequence::check_block_size
//! [`AllocationFailed`]: ScheduleError::AllocationFailed
//! [`PrefillNotComplete`]: ScheduleError::PrefillNotComplete
//! [`WrongDanglingCount`]: ScheduleError::WrongDanglingCount
//! [`PrefillComplete`]: ScheduleError::PrefillComplete
//! [`GenerationComplete`]: ScheduleError::GenerationComplete
//! [`NotIdle`]: ScheduleError::NotIdle
//! [`WrongState`]: ApplyError::WrongState

mod builder;
mod decode;
mod error;
mod event;
mod holdings;
mod positions;
mod prefill;
mod request;
mod schedulable;
mod state;

pub use builder::SchedulableSequenceBuilder;
pub use error::{ApplyError, BlockSizeMismatch, ScheduleError};
pub use event::{NoopDelegate, SequenceDelegate, SequenceEvent};
pub use request::RequestSequence;
pub use schedulable::SchedulableSequence;
pub use state::{DecodeOutcome, SequenceState};
