//! Do sequences and assignments behave like those of `kvbm-logical`?
//!
//! * `tokens`, `external`, `logical`, `schedules`: the same calls in both crates get the same
//!   answers, including errors and the blocks that these return.
//! * `computed`: what this crate does differently, and why.
//! * `model`: generated schedules, checked against a model that computes KV.
//!
//! Blocks are allocated up front from fresh pools, so that their ids are the same in both
//! crates.

mod computed;
mod external;
mod logical;
mod model;
mod schedules;
mod tokens;
