//! A small set of sequence hashes that covers the edge cases.

use kvbm_lockfree::SequenceHash;
use serde::Deserialize;
use serde::de::value::{BytesDeserializer, Error};

/// A chain and a branch of it; chains across the positions at which the width of the parent
/// fragment changes; hashes that share position and fragment; and two from raw bytes that no
/// chain has.
pub fn hashes() -> Vec<SequenceHash> {
    let root = SequenceHash::root(1);
    let child = root.extend(2);
    let narrow = SequenceHash::new(3, Some(4), 255);
    let wide = SequenceHash::new(5, None, 65_535);
    vec![
        root,
        child,
        child.extend(6),
        root.extend(7),
        narrow,
        narrow.extend(8),
        wide,
        wide.extend(9),
        // To their children these look like `root`: only the highest bits differ.
        SequenceHash::root(1 | 1 << 63),
        SequenceHash::root(1 | 1 << 62),
        raw(u128::MAX),
        raw(3 << 126),
    ]
}

/// Returns a hash as untrusted bytes would create it. If both of the two highest bits are set,
/// they select a layout that does not exist.
fn raw(bits: u128) -> SequenceHash {
    SequenceHash::deserialize(BytesDeserializer::<Error>::new(&bits.to_be_bytes()))
        .expect("sixteen bytes are a hash")
}
