//! Metadata types for tests with one or several tiers.

/// A metadata type with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct TestMeta {
    /// Any value: tests may use it as they like.
    pub value: u64,
}

/// The metadata type of a first tier.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataA(pub u32);

/// The metadata type of a second tier.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataB(pub String);

/// The metadata type of a third tier.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataC;
