//! Building a block manager.

use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::blocks::{BlockDuplicationPolicy, BlockMetadata};
use crate::engine::{Config, MAX_BLOCKS, StoreRef};
use crate::leases::LeaseTable;
#[cfg(feature = "metrics")]
use crate::metrics::MetricsAggregator;
use crate::metrics::{BlockPoolMetrics, short_type_name};
use crate::policy::{
    BuiltInPolicy, ByFifo, ByLevel, ByTick, Custom, EvictionPolicy, Lrfu, OldestFirst, PlainPolicy,
    PolicySpec, TinyLfu,
};
use crate::registry::BlockRegistry;
use crate::tinylfu::TinyLFUTracker;
use crate::user_code::Contained;

use super::BlockManager;
use super::errors::BlockManagerBuilderError;
use super::watermark::{LowWatermark, OnLow};

/// Tokens a block unless set otherwise.
const DEFAULT_BLOCK_SIZE: usize = 16;
const MAX_BLOCK_SIZE: usize = 1024;

/// How many hashes a frequency tracker is sized for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrequencyTrackingCapacity {
    /// 2^18.
    Small,
    /// 2^21.
    #[default]
    Medium,
    /// 2^24.
    Large,
}

impl FrequencyTrackingCapacity {
    /// The number of hashes.
    pub fn size(&self) -> usize {
        match self {
            Self::Small => 1 << 18,
            Self::Medium => 1 << 21,
            Self::Large => 1 << 24,
        }
    }

    /// A tracker for that many hashes, for [`BlockRegistry::builder`].
    pub fn create_tracker(&self) -> Arc<TinyLFUTracker<u128>> {
        Arc::new(TinyLFUTracker::new(self.size()))
    }
}

/// The order in which inactive blocks are evicted.
pub enum InactiveBackendConfig {
    /// First released, first evicted. Since a match takes a block out of the
    /// order and its release puts it at the end, this is the same order as
    /// [`Lru`](Self::Lru).
    HashMap,
    /// Least recently released first.
    Lru,
    /// Four frequency levels, the lowest first, and least recently released first
    /// within a level. A block's level is that of its hash when it is released.
    MultiLru {
        /// The frequencies from which a block belongs to the second, third and
        /// fourth level.
        frequency_thresholds: [u8; 3],
    },
    /// Only blocks without inactive children, so that a prefix is not evicted
    /// before what continues it.
    Lineage {
        /// The order among those blocks.
        eviction: LineageEviction,
    },
}

/// The order among the leaves of the lineage policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LineageEviction {
    /// Least recently released first: a block whose children have been evicted
    /// has the place its own release gave it.
    #[default]
    Tick,
    /// In the order in which they became leaves.
    Fifo,
}

/// What decides about eviction.
enum Backend {
    BuiltIn(BuiltInPolicy),
    /// A built-in order with parameters of its own.
    Configured(Box<dyn PolicySpec>),
    Custom(Contained<Box<dyn EvictionPolicy>>),
}

impl From<InactiveBackendConfig> for Backend {
    fn from(config: InactiveBackendConfig) -> Self {
        let spec: &'static dyn PolicySpec = match config {
            InactiveBackendConfig::HashMap => &OldestFirst::HASH_MAP,
            InactiveBackendConfig::Lru => &OldestFirst::LRU,
            InactiveBackendConfig::MultiLru {
                frequency_thresholds,
            } => return Self::Configured(Box::new(ByLevel::with_thresholds(frequency_thresholds))),
            InactiveBackendConfig::Lineage { eviction } => match eviction {
                LineageEviction::Tick => &ByTick,
                LineageEviction::Fifo => &ByFifo,
            },
        };
        Self::BuiltIn(BuiltInPolicy(spec))
    }
}

/// A [`Backend`] that has been built.
struct Order {
    policy: Box<dyn PlainPolicy>,
    is_leaf_first: bool,
    thresholds: Option<[u8; 3]>,
    name: &'static str,
}

impl Backend {
    /// Builds the order, or says why it cannot be built.
    fn order(self, block_count: usize, has_tracker: bool) -> Result<Order, String> {
        match self {
            Self::BuiltIn(policy) => Order::of(policy.0, block_count, has_tracker),
            Self::Configured(spec) => Order::of(&*spec, block_count, has_tracker),
            Self::Custom(policy) => Ok(Order {
                is_leaf_first: policy.is_leaf_first(),
                policy: Box::new(Custom::new(policy.into_inner(), block_count)),
                thresholds: None,
                name: "custom",
            }),
        }
    }
}

impl Order {
    fn of(spec: &dyn PolicySpec, block_count: usize, has_tracker: bool) -> Result<Self, String> {
        let thresholds = spec.frequency_thresholds();
        if thresholds.is_some() && !has_tracker {
            return Err(format!(
                "{} backend requires a registry with frequency tracking",
                spec.title()
            ));
        }
        spec.validate()?;
        Ok(Self {
            policy: spec.build(block_count),
            is_leaf_first: spec.is_leaf_first(),
            thresholds,
            name: spec.name(),
        })
    }
}

