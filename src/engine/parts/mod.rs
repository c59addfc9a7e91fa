//! The parts that a store is made of. No part refers to the store.

pub(crate) mod credits;
pub(crate) mod deadlines;
pub(crate) mod directives;
pub(crate) mod era;
pub(crate) mod freelist;
pub(crate) mod index;
pub(crate) mod plane;
pub(crate) mod prefetch;
pub(crate) mod release_log;
pub(crate) mod slot;
pub(crate) mod slot_stack;
pub(crate) mod sweep;
pub(crate) mod word;
