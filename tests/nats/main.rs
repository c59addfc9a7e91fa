//! Events over a real NATS server.
//!
//! Each test starts a server of its own on a free port. If the program `nats-server` is
//! missing, the tests say so and pass.

mod breaks;
mod capacity;
mod consumer;
mod log;
mod proxy;
mod refused;
mod server;
mod sizes;
mod startup;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use kvbm_lockfree::events::{
    BatchingConfig, EventsManager, InstanceId, KvCacheEvents, KvbmCacheEvents,
    KvbmCacheEventsPublisher,
};
use kvbm_lockfree::pubsub::async_nats::jetstream::stream;
use kvbm_lockfree::pubsub::async_nats::{self, Client, ConnectOptions};
use kvbm_lockfree::pubsub::{NatsError, NatsPublisher, Publisher};
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use consumer::{Consumer, Holders};
use server::Server;

const SUBJECT: &str = "kvbm.events";
const STREAM: &str = "kvbm";

/// The number of blocks in a prompt.
const PROMPT: u64 = 8;

/// The time limit of a test, so that one that hangs fails.
const LONG: Duration = Duration::from_secs(120);

/// The time limit of a single wait.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Gpu;

/// Returns a prompt of [`PROMPT`] blocks, different for each number.
fn prompt(number: u64) -> Vec<SequenceHash> {
    (0..PROMPT)
        .map(|position| SequenceHash::new(1 + number * PROMPT + position, None, position))
        .collect()
}

async fn connect(server: &Server) -> Client {
    ConnectOptions::new()
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(server.address())
        .await
        .unwrap()
}

/// Returns the configuration of the stream that most tests use.
fn config() -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        subjects: vec![SUBJECT.into()],
        ..Default::default()
    }
}

async fn stored(client: Client) -> NatsPublisher {
    let builder = NatsPublisher::builder(client).stream(config());
    builder.build().await.unwrap()
}

/// Flushes, within the time limit, and returns the result.
async fn flushed(bus: &NatsPublisher) -> Result<(), NatsError> {
    let flushed = tokio::time::timeout(PATIENCE, bus.flush()).await;
    let flushed = flushed.expect("the flush ends");
    flushed.map_err(|error| error.downcast().unwrap())
}

/// Publishes a text.
fn say(bus: &NatsPublisher, text: &str) {
    bus.publish(SUBJECT, Bytes::copy_from_slice(text.as_bytes()))
        .unwrap();
}

/// Returns the text of the next message.
async fn heard(messages: &mut async_nats::Subscriber) -> String {
    let message = tokio::time::timeout(PATIENCE, messages.next()).await;
    let message = message.expect("a message arrives").unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// Subscribes on a separate connection, and waits until the server knows the subscription.
async fn listen(server: &Server) -> async_nats::Subscriber {
    let client = connect(server).await;
    let messages = client.subscribe(SUBJECT).await.unwrap();
    let mut echo = client.subscribe("test.echo").await.unwrap();
    client.publish("test.echo", Bytes::new()).await.unwrap();
    echo.next().await.unwrap();
    messages
}

/// Returns the texts of all messages in the stream.
async fn all_stored(server: &Server) -> Vec<String> {
    let context = async_nats::jetstream::new(connect(server).await);
    let mut stream = context.get_stream(STREAM).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut texts = Vec::new();
    if state.messages == 0 {
        return texts;
    }
    for number in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(number).await.unwrap();
        texts.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    texts
}

/// A serving instance: a manager whose events are published.
struct Instance {
    id: InstanceId,
    manager: BlockManager<Gpu>,
    registry: BlockRegistry,
    publisher: KvbmCacheEventsPublisher,
    bus: Arc<NatsPublisher>,
}

impl Instance {
    fn new(id: InstanceId, bus: NatsPublisher) -> Self {
        let bus = Arc::new(bus);
        let events = Arc::new(EventsManager::builder().channel_capacity(1 << 16).build());
        let publisher = KvbmCacheEventsPublisher::builder()
            .instance_id(id)
            .event_stream(events.subscribe())
            .publisher(Arc::clone(&bus))
            .batching_config(BatchingConfig::default().with_window(Duration::from_millis(1)))
            .subject(SUBJECT)
            .build()
            .unwrap();
        let registry = BlockRegistry::builder().event_manager(events).build();
        let manager = BlockManager::builder()
            .block_count(64)
            .block_size(16)
            .registry(registry.clone())
            .build()
            .unwrap();
        Self {
            id,
            manager,
            registry,
            publisher,
            bus,
        }
    }

    /// Registers the blocks of a prompt, evicting others.
    fn serve(&self, number: u64) {
        let prompt = prompt(number);
        let held = self.manager.match_blocks(&prompt);
        let missing = &prompt[held.len()..];
        let fresh = self.manager.allocate_blocks(missing.len()).unwrap();
        for (block, &hash) in fresh.into_iter().zip(missing) {
            drop(self.manager.register_block(block.stage(hash, 16).unwrap()));
        }
    }

    /// Returns how much of each prompt this instance holds, according to its own manager.
    fn held(&self, prompts: u64) -> BTreeSet<u128> {
        (0..prompts)
            .flat_map(prompt)
            .filter(|&hash| self.registry.is_registered(hash))
            .map(|hash| hash.as_u128())
            .collect()
    }

    /// Returns whether the consumer's view of this instance is correct.
    fn agrees(&self, holders: &Holders, prompts: u64) -> bool {
        holders.0.get(&self.id) == Some(&self.held(prompts))
    }
}

fn run(test: impl AsyncFnOnce(Server)) {
    run_with("", test);
}

/// Runs a test with a server that has this configuration.
fn run_with(configuration: &str, test: impl AsyncFnOnce(Server)) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    run_on(runtime.worker_threads(2), configuration, test);
}

