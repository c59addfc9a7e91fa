//! Orders that need only a block's last release or its frequency, and the user's own order.

pub(crate) mod custom;
pub(crate) mod lru;
pub(crate) mod multi_lru;
mod release_order;
