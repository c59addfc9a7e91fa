//! Two threads add and remove entries while the table grows and shrinks.

use std::thread;

use super::*;

#[test]
fn handles_come_and_go() {
    let registry = BlockRegistry::new();
    thread::scope(|scope| {
        for seed in 0..2 {
            let registry = &registry;
            scope.spawn(move || {
                let own = (seed * 100..seed * 100 + 70).map(hash);
                let handles = registry.register_sequence_hashes(own);
                let shared = registry.register_sequence_hashes((0..8).map(hash));
                for handle in &shared {
                    handle.attach(seed).unwrap();
                }
                drop(handles);
                assert!(registry.is_registered(shared[0].seq_hash()));
                drop(shared);
            });
        }
    });
    assert_eq!(registry.registered_count(), 0);
    registry.flush_garbage();
}

/// The registry is dropped while there is garbage and its table is shrinking.
#[test]
fn a_registry_goes_with_work_under_way() {
    for entries in [1, 65, 130] {
        let registry = BlockRegistry::new();
        let handles = registry.register_sequence_hashes((0..entries).map(hash));
        drop(registry);
        drop(handles);
    }
}
