//! The two crates: the methods of this one that fill buffers, and those of the reference.

use std::time::Duration;

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use kvbm_lockfree::retention::{Priority, Retention};

#[derive(Clone)]
pub struct Tier;

/// The configuration of a pool.
pub struct Options {
    policy: String,
    has_tracker: bool,
    /// Whether a directive has been given.
    has_directives: bool,
    /// Whether each request is leased, and the lease released, when it is registered.
    has_leases: bool,
}

impl Options {
    pub fn new(policy: &str, options: &str) -> Self {
        let has = |name: &str| options.split(',').any(|option| option == name);
        Self {
            policy: policy.to_owned(),
            has_tracker: has("tracker"),
            has_directives: has("directives"),
            has_leases: has("leases"),
        }
    }
}

pub trait Side: Sync {
    type Fresh: Send;
    type Held: Send;

    fn new(options: &Options, blocks: usize) -> Self;
    /// Gives the first directive, if there are any.
    fn prepare(&self, options: &Options, hashes: &[SequenceHash]);
    fn match_blocks(&self, hashes: &[SequenceHash], held: &mut Vec<Self::Held>);
    fn allocate(&self, count: usize, fresh: &mut Vec<Self::Fresh>);
    fn register(
        &self,
        hashes: &[SequenceHash],
        fresh: &mut Vec<Self::Fresh>,
        held: &mut Vec<Self::Held>,
    );
    fn release(&self, held: &mut Vec<Self::Held>);
}

macro_rules! registry {
    ($krate:ident, $options:ident) => {{
        let builder = $krate::BlockRegistry::builder();
        match $options.has_tracker {
            true => {
                use $krate::manager::FrequencyTrackingCapacity::Small;
                builder.frequency_tracker(Small.create_tracker()).build()
            }
            false => builder.build(),
        }
    }};
}

pub struct ThisCrate {
    manager: kvbm_lockfree::BlockManager<Tier>,
    has_leases: bool,
}

impl Side for ThisCrate {
    type Fresh = kvbm_lockfree::MutableBlock<Tier>;
    type Held = kvbm_lockfree::ImmutableBlock<Tier>;

    fn new(options: &Options, blocks: usize) -> Self {
        let manager = kvbm_lockfree::BlockManager::builder()
            .block_count(blocks)
            .block_size(16)
            .registry(registry!(kvbm_lockfree, options))
            .with_policy(options.policy.parse().expect("it is built in"))
            .build()
            .expect("a valid configuration");
        Self {
            manager,
            has_leases: options.has_leases,
        }
    }

    fn prepare(&self, options: &Options, hashes: &[SequenceHash]) {
        if options.has_directives {
            let low = Retention::new(Priority::LOWEST);
            assert!(self.manager.set_retention(hashes, .., low) > 0);
        }
    }

    fn match_blocks(&self, hashes: &[SequenceHash], held: &mut Vec<Self::Held>) {
        self.manager.match_into(hashes, held);
    }

    fn allocate(&self, count: usize, fresh: &mut Vec<Self::Fresh>) {
        assert!(self.manager.allocate_into(count, fresh));
    }

    fn register(
        &self,
        hashes: &[SequenceHash],
        fresh: &mut Vec<Self::Fresh>,
        held: &mut Vec<Self::Held>,
    ) {
        let staged = fresh.drain(..).zip(hashes);
        let staged = staged.map(|(block, &hash)| block.stage(hash, 16).expect("of this size"));
        self.manager.register_into(staged, held);
        if self.has_leases {
            let hour = Duration::from_secs(3_600);
            let lease = self.manager.lease(held.clone(), "bench", Some(hour));
            drop(lease.expect("of this manager"));
        }
    }

    fn release(&self, held: &mut Vec<Self::Held>) {
        self.manager.release_from(held);
    }
}

pub struct Reference(kvbm_logical::BlockManager<Tier>);

impl Side for Reference {
    type Fresh = kvbm_logical::MutableBlock<Tier>;
    type Held = kvbm_logical::ImmutableBlock<Tier>;

    fn new(options: &Options, blocks: usize) -> Self {
        use kvbm_logical::manager::LineageEviction;
        let builder = kvbm_logical::BlockManager::builder()
            .block_count(blocks)
            .block_size(16)
            .registry(registry!(kvbm_logical, options));
        let builder = match options.policy.as_str() {
            "lru" => builder.with_lru_backend(),
            "multi-lru" => builder.with_multi_lru_backend(),
            "hashmap" => builder.with_hashmap_backend(),
            "lineage-tick" => builder.with_lineage_backend(),
            "lineage-fifo" => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
            other => panic!("the reference has no policy {other}"),
        };
        Self(builder.build().expect("a valid configuration"))
    }

    fn prepare(&self, _options: &Options, _hashes: &[SequenceHash]) {}

    fn match_blocks(&self, hashes: &[SequenceHash], held: &mut Vec<Self::Held>) {
        held.extend(self.0.match_blocks(hashes));
    }

    fn allocate(&self, count: usize, fresh: &mut Vec<Self::Fresh>) {
        fresh.extend(self.0.allocate_blocks(count).expect("the pool is large"));
    }

    fn register(
        &self,
        hashes: &[SequenceHash],
        fresh: &mut Vec<Self::Fresh>,
        held: &mut Vec<Self::Held>,
    ) {
        let staged = fresh.drain(..).zip(hashes);
        let staged = staged.map(|(block, &hash)| block.stage(hash, 16).expect("of this size"));
        held.extend(self.0.register_blocks(staged.collect()));
    }

    fn release(&self, held: &mut Vec<Self::Held>) {
        held.clear();
    }
}
