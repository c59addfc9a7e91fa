//! Messages that the server refuses.

use std::num::NonZeroU32;

use kvbm_lockfree::events::KvCacheEvent;
use kvbm_lockfree::pubsub::async_nats::jetstream::stream::DiscardPolicy;

use super::log::Errors;
use super::*;

/// A user with permission to publish anything but events.
const DENIED: &str = r#"
authorization {
  users = [
    { user: events, password: secret, permissions: { publish: { deny: ["kvbm.>"] } } }
    { user: all, password: secret }
  ]
}
no_auth_user: all
"#;

fn denied_user() -> ConnectOptions {
    ConnectOptions::with_user_and_password("events".into(), "secret".into())
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| Duration::from_millis(20))
}

/// Asserts that a flush reported `count` lost messages, with a reason that contains `why`.
fn assert_lost(flushed: Result<(), NatsError>, count: u64, why: &str) {
    let error = flushed.unwrap_err();
    let NatsError::Lost { messages, reason } = &error else {
        panic!("{error}");
    };
    assert_eq!(*messages, count, "{reason}");
    assert!(reason.contains(why), "{reason}");
}

/// Publishes one event and the shutdown, and returns the report of the failed join.
async fn join(bus: &Arc<NatsPublisher>) -> String {
    let joining = KvbmCacheEventsPublisher::builder()
        .instance_id(5)
        .event_stream(futures::stream::iter([KvCacheEvent::Create(prompt(0)[0])]))
        .publisher(Arc::clone(bus))
        .subject(SUBJECT)
        .build()
        .unwrap()
        .join();
    let joined = tokio::time::timeout(PATIENCE, joining).await;
    let joined = joined.expect("joining ends").unwrap_err();
    *joined.into_panic().downcast().unwrap()
}

#[test]
fn a_message_that_is_not_permitted_is_lost() {
    run_with(DENIED, async |server| {
        let other = connect(&server).await;
        let mut others = other.subscribe("other").await.unwrap();
        other.flush().await.unwrap();
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .build()
            .await
            .unwrap();
        say(&bus, "denied");
        assert_lost(flushed(&bus).await, 1, "permitted");
        // Among permitted messages, and more of them than the client can queue errors.
        for number in 0..300 {
            say(&bus, "denied");
            bus.publish("other", number.to_string().into()).unwrap();
        }
        assert_lost(flushed(&bus).await, 300, "permitted");
        for number in 0..300 {
            assert_eq!(heard(&mut others).await, number.to_string());
        }
        assert_eq!((bus.waiting(), bus.lost()), (0, 301));
        flushed(&bus).await.unwrap();

        let report = join(&Arc::new(bus)).await;
        assert!(report.contains("2 messages were lost"), "{report}");
        assert!(report.contains("permitted"), "{report}");
    });
}

/// Single-threaded, since the log subscriber is the current thread's.
#[test]
fn a_loss_is_logged() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    run_on(&mut runtime, DENIED, async |server| {
        let errors = Errors::default();
        let _log = tracing::subscriber::set_default(errors.clone());
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .build()
            .await
            .unwrap();
        say(&bus, "denied");
        assert_lost(flushed(&bus).await, 1, "permitted");
        let errors = errors.all();
        assert_eq!(errors.len(), 1, "{errors:?}");
        for part in ["messages=1", "publishing to kvbm.events is not permitted"] {
            assert!(errors[0].contains(part), "{errors:?}");
        }
    });
}

#[test]
fn a_message_that_is_not_permitted_is_not_stored() {
    run_with(DENIED, async |server| {
        drop(stored(connect(&server).await).await);
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .stream(config())
            .build()
            .await
            .unwrap();
        say(&bus, "denied");
        say(&bus, "denied");
        assert_lost(flushed(&bus).await, 2, "permitted");
        let report = join(&Arc::new(bus)).await;
        assert!(report.contains("2 messages were lost"), "{report}");
        assert_eq!(all_stored(&server).await, [""; 0]);
    });
}

/// A client whose refusals nothing observes.
#[test]
fn a_refusal_that_is_not_noticed_counts_as_delivered_or_never_acknowledged() {
    run_with(DENIED, async |server| {
        drop(stored(connect(&server).await).await);
        let client = denied_user().connect(server.address()).await.unwrap();
        let builder = || {
            NatsPublisher::builder(client.clone())
                .acknowledgement_timeout(Duration::from_millis(200))
                .attempts(const { NonZeroU32::new(2).unwrap() })
        };
        let bus = builder().build().await.unwrap();
        say(&bus, "denied");
        flushed(&bus).await.unwrap();
        assert_eq!(bus.lost(), 0);

        let bus = builder().stream(config()).build().await.unwrap();
        say(&bus, "denied");
        assert_lost(flushed(&bus).await, 1, "2 times");
        assert_eq!(all_stored(&server).await, [""; 0]);
    });
}

