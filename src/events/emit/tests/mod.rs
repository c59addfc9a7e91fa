//! Tests of emission as a whole, with and without its threads.

mod cleanup;
mod dispatch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::SequenceHash;
use crate::events::event::KvCacheEvent;

use super::dispatch_thread::NAP;
use super::emitter::Emitter;
use super::hub::Hub;

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "timed out");
        thread::sleep(NAP);
    }
}

fn create(content: u64) -> KvCacheEvent {
    KvCacheEvent::Create(SequenceHash::new(content, None, 0))
}

/// Creates a hub without a dispatch thread: only pollers dispatch.
fn without_thread() -> Emitter {
    Emitter(Arc::new(Hub::new(16)))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Count {
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Creates a waker and its count.
fn counted() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}
