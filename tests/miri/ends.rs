//! Guards of every kind outlive their manager. The last one frees the store from within its own
//! drop.

use std::thread;

use super::*;

#[test]
fn the_last_guard_frees_the_store() {
    let registry = BlockRegistry::new();
    let of = |make: fn(&Manager) -> Box<dyn Send>| {
        for manager in [lru(&registry), lineage(&registry)] {
            let guard = make(&manager);
            drop(manager);
            drop(guard);
        }
    };
    of(|manager| Box::new(manager.allocate_one()));
    of(|manager| Box::new(manager.allocate_one().unwrap().stage(hash(1), 16).unwrap()));
    of(|manager| Box::new(cached(manager, hash(1))));
    of(|manager| {
        let block = cached(manager, hash(1));
        Box::new((block.clone(), block))
    });
    of(|manager| Box::new((cached(manager, hash(1)), cached(manager, hash(1)))));
    of(|manager| {
        let block = cached(manager, hash(1));
        block.set_evict_on_reset(true);
        Box::new(block)
    });
    of(|manager| Box::new(cached(manager, hash(1)).pin()));
    of(|manager| {
        let block = cached(manager, hash(1));
        Box::new((block.downgrade(), block))
    });
    of(|manager| {
        let weak = cached(manager, hash(1)).downgrade();
        Box::new((weak.upgrade(), weak))
    });
    of(|manager| Box::new(cached(manager, hash(1)).registration_handle()));
    of(|manager| {
        let block = cached(manager, hash(1));
        Box::new(manager.lease(vec![block], "client", None).unwrap())
    });
    assert_eq!(registry.registered_count(), 0);
}

/// Guards are dropped on different threads, and any of them may be the last.
#[test]
fn two_threads_have_the_last_guards() {
    for _ in 0..8 {
        let registry = BlockRegistry::new();
        let manager = lru(&registry);
        let block = cached(&manager, hash(1));
        let other = block.clone();
        let mutable = manager.allocate_one();
        let weak = block.downgrade();
        let threads = [
            thread::spawn(move || drop(block)),
            thread::spawn(move || drop((other, mutable))),
            thread::spawn(move || drop((weak.upgrade(), weak))),
        ];
        drop(manager);
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(!registry.is_registered(hash(1)));
    }
}

/// A weak guard can be upgraded when nothing else keeps the store.
#[test]
fn a_weak_guard_outlives_its_manager() {
    let registry = BlockRegistry::new();
    let manager = lineage(&registry);
    let weak = cached(&manager, hash(1)).downgrade();
    drop(manager);
    let block = weak.upgrade().unwrap();
    drop(weak);
    assert!(registry.is_registered(hash(1)));
    drop(block);
    assert!(!registry.is_registered(hash(1)));
}

/// Attachments whose drop panics are dropped after the store has been freed.
#[test]
fn user_code_runs_last() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    let registry = BlockRegistry::new();
    let manager = lru(&registry);
    let blocks = [cached(&manager, hash(1)), cached(&manager, hash(2))];
    for block in &blocks {
        let handle = block.registration_handle();
        handle.attach(Bomb).unwrap();
        handle.attach(Bomb).unwrap();
    }
    drop(manager);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(blocks)));
    assert!(caught.is_err());
    assert_eq!(registry.registered_count(), 0);
}
