//! The keys that a sketch can count.

use xxhash_rust::xxh3::xxh3_64_with_secret;

/// A key of a frequency sketch.
///
/// The sketch hashes a key with a fixed secret (in the
/// [reference's layout](super::TinyLFUSettingsBuilder::reference_layout), four times with four),
/// and selects two counters by each half of the hash. Equal keys must have equal hashes. The
/// estimates are best if
///
/// * the hashes depend on every byte of the secret that they use, so that two of them agree
///   no more often than by chance, and
/// * no bit is the same in all hashes.
pub trait SketchKey: Copy + Send + Sync + 'static {
    /// Returns the hash of this key under `secret`.
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64;
}

/// XXH3 of the eight little-endian bytes; the same on every platform.
impl SketchKey for u64 {
    #[inline]
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64 {
        xxh3_64_with_secret(&self.to_le_bytes(), secret)
    }
}

/// XXH3 of the sixteen little-endian bytes; the same on every platform.
impl SketchKey for u128 {
    #[inline]
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64 {
        xxh3_64_with_secret(&self.to_le_bytes(), secret)
    }
}
