//! Gauges that are derived when read instead of being kept up to date.
//!
//! A manager's engine computes its gauges on demand, from the counters and a few more words.
//! The gauge methods of [`BlockPoolMetrics`](super::BlockPoolMetrics) change an offset that
//! is added to the result. Metrics without a manager consist of the offsets alone.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{OnceLock, Weak};

use super::Counts;

/// The gauges of a manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gauges {
    /// Mutable guards.
    pub(crate) inflight_mutable: i64,
    /// Immutable guards.
    pub(crate) inflight_immutable: i64,
    /// Free blocks, including cleared ones.
    pub(crate) reset_pool_size: i64,
    /// Inactive blocks: registered and not pinned.
    pub(crate) inactive_pool_size: i64,
}

/// Computes the gauges of a manager.
pub(crate) trait GaugeSource: Send + Sync {
    /// Returns the current gauges, none of them negative, given counters that have just been
    /// read. May be called from any thread at any time.
    fn gauges(&self, counts: &Counts) -> Gauges;

    /// Returns the number of removed registry entries that have not been freed yet.
    fn pending_garbage(&self) -> u64;
}

/// The gauges of a [`BlockPoolMetrics`](super::BlockPoolMetrics).
#[derive(Default)]
pub(super) struct GaugeBoard {
    pub(super) inflight_mutable: AtomicI64,
    pub(super) inflight_immutable: AtomicI64,
    pub(super) reset_pool_size: AtomicI64,
    pub(super) inactive_pool_size: AtomicI64,
    source: OnceLock<Weak<dyn GaugeSource>>,
    retired: OnceLock<Gauges>,
}

impl GaugeBoard {
    /// Derives the gauges from `source` from now on. Must be called at most once.
    pub(super) fn attach(&self, source: Weak<dyn GaugeSource>) {
        let attached = self.source.set(source);
        debug_assert!(attached.is_ok(), "metrics belong to one engine");
    }

    /// Keeps the last gauges of a source that is about to be dropped.
    pub(super) fn retire(&self, last: Gauges) {
        let retired = self.retired.set(last);
        debug_assert!(retired.is_ok(), "an engine retires once");
    }

    /// Returns what the source shows, or what it showed last. Returns zeros if there never
    /// was a source, and between its last use and its retirement.
    pub(super) fn derived(&self, counts: &Counts) -> Gauges {
        match self.source.get().and_then(Weak::upgrade) {
            Some(source) => source.gauges(counts),
            None => self.retired.get().copied().unwrap_or_default(),
        }
    }

    /// Returns the garbage of the source's registry, or 0 if there is no source.
    pub(super) fn pending_garbage(&self) -> u64 {
        let source = self.source.get().and_then(Weak::upgrade);
        source.map_or(0, |source| source.pending_garbage())
    }

    /// Returns the derived gauges plus the offsets.
    pub(super) fn read(&self, counts: &Counts) -> Gauges {
        let derived = self.derived(counts);
        let add = |gauge: i64, offset: &AtomicI64| gauge.wrapping_add(offset.load(Relaxed));
        Gauges {
            inflight_mutable: add(derived.inflight_mutable, &self.inflight_mutable),
            inflight_immutable: add(derived.inflight_immutable, &self.inflight_immutable),
            reset_pool_size: add(derived.reset_pool_size, &self.reset_pool_size),
            inactive_pool_size: add(derived.inactive_pool_size, &self.inactive_pool_size),
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::super::stripes::Stripes;
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Engine(Mutex<Gauges>);

    impl GaugeSource for Engine {
        fn gauges(&self, _counts: &Counts) -> Gauges {
            *self.0.lock().unwrap()
        }

        fn pending_garbage(&self) -> u64 {
            7
        }
    }

    fn none() -> Counts {
        Stripes::new().counts()
    }

    const SHOWN: Gauges = Gauges {
        inflight_mutable: 1,
        inflight_immutable: 2,
        reset_pool_size: 3,
        inactive_pool_size: 4,
    };

    fn board_of(engine: &Arc<Engine>) -> GaugeBoard {
        let board = GaugeBoard::default();
        let source: Arc<dyn GaugeSource> = Arc::clone(engine) as _;
        board.attach(Arc::downgrade(&source));
        board
    }

    #[test]
    fn a_source_is_asked_at_every_reading() {
        let engine = Arc::new(Engine(Mutex::new(SHOWN)));
        let board = board_of(&engine);
        assert_eq!(board.read(&none()), SHOWN);
        assert_eq!(board.pending_garbage(), 7);
        engine.0.lock().unwrap().inactive_pool_size = 40;
        board.reset_pool_size.fetch_sub(10, Relaxed);
        let expected = Gauges {
            reset_pool_size: -7,
            inactive_pool_size: 40,
            ..SHOWN
        };
        assert_eq!(board.read(&none()), expected);
    }

    #[test]
    fn a_source_that_went_shows_what_it_left() {
        let engine = Arc::new(Engine(Mutex::new(SHOWN)));
        let board = board_of(&engine);
        board.inflight_mutable.fetch_add(5, Relaxed);
        drop(engine);
        let zeros = Gauges {
            inflight_mutable: 5,
            ..Gauges::default()
        };
        assert_eq!(board.read(&none()), zeros);
        board.retire(SHOWN);
        let last = Gauges {
            inflight_mutable: 6,
            ..SHOWN
        };
        assert_eq!(board.read(&none()), last);
    }

    #[test]
    fn metrics_do_not_keep_their_engine() {
        let engine = Arc::new(Engine(Mutex::new(SHOWN)));
        let board = board_of(&engine);
        board.read(&none());
        assert_eq!(Arc::strong_count(&engine), 1);
    }
}
