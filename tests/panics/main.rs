//! User code that panics, wherever it can stand and whatever reaches it.
//!
//! The rule: the operation is completed, the rest of the batch is done, and then the
//! first panic goes on to the caller. While the thread unwinds, and on the crate's own
//! threads, panics go no further. No block, count, event or value of the user's is lost,
//! and the process is not aborted.
//!
//! | file | idea |
//! |---|---|
//! | `place` | where user code stands, and what calls it |
//! | `operation` | what users do, in which state, and what that brings about |
//! | `reach` | which operations reach which places, and where a panic goes |
//! | `world` | managers, a registry and events, with user code everywhere |
//! | `user` | the user's trackers and policies |
//! | `fuse` | at which calls user code panics, and with what |
//! | `ledger` | which of the user's values have been dropped, and how often |
//! | `mirror` | what events say is registered |
//! | `state` | what there is after an operation |
//! | `runner` | a run with bombs is compared with one without |
//! | `table` | all rows, place by place, in child processes |
//! | `wakers`, `publishers`, `inputs` | places that the operations of the table do not reach |
//! | `aborts` | a second panic while the first one unwinds |
//! | `named` | faults that have been seen |

mod aborts;
mod fuse;
mod inputs;
mod ledger;
mod mirror;
mod named;
mod operation;
mod place;
mod publishers;
mod reach;
mod runner;
mod state;
mod table;
mod user;
mod wakers;
mod world;
