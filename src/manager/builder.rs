//! The builder of block managers, and the settings it takes.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::blocks::{BlockDuplicationPolicy, BlockMetadata};
use crate::engine::{Config, MAX_BLOCKS, StoreRef};
use crate::leases::LeaseTable;
#[cfg(feature = "metrics")]
use crate::metrics::MetricsAggregator;
use crate::metrics::{BlockPoolMetrics, short_type_name};
use crate::policy::{BuiltInPolicy, ByLevel, EvictionPolicy, Lrfu, PolicySpec, TinyLfu};
use crate::registry::BlockRegistry;
use crate::user_code::Contained;

use super::BlockManager;
use super::backend::{Backend, BuiltOrder, InactiveBackendConfig, LineageEviction};
use super::errors::BlockManagerBuilderError;
use super::watermark::{LowWatermark, OnLow};

/// The number of tokens per block unless set otherwise.
const DEFAULT_BLOCK_SIZE: usize = 16;
const MAX_BLOCK_SIZE: usize = 1024;

/// Configures and builds a [`BlockManager`].
///
/// [`block_count`](Self::block_count) and [`registry`](Self::registry) are required. The other
/// settings have defaults:
///
/// | setting | default |
/// |---|---|
/// | [`block_size`](Self::block_size) | 16 tokens |
/// | eviction order | lineage, [by tick](LineageEviction::Tick) |
/// | [`duplication_policy`](Self::duplication_policy) | [`Allow`](BlockDuplicationPolicy::Allow) |
/// | [`with_default_reset_on_release`](Self::with_default_reset_on_release) | `false` |
/// | [`with_low_watermark`](Self::with_low_watermark) | none |
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
/// #[derive(Clone)]
/// struct Host;
///
/// // Two tiers share a registry, so that it knows what is cached in either.
/// let registry = BlockRegistry::new();
/// let gpu = BlockManager::<Gpu>::builder()
///     .block_count(1024)
///     .block_size(16)
///     .registry(registry.clone())
///     .with_lrfu_backend()
///     .build()?;
/// let host = BlockManager::<Host>::builder()
///     .block_count(8192)
///     .block_size(16)
///     .registry(registry)
///     .with_low_watermark(512, |low| println!("{} host blocks are left", low.available))
///     .build()?;
/// assert_eq!(gpu.available_blocks(), 1024);
/// assert_eq!(host.available_blocks(), 8192);
///
/// // What is missing or out of range is reported by `build`.
/// let error = BlockManager::<Gpu>::builder().block_count(1024).build().unwrap_err();
/// assert_eq!(error.to_string(), "Builder validation failed: registry is required");
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
///
/// # Which eviction order should I choose?
///
/// `PERF.md` compares their hit rates and costs. In short:
///
/// * [LRFU](Self::with_lrfu_backend), if frequently used prefixes should survive content that is
///   used once, in pools that are small for the workload;
/// * [lineage](Self::with_lineage_backend), the default, if the pool has room for most of what is
///   used again: its hit rate is then as high, and a block's lifecycle takes less than
///   half of LRFU's instructions;
/// * [LRU](Self::with_lru_backend), if evicting must be as cheap as possible.
///
/// An [order of your own](Self::with_eviction_policy) is plain sequential code.
#[must_use = "a builder does nothing until `build` is called"]
pub struct BlockManagerConfigBuilder<T: BlockMetadata> {
    block_count: Option<usize>,
    block_size: usize,
    registry: Option<BlockRegistry>,
    backend: Backend,
    duplication_policy: BlockDuplicationPolicy,
    #[cfg(feature = "metrics")]
    aggregator: Option<MetricsAggregator>,
    reset_on_release: bool,
    low_watermark: Option<(usize, Contained<OnLow>)>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> Default for BlockManagerConfigBuilder<T> {
    fn default() -> Self {
        Self {
            block_count: None,
            block_size: DEFAULT_BLOCK_SIZE,
            registry: None,
            backend: Backend::from(InactiveBackendConfig::Lineage {
                eviction: LineageEviction::default(),
            }),
            duplication_policy: BlockDuplicationPolicy::Allow,
            #[cfg(feature = "metrics")]
            aggregator: None,
            reset_on_release: false,
            low_watermark: None,
            tier: PhantomData,
        }
    }
}

impl<T: BlockMetadata> fmt::Debug for BlockManagerConfigBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.low_watermark.as_ref().map(|(level, _)| level);
        f.debug_struct("BlockManagerConfigBuilder")
            .field("block_count", &self.block_count)
            .field("block_size", &self.block_size)
            .field("policy", &self.backend.name())
            .field("duplication_policy", &self.duplication_policy)
            .field("reset_on_release", &self.reset_on_release)
            .field("low_watermark", &level)
            .finish_non_exhaustive()
    }
}

