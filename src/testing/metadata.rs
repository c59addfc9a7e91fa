//! Metadata types, so that tests can have several tiers.

/// A metadata type with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct TestMeta {
    /// Whatever the test likes.
    pub value: u64,
}

/// One metadata type.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataA(pub u32);

/// Another metadata type.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataB(pub String);

/// A third metadata type.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataC;
