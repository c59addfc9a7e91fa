//! A publisher of events finishes when the events end.

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use kvbm_lockfree::events::{KvCacheEvents, KvbmCacheEvents, KvbmCacheEventsPublisher};
use kvbm_lockfree::pubsub::Publisher;

use super::*;

#[derive(Default)]
struct Kept(Mutex<Vec<Bytes>>);

impl Publisher for Kept {
    fn publish(&self, _subject: &str, payload: Bytes) -> anyhow::Result<()> {
        self.0.lock().unwrap().push(payload);
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

#[test]
fn a_publisher_is_joined() {
    let _turn = turn();
    for kind in KINDS {
        for count in [1, 65, 10_000] {
            let events = Arc::new(
                EventsManager::builder()
                    .channel_capacity(4 * count as usize)
                    .build(),
            );
            let bus = Arc::new(Kept::default());
            let publishes_to = Arc::clone(&bus);
            let stream = events.subscribe();
            let parts = set_up(kind, count, &events);
            drop(events);
            let publishing = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = { runtime }.enable_time().build().unwrap();
                runtime.block_on(async {
                    let publisher = KvbmCacheEventsPublisher::builder()
                        .instance_id(1)
                        .event_stream(stream)
                        .publisher(publishes_to)
                        .build()
                        .unwrap();
                    publisher.join().await.unwrap();
                });
            });
            let order: Vec<_> = (0..parts.len()).collect();
            let_go(parts, &order, true);
            ends("a publisher", || publishing.join().unwrap());
            let messages = bus.0.lock().unwrap();
            let last: KvbmCacheEvents = rmp_serde::from_slice(messages.last().unwrap()).unwrap();
            assert_eq!(last.events, KvCacheEvents::Shutdown);
            drop(messages);
            wait_for_threads();
        }
    }
}
