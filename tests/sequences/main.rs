//! Sequences and assignments beside those of `kvbm-logical`: the same calls, and the
//! same answers, errors with the blocks they carry included.
//!
//! Blocks are allocated up front, from pools that have never been used, so that their
//! ids are the same in both crates.

mod computed;
mod external;
mod logical;
mod model;
mod schedules;
mod tokens;
