//! From single events to batches.

use std::num::NonZeroUsize;
use std::time::Duration;

use async_stream::stream;
use futures::{Stream, StreamExt};
use tokio::pin;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use crate::SequenceHash;
use crate::events::event::KvCacheEvent;

use super::messages::{InstanceId, KvCacheEvents, KvbmCacheEvents};

/// Windows from this on never close: about 30 years. The clock cannot tell the end of
/// the longest.
const ENDLESS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// When a batch is complete.
#[derive(Debug, Clone)]
pub struct BatchingConfig {
    /// How long the first event of a batch waits for others, at most. The default is
    /// 10 ms.
    ///
    /// The runtime's timer is precise to a millisecond, so with [`Duration::ZERO`] an
    /// event may still wait that long. With [`Duration::MAX`], or anything else beyond 30
    /// years, a batch is complete only when it is full, when an event of the other kind
    /// comes, or when the stream ends.
    pub window_duration: Duration,
    /// The maximum number of events in a batch. The default is 1024.
    pub max_batch_size: NonZeroUsize,
}

impl Default for BatchingConfig {
    fn default() -> Self {
        Self {
            window_duration: Duration::from_millis(10),
            max_batch_size: const { NonZeroUsize::new(1024).unwrap() },
        }
    }
}

impl BatchingConfig {
    /// Sets how long the first event of a batch waits for others, at most.
    pub fn with_window(mut self, duration: Duration) -> Self {
        self.window_duration = duration;
        self
    }

    /// Sets the maximum number of events in a batch.
    pub fn with_max_size(mut self, size: NonZeroUsize) -> Self {
        self.max_batch_size = size;
        self
    }
}

/// Groups events into batches.
///
/// All events of a batch are of one kind. A batch is complete when an event of the other
/// kind arrives, when it has reached the maximum size, when its first event has waited
/// for the length of the window, or when the stream ends. The hashes in a batch are
/// sorted by position (a stable sort): ascending for `Create`, descending for `Remove`.
/// Within one batch, parents are therefore created before their children and removed
/// after them.
///
/// # Order across batches
///
/// Batches themselves are in the order of the events, which is the order in which
/// registrations began and ended, not that of the tree. A `Remove` of a parent may come
/// before that of its child, or a `Create` of a child before that of its parent:
///
/// * a batch may be cut anywhere between the two, by its size or its window;
/// * a policy that knows no leaves, such as LRU, may evict a parent first, and the
///   lineage policies do where its children are in use;
/// * [`clear_inactive_pool`](crate::BlockManager::clear_inactive_pool) ends registrations
///   in no particular order;
/// * callers may register a child before its parent, and event policies may leave parents
///   out.
///
/// So a consumer should keep what an instance holds as a set of hashes, or, if it maintains
/// a tree, keep a node whose parent is absent as an orphan. Neither a parent's `Remove` nor
/// its absence says anything about its children: an orphan is adopted when its parent is
/// created, and dropped only by its own `Remove` or the instance's
/// [`Shutdown`](KvCacheEvents::Shutdown). A prefix ends at the first hash that is absent,
/// whatever is known of those behind it.
///
/// ```
/// use futures::{StreamExt, executor, stream};
/// use kvbm_lockfree::SequenceHash;
/// use kvbm_lockfree::events::{BatchingConfig, EventBatcher, KvCacheEvent, KvCacheEvents};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let hash = |position| SequenceHash::new(1, None, position);
/// let events = stream::iter([
///     KvCacheEvent::Create(hash(2)),
///     KvCacheEvent::Create(hash(1)),
///     KvCacheEvent::Remove(hash(2)),
/// ]);
/// let batches: Vec<_> = EventBatcher::new(BatchingConfig::default(), 7)
///     .batch(events)
///     .collect()
///     .await;
/// assert_eq!(batches[0].events, KvCacheEvents::Create(vec![hash(1), hash(2)]));
/// assert_eq!(batches[1].events, KvCacheEvents::Remove(vec![hash(2)]));
/// assert_eq!(batches[1].instance_id, 7);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct EventBatcher {
    config: BatchingConfig,
    instance_id: InstanceId,
}

impl EventBatcher {
    /// Creates a batcher for the events of one instance.
    pub fn new(config: BatchingConfig, instance_id: InstanceId) -> Self {
        Self {
            config,
            instance_id,
        }
    }

    /// Returns a stream of the batches of `input`'s events, which ends when `input` does.
    ///
    /// # Panics
    ///
    /// When polled outside a tokio runtime with its timer enabled.
    pub fn batch<S>(self, input: S) -> impl Stream<Item = KvbmCacheEvents> + Send
    where
        S: Stream<Item = KvCacheEvent> + Send + 'static,
    {
        let Self {
            config,
            instance_id,
        } = self;
        let message = move |batch: Batch| KvbmCacheEvents {
            events: batch.into_events(),
            instance_id,
        };
        stream! {
            pin!(input);
            let window = sleep_until(Instant::now());
            pin!(window);
            let mut is_timed = false;
            let mut open: Option<Batch> = None;
            loop {
                // A stream that always has another event would keep the task from ever
                // yielding, and thereby keep the window from closing.
                consume_budget().await;
                let event = tokio::select! {
                    biased;
                    () = &mut window, if is_timed && open.is_some() => {
                        if let Some(batch) = open.take() {
                            yield message(batch);
                        }
                        continue;
                    }
                    event = input.next() => event,
                };
                let Some(event) = event else { break };
                let event = match open.as_mut() {
                    Some(batch) => batch.add(event),
                    None => Some(event),
                };
                if let Some(event) = event {
                    if let Some(batch) = open.replace(Batch::new(event)) {
                        yield message(batch);
                    }
                    is_timed = config.window_duration < ENDLESS;
                    if is_timed {
                        window.as_mut().reset(Instant::now() + config.window_duration);
                    }
                }
                if let Some(batch) = open.take_if(|batch| batch.is_full(&config)) {
                    yield message(batch);
                }
            }
            if let Some(batch) = open {
                yield message(batch);
            }
        }
    }
}

/// A batch that may still grow.
enum Batch {
    Create(Vec<SequenceHash>),
    Remove(Vec<SequenceHash>),
}

impl Batch {
    fn new(event: KvCacheEvent) -> Self {
        match event {
            KvCacheEvent::Create(hash) => Self::Create(vec![hash]),
            KvCacheEvent::Remove(hash) => Self::Remove(vec![hash]),
        }
    }

    /// Adds an event, or returns it if it is of the other kind.
    fn add(&mut self, event: KvCacheEvent) -> Option<KvCacheEvent> {
        match (self, event) {
            (Self::Create(hashes), KvCacheEvent::Create(hash))
            | (Self::Remove(hashes), KvCacheEvent::Remove(hash)) => {
                hashes.push(hash);
                None
            }
            (_, event) => Some(event),
        }
    }

    fn is_full(&self, config: &BatchingConfig) -> bool {
        let (Self::Create(hashes) | Self::Remove(hashes)) = self;
        hashes.len() >= config.max_batch_size.get()
    }

    fn into_events(self) -> KvCacheEvents {
        match self {
            Self::Create(mut hashes) => {
                hashes.sort_by_key(|hash| hash.position());
                KvCacheEvents::Create(hashes)
            }
            Self::Remove(mut hashes) => {
                hashes.sort_by_key(|hash| std::cmp::Reverse(hash.position()));
                KvCacheEvents::Remove(hashes)
            }
        }
    }
}
