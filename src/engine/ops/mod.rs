//! What a store does: one operation per file.

mod allocate;
mod audit;
mod clear;
mod gauges;
mod matching;
mod register;
mod release;
mod release_batch;
mod retain;
mod watermark;

pub(crate) use allocate::Reserved;
pub use audit::{AuditError, AuditReport};
pub(crate) use register::Registered;
