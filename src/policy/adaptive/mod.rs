//! What orders learn from the uses of content: how often and how recently it was used, and which
//! settings suit the workload.
//!
//! | file | idea |
//! |---|---|
//! | [`tag`] | the number that stands for a hash |
//! | [`history`] | how often and how recently hashes were used, as one time per hash |
//! | [`sketch`] | how often hashes were used, in a few bits each |
//! | [`climber`] | the size of a window, found by climbing the hit rate |
//! | [`tuner`] | the half-life of uses, found by comparing miniatures |
//! | [`miniature`] | a small model of a pool, which estimates the hits of a half-life |

pub(crate) mod climber;
pub(crate) mod history;
mod miniature;
pub(crate) mod sketch;
pub(crate) mod tag;
pub(crate) mod tuner;
