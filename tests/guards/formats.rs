//! Encodings and `Debug` output are byte for byte those of the published crate.

use bincode::config::standard;
use bincode::{Decode, Encode, decode_from_slice, encode_to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Returns both encodings of a value, and checks that they decode to the same value.
fn encodings<V>(value: V) -> (Vec<u8>, String)
where
    V: Encode + Decode<()> + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode_to_vec(&value, standard()).expect("encodable");
    let (decoded, read): (V, usize) = decode_from_slice(&bytes, standard()).expect("decodable");
    assert_eq!((&decoded, read), (&value, bytes.len()));

    let text = serde_json::to_string(&value).expect("serializable");
    let parsed: V = serde_json::from_str(&text).expect("deserializable");
    assert_eq!(parsed, value);
    (bytes, text)
}

#[test]
fn manager_ids_are_encoded_alike() {
    assert_eq!(
        kvbm_lockfree::ManagerId::NULL.0,
        kvbm_logical::ManagerId::NULL.0
    );
    for id in [0, 1, 250, 251, u64::from(u32::MAX), u64::MAX] {
        let ours = encodings(kvbm_lockfree::ManagerId(id));
        let reference = encodings(kvbm_logical::ManagerId(id));
        assert_eq!(ours, reference, "id {id}");
    }
}

#[test]
fn layout_handles_are_encoded_alike() {
    use kvbm_lockfree::LogicalLayoutHandle as Ours;
    use kvbm_logical::LogicalLayoutHandle as Reference;
    let pairs = [
        (Ours::G1, Reference::G1),
        (Ours::G2, Reference::G2),
        (Ours::G3, Reference::G3),
        (Ours::G4, Reference::G4),
    ];
    for (ours, reference) in pairs {
        assert_eq!(encodings(ours), encodings(reference), "{ours:?}");
    }
}

/// Returns the `Debug` output of each kind of guard, with ids masked, since those may differ.
macro_rules! debug_of_each_guard {
    ($kvbm:ident) => {{
        use $kvbm::{BlockManager, BlockRegistry};
        let manager = BlockManager::<()>::builder()
            .block_count(3)
            .registry(BlockRegistry::new())
            .build()
            .expect("the configuration is valid");
        let mut blocks = manager.allocate_blocks(3).expect("all are free");
        let hashes = crate::chain(1, 2);
        let mut stage = |hash| blocks.pop().expect("one is left").stage(hash, 16);
        let complete = stage(hashes[0]).expect("the size fits");
        let immutable = manager.register_block(stage(hashes[1]).expect("the size fits"));
        let (weak, pin) = (immutable.downgrade(), immutable.pin());
        [
            mask(
                format!("{:?}", blocks[0]),
                "block_id",
                blocks[0].block_id() as u64,
            ),
            mask(
                format!("{complete:?}"),
                "block_id",
                complete.block_id() as u64,
            ),
            mask(
                format!("{immutable:?}"),
                "block_id",
                immutable.block_id() as u64,
            ),
            format!("{weak:?}"),
            mask(
                mask(format!("{pin:?}"), "block_id", pin.block_id() as u64),
                "manager_id",
                pin.manager_id().0,
            ),
        ]
    }};
}

/// Masks the number in a field, whether it is bare or in a tuple struct.
fn mask(text: String, field: &str, number: u64) -> String {
    let bare = text.replace(&format!("{field}: {number}"), &format!("{field}: _"));
    bare.replace(
        &format!("{field}: ManagerId({number})"),
        &format!("{field}: ManagerId(_)"),
    )
}

#[test]
fn guards_print_alike() {
    assert_eq!(
        debug_of_each_guard!(kvbm_lockfree),
        debug_of_each_guard!(kvbm_logical)
    );
}
