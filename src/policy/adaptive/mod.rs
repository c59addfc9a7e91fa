//! What orders learn from the uses of contents: how often and how recently each was used,
//! and which settings suit the workload.
//!
//! | file | idea |
//! |---|---|
//! | [`tag`] | the number that stands for a content |
//! | [`history`] | how often and how recently contents were used, as one time per content |
//! | [`sketch`] | how often contents were used, in a few bits each |
//! | [`climber`] | the size of a window, found by climbing the hit rate |
//! | [`tuner`] | the half-life of uses, found by comparing miniatures |
//! | [`miniature`] | a small model of a pool, which tells what a half-life is worth |

pub(crate) mod climber;
pub(crate) mod history;
mod miniature;
pub(crate) mod sketch;
pub(crate) mod tag;
pub(crate) mod tuner;
