//! A request's life, from prompt to last token, in one type.
//!
//! [`RequestSequence`] puts tokens and guards together and leaves the order of the
//! steps to the caller. [`SchedulableSequence`] is built on it and knows the steps of
//! a serving loop: each is *scheduled*, which gets the blocks it needs, and then
//! *applied*, which commits what the model made, or *reverted*.
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

mod error;
mod event;
mod request;
mod schedulable;

pub use error::{ApplyError, ScheduleError};
pub use event::{NoopDelegate, SequenceDelegate, SequenceEvent};
pub use request::RequestSequence;
pub use schedulable::{
    DecodeOutcome, SchedulableSequence, SchedulableSequenceBuilder, SequenceState,
};
