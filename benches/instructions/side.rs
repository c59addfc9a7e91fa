//! Operations that both crates have: methods that return collections.

/// The operations of one crate. `$limit` creates the configuration of a benchmark.
macro_rules! side {
    ($name:ident, $krate:ident, $limit:ident) => {
        pub mod $name {
            use std::collections::VecDeque;
            use std::hint::black_box;
            use std::sync::Arc;

            use dynamo_tokens::PositionalLineageHash as SequenceHash;
            use iai_callgrind::{library_benchmark, library_benchmark_group};
            use $krate::blocks::{BlockDuplicationPolicy, CompleteBlock, MutableBlock};
            use $krate::manager::{FrequencyTrackingCapacity, LineageEviction};
            use $krate::registry::BlockRegistrationHandle;
            use $krate::tinylfu::{
                FixedDecayPolicy, FrequencyTracker, TinyLFUSettings, TinyLFUTracker,
            };
            use $krate::{BlockManager, BlockRegistry, ImmutableBlock, WeakBlock};

            use crate::$limit as limit;
            use crate::workload::{BATCH, Requests, chain};
            use crate::{POOL, Tier};

            /// What exists before an operation.
            pub struct Scene {
                pub manager: BlockManager<Tier>,
                pub requests: Vec<[SequenceHash; BATCH]>,
                pub held: Vec<ImmutableBlock<Tier>>,
            }

            fn manager(policy: &str) -> BlockManager<Tier> {
                manager_with(policy, BlockDuplicationPolicy::Allow)
            }

            fn manager_with(
                policy: &str,
                duplicates: BlockDuplicationPolicy,
            ) -> BlockManager<Tier> {
                let registry = match policy {
                    "multi_lru" => BlockRegistry::builder()
                        .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
                        .build(),
                    _ => BlockRegistry::new(),
                };
                build(policy, duplicates, registry)
            }

            fn build(
                policy: &str,
                duplicates: BlockDuplicationPolicy,
                registry: BlockRegistry,
            ) -> BlockManager<Tier> {
                let builder = BlockManager::builder()
                    .block_count(POOL)
                    .block_size(16)
                    .duplication_policy(duplicates)
                    .registry(registry);
                match policy {
                    "lru" => builder.with_lru_backend(),
                    "multi_lru" => builder.with_multi_lru_backend(),
                    "lineage_tick" => builder.with_lineage_backend(),
                    "lineage_fifo" => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
                    other => panic!("no policy is called {other}"),
                }
                .build()
                .expect("a valid configuration")
            }

            fn stage(
                blocks: Vec<MutableBlock<Tier>>,
                hashes: &[SequenceHash],
            ) -> Vec<CompleteBlock<Tier>> {
                blocks
                    .into_iter()
                    .zip(hashes)
                    .map(|(block, &hash)| block.stage(hash, 16).expect("of this size"))
                    .collect()
            }

            /// Matches, allocates, stages and registers a request.
            fn admit(
                manager: &BlockManager<Tier>,
                hashes: &[SequenceHash],
            ) -> Vec<ImmutableBlock<Tier>> {
                let mut held = manager.match_blocks(hashes);
                let missing = &hashes[held.len()..];
                let blocks = manager
                    .allocate_blocks(missing.len())
                    .expect("the pool is large");
                held.extend(manager.register_blocks(stage(blocks, missing)));
                held
            }

            // ---- scenes ----

            fn empty(policy: &str) -> Scene {
                Scene {
                    manager: manager(policy),
                    requests: Vec::new(),
                    held: Vec::new(),
                }
            }

            /// A pool in which every block has been used and is free.
            pub fn used(policy: &str) -> Scene {
                let scene = empty(policy);
                drop(scene.manager.allocate_blocks(POOL));
                scene
            }

            /// One request that is held.
            pub fn active(policy: &str) -> Scene {
                let mut scene = used(policy);
                scene.requests.push(chain(1));
                scene.held = admit(&scene.manager, &chain(1));
                scene
            }

            /// One inactive request, which has been matched before.
            pub fn inactive(policy: &str) -> Scene {
                let mut scene = active(policy);
                scene.held.clear();
                drop(scene.manager.match_blocks(&scene.requests[0]));
                scene
            }

            /// A pool full of inactive blocks.
            pub fn full(policy: &str) -> Scene {
                let scene = empty(policy);
                for number in 0..(POOL / BATCH) as u64 {
                    drop(admit(&scene.manager, &chain(u64::MAX - number)));
                }
                scene
            }

            /// A full pool in its steady state, and requests for which it has no block.
            pub fn steady(policy: &str) -> Scene {
                let mut scene = full(policy);
                for number in 1_000..1_000 + (POOL / BATCH) as u64 {
                    drop(admit(&scene.manager, &chain(number)));
                }
                scene.requests = (1..=100).map(chain).collect();
                scene
            }

            /// A pool that has served requests with shared prompts, and more such requests.
            pub fn mixed_requests(policy: &str) -> Scene {
                let mut scene = full(policy);
                let mut requests = Requests::new(500, 1).hashes;
                scene.requests = requests.split_off(400);
                for hashes in requests {
                    drop(admit(&scene.manager, &hashes));
                }
                scene
            }

            /// A pool whose blocks are all held.
            fn exhausted(policy: &str) -> (Scene, Vec<MutableBlock<Tier>>) {
                let scene = used(policy);
                let blocks = scene.manager.allocate_blocks(POOL).expect("all are free");
                (scene, blocks)
            }

            pub type Staged = Vec<Vec<CompleteBlock<Tier>>>;

            /// A request that is held, and the same request staged a hundred times.
            pub fn duplicates(policy: &str) -> (Scene, Staged) {
                let policy = match policy {
                    "allow" => BlockDuplicationPolicy::Allow,
                    _ => BlockDuplicationPolicy::Reject,
                };
                let manager = manager_with("lru", policy);
                let held = admit(&manager, &chain(1));
                let staged = (0..100)
                    .map(|_| {
                        let blocks = manager.allocate_blocks(BATCH).expect("many are free");
                        stage(blocks, &chain(1))
                    })
                    .collect();
                let requests = vec![chain(1)];
                let scene = Scene {
                    manager,
                    requests,
                    held,
                };
                (scene, staged)
            }

            fn weak(state: &str) -> (Scene, WeakBlock<Tier>) {
                let mut scene = active("lru");
                let weak = scene.held[0].downgrade();
                if state == "inactive" {
                    scene.held.clear();
                }
                drop(weak.upgrade());
                (scene, weak)
            }

            fn tracked() -> (BlockRegistry, [SequenceHash; BATCH]) {
                let registry = BlockRegistry::builder()
                    .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
                    .build();
                (registry, chain(1))
            }

            fn registry_of(count: usize) -> (BlockRegistry, Vec<SequenceHash>) {
                let registry = BlockRegistry::new();
                drop(registry.register_sequence_hash(chain(0)[0]));
                let chains = (1..=(count.div_ceil(BATCH)) as u64).map(chain);
                let hashes = chains.flatten().take(count).collect();
                (registry, hashes)
            }

            /// A tracker that halves its counters after every increment.
            fn halving() -> Arc<TinyLFUTracker<u128>> {
                let settings = TinyLFUSettings::builder()
                    .capacity(POOL)
                    .decay_policy(FixedDecayPolicy::new(0))
                    .build()
                    .expect("a capacity is set");
                Arc::new(settings.into_tracker())
            }

            // ---- hot operations ----

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = used, config = limit("allocate_1.lru"))]
            fn allocate_1(scene: Scene) -> Scene {
                for _ in 0..1_000 {
                    drop(black_box(scene.manager.allocate_blocks(black_box(1))));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = used, config = limit("allocate_32.lru"))]
            fn allocate_32(scene: Scene) -> Scene {
                for _ in 0..100 {
                    drop(black_box(scene.manager.allocate_blocks(black_box(BATCH))));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = active, config = limit("match_active.lru"))]
            fn match_active(scene: Scene) -> Scene {
                let hashes = &scene.requests[0];
                for _ in 0..100 {
                    drop(black_box(scene.manager.match_blocks(black_box(hashes))));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = inactive, config = limit("match_inactive.lru"))]
            #[bench::multi_lru(
                args = ("multi_lru"),
                setup = inactive,
                config = limit("match_inactive.multi_lru")
            )]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = inactive,
                config = limit("match_inactive.lineage_tick")
            )]
            fn match_inactive(scene: Scene) -> Scene {
                let hashes = &scene.requests[0];
                for _ in 0..100 {
                    drop(black_box(scene.manager.match_blocks(black_box(hashes))));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = steady, config = limit("match_miss.lru"))]
            fn match_miss(scene: Scene) -> Scene {
                for _ in 0..10 {
                    for hashes in &scene.requests {
                        drop(black_box(scene.manager.match_blocks(black_box(hashes))));
                    }
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = inactive, config = limit("scan_matches.lru"))]
            fn scan_matches(scene: Scene) -> Scene {
                let hashes = &scene.requests[0];
                for _ in 0..100 {
                    drop(black_box(
                        scene.manager.scan_matches(black_box(hashes), false),
                    ));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = steady, config = limit("lifecycle.lru"))]
            #[bench::multi_lru(
                args = ("multi_lru"),
                setup = steady,
                config = limit("lifecycle.multi_lru")
            )]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = steady,
                config = limit("lifecycle.lineage_tick")
            )]
            #[bench::lineage_fifo(
                args = ("lineage_fifo"),
                setup = steady,
                config = limit("lifecycle.lineage_fifo")
            )]
            fn lifecycle(scene: Scene) -> Scene {
                for hashes in &scene.requests {
                    drop(admit(&scene.manager, hashes));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = mixed_requests, config = limit("mixed.lru"))]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = mixed_requests,
                config = limit("mixed.lineage_tick")
            )]
            fn mixed(scene: Scene) -> Scene {
                let mut held = VecDeque::with_capacity(5);
                for hashes in &scene.requests {
                    held.push_back(admit(&scene.manager, hashes));
                    if held.len() > 4 {
                        held.pop_front();
                    }
                }
                drop(held);
                scene
            }

            #[library_benchmark]
            #[bench::allow(
                args = ("allow"),
                setup = duplicates,
                config = limit("register_duplicates.allow")
            )]
            #[bench::reject(
                args = ("reject"),
                setup = duplicates,
                config = limit("register_duplicates.reject")
            )]
            fn register_duplicates((scene, staged): (Scene, Staged)) -> Scene {
                for blocks in staged {
                    drop(black_box(scene.manager.register_blocks(blocks)));
                }
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = active, config = limit("clone_guard.lru"))]
            fn clone_guard(scene: Scene) -> Scene {
                for _ in 0..1_000 {
                    drop(black_box(scene.held[0].clone()));
                }
                scene
            }

            #[library_benchmark]
            #[bench::active(args = ("active"), setup = weak, config = limit("upgrade.active"))]
            #[bench::inactive(args = ("inactive"), setup = weak, config = limit("upgrade.inactive"))]
            fn upgrade((scene, weak): (Scene, WeakBlock<Tier>)) -> (Scene, WeakBlock<Tier>) {
                for _ in 0..1_000 {
                    drop(black_box(weak.upgrade()));
                }
                (scene, weak)
            }

            #[library_benchmark]
            #[bench::tracker(args = (), setup = tracked, config = limit("touch.tracker"))]
            fn touch(
                (registry, hashes): (BlockRegistry, [SequenceHash; BATCH]),
            ) -> (BlockRegistry, [SequenceHash; BATCH]) {
                for _ in 0..100 {
                    for &hash in &hashes {
                        registry.touch(black_box(hash));
                    }
                }
                (registry, hashes)
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = inactive, config = limit("check_presence.lru"))]
            fn check_presence(scene: Scene) -> Scene {
                let registry = scene.manager.block_registry();
                for _ in 0..100 {
                    drop(black_box(
                        registry.check_presence::<Tier>(black_box(&scene.requests[0])),
                    ));
                }
                scene
            }

            #[library_benchmark]
            #[bench::new(args = (1_000), setup = registry_of, config = limit("register_handle.new"))]
            fn register_handle(
                (registry, hashes): (BlockRegistry, Vec<SequenceHash>),
            ) -> (BlockRegistry, Vec<SequenceHash>) {
                for &hash in &hashes {
                    drop(black_box(registry.register_sequence_hash(hash)));
                }
                (registry, hashes)
            }

            fn handles(
                count: usize,
            ) -> (BlockRegistry, Vec<SequenceHash>, Vec<BlockRegistrationHandle>) {
                let (registry, hashes) = registry_of(count);
                let handles = registry.register_sequence_hashes(hashes.iter().copied());
                (registry, hashes, handles)
            }

            #[library_benchmark]
            #[bench::held(args = (1_000), setup = handles, config = limit("match_handle.held"))]
            fn match_handle(
                scene: (BlockRegistry, Vec<SequenceHash>, Vec<BlockRegistrationHandle>),
            ) -> (BlockRegistry, Vec<SequenceHash>, Vec<BlockRegistrationHandle>) {
                for &hash in &scene.1 {
                    drop(black_box(scene.0.match_sequence_hash(hash, false)));
                }
                scene
            }

            // ---- slow paths ----

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = empty, config = limit("first_allocation.lru"))]
            fn first_allocation(scene: Scene) -> (Scene, Option<Vec<MutableBlock<Tier>>>) {
                let blocks = scene.manager.allocate_blocks(BATCH);
                (scene, blocks)
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = full, config = limit("evict_pool.lru"))]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = full,
                config = limit("evict_pool.lineage_tick")
            )]
            fn evict_pool(scene: Scene) -> (Scene, Option<Vec<MutableBlock<Tier>>>) {
                let blocks = scene.manager.allocate_blocks(POOL);
                (scene, blocks)
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = full, config = limit("reset_pool.lru"))]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = full,
                config = limit("reset_pool.lineage_tick")
            )]
            #[bench::empty(args = ("lru"), setup = used, config = limit("reset_pool.empty"))]
            fn reset_pool(scene: Scene) -> Scene {
                scene.manager.reset_inactive_pool().expect("no block is held");
                scene
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = exhausted, config = limit("refused.lru"))]
            fn refused(
                (scene, blocks): (Scene, Vec<MutableBlock<Tier>>),
            ) -> (Scene, Vec<MutableBlock<Tier>>) {
                for _ in 0..1_000 {
                    assert!(scene.manager.allocate_blocks(black_box(1)).is_none());
                }
                (scene, blocks)
            }

            #[library_benchmark]
            #[bench::from_empty(
                args = (32_768),
                setup = registry_of,
                config = limit("grow_registry.from_empty")
            )]
            fn grow_registry(
                (registry, hashes): (BlockRegistry, Vec<SequenceHash>),
            ) -> (BlockRegistry, Vec<BlockRegistrationHandle>) {
                let handles = registry.register_sequence_hashes(hashes);
                (registry, handles)
            }

            fn policy_and_registry(policy: &'static str) -> (&'static str, BlockRegistry) {
                (policy, BlockRegistry::new())
            }

            #[library_benchmark]
            #[bench::lru(
                args = ("lru"),
                setup = policy_and_registry,
                config = limit("build_manager.lru")
            )]
            #[bench::lineage_tick(
                args = ("lineage_tick"),
                setup = policy_and_registry,
                config = limit("build_manager.lineage_tick")
            )]
            fn build_manager((policy, registry): (&str, BlockRegistry)) -> BlockManager<Tier> {
                build(policy, BlockDuplicationPolicy::Allow, registry)
            }

            #[library_benchmark]
            #[bench::lru(args = ("lru"), setup = full, config = limit("snapshot.lru"))]
            fn snapshot(scene: Scene) -> Scene {
                for _ in 0..10 {
                    black_box(scene.manager.metrics().snapshot());
                }
                scene
            }

            #[library_benchmark]
            #[bench::tracker(args = (), setup = halving, config = limit("halve_counters.tracker"))]
            fn halve_counters(tracker: Arc<TinyLFUTracker<u128>>) -> Arc<TinyLFUTracker<u128>> {
                for key in 0..16 {
                    tracker.touch(black_box(key));
                }
                tracker
            }

            library_benchmark_group!(
                name = $name;
                benchmarks =
                    allocate_1,
                    allocate_32,
                    match_active,
                    match_inactive,
                    match_miss,
                    scan_matches,
                    lifecycle,
                    mixed,
                    register_duplicates,
                    clone_guard,
                    upgrade,
                    touch,
                    check_presence,
                    register_handle,
                    match_handle,
                    first_allocation,
                    evict_pool,
                    reset_pool,
                    refused,
                    grow_registry,
                    build_manager,
                    snapshot,
                    halve_counters,
            );
        }
    };
}

pub(crate) use side;
