//! How does a program turn events on, and subscribe to them?
//!
//! Build an [`EventsManager`], pass it to a registry, and subscribe:
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::{FutureExt, StreamExt};
//! use kvbm_lockfree::events::{EventsManager, KvCacheEvent};
//! use kvbm_lockfree::{BlockRegistry, SequenceHash};
//!
//! let events = Arc::new(EventsManager::builder().channel_capacity(2).build());
//! let mut subscription = Box::pin(events.subscribe_loss_aware());
//! let registry = BlockRegistry::builder().event_manager(events).build();
//!
//! let hash = |position| SequenceHash::new(1, None, position);
//! let handles = registry.register_sequence_hashes((0..3).map(hash));
//!
//! // Three events, but the channel keeps two.
//! let mut next = || subscription.next().now_or_never().flatten();
//! assert!(next().unwrap().is_err(), "one event was lost");
//! assert_eq!(next().unwrap().unwrap(), KvCacheEvent::Create(hash(1)));
//! assert_eq!(next().unwrap().unwrap(), KvCacheEvent::Create(hash(2)));
//! # drop(handles);
//! ```
//!
//! The [parent module](super) says which events there are, in which order, and what they cost.

use std::fmt;
use std::sync::{Arc, Weak};

use anyhow::{Result, ensure};
use derive_builder::Builder;
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::SequenceHash;
use crate::registry::{BlockRegistrationHandle, Observer, Tier};
use crate::user_code::Panics;

use super::emit::{Emitter, EventReleaseHandle, Queued};
use super::event::KvCacheEvent;
use super::policy::{AllEventsPolicy, EventEmissionPolicy};

/// The largest channel capacity. The channel allocates all of its memory at once, about 64
/// bytes per event, and a failed allocation aborts the process.
const MAX_CAPACITY: usize = 1 << 30;

/// Settings of an [`EventsManager`].
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::events::{EventsManagerSettings, PowerOfTwoPolicy};
///
/// let settings = EventsManagerSettings::builder()
///     .policy(Some(Arc::new(PowerOfTwoPolicy::new()) as _))
///     .channel_capacity(4096_usize)
///     .build()?;
/// let events = settings.into_manager();
/// # drop(events);
/// assert!(EventsManagerSettings::builder().channel_capacity(0_usize).build().is_err());
/// # Ok::<(), anyhow::Error>(())
/// ```
#[must_use]
#[derive(Builder, Clone)]
#[builder(
    setter(into, strip_option),
    build_fn(validate = "Self::validate", error = "anyhow::Error")
)]
pub struct EventsManagerSettings {
    /// Decides which hashes emit events. `None`, the default, means [`AllEventsPolicy`].
    #[builder(default, setter(strip_option = false))]
    policy: Option<Arc<dyn EventEmissionPolicy>>,

    /// The number of events that a subscriber can fall behind before it loses the oldest ones,
    /// rounded up to a power of two; at most 2³⁰. The default is 1024.
    #[builder(default = "1024")]
    channel_capacity: usize,
}

impl fmt::Debug for EventsManagerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsManagerSettings")
            .field("channel_capacity", &self.channel_capacity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EventsManagerSettingsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsManagerSettingsBuilder")
            .field("channel_capacity", &self.channel_capacity)
            .finish_non_exhaustive()
    }
}

impl EventsManagerSettingsBuilder {
    fn validate(&self) -> Result<()> {
        if let Some(capacity) = self.channel_capacity {
            ensure!(
                (1..=MAX_CAPACITY).contains(&capacity),
                "channel_capacity is {capacity}, but must be from 1 to {MAX_CAPACITY}"
            );
        }
        Ok(())
    }
}

impl EventsManagerSettings {
    /// Returns a builder with the default settings.
    pub fn builder() -> EventsManagerSettingsBuilder {
        EventsManagerSettingsBuilder::default()
    }

    /// Creates the manager. Starts a thread and allocates the whole channel, about 64 bytes
    /// per event of its capacity.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    pub fn into_manager(self) -> EventsManager {
        EventsManager {
            policy: self
                .policy
                .unwrap_or_else(|| Arc::new(AllEventsPolicy::new())),
            emitter: Emitter::new(self.channel_capacity),
        }
    }
}

/// Builds an [`EventsManager`].
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::events::{EventsManager, PowerOfTwoPolicy};
///
/// let events = EventsManager::builder()
///     .policy(Arc::new(PowerOfTwoPolicy::new()))
///     .channel_capacity(1 << 14)
///     .build();
/// # drop(events);
/// ```
#[must_use = "a builder does nothing until `build` is called"]
#[derive(Debug, Default)]
pub struct EventsManagerBuilder(EventsManagerSettingsBuilder);

impl EventsManagerBuilder {
    /// Creates a builder whose manager emits events for every hash and has a channel of 1024
    /// events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the policy that decides which hashes emit events. By default, all of them do.
    pub fn policy(mut self, policy: Arc<dyn EventEmissionPolicy>) -> Self {
        self.0.policy(Some(policy));
        self
    }

