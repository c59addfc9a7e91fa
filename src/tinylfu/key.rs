//! What the sketch can count.

use xxhash_rust::xxh3::xxh3_64_with_secret;

/// A key of the frequency sketch.
///
/// The sketch hashes a key four times with four fixed secrets. An
/// implementation must give equal keys equal hashes, and should depend on
/// every byte of the secret it uses: two hashes that agree more often than by
/// chance make the estimates of the sketch worse. So do hashes in which some bits
/// are always the same: both the highest and the lowest choose counters.
pub trait SketchKey: Copy + Send + Sync + 'static {
    /// Hashes this key under `secret`.
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64;
}

/// XXH3 over the eight little-endian bytes; equal on every platform.
impl SketchKey for u64 {
    #[inline]
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64 {
        xxh3_64_with_secret(&self.to_le_bytes(), secret)
    }
}

/// XXH3 over the sixteen little-endian bytes; equal on every platform.
impl SketchKey for u128 {
    #[inline]
    fn hash_with_secret(&self, secret: &[u8; 192]) -> u64 {
        xxh3_64_with_secret(&self.to_le_bytes(), secret)
    }
}