/// Without a stream, messages are confirmed through an inbox.
#[test]
fn a_flush_ends_without_permission_to_use_inboxes() {
    let denied = DENIED.replace("kvbm.>", "_INBOX.>");
    run_with(&denied, async |server| {
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .acknowledgement_timeout(Duration::from_millis(100))
            .flush_timeout(Duration::from_millis(500))
            .build()
            .await
            .unwrap();
        say(&bus, "unconfirmed");
        let error = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Waiting { messages: 1 }),
            "{error}"
        );
    });
}

#[test]
fn a_subject_that_the_stream_does_not_cover_holds_up_nothing() {
    run(async |server| {
        let client = connect(&server).await;
        let bus = NatsPublisher::builder(client.clone())
            .stream(config())
            .acknowledgement_timeout(Duration::from_millis(500))
            .build()
            .await
            .unwrap();
        say(&bus, "before");
        bus.publish("other", Bytes::new()).unwrap();
        say(&bus, "between");
        assert_lost(flushed(&bus).await, 1, "and not other");

        // A subscriber receives the message but does not store it.
        let _subscriber = client.subscribe("other").await.unwrap();
        bus.publish("other", Bytes::new()).unwrap();
        assert_lost(flushed(&bus).await, 1, "and not other");

        // Another stream would store it.
        let context = async_nats::jetstream::new(client);
        let another = stream::Config {
            name: "another".into(),
            subjects: vec!["another".into()],
            ..Default::default()
        };
        let mut another = context.create_stream(another).await.unwrap();
        bus.publish("another", Bytes::new()).unwrap();
        say(&bus, "after");
        assert_lost(flushed(&bus).await, 1, "stream");
        assert_eq!(another.info().await.unwrap().state.messages, 0);
        assert_eq!(all_stored(&server).await, ["before", "between", "after"]);
        assert_eq!((bus.waiting(), bus.lost()), (0, 3));
    });
}

#[test]
fn a_message_that_is_never_stored_is_given_up() {
    run(async |server| {
        let client = connect(&server).await;
        let small = stream::Config {
            max_messages: 1,
            discard: DiscardPolicy::New,
            ..config()
        };
        let bus = NatsPublisher::builder(client.clone())
            .stream(small)
            .attempts(const { NonZeroU32::new(3).unwrap() })
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        say(&bus, "too many");
        assert_lost(flushed(&bus).await, 1, "3 times");
        let report = join(&Arc::new(bus)).await;
        assert!(report.contains("2 messages were lost"), "{report}");
        assert_eq!(all_stored(&server).await, ["first"]);
    });
}

#[test]
fn a_stream_that_is_gone_is_made_again() {
    run(async |server| {
        let client = connect(&server).await;
        let bus = stored(client.clone()).await;
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        let context = async_nats::jetstream::new(client);
        context.delete_stream(STREAM).await.unwrap();
        say(&bus, "second");
        flushed(&bus).await.unwrap();
        assert_eq!(all_stored(&server).await, ["second"]);
        assert_eq!(bus.lost(), 0);
    });
}

#[test]
fn joining_reports_that_nothing_could_be_published() {
    run(async |mut server| {
        let client = connect(&server).await;
        client.flush().await.unwrap();
        server.kill();
        let bus = NatsPublisher::builder(client)
            .capacity(1)
            .flush_timeout(Duration::from_millis(300))
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        let bus = Arc::new(bus);
        let report = join(&bus).await;
        assert!(report.contains("2 messages were not published"), "{report}");
        assert!(report.contains("still waiting"), "{report}");
        assert_eq!((bus.waiting(), bus.lost()), (1, 2));
    });
}

/// The server answers, so there is nothing to wait for.
#[test]
fn a_stream_that_is_gone_and_may_not_be_made_holds_up_nothing() {
    let denied = DENIED.replace("kvbm.>", "$JS.API.STREAM.CREATE.>");
    run_with(&denied, async |server| {
        let other = connect(&server).await;
        drop(stored(other.clone()).await);
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .stream(config())
            .acknowledgement_timeout(Duration::from_millis(200))
            .attempts(const { NonZeroU32::new(3).unwrap() })
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        let context = async_nats::jetstream::new(other.clone());
        context.delete_stream(STREAM).await.unwrap();
        say(&bus, "second");
        assert_lost(flushed(&bus).await, 1, "3 times");
        drop(stored(other).await);
        say(&bus, "third");
        flushed(&bus).await.unwrap();
        assert_eq!(all_stored(&server).await, ["third"]);
    });
}

/// The server quotes the subject.
#[test]
fn a_subject_with_unusual_characters_is_denied_as_well() {
    run_with(DENIED, async |server| {
        let bus = NatsPublisher::connect(denied_user(), server.address())
            .await
            .unwrap()
            .build()
            .await
            .unwrap();
        // What is quoted in every way there is, and what is not.
        let subjects = [
            "\"",
            "\\",
            "'",
            "\u{1}\u{7}\u{8}\u{b}\u{7f}",
            "\u{e9}",
            "\u{200b}",
            "\u{f0000}",
        ];
        for subject in subjects {
            bus.publish(&format!("kvbm.{subject}"), Bytes::new())
                .unwrap();
            assert_lost(flushed(&bus).await, 1, subject);
        }
        assert_eq!(bus.lost(), subjects.len() as u64);
    });
}