/// Runs a test on the runtime that the builder makes.
fn run_on(
    runtime: &mut tokio::runtime::Builder,
    configuration: &str,
    test: impl AsyncFnOnce(Server),
) {
    let Some(server) = Server::start(configuration) else {
        return;
    };
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(LONG, test(server))
            .await
            .expect("the test ends in time");
    });
}

#[test]
fn a_consumer_agrees_with_two_instances_across_a_restart() {
    run(async |mut server| {
        let one = Instance::new(1, stored(connect(&server).await).await);
        let two = Instance::new(2, stored(connect(&server).await).await);
        let mut consumer = Consumer::new(connect(&server).await, STREAM);

        // More prompts than there are blocks for, and different ones per instance.
        for number in 0..40 {
            one.serve(number % 25);
            two.serve(number);
        }
        consumer
            .read_until(|holders| one.agrees(holders, 100) && two.agrees(holders, 100))
            .await;
        for number in 0..40 {
            let prompt = prompt(number);
            for instance in [&one, &two] {
                let held = prompt
                    .iter()
                    .take_while(|&&hash| instance.registry.is_registered(hash));
                assert_eq!(consumer.holders.prefix(instance.id, &prompt), held.count());
            }
        }

        // The instances keep serving while the server is away and while it returns.
        server.kill();
        for number in 40..60 {
            one.serve(number);
            two.serve(number % 7);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(one.bus.waiting() > 0 && two.bus.waiting() > 0);
        server.restart();
        for number in 60..100 {
            one.serve(number);
            two.serve(number);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        consumer
            .read_until(|holders| one.agrees(holders, 100) && two.agrees(holders, 100))
            .await;
        assert_eq!((one.bus.lost(), two.bus.lost()), (0, 0));

        // A consumer that starts late gets the same view.
        let mut late = Consumer::new(connect(&server).await, STREAM);
        late.read_until(|holders| *holders == consumer.holders)
            .await;

        // An instance that shuts down is removed from the view.
        let Instance {
            manager,
            registry,
            publisher,
            ..
        } = one;
        drop((manager, registry));
        publisher.join().await.unwrap();
        consumer
            .read_until(|holders| !holders.0.contains_key(&1))
            .await;
        assert!(two.agrees(&consumer.holders, 100));
    });
}

#[test]
fn without_a_stream_subscribers_get_what_is_sent() {
    run(async |server| {
        let client = connect(&server).await;
        let mut messages = client.subscribe(SUBJECT).await.unwrap();
        // On the subscription's connection, so the server has seen the subscription.
        let bus = NatsPublisher::builder(client).build().await.unwrap();
        let instance = Instance::new(3, bus);
        instance.serve(0);
        let mut holders = Holders::default();
        while !instance.agrees(&holders, 1) {
            holders.follow(&messages.next().await.unwrap().payload);
        }
        instance.bus.flush().await.unwrap();
        assert_eq!(instance.bus.waiting(), 0);
    });
}

#[test]
fn what_is_accepted_is_confirmed_by_a_flush() {
    run(async |server| {
        let client = connect(&server).await;
        let bus = stored(client.clone()).await;
        for number in 0..100_u32 {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            bus.publish(SUBJECT, payload).unwrap();
        }
        bus.flush().await.unwrap();
        let context = async_nats::jetstream::new(client);
        let mut stream = context.get_stream(STREAM).await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.messages, 100);
        let last = stream.get_raw_message(100).await.unwrap();
        assert_eq!(last.payload[..], 99_u32.to_be_bytes());
    });
}

#[test]
fn a_full_queue_refuses() {
    run(async |mut server| {
        let client = connect(&server).await;
        let bus = NatsPublisher::builder(client)
            .capacity(4)
            .stream(config())
            .build()
            .await
            .unwrap();
        server.kill();
        let refused = loop {
            if let Err(error) = bus.publish(SUBJECT, Bytes::from_static(b"x")) {
                break error;
            }
        };
        let refused = refused.downcast::<NatsError>().unwrap();
        assert!(
            matches!(refused, NatsError::Full { capacity: 4 }),
            "{refused}"
        );
        assert_eq!(bus.lost(), 1);
        assert_eq!(bus.waiting(), 4);
        server.restart();
        let reported = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(reported, NatsError::Lost { messages: 1, .. }),
            "{reported}"
        );
        bus.publish(SUBJECT, Bytes::from_static(b"x")).unwrap();
        flushed(&bus).await.unwrap();
        assert_eq!(bus.lost(), 1);
    });
}