    /// Sets how many events a subscriber can fall behind before it loses the oldest ones,
    /// rounded up to a power of two. The default is 1024.
    pub fn channel_capacity(mut self, capacity: usize) -> Self {
        self.0.channel_capacity(capacity);
        self
    }

    /// Creates the manager. Starts a thread and allocates the whole channel, about 64 bytes
    /// per event of its capacity.
    ///
    /// # Panics
    ///
    /// If the capacity is 0 or more than 2³⁰, or if the system cannot start a thread.
    /// [`EventsManagerSettings`] reports such a capacity as an error instead.
    pub fn build(self) -> EventsManager {
        match self.0.build() {
            Ok(settings) => settings.into_manager(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Emits the events of registries, and lets consumers subscribe to them.
///
/// The [module documentation](super) explains order, costs and losses.
///
/// Pass it to a registry with
/// [`BlockRegistryBuilder::event_manager`](crate::registry::BlockRegistryBuilder::event_manager).
/// It uses 32 bytes per registered hash that emits events.
///
/// A manager has a thread, which is parked while there are no events. When a tier has been
/// [cleared](crate::BlockManager::clear_inactive_pool), the manager starts a second thread,
/// which ends the registrations left behind, drops their attachments, and exits.
pub struct EventsManager {
    /// Dropped first: dropping the policy runs user code, which must not delay the end of
    /// streams.
    emitter: Arc<Emitter>,
    policy: Arc<dyn EventEmissionPolicy>,
}

impl EventsManager {
    /// Returns a builder with the default settings.
    pub fn builder() -> EventsManagerBuilder {
        EventsManagerBuilder::new()
    }

    /// Subscribes to the events of everything that happens from now on. If the subscriber
    /// falls too far behind, lost events are skipped silently.
    ///
    /// The stream ends when this manager, all registries that use it, and everything that
    /// keeps those alive (including handles and blocks of any hash) are gone; it can still
    /// be polled then. It works in any executor. Polling takes a lock, which registrations
    /// do not take, and may call other subscribers' wakers. If the caller's own waker panics
    /// when it is cloned or dropped, the poll panics too, and no event is lost.
    pub fn subscribe(&self) -> impl Stream<Item = KvCacheEvent> + Send + 'static {
        self.emitter
            .subscribe()
            .filter_map(|event| std::future::ready(event.ok()))
    }

    /// Like [`subscribe`](Self::subscribe), but yields an error with the number of lost
    /// events in their place, for consumers that must then resynchronize.
    pub fn subscribe_loss_aware(
        &self,
    ) -> impl Stream<Item = Result<KvCacheEvent, BroadcastStreamRecvError>> + Send + 'static {
        self.emitter.subscribe()
    }

    /// Emits the events of one registration if the policy selects its hash:
    /// [`KvCacheEvent::Create`] now, and [`KvCacheEvent::Remove`] when the registration
    /// ends.
    ///
    /// A registry built with this manager emits these events anyway, so for its handles this
    /// method does nothing. To other handles it attaches an [`EventReleaseHandle`], which takes
    /// the lock of the handle's attachments.
    ///
    /// # Errors
    ///
    /// Returns an error if values of type `Arc<EventReleaseHandle>` have been added to the
    /// handle with [`attach`](BlockRegistrationHandle::attach). A `Remove` then follows the
    /// `Create`.
    ///
    /// # Panics
    ///
    /// If the policy panics. The registration then emits no events.
    pub fn on_block_registered(&self, handle: &BlockRegistrationHandle) -> Result<()> {
        let seq_hash = handle.seq_hash();
        if handle.is_observed_by(self) {
            return Ok(());
        }
        let mut panics = Panics::new();
        let emits = panics.catch(|| self.policy.should_emit(seq_hash));
        panics.resume();
        if emits != Some(true) {
            return Ok(());
        }
        let release = EventReleaseHandle::begin(seq_hash, Arc::clone(&self.emitter));
        handle.attach_unique(Arc::new(release))?;
        Ok(())
    }
}

impl fmt::Debug for EventsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsManager").finish_non_exhaustive()
    }
}

impl Observer for EventsManager {
    fn registered(&self, seq_hash: SequenceHash) -> bool {
        // Called first, so that a policy that panics leaves no event behind.
        let emits = self.policy.should_emit(seq_hash);
        if emits {
            self.emitter.enqueue(KvCacheEvent::Create(seq_hash));
        }
        emits
    }

    fn removed(&self, seq_hash: SequenceHash) {
        self.emitter.enqueue(KvCacheEvent::Remove(seq_hash));
    }

    fn cleared(&self, tier: Weak<dyn Tier>) {
        self.emitter.enqueue(Queued::Cleared(tier));
    }
}
