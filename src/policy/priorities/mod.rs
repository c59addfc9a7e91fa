//! Priorities for orders that do not support them.

pub(crate) mod retained;