#[test]
fn what_cannot_be_published_is_refused() {
    run(async |server| {
        let client = connect(&server).await;
        let none = NatsPublisher::builder(client.clone())
            .capacity(0)
            .build()
            .await;
        assert!(matches!(none, Err(NatsError::NoCapacity)));
        // Rejected before the stream is created.
        let excessive = NatsPublisher::builder(client.clone())
            .capacity(usize::MAX)
            .stream(stream::Config {
                name: "unwanted".into(),
                ..Default::default()
            })
            .build()
            .await;
        let is_excessive = matches!(excessive, Err(NatsError::ExcessiveCapacity { capacity, .. }) if capacity == usize::MAX);
        assert!(is_excessive);
        let context = async_nats::jetstream::new(client.clone());
        assert!(context.get_stream("unwanted").await.is_err());

        let bus = NatsPublisher::builder(client.clone())
            .build()
            .await
            .unwrap();
        let refused = |subject: &str, payload: Bytes| {
            let error = bus.publish(subject, payload).unwrap_err();
            error.downcast::<NatsError>().unwrap()
        };
        let long = "a".repeat(5000);
        let subjects = ["", "a b", "a..b", ".a", "a.", "a.*", "a.>", &long];
        for subject in subjects {
            let error = refused(subject, Bytes::new());
            assert!(
                matches!(&error, NatsError::Subject(named) if named == subject),
                "{subject:?}: {error}"
            );
        }
        let size = client.max_payload() + 1;
        let error = refused(SUBJECT, Bytes::from(vec![0; size]));
        assert!(matches!(error, NatsError::TooLarge { .. }), "{error}");
        let refusals = subjects.len() as u64 + 1;
        assert_eq!(bus.lost(), refusals);
        let reported = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(reported, NatsError::Lost { messages, .. } if messages == refusals),
            "{reported}"
        );
        flushed(&bus).await.unwrap();
    });
}

/// Memory whose drop panics.
struct Bomb;

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("asked for");
    }
}

/// A waker that panics when it is woken.
struct Startles;

impl Wake for Startles {
    fn wake(self: Arc<Self>) {
        panic!("asked for");
    }
}

/// User code runs in two places: memory that the user provides is dropped in `publish`, and
/// wakers are called by the publisher's task.
#[test]
fn user_code_that_panics_stops_no_publisher() {
    run(async |server| {
        let bus = stored(connect(&server).await).await;
        let publish = AssertUnwindSafe(|| bus.publish(SUBJECT, Bytes::from_owner(Bomb)));
        catch_unwind(publish).unwrap_err();
        let mut flush = bus.flush();
        let waker = Waker::from(Arc::new(Startles));
        while flush
            .poll_unpin(&mut Context::from_waker(&waker))
            .is_pending()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bus.publish(SUBJECT, Bytes::from_static(b"x")).unwrap();
        bus.flush().await.unwrap();
        assert_eq!((bus.waiting(), bus.lost()), (0, 0));
    });
}

/// Messages arrive in the wire format of the events.
#[test]
fn the_end_of_an_instance_is_published() {
    run(async |server| {
        let client = connect(&server).await;
        let mut messages = client.subscribe(SUBJECT).await.unwrap();
        let bus = NatsPublisher::builder(client).build().await.unwrap();
        let Instance {
            manager,
            registry,
            publisher,
            ..
        } = Instance::new(4, bus);
        drop((manager, registry));
        publisher.join().await.unwrap();
        let message = messages.next().await.unwrap();
        let message: KvbmCacheEvents = rmp_serde::from_slice(&message.payload).unwrap();
        let shutdown = KvbmCacheEvents {
            events: KvCacheEvents::Shutdown,
            instance_id: 4,
        };
        assert_eq!(message, shutdown);
    });
}