/// Builds a [`BlockManager`].
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// let manager = BlockManager::<Gpu>::builder()
///     .block_count(1024)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .with_lineage_backend()
///     .build()?;
/// assert_eq!(manager.available_blocks(), 1024);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
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

impl<T: BlockMetadata> BlockManagerConfigBuilder<T> {
    /// A builder: 16 tokens a block, lineage eviction, duplicates allowed. Block
    /// count and registry have to be set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of blocks: from 1 to 2^28.
    pub fn block_count(mut self, count: usize) -> Self {
        self.block_count = Some(count);
        self
    }

    /// Sets the tokens a block.
    ///
    /// # Panics
    ///
    /// If `size` is not a power of two from 1 to 1024.
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

    /// Sets what happens to duplicates.
    pub fn duplication_policy(mut self, policy: BlockDuplicationPolicy) -> Self {
        self.duplication_policy = policy;
        self
    }

    /// Sets the registry, which managers of several tiers can share.
    pub fn registry(mut self, registry: BlockRegistry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Evicts the least recently released block first.
    pub fn with_lru_backend(mut self) -> Self {
        self.backend = InactiveBackendConfig::Lru.into();
        self
    }

    /// Evicts by frequency level, with thresholds 3, 8 and 15. Needs a registry
    /// with a frequency tracker.
    ///
    /// Contents that come once, however many, do not push out what has reached a higher
    /// level. But what was used often once keeps its level until everything below it is gone.
    /// In the replays that `PERF.md` compares, the hit rate is up to 5.4 points above that of
    /// LRU in small pools, and up to 21 points below it in larger ones. That of
    /// [`with_lrfu_backend`](Self::with_lrfu_backend) is higher, or at most 0.05 points lower.
    ///
    /// Frequencies are estimated [more accurately](crate::tinylfu#accuracy) than in
    /// `kvbm-logical`: the same policy has a hit rate up to 11 points lower there.
    pub fn with_multi_lru_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&ByLevel::DEFAULT));
        self
    }

    /// Evicts by frequency level: the thresholds are the frequencies from which
    /// a block is warm, hot, and very hot. Needs a registry with a frequency
    /// tracker.
    ///
    /// # Panics
    ///
    /// If the thresholds do not ascend, the first is 0, or the last is above 15.
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

    /// Evicts the first released block first.
    pub fn with_hashmap_backend(mut self) -> Self {
        self.backend = InactiveBackendConfig::HashMap.into();
        self
    }

    /// Evicts leaves of the lineage first, the least recently released first.
    pub fn with_lineage_backend(self) -> Self {
        self.with_lineage_backend_eviction(LineageEviction::default())
    }

    /// Evicts leaves of the lineage first, in the given order.
    pub fn with_lineage_backend_eviction(mut self, eviction: LineageEviction) -> Self {
        self.backend = InactiveBackendConfig::Lineage { eviction }.into();
        self
    }

    /// Evicts leaves of the lineage first, and of these the one whose content was
    /// used least and longest ago: LRFU, after Lee and others (2001), where the value of
    /// a use halves with every half-life. Uses of contents that have been evicted since
    /// count too, so that what is used rarely but again and again is kept in a pool
    /// that is far too small for everything in between. Contents that come once, however
    /// many, do not push out what is used again.
    ///
    /// The half-life is found in operation: two small models of the pool, which see a
    /// sample of the contents, tell whether a longer or a shorter one has more hits. It
    /// begins almost as least recently used first. So what is used again and takes more than
    /// some third of the pool may give way to the first of what comes once.
    ///
    /// In the workloads that `PERF.md` compares, its hit rate is up to 4.5 points above that
    /// of the best of the reference's policies, in pools that are small for them, and at most
    /// 0.32 points below.
    ///
    /// Needs no frequency tracker. [Takes](Self::build) 43 bytes a block more than lineage
    /// with a million blocks, and 180 kilobytes more with a thousand. Applying a release or a
    /// match to the order, and finding a victim, take time logarithmic in the inactive blocks.
    pub fn with_lrfu_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&Lrfu::TUNED));
        self
    }

    /// As [`with_lrfu_backend`](Self::with_lrfu_backend), with a half-life of so many
    /// releases: from 1, which is almost least recently used first, to 2^24. Releases of
    /// contents used for the first time do not count.
    pub fn with_lrfu_backend_half_life(mut self, releases: u32) -> Self {
        self.backend = Backend::Configured(Box::new(Lrfu::with_half_life(releases)));
        self
    }

    /// Evicts leaves of the lineage first, by W-TinyLFU, after Einziger, Friedman and Manes
    /// (2017): new contents come into a window, where the least recently released goes
    /// first, and from there into a main region, where the least frequently used goes
    /// first. Uses of contents that have been evicted since count too, and all fade.
    ///
    /// The window's share of the inactive blocks is found in operation, by climbing the
    /// hit rate. Who is admitted to the main region is decided when blocks are evicted, for
    /// all that was released since.
    ///
    /// [`with_lrfu_backend`](Self::with_lrfu_backend) has at least as many hits in 39 of the
    /// 43 rows that `PERF.md` compares, in the other four up to 0.09 points fewer, and takes
    /// less time.
    ///
    /// Needs no frequency tracker. [Takes](Self::build) 59 bytes a block more than lineage
    /// with a million blocks. Applying a release or a match to the order, and finding a
    /// victim, take time logarithmic in the inactive blocks; one release in ten times the
    /// block count goes through all of them.
    pub fn with_tinylfu_backend(mut self) -> Self {
        self.backend = Backend::BuiltIn(BuiltInPolicy(&TinyLfu::TUNED));
        self
    }

    /// As [`with_tinylfu_backend`](Self::with_tinylfu_backend), with a window of so many per
    /// cent of the inactive blocks: from 0, which is least frequently used first, to
    /// 100, which is least recently used first.
    pub fn with_tinylfu_backend_window(mut self, percent: u8) -> Self {
        self.backend = Backend::Configured(Box::new(TinyLfu::with_window(percent)));
        self
    }

    /// Evicts in a built-in order, which can be chosen by name: see [`BuiltInPolicy`] for an
    /// example.
    pub fn with_policy(mut self, policy: BuiltInPolicy) -> Self {
        self.backend = Backend::BuiltIn(policy);
        self
    }

    /// Evicts in the order of your own policy.
    pub fn with_eviction_policy(mut self, policy: impl EvictionPolicy + 'static) -> Self {
        let what = "an eviction policy panicked when it was dropped";
        self.backend = Backend::Custom(Contained::new(what, Box::new(policy)));
        self
    }

    /// Has the manager's metrics exported by this aggregator.
    #[cfg(feature = "metrics")]
    pub fn aggregator(mut self, aggregator: MetricsAggregator) -> Self {
        self.aggregator = Some(aggregator);
        self
    }

    /// Sets whether blocks are freed, rather than becoming inactive, when their
    /// last holder drops them. A block can be told otherwise by
    /// [`set_evict_on_reset`](crate::ImmutableBlock::set_evict_on_reset).
    pub fn with_default_reset_on_release(mut self, value: bool) -> Self {
        self.reset_on_release = value;
        self
    }

    /// Has `callback` called when fewer than `level` blocks are available (free or
    /// inactive, and not asked for by calls under way) and at least as many were before: early
    /// enough, say, to preempt requests, to shorten prompts, or to move blocks to
    /// another tier. A level of 0 is none.
    ///
    /// *When.* After an allocation, a match or a registration that made the number fall,
    /// by its thread, before it returns. Driven by one thread: exactly after those that
    /// began with at least `level` blocks available and leave fewer. Where threads race,
    /// one of them calls, perhaps for the operation of another, and a fall may be told of
    /// twice; but if the number was at the level while no call was under way, and is below
    /// later while none is, the callback has been called in between. What
    /// [`WeakBlock::upgrade`](crate::WeakBlock::upgrade) takes is noticed with the next
    /// operation. [`BlockManager::is_low`] says how things stand now.
    ///
    /// *What it may do.* Anything: the manager holds nothing when it calls. It may use the
    /// manager, and if it makes the number rise to the level and fall again it is called
    /// from within itself. The operation returns only after it. A panic in it is logged and
    /// goes no further.
    ///
    /// *What it costs.* Operations of a thread whose share of the available blocks is
    /// larger than the level: next to nothing. Others read the common rest of the blocks,
    /// and where that is below the level too, the shares of the other threads, a word for
    /// each shard.
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
    pub fn with_low_watermark(
        mut self,
        level: usize,
        callback: impl Fn(LowWatermark) + Send + Sync + 'static,
    ) -> Self {
        let what = "the callback of the low watermark panicked when it was dropped";
        self.low_watermark = Some((level, Contained::new(what, Box::new(callback))));
        self
    }

    /// Builds the manager. Allocates all memory it will ever need for its
    /// blocks, but for what [retention directives](crate::retention) and an
    /// [order of your own](Self::with_eviction_policy) take:
    ///
    /// | policy | bytes a block, of a million | just past a power of two, the most |
    /// |---|---:|---:|
    /// | multi-level LRU | 89 | 104 |
    /// | LRU, hashmap | 102 | 132 |
    /// | lineage by FIFO | 177 | 200 |
    /// | lineage by tick, the default | 191 | 229 |
    /// | LRFU | 234 | 256 |
    /// | W-TinyLFU | 250 | 280 |
    /// | your own, without what it takes itself | 83 | 98 |
    ///
    /// Some 12 kilobytes come on top, and with LRFU in pools of less than a few thousand blocks
    /// up to 140 more.
    ///
    /// # Errors
    ///
    /// Returns a [`ValidationError`](BlockManagerBuilderError::ValidationError) if the registry
    /// or the block count is missing; if the block count or a parameter of the eviction order
    /// is out of range; if the low watermark is above the block count; or if the order
    /// [needs a frequency tracker](BuiltInPolicy::needs_tracker) and the registry has none.
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
        let Order {
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
