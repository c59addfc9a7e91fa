//! Scenes of operations that both crates have.

/// The scenes of one crate. `$choose` sets the policy of a builder by its name.
macro_rules! both {
    ($name:ident, $krate:ident, $choose:path) => {
        pub(crate) mod $name {
            use std::sync::Arc;

            use dynamo_tokens::PositionalLineageHash as SequenceHash;
            use $krate::manager::FrequencyTrackingCapacity;
            use $krate::registry::BlockRegistrationHandle;
            use $krate::tinylfu::{FixedDecayPolicy, TinyLFUSettings};
            use $krate::{
                BlockManager, BlockRegistry, CompleteBlock, ImmutableBlock, MutableBlock,
            };

            use crate::Tier;
            use crate::meter::Meter;
            use crate::workload::{BATCH, chain, long_chain};

            fn registry(policy: &str) -> BlockRegistry {
                match policy {
                    "multi-lru" => BlockRegistry::builder()
                        .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
                        .build(),
                    _ => BlockRegistry::new(),
                }
            }

            pub fn manager(policy: &str, blocks: usize) -> BlockManager<Tier> {
                let builder = BlockManager::builder()
                    .block_count(blocks)
                    .block_size(16)
                    .registry(registry(policy));
                $choose(builder, policy)
                    .build()
                    .expect("a valid configuration")
            }

            pub fn stage(
                blocks: Vec<MutableBlock<Tier>>,
                hashes: &[SequenceHash],
            ) -> Vec<CompleteBlock<Tier>> {
                let blocks = blocks.into_iter().zip(hashes);
                blocks
                    .map(|(block, &hash)| block.stage(hash, 16).expect("of this size"))
                    .collect()
            }

            /// Registers hashes that are not cached.
            pub fn admit(
                manager: &BlockManager<Tier>,
                hashes: &[SequenceHash],
            ) -> Vec<ImmutableBlock<Tier>> {
                let blocks = manager.allocate_blocks(hashes.len()).expect("available");
                manager.register_blocks(stage(blocks, hashes))
            }

            /// The chain that is the `at`th of a full pool.
            pub fn cached(at: usize) -> [SequenceHash; BATCH] {
                chain(u64::MAX - at as u64)
            }

            /// A pool full of inactive blocks.
            pub fn full(policy: &str, blocks: usize) -> BlockManager<Tier> {
                let manager = manager(policy, blocks);
                for at in 0..blocks / BATCH {
                    drop(admit(&manager, &cached(at)));
                }
                manager
            }

            /// Lets a request be served, and keeps its blocks.
            pub fn request(
                manager: &BlockManager<Tier>,
                hashes: &[SequenceHash],
                allocate: &'static str,
                state: &'static str,
                meter: &mut Meter,
            ) -> Vec<ImmutableBlock<Tier>> {
                let missed = meter.call("match 32, a miss", state, || manager.match_blocks(hashes));
                assert!(missed.is_empty());
                let blocks = meter.call(allocate, state, || {
                    manager.allocate_blocks(BATCH).expect("available")
                });
                let staged = stage(blocks, hashes);
                meter.call("register 32", state, || manager.register_blocks(staged))
            }

            /// From an empty pool to a full one, and some evictions.
            pub fn fill(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = manager(policy, blocks);
                let state = "while the pool fills";
                for at in 0..blocks / BATCH {
                    let held = request(&manager, &cached(at), "allocate 32 free", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
                let state = "after a fill";
                for at in 0..64 {
                    let hashes = cached(at * (blocks / BATCH / 64));
                    let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
                    assert_eq!(held.len(), BATCH);
                    meter.call("drop 32", state, || drop(held));
                }
                for number in 1..=256 {
                    let hashes = chain(number);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
                let mut fresh = Vec::new();
                for _ in 0..1_024 {
                    fresh.push(meter.call("allocate 1, evicting", state, || {
                        manager.allocate_blocks(1).expect("available")
                    }));
                }
                for block in fresh {
                    meter.call("drop 1 unregistered", state, || drop(block));
                }
                for _ in 0..64 {
                    drop(meter.call("allocate 1 free", state, || manager.allocate_blocks(1)));
                }
            }

            /// A full pool that is only read.
            pub fn looks(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = full(policy, blocks);
                let registry = manager.block_registry();
                let state = "full pool";
                let held = manager.match_blocks(&cached(3));
                let weak_of_inactive = manager.match_blocks(&cached(7))[0].downgrade();
                for at in 0..256 {
                    let hashes = cached(at * (blocks / BATCH / 256));
                    meter.call("available_blocks", state, || manager.available_blocks());
                    meter.call("metrics snapshot", state, || manager.metrics().snapshot());
                    meter.call("registered_count", state, || registry.registered_count());
                    meter.call("is_registered", state, || registry.is_registered(hashes[0]));
                    meter.call("check_presence of 32", state, || {
                        registry.check_presence::<Tier>(&hashes)
                    });
                    let found = meter.call("scan_matches of 32", state, || {
                        manager.scan_matches(&hashes, false)
                    });
                    meter.call("drop of scan_matches' map", state, || drop(found));
                    let found = meter.call("match_blocks_scattered of 32", state, || {
                        manager.match_blocks_scattered(&hashes)
                    });
                    drop(found);
                    let handle = meter.call("match_sequence_hash", state, || {
                        registry.match_sequence_hash(hashes[0], false)
                    });
                    meter.call("drop a handle", state, || drop(handle));
                    let handle = meter.call("registration_handle", state, || {
                        held[0].registration_handle()
                    });
                    drop(handle);
                    let clone = meter.call("clone a guard", state, || held[0].clone());
                    let weak = meter.call("downgrade", state, || clone.downgrade());
                    let guard = meter.call("upgrade, active", state, || weak.upgrade());
                    drop((guard, weak, clone));
                    let guard =
                        meter.call("upgrade, inactive", state, || weak_of_inactive.upgrade());
                    meter.call("drop 1", state, || drop(guard));
                    let matched = manager.match_blocks(&hashes[..1]);
                    meter.call("drop 1", state, || drop(matched));
                    let refused = meter.call("allocate, refused", state, || {
                        manager.allocate_blocks(blocks + 1)
                    });
                    assert!(refused.is_none());
                }
            }

            /// Half of the pool is matched and held: the half that would be evicted first.
            pub fn held(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = full(policy, blocks);
                let mut held = Vec::new();
                let state = "while half of the pool is matched";
                for at in 0..blocks / BATCH / 2 {
                    let hashes = cached(at);
                    held.push(meter.call("match 32", state, || manager.match_blocks(&hashes)));
                }
                let state = "half of the pool has been matched and is held";
                for number in 1..=16 {
                    let block = meter.call("allocate 1, evicting", state, || {
                        manager.allocate_blocks(1).expect("available")
                    });
                    let block = stage(block, &chain(number)[..1]);
                    let block = meter.call("register 1", state, || manager.register_blocks(block));
                    meter.call("drop 1", state, || drop(block));
                }
                for number in 17..=64 {
                    let hashes = chain(number);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
                let state = "half of the pool is released";
                for guards in held.drain(..) {
                    meter.call("drop 32", state, || drop(guards));
                }
                let state = "half of the pool has been matched and released";
                for number in 65..=128 {
                    let hashes = chain(number);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
            }

            /// All of the pool but its last blocks is held, and those are released one by one.
            pub fn scarce(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = full(policy, blocks);
                let mut held: Vec<_> = (0..blocks / BATCH)
                    .map(|at| manager.match_blocks(&cached(at)))
                    .collect();
                let state = "all other blocks are held";
                for number in 1..=64 {
                    drop(held.pop());
                    let hashes = chain(number);
                    held.push(request(
                        &manager,
                        &hashes,
                        "allocate 32, evicting",
                        state,
                        meter,
                    ));
                    let refused =
                        meter.call("allocate, refused", state, || manager.allocate_blocks(1));
                    assert!(refused.is_none());
                }
                let mut kept = Vec::new();
                for _ in 0..64 {
                    let mut guards = held.pop().expect("there are more");
                    let last = guards.pop().expect("of 32");
                    meter.call("drop 1", state, || drop(last));
                    let block = meter.call("allocate 1, evicting", state, || {
                        manager.allocate_blocks(1).expect("available")
                    });
                    kept.push((guards, block));
                }
            }

            /// One chain that is as long as the pool.
            pub fn one_chain(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = manager(policy, blocks);
                let hashes = long_chain(u64::MAX, blocks);
                let held: Vec<_> = hashes
                    .chunks(BATCH)
                    .map(|hashes| admit(&manager, hashes))
                    .collect();
                let state = "one chain is released, its beginning first";
                for guards in held {
                    meter.call("drop 32", state, || drop(guards));
                }
                let state = "the pool is one chain";
                for at in 0..64 {
                    let hashes = &hashes[at * BATCH..][..BATCH];
                    let held = meter.call("match 32", state, || manager.match_blocks(hashes));
                    meter.call("drop 32", state, || drop(held));
                }
                for number in 1..=64 {
                    let hashes = chain(number);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
            }

            /// Half of the pool has the same content.
            pub fn duplicates(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = manager(policy, blocks);
                let hashes = chain(1);
                let mut held = Vec::new();
                let state = "half of the pool becomes duplicates of one block";
                for at in 0..blocks / 2 {
                    let block = manager.allocate_blocks(1).expect("available");
                    let staged = stage(block, &hashes[..1]);
                    if at % 16 == 0 {
                        held.push(meter.call("register 1, a duplicate", state, || {
                            manager.register_blocks(staged)
                        }));
                    } else {
                        held.push(manager.register_blocks(staged));
                    }
                }
                let state = "half of the pool duplicates one block";
                for _ in 0..64 {
                    let guard = meter.call("match 1", state, || manager.match_blocks(&hashes[..1]));
                    drop(guard);
                }
                let primary = held.swap_remove(0);
                meter.call("drop 1", state, || drop(primary));
                for _ in 0..blocks / 32 {
                    let at = held.len() / 2;
                    let guards = held.swap_remove(at);
                    meter.call("drop 1", state, || drop(guards));
                    held.pop();
                }
                held.clear();
                for number in 2..=64 {
                    let hashes = chain(number);
                    let held = request(&manager, &hashes, "allocate 32 free", state, meter);
                    drop(held);
                }
            }

            /// Hashes without blocks: their entries come, are looked up, and end.
            pub fn registry_entries(_policy: &str, entries: usize, meter: &mut Meter) {
                let registry = BlockRegistry::new();
                let state = "while n entries come";
                let mut handles: Vec<Vec<BlockRegistrationHandle>> = Vec::new();
                for at in 0..entries / 16 {
                    let hashes = &cached(at)[..16];
                    handles.push(meter.call("register_sequence_hashes of 16", state, || {
                        registry.register_sequence_hashes(hashes.iter().copied())
                    }));
                }
                let state = "beside n entries";
                for number in 1..=256 {
                    let hash = chain(number)[0];
                    let handle = meter.call("register_sequence_hash", state, || {
                        registry.register_sequence_hash(hash)
                    });
                    let again = meter.call("match_sequence_hash", state, || {
                        registry.match_sequence_hash(hash, false)
                    });
                    meter.call("drop a handle", state, || drop(again));
                    meter.call("drop the last handle of a hash", state, || drop(handle));
                }
                let state = "while n entries end";
                for handles in handles {
                    meter.call("drop the last handles of 16 hashes", state, || {
                        drop(handles)
                    });
                }
                let state = "after n entries have ended";
                for number in 1..=2_048 {
                    let hash = chain(number)[0];
                    let handle = meter.call("register_sequence_hash", state, || {
                        registry.register_sequence_hash(hash)
                    });
                    let again = meter.call("match_sequence_hash", state, || {
                        registry.match_sequence_hash(hash, false)
                    });
                    meter.call("drop a handle", state, || drop(again));
                    meter.call("drop the last handle of a hash", state, || drop(handle));
                    meter.visit("registered_count, of handles", state, || {
                        registry.registered_count()
                    });
                }
            }

            /// A pool whose hashes have handles that remain when their blocks are evicted.
            pub fn handles(policy: &str, blocks: usize, meter: &mut Meter) {
                let manager = manager(policy, blocks);
                let mut handles = Vec::new();
                for at in 0..blocks / BATCH {
                    let held = admit(&manager, &cached(at));
                    handles.push(
                        held.iter()
                            .map(|guard| guard.registration_handle())
                            .collect::<Vec<_>>(),
                    );
                }
                let state = "every hash has a handle";
                for at in 0..blocks / BATCH {
                    let hashes = chain(1 + at as u64);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                    if at % 64 == 0 {
                        let registry = manager.block_registry();
                        meter.visit("registered_count, of handles", state, || {
                            registry.registered_count()
                        });
                    }
                }
                let state = "handles of n evicted hashes";
                for handles in handles {
                    meter.call("drop the last handles of 32 hashes", state, || {
                        drop(handles)
                    });
                }
                for number in 1..=64 {
                    let hashes = chain(1 << 32 | number);
                    let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
                    meter.call("drop 32", state, || drop(held));
                }
            }

            /// A tracker that halves its counters after n uses, which is for n hashes.
            pub fn touches(policy: &str, hashes: usize, meter: &mut Meter) {
                let tracker = TinyLFUSettings::builder()
                    .capacity(hashes)
                    .decay_policy(FixedDecayPolicy::new(hashes as u32))
                    .build()
                    .expect("a capacity is set")
                    .into_tracker();
                let registry = BlockRegistry::builder()
                    .frequency_tracker(Arc::new(tracker))
                    .build();
                let manager = BlockManager::<Tier>::builder()
                    .block_count(BATCH)
                    .block_size(16)
                    .registry(registry);
                let manager = $choose(manager, policy)
                    .build()
                    .expect("a valid configuration");
                let registry = manager.block_registry();
                let held = admit(&manager, &chain(1));
                drop(held);
                let state = "while the counters are halved";
                for at in 0..5 * hashes / BATCH / 2 {
                    let hashes = cached(at);
                    for hash in &hashes[1..] {
                        registry.touch(*hash);
                    }
                    meter.call("touch", state, || registry.touch(hashes[0]));
                    if at % 4 == 0 {
                        let hashes = chain(1);
                        let held = meter
                            .call("match 32, tracked", state, || manager.match_blocks(&hashes));
                        meter.call("drop 32, tracked", state, || drop(held));
                        meter.call("count", state, || registry.count(hashes[0]));
                    }
                }
            }

            /// Calls that visit everything by contract.
            pub fn everything(policy: &str, blocks: usize, meter: &mut Meter) {
                let state = "once per block";
                let new = meter.visit("build a manager", state, || manager(policy, blocks));
                meter.visit("drop an empty manager", state, || drop(new));
                let manager = full(policy, blocks);
                meter
                    .visit("reset_inactive_pool", state, || {
                        manager.reset_inactive_pool()
                    })
                    .expect("nothing is held");
                drop(manager);
                let manager = full(policy, blocks);
                meter.visit("drop a full manager", state, || drop(manager));
            }
        }
    };
}

pub(crate) use both;
