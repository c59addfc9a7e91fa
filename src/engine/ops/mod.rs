//! What a store does: `impl Store`, one operation per file.
//!
//! | file | operation |
//! |---|---|
//! | `allocate` | reserve blocks, then find them: free ones, cleared ones, victims |
//! | `evict` | find victims in the policy's order, or by a sweep without it |
//! | `victims` | end the tenancies of vacated blocks, then hand them out or free them |
//! | `matching` | pin registered blocks, active or inactive, by their hashes |
//! | `register` | make a complete block the primary of its hash, or a duplicate |
//! | `release` | what the drop of a hold does: unpin, reset, free |
//! | `release_batch` | the same for many holds, sharing the exchanges |
//! | `clear` | give up the content of all inactive blocks at once |
//! | `reset` | the same, block by block |
//! | `retain` | set and read retention directives |
//! | `watermark` | the low watermark as the manager uses it |
//! | `drain` | queue updates of the eviction order, and apply them before they become too many |
//! | `gauges` | how many blocks are in which state |
//! | `audit` | the numbered invariants, and their check |
//!
//! Operations use the [parts](crate::engine::parts) of the store and hand out
//! [holds](crate::engine::hold).
//!
//! While an operation is in progress, user code is called only where its answer is needed (a
//! frequency tracker, a custom eviction policy), and its panics are caught. Other user code,
//! such as the drops of attachments, is collected in
//! [`Leftovers`](crate::registry::Leftovers) and runs when the operation is complete.

mod allocate;
mod audit;
mod clear;
mod drain;
mod evict;
mod gauges;
mod matching;
mod register;
mod release;
mod release_batch;
mod reset;
mod retain;
mod victims;
mod watermark;

pub(crate) use allocate::Reserved;
pub use audit::{AuditError, AuditReport};
pub(crate) use register::Registered;
