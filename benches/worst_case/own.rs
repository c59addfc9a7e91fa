//! Scenes of operations that only this crate has.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kvbm_lockfree::events::EventsManager;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock};

use crate::Tier;
use crate::meter::Meter;
use crate::ours::{admit, cached, full, manager, request};
use crate::workload::{BATCH, chain};

const HOUR: Duration = Duration::from_secs(3_600);

/// Serves some requests, which evict, and allocates some single blocks.
fn evict(manager: &BlockManager<Tier>, first: u64, state: &'static str, meter: &mut Meter) {
    let block = meter.call("allocate 1, evicting", state, || manager.allocate_one());
    drop(block);
    for number in first..first + 64 {
        let hashes = chain(number);
        let held = request(manager, &hashes, "allocate 32, evicting", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
    let mut fresh = Vec::new();
    for _ in 0..64 {
        fresh.push(meter.call("allocate 1, evicting", state, || {
            manager.allocate_one().expect("available")
        }));
    }
    meter.call("drop 64 unregistered", state, || drop(fresh));
}

/// Matches and releases some cached requests.
fn match_some(manager: &BlockManager<Tier>, blocks: usize, state: &'static str, meter: &mut Meter) {
    for at in 0..64 {
        let hashes = cached(at * (blocks / BATCH / 64));
        let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
        meter.call("drop 32", state, || drop(held));
    }
}

/// A pool is cleared once, and then more often than there are eras.
pub fn clearing(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let state = "ordinary";
    meter.call("clear_inactive_pool", state, || {
        manager.clear_inactive_pool()
    });
    let state = "after a clearing of n blocks";
    for at in 0..64 {
        let hashes = cached(at);
        let missed = meter.call("match 32, a miss", state, || manager.match_blocks(&hashes));
        assert!(missed.is_empty());
        let block = meter.call("allocate 1, cleared", state, || manager.allocate_one());
        drop(block);
        // The hashes that were cleared come back.
        let held = request(&manager, &hashes, "allocate 32, cleared", state, meter);
        meter.call("drop 32", state, || drop(held));
        meter.call("metrics snapshot", state, || manager.metrics().snapshot());
        meter.call("available_blocks", state, || manager.available_blocks());
        let registry = manager.block_registry();
        meter.call("registered_count", state, || registry.registered_count());
        meter.call("check_presence of 32", state, || {
            registry.check_presence::<Tier>(&hashes)
        });
    }
    let state = "after 2^15 clearings";
    for at in 0..(1 << 15) {
        if at % 64 == 0 {
            drop(admit(&manager, &chain(1 + at)));
        }
        meter.call("clear_inactive_pool", state, || {
            manager.clear_inactive_pool()
        });
    }
    let state = "after 2^15 clearings";
    for at in 0..64 {
        let hashes = chain(1 << 20 | at);
        let held = request(&manager, &hashes, "allocate 32, cleared", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
    // All blocks are found again.
    let all = manager.allocate_blocks(blocks).expect("nothing is held");
    drop(all);
}

/// Half of the pool is cleared while the other half is held, and released later.
pub fn clearing_half(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let held: Vec<_> = (0..blocks / BATCH / 2)
        .map(|at| manager.match_blocks(&cached(at)))
        .collect();
    let state = "half of the pool is held";
    meter.call("clear_inactive_pool", state, || {
        manager.clear_inactive_pool()
    });
    for guards in held {
        meter.call("drop 32", state, || drop(guards));
    }
    let state = "after a clearing of half of the pool";
    for number in 0..blocks as u64 / BATCH as u64 {
        let hashes = chain(1 + number);
        let held = request(&manager, &hashes, "allocate 32, cleared", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
}

/// Every block gets a directive.
pub fn directives(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let state = "while n blocks get a directive";
    for at in 0..blocks / BATCH {
        let priority = match at % 4 {
            0 => Priority::HIGHEST,
            1 => Priority::LOWEST,
            _ => Priority::new((at % 100) as u8).expect("at most 100"),
        };
        let mut retention = Retention::new(priority);
        if at % 3 == 0 {
            retention = retention.for_duration(HOUR);
        }
        let hashes = cached(at);
        meter.call("set_retention of 32", state, || {
            manager.set_retention(&hashes, .., retention)
        });
    }
    let state = "n blocks have a directive";
    match_some(&manager, blocks, state, meter);
    evict(&manager, 1, state, meter);
    meter.call("clear_inactive_pool", state, || {
        manager.clear_inactive_pool()
    });
    let state = "n blocks had a directive and are cleared";
    evict(&manager, 1_000, state, meter);
}

/// The half of the pool that would be evicted first must be kept.
pub fn kept(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let keep = Retention::new(Priority::HIGHEST);
    for at in 0..blocks / BATCH / 2 {
        manager.set_retention(&cached(at), .., keep);
    }
    let state = "the half that is due is kept by directives";
    evict(&manager, 1, state, meter);
    match_some(&manager, blocks, state, meter);
}

/// The directives of all blocks expire.
pub fn expired_directives(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    for at in 0..blocks / BATCH {
        let priority = match at % 2 {
            0 => Priority::HIGHEST,
            _ => Priority::LOWEST,
        };
        // So that they end when all have been given.
        let retention = Retention::new(priority).for_duration(Duration::from_secs(1));
        manager.set_retention(&cached(at), .., retention);
    }
    std::thread::sleep(Duration::from_millis(1_100));
    let state = "the directives of n blocks have expired";
    evict(&manager, 1, state, meter);
    match_some(&manager, blocks, state, meter);
    let keep = Retention::new(Priority::HIGHEST);
    for at in 0..64 {
        let hashes = cached(blocks / BATCH / 2 + at);
        meter.call("set_retention of 32", state, || {
            manager.set_retention(&hashes, .., keep)
        });
    }
    evict(&manager, 1_000, state, meter);
}

/// Leases of one request each, and of all requests together.
pub fn leases(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let state = "beside few leases";
    let lease = |guards: Vec<ImmutableBlock<Tier>>, duration| {
        manager
            .lease(guards, "bench", duration)
            .expect("of this manager")
    };
    for at in 0..64 {
        let guards = manager.match_blocks(&cached(at));
        let of_32 = meter.call("lease of 32", state, || lease(guards, Some(HOUR)));
        meter
            .call("renew a lease", state, || of_32.renew(Some(HOUR)))
            .expect("not expired");
        meter
            .call("guards of a lease", state, || of_32.to_guards())
            .expect("not expired");
        meter
            .call("release a lease of 32", state, || of_32.release())
            .expect("not expired");
        meter.call("unleased_blocks", state, || manager.unleased_blocks());
    }
    let state = "while n blocks are leased";
    let mut leases = Vec::new();
    for at in 0..blocks / BATCH {
        let guards = manager.match_blocks(&cached(at));
        leases.push(meter.call("lease of 32", state, || lease(guards, Some(HOUR))));
    }
    let state = "beside leases of n blocks";
    for lease in leases.iter().take(64) {
        meter
            .call("renew a lease", state, || lease.renew(Some(HOUR)))
            .expect("not expired");
        meter
            .call("guards of a lease", state, || lease.to_guards())
            .expect("not expired");
        meter.call("unleased_blocks", state, || manager.unleased_blocks());
        let refused = meter.call("allocate, refused", state, || manager.allocate_one());
        assert!(refused.is_none());
    }
    meter.visit("holders", state, || manager.holders());
    let state = "while leases of n blocks are released";
    for lease in leases {
        meter
            .call("release a lease of 32", state, || lease.release())
            .expect("not expired");
    }
}

/// Leases of all blocks expire.
pub fn expired_leases(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let expire = |leases: usize| {
        let second = Some(Duration::from_secs(1));
        let mut ids = Vec::new();
        for lease in 0..leases {
            let guards = (0..blocks / BATCH)
                .filter(|at| at % leases == lease)
                .flat_map(|at| manager.match_blocks(&cached(at)))
                .collect();
            ids.push(
                manager
                    .lease(guards, "bench", second)
                    .expect("of this manager")
                    .detach(),
            );
        }
        std::thread::sleep(Duration::from_millis(1_100));
    };
    expire(1);
    let state = "a lease of n blocks has expired";
    for _ in 0..16 {
        let block = meter.call("allocate 1, evicting", state, || manager.allocate_one());
        drop(block.expect("the lease has expired"));
    }
    for at in 0..16 {
        let hashes = chain(1 + at);
        let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
        meter.call("drop 32", state, || drop(held));
        let lease = meter.call("lease of none", state, || {
            manager
                .lease(Vec::new(), "bench", None)
                .expect("of this manager")
        });
        drop(lease);
    }
    meter.visit("expire_leases", state, || manager.expire_leases());
    let manager = full(policy, blocks);
    for at in 0..blocks / BATCH {
        let guards = manager.match_blocks(&cached(at));
        let lease = manager.lease(guards, "bench", Some(Duration::from_secs(1)));
        lease.expect("of this manager").detach();
    }
    std::thread::sleep(Duration::from_millis(1_100));
    let state = "leases of n blocks have expired";
    for at in 0..16 {
        let block = meter.call("allocate 1, evicting", state, || manager.allocate_one());
        drop(block.expect("the leases have expired"));
        let hashes = chain(1 + at);
        let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
        let lease = meter.call("lease of 32", state, || {
            manager
                .lease(held, "bench", Some(HOUR))
                .expect("of this manager")
        });
        meter
            .call("release a lease of 32", state, || lease.release())
            .expect("not expired");
        meter.call("metrics snapshot", state, || manager.metrics().snapshot());
    }
    meter.visit("expire_leases", state, || manager.expire_leases());
}

/// The methods with which the reference's are extended, in a full pool.
pub fn own_methods(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    let state = "full pool";
    let (mut fresh, mut held) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    for number in 1..=256 {
        let hashes = chain(number);
        meter.call("match_into of 32, a miss", state, || {
            manager.match_into(&hashes, &mut held)
        });
        let is_granted = meter.call("allocate_into of 32, evicting", state, || {
            manager.allocate_into(BATCH, &mut fresh)
        });
        assert!(is_granted);
        let staged: Vec<_> = fresh
            .drain(..)
            .zip(hashes)
            .map(|(block, hash)| block.stage(hash, 16).expect("of this size"))
            .collect();
        meter.call("register_into of 32", state, || {
            manager.register_into(staged, &mut held);
        });
        meter.call("release_from of 32", state, || {
            manager.release_from(&mut held)
        });
        meter.call("match_into of 32", state, || {
            manager.match_into(&hashes, &mut held)
        });
        meter.call("release_from of 32", state, || {
            manager.release_from(&mut held)
        });
        let guard = meter.call("match_one", state, || manager.match_one(hashes[0]));
        meter.call("drop 1", state, || drop(guard));
        meter.call("is_low", state, || manager.is_low());
    }
    let mut blocks = Vec::new();
    for _ in 0..256 {
        blocks.push(meter.call("allocate_one, evicting", state, || {
            manager.allocate_one().expect("available")
        }));
    }
    meter
        .visit("audit", state, || manager.audit())
        .expect("the invariants hold");
}

/// A pool that is filled by single blocks, each of which is released by itself.
pub fn single_blocks(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = manager(policy, blocks);
    let state = "while the pool fills";
    for at in 0..blocks / BATCH {
        for hash in cached(at) {
            let block = manager.allocate_one().expect("available");
            let block = block.stage(hash, 16).expect("of this size");
            if at % 16 == 0 {
                let guard = meter.call("register 1", state, || manager.register_block(block));
                meter.call("drop 1", state, || drop(guard));
            } else {
                drop(manager.register_block(block));
            }
        }
    }
    let state = "after a fill by single blocks";
    evict(&manager, 1, state, meter);
    match_some(&manager, blocks, state, meter);
}

/// Every registration is an event, and a subscriber is slow.
pub fn events(policy: &str, blocks: usize, meter: &mut Meter) {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscriber = pin!(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let manager = BlockManager::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(registry)
        .with_policy(policy.parse().expect("it is built in"))
        .build()
        .expect("a valid configuration");
    let state = "events: while the pool fills";
    for at in 0..blocks / BATCH {
        let held = request(&manager, &cached(at), "allocate 32 free", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
    let state = "events: n have not been read";
    for at in 0..64 {
        let hashes = cached(at * (blocks / BATCH / 64));
        let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
        meter.call("drop 32", state, || drop(held));
    }
    for number in 1..=256 {
        let hashes = chain(number);
        let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
    meter.call("clear_inactive_pool", state, || {
        manager.clear_inactive_pool()
    });
    for _ in 0..1_024 {
        meter.call("next event", state, || subscriber.next().now_or_never());
    }
    let state = "events: after a clearing of n blocks";
    for number in 1_000..1_064 {
        let hashes = chain(number);
        let held = request(&manager, &hashes, "allocate 32, cleared", state, meter);
        meter.call("drop 32", state, || drop(held));
    }
}

/// Another manager shares the registry and has the same content.
pub fn two_tiers(policy: &str, blocks: usize, meter: &mut Meter) {
    #[derive(Clone)]
    struct Lower;

    let manager = full(policy, blocks);
    let registry = manager.block_registry();
    let lower = BlockManager::<Lower>::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(registry.clone())
        .with_policy(policy.parse().expect("it is built in"))
        .build()
        .expect("a valid configuration");
    for at in 0..blocks / BATCH {
        let fresh = lower.allocate_blocks(BATCH).expect("all are free");
        let staged = fresh.into_iter().zip(cached(at));
        let staged = staged.map(|(block, hash)| block.stage(hash, 16).expect("of this size"));
        drop(lower.register_blocks(staged.collect()));
    }
    let state = "two tiers with the same content";
    match_some(&manager, blocks, state, meter);
    evict(&manager, 1, state, meter);
    for at in 0..16 {
        let hashes = cached(blocks / BATCH / 2 + at);
        meter.call("check_presence of 32", state, || {
            registry.check_presence::<Lower>(&hashes)
        });
        meter.call("is_registered", state, || registry.is_registered(hashes[0]));
        meter.visit("registered_count, of two tiers", state, || {
            registry.registered_count()
        });
        let handle = meter.call("register_sequence_hash", state, || {
            registry.register_sequence_hash(hashes[0])
        });
        meter.call("drop the last handle of a hash", state, || drop(handle));
        meter.call("metrics snapshot", state, || manager.metrics().snapshot());
    }
}

/// The number of available blocks crosses the level of the low watermark again and again.
pub fn watermark(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = BlockManager::<Tier>::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_policy(policy.parse().expect("it is built in"))
        .with_low_watermark(blocks / 2, |_| {})
        .build()
        .expect("a valid configuration");
    let held = manager.allocate_blocks(blocks / 2 - 16);
    let state = "about the level of the low watermark";
    for number in 1..=256 {
        let hashes = chain(number);
        let held = request(&manager, &hashes, "allocate 32 free", state, meter);
        meter.call("is_low", state, || manager.is_low());
        meter.call("drop 32", state, || drop(held));
        let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
        meter.call("drop 32", state, || drop(held));
    }
    drop(held);
}
