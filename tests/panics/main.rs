//! User code that panics: everywhere it can be called, from every operation that calls it.
//!
//! The rule: the operation completes, including the rest of the batch, and then the first panic
//! propagates to the caller. During unwinding, and on the crate's own threads, panics are contained.
//! No block, count, event or user's value is lost, and the process does not abort.
//!
//! | file | idea |
//! |---|---|
//! | `place` | the places of user code, and what causes it to be called |
//! | `operation` | what users do, in which state, and what that causes |
//! | `reach` | which operations reach which places, and where the panic goes |
//! | `world` | managers, a registry and events, with user code everywhere |
//! | `user` | the user's trackers and policies |
//! | `fuse` | at which calls user code panics, and with which payload |
//! | `ledger` | which of the user's values have been dropped, and how often |
//! | `mirror` | what is registered according to the events |
//! | `state` | the observable state after an operation |
//! | `runner` | compares a run with bombs and a run without |
//! | `table` | all rows, place by place, in child processes |
//! | `wakers`, `publishers`, `inputs` | places that the operations of the table do not reach |
//! | `aborts` | a second panic during unwinding |
//! | `named` | regressions |

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
