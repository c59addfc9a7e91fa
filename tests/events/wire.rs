//! Messages are byte for byte the reference's, and each crate reads the other's.

use std::fmt::Debug;

use kvbm_lockfree::events as ours;
use kvbm_logical::events as reference;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::hash;

/// Generates a message in both crates' types.
fn message() -> impl Strategy<Value = (ours::KvbmCacheEvents, reference::KvbmCacheEvents)> {
    let hashes = prop::collection::vec((0..1_u64 << 20).prop_map(hash), 0..20);
    let instance = prop_oneof![Just(0), Just(u128::MAX), any::<u128>()];
    (0..3, hashes, instance).prop_map(|(kind, hashes, instance_id)| {
        let (events, of_reference) = match kind {
            0 => (
                ours::KvCacheEvents::Create(hashes.clone()),
                reference::KvCacheEvents::Create(hashes),
            ),
            1 => (
                ours::KvCacheEvents::Remove(hashes.clone()),
                reference::KvCacheEvents::Remove(hashes),
            ),
            _ => (
                ours::KvCacheEvents::Shutdown,
                reference::KvCacheEvents::Shutdown,
            ),
        };
        (
            ours::KvbmCacheEvents {
                events,
                instance_id,
            },
            reference::KvbmCacheEvents {
                events: of_reference,
                instance_id,
            },
        )
    })
}

/// Asserts that both serialize to the same bytes, which each deserializes.
fn agree<A, B>(ours: &A, reference: &B)
where
    A: Serialize + DeserializeOwned + PartialEq + Debug,
    B: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let (a, b) = (
        serde_json::to_vec(ours).unwrap(),
        serde_json::to_vec(reference).unwrap(),
    );
    assert_eq!(a, b);
    assert_eq!(&serde_json::from_slice::<A>(&b).unwrap(), ours);
    assert_eq!(&serde_json::from_slice::<B>(&a).unwrap(), reference);

    let (a, b) = (
        rmp_serde::to_vec(ours).unwrap(),
        rmp_serde::to_vec(reference).unwrap(),
    );
    assert_eq!(a, b);
    assert_eq!(&rmp_serde::from_slice::<A>(&b).unwrap(), ours);
    assert_eq!(&rmp_serde::from_slice::<B>(&a).unwrap(), reference);

    let (a, b) = (
        rmp_serde::to_vec_named(ours).unwrap(),
        rmp_serde::to_vec_named(reference).unwrap(),
    );
    assert_eq!(a, b);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages((ours, reference) in message()) {
        agree(&ours, &reference);
    }

    #[test]
    fn events(position in 0..1_u64 << 20) {
        let hash = hash(position);
        agree(&ours::KvCacheEvent::Create(hash), &reference::KvCacheEvent::Create(hash));
        agree(&ours::KvCacheEvent::Remove(hash), &reference::KvCacheEvent::Remove(hash));
    }
}
