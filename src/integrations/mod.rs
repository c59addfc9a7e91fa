//! A request's life, from its prompt to its last token, in one type.
//!
//! [`RequestSequence`] puts tokens and guards together and leaves the order of the steps
//! to the caller. [`SchedulableSequence`] builds on it and knows the steps of a serving
//! loop: each is first *scheduled*, which allocates the blocks it needs, and then either
//! *applied*, which records what the model computed and sampled, or *reverted*.
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
//! A call that returns an error has changed nothing.
//!
//! # What is computed, and what is registered
//!
//! A step computes the KV of tokens from [`kv_position`] on: a prefill as many as were
//! scheduled, a decode the [tail], a speculative decode the tail and the draft. When it
//! is applied, `kv_position` advances, and exactly the blocks that are computed to their
//! last token are registered. Others can match them from then on.
//!
//! KV goes with the block it is in. When blocks are released, `kv_position` is 0; when
//! they are got back, it is where the cached ones end, and the next step begins there.
//!
//! | to … | call |
//! |---|---|
//! | compute the prompt, in chunks or not | `schedule_prefill`; the chunk that reaches the last known token yields the next one |
//! | use what is cached | [`match_and_add_prefix`], before anything else |
//! | generate | `schedule_decode` or `schedule_speculative` |
//! | preempt | [`release`] |
//! | resume | [`reacquire`], then `schedule_prefill` if `schedule_decode` says that tokens are missing |
//!
//! [`match_and_add_prefix`] and [`reacquire`] leave at least the last known token to be
//! computed while tokens are to be generated. So a prompt that is cached as a whole needs
//! nothing special: prefill computes what is left, and yields the first token.
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, DecodeOutcome, SchedulableSequence};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = BlockManager::<()>::builder()
//!     .block_count(16)
//!     .block_size(4)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let prompt: Vec<u32> = (0..12).collect();
//! let mut request = SchedulableSequence::<()>::new(prompt.clone(), 20, 4, None);
//! request.match_and_add_prefix(&manager)?; // nothing is cached yet
//!
//! // Chunked prefill. After six tokens, one block is computed to its last token.
//! request.schedule_prefill(6, &manager)?;
//! request.apply_prefill(None, &manager)?;
//! assert_eq!((request.kv_position(), request.assigned_blocks()), (6, 1));
//! request.schedule_prefill(6, &manager)?;
//! request.apply_prefill(Some(100), &manager)?;
//! assert_eq!((request.kv_position(), request.tail_tokens()), (12, 1));
//!
//! // Decode. The fourth token completes a block, which the step after it registers.
//! for token in 101..104 {
//!     request.schedule_decode(&manager)?;
//!     let outcome = request.apply_decode(token, &manager)?;
//!     assert_eq!(outcome == DecodeOutcome::BlockCompleted, token == 103);
//! }
//! assert_eq!((request.total_tokens(), request.assigned_blocks()), (16, 3));
//!
//! // Speculative decode: of a draft of four tokens, the model accepts two.
//! request.schedule_speculative(4, &manager)?;
//! request.apply_speculative(&[104, 105], &manager)?;
//! assert_eq!((request.kv_position(), request.assigned_blocks()), (17, 4));
//!
//! // Preemption and resumption. The complete blocks are still cached. The partial one is
//! // lost: its tokens are in the tail, which the decode computes.
//! request.release()?;
//! assert_eq!(request.kv_position(), 0);
//! assert!(request.reacquire(&manager)?);
//! assert_eq!((request.kv_position(), request.tail_tokens()), (16, 2));
//! request.schedule_decode(&manager)?;
//! request.apply_decode(106, &manager)?;
//!
//! // Had blocks been evicted, prefill would go on where the cached ones end.
//! request.release()?;
//! drop(manager.allocate_blocks(16)); // evicts all
//! assert!(request.reacquire(&manager)?);
//! assert!(request.schedule_decode(&manager).is_err());
//! request.schedule_prefill(request.tail_tokens(), &manager)?;
//! request.apply_prefill(Some(107), &manager)?;
//! request.schedule_decode(&manager)?;
//! request.apply_decode(108, &manager)?;
//!
//! // The whole prompt is cached: its last block is computed again, for the logits.
//! let mut other = SchedulableSequence::<()>::new(prompt, 20, 4, None);
//! assert_eq!(other.match_and_add_prefix(&manager)?, 2);
//! other.schedule_prefill(12 - other.prefill_position(), &manager)?;
//! other.apply_prefill(Some(100), &manager)?;
//! other.schedule_decode(&manager)?;
//! # Ok(())
//! # }
//! ```
//!
//! [`kv_position`]: SchedulableSequence::kv_position
//! [tail]: SchedulableSequence::tail_tokens
//! [`match_and_add_prefix`]: SchedulableSequence::match_and_add_prefix
//! [`release`]: SchedulableSequence::release
//! [`reacquire`]: SchedulableSequence::reacquire

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