impl<T: BlockMetadata> BlockManagerConfigBuilder<T> {
    /// Creates a builder with the default settings.
    ///
    /// [`BlockManager::builder`] does the same.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of blocks, from 1 to 2^28. Required.
    pub fn block_count(mut self, count: usize) -> Self {
        self.block_count = Some(count);
        self
    }

    /// Sets the number of tokens per block. The default is 16.
    ///
    /// # Panics
    ///
    /// Panics if `size` is not a power of two from 1 to 1024.
    pub fn block_size(mut self, size: usize) -> Self {
        assert!(
            (1..=MAX_BLOCK_SIZE).contains(&size),
            "block_size must be between 1 and 1024, got {size}"
        );
        assert!(
            size.is_power_of_two(),
            "block_size must be a power of 2, got {size}"
        );
        self.block_size = size;
        self
    }

    /// Sets what happens when a block is registered under the hash of another block of the
    /// manager. By default, it becomes a duplicate.
    pub fn duplication_policy(mut self, policy: BlockDuplicationPolicy) -> Self {
        self.duplication_policy = policy;
        self
    }

    /// Sets the registry, which managers of several tiers can share. Required.
    pub fn registry(mut self, registry: BlockRegistry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Evicts the least recently released block first (LRU).
    pub fn with_lru_backend(mut self) -> Self {
        self.backend = InactiveBackendConfig::Lru.into();
        self
    }

    /// Evicts by level of frequency (multi-level LRU), with thresholds 3, 8 and 15. Requires a
    /// registry with a frequency tracker.
    ///
    /// Blocks are evicted from the lowest level that has any, the least recently released
    /// first. Content that is used once, in any amount, does not displace the higher levels. But a
    /// block that was used often in the past keeps its level until all levels below are empty.
    ///
    /// In the replays in `PERF.md`, the hit rate is up to 5.4 points above that of LRU in small
    /// pools, and up to 21 points below it in larger ones. The hit rate of
    /// [`with_lrfu_backend`](Self::with_lrfu_backend) is higher, or at most 0.05 points lower.
    ///
    /// Frequencies are estimated [more accurately](crate::tinylfu#accuracy) than in
    /// `kvbm-logical`, where the hit rate of the same policy is up to 11 points lower.
    pub fn with_multi_lru_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&ByLevel::DEFAULT));
        self
    }

    /// Evicts by level of frequency, with the given thresholds: the lowest frequencies of warm,
    /// hot, and very hot blocks. Requires a registry with a frequency tracker.
    ///
    /// Otherwise this is [`with_multi_lru_backend`](Self::with_multi_lru_backend).
    ///
    /// # Panics
    ///
    /// Panics if the thresholds do not ascend, the first is 0, or the last is above 15.
    pub fn with_multi_lru_backend_custom_thresholds(
        mut self,
        cold_to_warm: u8,
        warm_to_hot: u8,
        hot_to_very_hot: u8,
    ) -> Self {
        let spec = ByLevel::with_thresholds([cold_to_warm, warm_to_hot, hot_to_very_hot]);
        if let Err(fault) = spec.validate() {
            panic!("{fault}");
        }
        self.backend = Backend::Configured(Box::new(spec));
        self
    }

    /// Evicts the block that was released first. This is the same order as
    /// [`with_lru_backend`](Self::with_lru_backend).
    pub fn with_hashmap_backend(mut self) -> Self {
        self.backend = InactiveBackendConfig::HashMap.into();
        self
    }

    /// Evicts leaves first: of all blocks without inactive children, the least recently released
    /// one. This is the default.
    pub fn with_lineage_backend(self) -> Self {
        self.with_lineage_backend_eviction(LineageEviction::default())
    }

    /// Evicts leaves first, in the given order among the leaves.
    pub fn with_lineage_backend_eviction(mut self, eviction: LineageEviction) -> Self {
        self.backend = InactiveBackendConfig::Lineage { eviction }.into();
        self
    }

    /// Evicts leaves first, and among them the one whose content was used least and longest ago
    /// (LRFU, after Lee et al., 2001).
    ///
    /// A content's value is the sum of its uses, and each use loses half of its weight with
    /// every half-life. Uses before an eviction still count after it. Content that is used
    /// rarely but regularly is therefore kept, even in a pool far too small for everything that
    /// is used in between, and content that is used once, in any amount, does not push out
    /// content that is used again.
    ///
    /// # How is the half-life chosen?
    ///
    /// It is tuned at run time: two miniature simulations of the pool, fed with a sample of the
    /// hashes, tell whether a longer or a shorter half-life would have more hits. Tuning
    /// starts close to LRU. If the content that is used again takes more than about a third of
    /// the pool, the first content that is used once may therefore push some of it out.
    /// [`with_lrfu_backend_half_life`](Self::with_lrfu_backend_half_life) sets a fixed
    /// half-life.
    ///
    /// # How good is it, and what does it cost?
    ///
    /// In the workloads in `PERF.md`, its hit rate is up to 4.5 points above that of the best of
    /// `kvbm-logical`'s policies, in pools that are small for the workload, and at most 0.32
    /// points below.
    ///
    /// It requires no frequency tracker. It [takes](Self::build) 49 bytes per block more than
    /// lineage in a pool of a million blocks, and 180 kilobytes more in one of a thousand.
    /// Applying a release or a match to the order, and finding a victim, take time logarithmic
    /// in the number of inactive blocks.
    pub fn with_lrfu_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&Lrfu::TUNED));
        self
    }

    /// Evicts as [`with_lrfu_backend`](Self::with_lrfu_backend) does, but with a fixed half-life.
    ///
    /// The half-life is a number of releases, from 1, which is almost LRU, to 2^24. Releases of
    /// content that was used for the first time do not count.
    pub fn with_lrfu_backend_half_life(mut self, releases: u32) -> Self {
        self.backend = Backend::Configured(Box::new(Lrfu::with_half_life(releases)));
        self
    }

    /// Evicts leaves first, by W-TinyLFU (Einziger, Friedman and Manes, 2017).
    ///
    /// New content enters a window, from which the least recently released block is taken first,
    /// and moves on to a main region, from which the least frequently used block is taken first.
    /// Uses before an eviction still count after it, and all uses fade with time.
    ///
    /// The window's share of the inactive blocks is tuned at run time, by hill climbing on the
    /// hit rate. Admission to the main region is decided at evictions, for all blocks released
    /// since the last one.
    ///
    /// # How good is it, and what does it cost?
    ///
    /// Prefer [`with_lrfu_backend`](Self::with_lrfu_backend): it has at least as many hits in 39
    /// of the 43 rows in `PERF.md`, up to 0.09 points fewer in the other four, and takes less
    /// time.
    ///
    /// W-TinyLFU requires no frequency tracker. It [takes](Self::build) 66 bytes per block more
    /// than lineage in a pool of a million blocks. Applying a release or a match to the order,
    /// and finding a victim, take time logarithmic in the number of inactive blocks; one
    /// release in ten times the block count visits all of them.
    pub fn with_tinylfu_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&TinyLfu::TUNED));
        self
    }

    /// Evicts as [`with_tinylfu_backend`](Self::with_tinylfu_backend) does, but with a window of
    /// fixed size.
    ///
    /// The size is a percentage of the inactive blocks, from 0, which evicts the least
    /// frequently used leaf first, to 100, which evicts the least recently released one first.
    pub fn with_tinylfu_backend_window(mut self, percent: u8) -> Self {
        self.backend = Backend::Configured(Box::new(TinyLfu::with_window(percent)));
        self
    }

    /// Evicts in a built-in order that is given as a value, and can thus be chosen by name.
    /// [`BuiltInPolicy`] has an example.
    pub fn with_policy(mut self, policy: BuiltInPolicy) -> Self {
        self.backend = Backend::BuiltIn(policy);
        self
    }

    /// Evicts in an order of your own. The module [`eviction`](crate::eviction) has an example.
    pub fn with_eviction_policy(mut self, policy: impl EvictionPolicy + 'static) -> Self {
        let what = "an eviction policy panicked when it was dropped";
        self.backend = Backend::Custom(Contained::new(what, Box::new(policy)));
        self
    }

    /// Adds the manager's metrics to an aggregator, which exports them.
    #[cfg(feature = "metrics")]
    pub fn aggregator(mut self, aggregator: MetricsAggregator) -> Self {
        self.aggregator = Some(aggregator);
        self
    }

    /// Sets whether the last drop of a guard frees the block instead of making it inactive. The
    /// default is `false`: released blocks stay cached.
    ///
    /// [`set_evict_on_reset`](crate::ImmutableBlock::set_evict_on_reset) overrides this for a
    /// single block.
    pub fn with_default_reset_on_release(mut self, value: bool) -> Self {
        self.reset_on_release = value;
        self
    }

    /// Sets a callback that is called when available blocks drop below a threshold: early
    /// enough, say, to preempt requests, to shorten prompts, or to move blocks to another tier.
    ///
    /// `level` is a number of blocks; 0 sets no watermark. Available blocks are those that are
    /// free or inactive and not reserved for an operation in progress.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use kvbm_lockfree::{BlockManager, BlockRegistry};
    ///
    /// #[derive(Clone)]
    /// struct Gpu;
    ///
    /// let calls = Arc::new(AtomicUsize::new(0));
    /// let counter = Arc::clone(&calls);
    /// let manager = BlockManager::<Gpu>::builder()
    ///     .block_count(10)
    ///     .block_size(16)
    ///     .registry(BlockRegistry::new())
    ///     .with_low_watermark(3, move |low| {
    ///         assert_eq!((low.available, low.level), (2, 3));
    ///         counter.fetch_add(1, Ordering::Relaxed);
    ///     })
    ///     .build()?;
    ///
    /// let blocks = manager.allocate_blocks(7);
    /// assert_eq!(calls.load(Ordering::Relaxed), 0);
    /// let more = manager.allocate_one();
    /// let still_more = manager.allocate_one();
    /// assert!(manager.is_low());
    /// assert_eq!(calls.load(Ordering::Relaxed), 1);
    /// drop((more, still_more));
    /// assert!(!manager.is_low());
    /// let again = manager.allocate_one();
    /// assert_eq!(calls.load(Ordering::Relaxed), 2);
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    ///
    /// # When is it called?
    ///
    /// After an allocation, a match or a registration that made the number of available blocks
    /// fall below `level`, on the same thread, before that operation returns.
    ///
    /// * *Single-threaded*, it is called exactly after the operations that start with at least
    ///   `level` blocks available and leave fewer.
    /// * *If threads race*, one of them calls it, perhaps for another's operation, and a fall
    ///   may be reported twice. But no fall is missed: if the number was at least `level` at a
    ///   moment at which no operation was in progress, and is lower at a later such moment, the
    ///   callback has been called in between.
    /// * Blocks taken by [`WeakBlock::upgrade`](crate::WeakBlock::upgrade) are noticed by the
    ///   next operation.
    ///
    /// [`BlockManager::is_low`] returns whether the number is below the level at present.
    ///
    /// # What may it do?
    ///
    /// Anything: nothing is held while it runs. It may use the manager; if it makes the number
    /// rise to the level and fall again, it is called recursively. The operation returns only
    /// after the callback has. A panic is logged and goes no further.
    ///
    /// # What does it cost?
    ///
    /// Next to nothing for an operation whose shard has more available blocks than the level.
    /// Otherwise, the operation also reads the central balance of the credits and, if that is
    /// below the level too, one word per shard.
    pub fn with_low_watermark(
        mut self,
        level: usize,
        callback: impl Fn(LowWatermark) + Send + Sync + 'static,
    ) -> Self {
        let what = "the callback of the low watermark panicked when it was dropped";
        self.low_watermark = Some((level, Contained::new(what, Box::new(callback))));
        self
    }

    /// Builds the manager.
    ///
    /// # How much memory does it take?
    ///
    /// All memory that the manager will ever need for its blocks is allocated here, except what
    /// [retention directives](crate::retention), an
    /// [order of your own](Self::with_eviction_policy) and the orders of further shards take. In bytes
    /// per block:
    ///
    /// | policy | with a million blocks | at most, just past a power of two |
    /// |---|---:|---:|
    /// | LRU, hashmap, multi-level LRU | 89 | 104 |
    /// | lineage by FIFO | 177 | 192 |
    /// | lineage by tick, the default | 184 | 200 |
    /// | LRFU | 233 | 248 |
    /// | W-TinyLFU | 250 | 272 |
    /// | your own, plus what it allocates itself | 83 | 98 |
    ///
    /// On a machine with more than one core, each of the first three takes 24 bytes more, because each
    /// *shard*, about one per core, gets an order of its own when one of its threads first releases or
    /// evicts a block: that of the calling thread now, and the others later. Such an order reserves
    /// address space for all blocks, and uses memory for as many as it has listed at once, 24 to 128
    /// bytes for each.
    ///
    /// Each manager takes about 12 kilobytes more, and a manager with LRFU and fewer than a few
    /// thousand blocks takes up to another 140.
    ///
    /// # Errors
    ///
    /// Returns a [`ValidationError`](BlockManagerBuilderError::ValidationError) if
    ///
    /// * the registry or the block count is missing;
    /// * the block count or a parameter of the eviction order is out of range;
    /// * the low watermark is above the block count;
    /// * the order [needs a frequency tracker](BuiltInPolicy::needs_tracker) and the registry
    ///   has none.
    pub fn build(self) -> Result<BlockManager<T>, BlockManagerBuilderError> {
        let invalid = |what: String| BlockManagerBuilderError::ValidationError(what);
        let registry = self
            .registry
            .ok_or_else(|| invalid("registry is required".into()))?;
        let block_count = self
            .block_count
            .ok_or_else(|| invalid("block_count is required".into()))?;
        if block_count == 0 {
            return Err(invalid("block_count must be greater than 0".into()));
        }
        if block_count > MAX_BLOCKS {
            return Err(invalid(format!(
                "block_count must be at most {MAX_BLOCKS}, got {block_count}"
            )));
        }
        if let Some((level, _)) = &self.low_watermark
            && *level > block_count
        {
            return Err(invalid(format!(
                "the low watermark must be at most the block count, {block_count}, got {level}"
            )));
        }
        let BuiltOrder {
            policy,
            is_leaf_first,
            thresholds,
            name,
        } = self
            .backend
            .order(block_count, registry.has_frequency_tracking())
            .map_err(invalid)?;

        let metrics = Arc::new(BlockPoolMetrics::new(short_type_name::<T>()));
        let store = StoreRef::new(Config {
            block_count: block_count as u32,
            block_size: self.block_size,
            policy,
            is_leaf_first,
            thresholds,
            reset_on_release: self.reset_on_release,
            registry: Arc::clone(registry.core()),
            type_id: TypeId::of::<T>(),
            metrics: Arc::clone(&metrics),
        });
        let on_low = self.low_watermark.map(|(level, on_low)| {
            store.set_low_watermark(level as u32);
            on_low.into_inner()
        });
        #[cfg(feature = "metrics")]
        if let Some(aggregator) = &self.aggregator {
            aggregator.register_source(Arc::clone(&metrics));
        }
        let manager = BlockManager {
            store,
            registry,
            duplication_policy: self.duplication_policy,
            metrics,
            leases: LeaseTable::new(Instant::now()),
            on_low,
            tier: PhantomData,
        };
        tracing::info!(
            block_count,
            block_size = self.block_size,
            policy = name,
            "built block manager"
        );
        Ok(manager)
    }
}
