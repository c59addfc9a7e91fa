//! What building a publisher waits for, and when it fails.

use super::proxy::Proxy;
use super::*;

#[test]
fn building_waits_for_a_server_with_the_stream() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        proxy.refuse();
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            // The client's own timeout does not limit how long building waits.
            .request_timeout(Some(Duration::from_millis(50)))
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(proxy.address())
            .await
            .unwrap();
        let relaying = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            proxy.relay();
        };
        let building = NatsPublisher::builder(client).stream(config()).build();
        let (built, ()) = tokio::join!(building, relaying);
        let bus = built.unwrap();
        say(&bus, "stored");
        flushed(&bus).await.unwrap();
        assert_eq!(all_stored(&server).await, ["stored"]);
    });
}

#[test]
fn building_gives_up_without_a_server_and_without_streams() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        proxy.refuse();
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(proxy.address())
            .await
            .unwrap();
        let limit = Duration::from_millis(300);
        let build = |client, stream| {
            let builder = NatsPublisher::builder(client).startup_timeout(limit);
            builder.stream(stream).build()
        };
        let error = build(client, config()).await.err().unwrap();
        assert!(
            matches!(error, NatsError::NoServer { waited } if waited == limit),
            "{error}"
        );
        let client = connect(&server).await;
        let nameless = stream::Config {
            name: "a name".into(),
            ..config()
        };
        let error = build(client, nameless).await.err().unwrap();
        assert!(
            matches!(&error, NatsError::Stream { name, .. } if name == "a name"),
            "{error}"
        );
    });
}

#[test]
fn a_stream_with_other_subjects_is_not_used() {
    run(async |server| {
        let client = connect(&server).await;
        let context = async_nats::jetstream::new(client.clone());
        let existing = |subjects: &[&str]| stream::Config {
            name: STREAM.into(),
            subjects: subjects.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        client.flush().await.unwrap();
        let other = existing(&["other", "kvbm.others.>"]);
        context.create_stream(other.clone()).await.unwrap();
        let build = |config| {
            NatsPublisher::builder(client.clone())
                .stream(config)
                .build()
        };
        let error = build(config()).await.err().unwrap();
        let text = error.to_string();
        let NatsError::Subjects {
            stream,
            covers,
            needed,
        } = error
        else {
            panic!("{text}");
        };
        assert_eq!(stream, STREAM);
        assert_eq!(covers, other.subjects);
        assert_eq!(needed, [SUBJECT]);
        for part in [STREAM, "kvbm.others.>", SUBJECT] {
            assert!(text.contains(part), "{text}");
        }
        // A configuration without subjects means the stream's own name.
        let error = build(existing(&[])).await.err().unwrap();
        assert!(
            matches!(&error, NatsError::Subjects { needed, .. } if needed == &[STREAM]),
            "{error}"
        );
        // The existing stream is unchanged.
        let mut found = context.get_stream(STREAM).await.unwrap();
        assert_eq!(found.info().await.unwrap().config.subjects, other.subjects);

        // A stream that covers more is accepted.
        context
            .update_stream(existing(&["other", "kvbm.*"]))
            .await
            .unwrap();
        drop(build(config()).await.unwrap());
    });
}

#[test]
fn the_longest_timeouts_never_pass() {
    run(async |server| {
        for is_stored in [false, true] {
            let mut bus = NatsPublisher::builder(connect(&server).await)
                .startup_timeout(Duration::MAX)
                .acknowledgement_timeout(Duration::MAX)
                .flush_timeout(Duration::MAX);
            if is_stored {
                bus = bus.stream(config());
            }
            let bus = bus.build().await.unwrap();
            say(&bus, "confirmed");
            flushed(&bus).await.unwrap();
            assert_eq!(bus.lost(), 0);
        }
    });
}
