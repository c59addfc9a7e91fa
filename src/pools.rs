//! Where the reference has its pools. Here a pool is not a place (see
//! [the engine](crate#how-it-works)); what is public in it stands in
//! [`blocks`](crate::blocks).

pub use crate::blocks::BlockDuplicationPolicy;
