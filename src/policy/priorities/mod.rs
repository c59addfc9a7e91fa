//! Priorities for orders that know nothing of them.

pub(crate) mod retained;
