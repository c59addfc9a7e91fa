//! Every public type that can be decoded accepts any bytes: decoding does not panic, and a
//! decoded value encodes to something that decodes to an equal value.
//!
//! The formats are bincode 2 (variable and fixed integers), JSON and MessagePack. If the
//! published `kvbm-logical` has the same type, it must decode the same bytes to the same
//! value.

#![no_main]

use std::fmt::Debug;

use bincode::config::{self, Config};
use bincode::{Decode, Encode};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    let ours = every_format::<kvbm_lockfree::ManagerId>(bytes).map(|id| id.map(|id| id.0));
    let reference = every_format::<kvbm_logical::ManagerId>(bytes).map(|id| id.map(|id| id.0));
    assert_eq!(ours, reference);

    let ours = every_format::<kvbm_lockfree::LogicalLayoutHandle>(bytes);
    let reference = every_format::<kvbm_logical::LogicalLayoutHandle>(bytes);
    // The types differ, but their variants have the same names.
    assert_eq!(format!("{ours:?}"), format!("{reference:?}"));

    every_format::<kvbm_lockfree::BlockId>(bytes);

    // Any sixteen bytes are a hash. It is not printed, because its `Debug` panics if the two
    // highest bits are set.
    serde_formats::<kvbm_lockfree::SequenceHash>(bytes);
});

/// Returns the value that each format reads from the bytes.
fn every_format<V>(bytes: &[u8]) -> [Option<V>; 5]
where
    V: Encode + Decode<()> + Serialize + DeserializeOwned + PartialEq + Debug + Copy,
{
    let [json, message_pack] = serde_formats(bytes);
    [
        binary(bytes, config::standard()),
        binary(bytes, config::standard().with_big_endian()),
        binary(bytes, config::legacy()),
        json,
        message_pack,
    ]
}

fn binary<V, C: Config>(bytes: &[u8], config: C) -> Option<V>
where
    V: Encode + Decode<()> + PartialEq + Debug,
{
    let (value, read): (V, usize) = bincode::decode_from_slice(bytes, config).ok()?;
    assert!(read <= bytes.len());
    let encoded = bincode::encode_to_vec(&value, config).expect("encodable");
    // A number may be encoded in more bytes than it needs.
    assert!(encoded.len() <= read);
    let (again, read): (V, usize) =
        bincode::decode_from_slice(&encoded, config).expect("decodable");
    assert_eq!((&again, read), (&value, encoded.len()));
    Some(value)
}

/// Checks JSON and MessagePack.
fn serde_formats<V: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) -> [Option<V>; 2] {
    let json: Option<V> = serde_json::from_slice(bytes).ok();
    if let Some(value) = &json {
        let encoded = serde_json::to_vec(value).expect("serializable");
        let again: V = serde_json::from_slice(&encoded).expect("deserializable");
        assert!(again == *value, "JSON {encoded:?} decodes to another value");
    }
    let message_pack: Option<V> = rmp_serde::from_slice(bytes).ok();
    if let Some(value) = &message_pack {
        let encoded = rmp_serde::to_vec(value).expect("serializable");
        let again: V = rmp_serde::from_slice(&encoded).expect("deserializable");
        assert!(again == *value, "{encoded:?} reads as another value");
    }
    [json, message_pack]
}
