//! How are events grouped into batches, and when is a batch complete?
//!
//! An [`EventBatcher`] turns a stream of events into a stream of batches, by the limits of a
//! [`BatchingConfig`].

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

/// Windows of this length, about 30 years, or longer never close. The clock could not represent
/// the end of the longest.
const ENDLESS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The limits that complete a batch.
///
/// ```
/// use std::num::NonZeroUsize;
/// use std::time::Duration;
///
/// use kvbm_lockfree::events::BatchingConfig;
///
/// // Fewer and larger messages, for consumers that can wait.
/// let config = BatchingConfig::default()
///     .with_window(Duration::from_millis(100))
///     .with_max_size(NonZeroUsize::new(8192).unwrap());
/// assert_eq!(config.max_batch_size.get(), 8192);
/// ```
#[derive(Debug, Clone)]
pub struct BatchingConfig {
    /// The longest time that the first event of a batch waits for others. The default is
    /// 10 ms.
    ///
    /// The runtime's timer is precise to a millisecond, so even with [`Duration::ZERO`] an
    /// event may wait that long. With [`Duration::MAX`], or anything else beyond 30 years, a
    /// batch is complete only when it is full, when an event of the other kind arrives, or
    /// when the stream ends.
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
    /// Sets the longest time that the first event of a batch waits for others.
    #[must_use]
    pub fn with_window(mut self, duration: Duration) -> Self {
        self.window_duration = duration;
        self
    }

    /// Sets the maximum number of events in a batch.
    #[must_use]
    pub fn with_max_size(mut self, size: NonZeroUsize) -> Self {
        self.max_batch_size = size;
        self
    }
}

/// Groups events into batches.
///
/// ```
/// use futures::{StreamExt, stream};
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
///
/// # When is a batch complete?
///
/// All events of a batch are of one kind. A batch is complete as soon as
///
/// * an event of the other kind arrives,
/// * it has [`max_batch_size`](BatchingConfig::max_batch_size) events (1024 by default),
/// * its first event has waited for
///   [`window_duration`](BatchingConfig::window_duration) (10 ms by default), or
/// * the stream of events ends.
///
/// # In which order are the hashes of a batch?
///
/// They are sorted by position: ascending for `Create`, descending for `Remove`. Within a
/// batch, parents are therefore created before their children and removed after them. The
/// sort is stable, so hashes of equal position stay in the order of their events.
///
/// # Order across batches
///
/// Batches are in the order of the events, which is the order in which registrations began
/// and ended, and not that of the tree. A parent's `Remove` may precede that of its child, and
/// a child's `Create` that of its parent:
///
/// * a batch may end between the two, because it is full or its window has passed;
/// * a policy that does not know leaves, such as LRU, may evict a parent first, and lineage
///   policies do so if the parent's children are in use;
/// * [`clear_inactive_pool`](crate::BlockManager::clear_inactive_pool) ends registrations
///   in no particular order;
/// * callers may register a child before its parent, and emission policies may omit parents.
///
/// A consumer should therefore keep what an instance holds as a set of hashes. If it
/// maintains a tree, it must keep a node whose parent is absent, as an orphan. Neither a
/// parent's `Remove` nor its absence says anything about its children: an orphan is adopted
/// when its parent is created, and dropped only by its own `Remove` or the instance's
/// [`Shutdown`](KvCacheEvents::Shutdown). A prefix ends at the first absent hash, whatever is
/// known about those behind it.
///
/// # What does it cost?
///
/// A batch is one growing `Vec`, sorted once when it is complete. An event is delayed by at
/// most the window, plus the timer's precision of a millisecond, as long as the batches are
/// polled. The stream spends the task's cooperative budget, so it yields to other tasks
/// however fast events arrive.
#[must_use]
#[derive(Debug)]
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

    /// Turns a stream of events into a stream of batches, which ends when `input` does.
    ///
    /// # Panics
    ///
    /// The stream panics if it is polled outside a tokio runtime, or in one whose timer is not
    /// enabled.
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
                // If the input always has another event, the task would otherwise never
                // yield, and the window never close.
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

    /// Adds an event. Returns it if it is of the other kind.
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
