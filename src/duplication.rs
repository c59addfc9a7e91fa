//! What becomes of a block whose content another block holds already.

/// What a manager does when a block is registered under a hash that another of
/// its blocks holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockDuplicationPolicy {
    /// Keeps both. The second is a *duplicate*: it keeps the first, the
    /// *primary*, from becoming inactive, is not found by matches, and is freed
    /// when its last holder drops it.
    Allow,
    /// Keeps the first: the registration returns the primary, and the new block
    /// is freed.
    Reject,
}
