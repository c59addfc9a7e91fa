//! Connections that break, stall, and are refused.

use std::num::NonZeroU32;

use super::proxy::{Cut, Proxy};
use super::*;

async fn connect_to(proxy: &Proxy) -> Client {
    ConnectOptions::new()
        .retry_on_initial_connect()
        .reconnect_delay_callback(|_| Duration::from_millis(20))
        .connect(proxy.address())
        .await
        .unwrap()
}

/// Flushes until nothing is waiting, since a single flush may give up earlier.
async fn patiently_flushed(bus: &NatsPublisher) -> Result<(), NatsError> {
    let flushing = async {
        loop {
            match flushed(bus).await {
                Err(NatsError::Waiting { .. }) => {}
                other => return other,
            }
        }
    };
    let flushed = tokio::time::timeout(PATIENCE, flushing).await;
    flushed.expect("the server answers, so the queue drains")
}

/// Waits until a client has noticed that its connection is gone.
async fn until_disconnected(client: &Client) {
    while client.connection_state() == async_nats::connection::State::Connected {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn a_break_while_messages_are_confirmed_loses_those_only() {
    run(async |server| {
        let mut messages = listen(&server).await;
        let proxy = Proxy::new(server.port()).await;
        let bus = NatsPublisher::builder(connect_to(&proxy).await)
            .build()
            .await
            .unwrap();
        for (round, cut) in [Cut::Before, Cut::After]
            .into_iter()
            .cycle()
            .take(20)
            .enumerate()
        {
            let before = format!("{round}, before");
            say(&bus, &before);
            flushed(&bus).await.unwrap();
            assert_eq!(heard(&mut messages).await, before);

            // The next message is confirmed by an empty one.
            proxy.cut_at(b"PUB _INBOX.", cut);
            say(&bus, &format!("{round}, meanwhile"));
            let error = flushed(&bus).await.unwrap_err();
            assert!(
                matches!(error, NatsError::Lost { messages: 1, .. }),
                "{error}"
            );
            assert!(!proxy.is_armed());

            let after = format!("{round}, after");
            say(&bus, &after);
            flushed(&bus).await.unwrap();
            // The message that counts as lost may have arrived.
            let mut next = heard(&mut messages).await;
            if next == format!("{round}, meanwhile") {
                next = heard(&mut messages).await;
            }
            assert_eq!(next, after);
            assert_eq!(bus.lost(), round as u64 + 1);
        }
        assert_eq!(bus.waiting(), 0);
    });
}

#[test]
fn a_flush_ends_when_the_server_is_restarted_meanwhile() {
    run(async |mut server| {
        let client = connect(&server).await;
        let bus = NatsPublisher::builder(client).build().await.unwrap();
        for round in 0..10 {
            for part in 0..5 {
                say(&bus, &format!("{round}, {part}"));
            }
            let flush = flushed(&bus);
            let restart = async { server.restart() };
            let (ended, ()) = tokio::join!(flush, restart);
            if let Err(error) = ended {
                assert!(matches!(error, NatsError::Lost { .. }), "{error}");
            }
        }
        let mut messages = listen(&server).await;
        // The publisher may not have noticed yet that the previous server is gone.
        for number in 0.. {
            say(&bus, &number.to_string());
            if flushed(&bus).await.is_ok() {
                assert_eq!(heard(&mut messages).await.parse(), Ok(number));
                break;
            }
        }
        assert_eq!(bus.waiting(), 0);
    });
}

#[test]
fn what_a_server_does_not_confirm_in_time_is_lost_and_the_rest_waits() {
    run(async |server| {
        let mut messages = listen(&server).await;
        let proxy = Proxy::new(server.port()).await;
        let bus = NatsPublisher::builder(connect_to(&proxy).await)
            .acknowledgement_timeout(Duration::from_secs(1))
            .flush_timeout(Duration::from_secs(1))
            .capacity(3)
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        patiently_flushed(&bus).await.unwrap();
        proxy.stall();
        say(&bus, "second");
        while bus.waiting() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bus.lost(), 1);
        // Nothing more is handed to a server that does not answer.
        for text in ["third", "fourth", "fifth"] {
            say(&bus, text);
        }
        let error = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Waiting { messages: 3 }),
            "{error}"
        );
        let refused = bus.publish(SUBJECT, Bytes::new()).unwrap_err();
        let refused = refused.downcast::<NatsError>().unwrap();
        assert!(
            matches!(refused, NatsError::Full { capacity: 3 }),
            "{refused}"
        );
        proxy.relay();
        let error = patiently_flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Lost { messages: 2, .. }),
            "{error}"
        );
        // The second message was only late.
        for text in ["first", "second", "third", "fourth", "fifth"] {
            assert_eq!(heard(&mut messages).await, text);
        }
        patiently_flushed(&bus).await.unwrap();
    });
}

#[test]
fn what_is_stored_is_stored_once_across_breaks() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        let bus = stored(connect_to(&proxy).await).await;
        let mut expected = Vec::new();
        for (round, cut) in [Cut::Before, Cut::After]
            .into_iter()
            .cycle()
            .take(10)
            .enumerate()
        {
            proxy.cut_at(b"HPUB kvbm.events", cut);
            for part in 0..5 {
                let text = format!("{round}, {part}");
                say(&bus, &text);
                expected.push(text);
            }
            flushed(&bus).await.unwrap();
            assert!(!proxy.is_armed());
        }
        assert_eq!(all_stored(&server).await, expected);
        assert_eq!(bus.lost(), 0);
    });
}

#[test]
fn a_stream_waits_for_a_server_that_is_away_or_silent() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        let client = connect_to(&proxy).await;
        let bus = NatsPublisher::builder(client.clone())
            .stream(config())
            .acknowledgement_timeout(Duration::from_millis(300))
            // Fewer than would fit into the time if attempts without an answer counted.
            .attempts(const { NonZeroU32::new(3).unwrap() })
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        proxy.refuse();
        until_disconnected(&client).await;
        say(&bus, "second");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((bus.waiting(), bus.lost()), (1, 0));
        proxy.relay();
        flushed(&bus).await.unwrap();
        proxy.stall();
        say(&bus, "third");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!((bus.waiting(), bus.lost()), (1, 0));
        proxy.relay();
        flushed(&bus).await.unwrap();
        assert_eq!(all_stored(&server).await, ["first", "second", "third"]);
    });
}

#[test]
fn a_stream_waits_for_a_server_that_has_no_jetstream_yet() {
    run(async |mut server| {
        let bus = NatsPublisher::builder(connect(&server).await)
            .stream(config())
            .attempts(const { NonZeroU32::new(3).unwrap() })
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        server.restart_with(false);
        // The subscriber announces itself.
        drop(listen(&server).await);
        say(&bus, "second");
        // Long enough for all attempts, since each is refused immediately.
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((bus.waiting(), bus.lost()), (1, 0));
        server.restart();
        flushed(&bus).await.unwrap();
        assert_eq!(all_stored(&server).await, ["first", "second"]);
    });
}

#[test]
fn a_connection_that_breaks_at_every_attempt_loses_the_message() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        let bus = NatsPublisher::builder(connect_to(&proxy).await)
            .stream(config())
            .attempts(const { NonZeroU32::new(3).unwrap() })
            .build()
            .await
            .unwrap();
        proxy.always_cut_at(b"poison");
        say(&bus, "poison");
        say(&bus, "next");
        let error = flushed(&bus).await.unwrap_err();
        let NatsError::Lost {
            messages: 1,
            reason,
        } = error
        else {
            panic!("{error}");
        };
        assert!(reason.contains("3 times"), "{reason}");
        assert_eq!(all_stored(&server).await, ["next"]);
    });
}

#[test]
fn a_client_that_gives_up_loses_what_waits() {
    run(async |server| {
        // The server is up.
        let _messages = listen(&server).await;
        let proxy = Proxy::new(server.port()).await;
        let client = ConnectOptions::new()
            .max_reconnects(3)
            .reconnect_delay_callback(|_| Duration::from_millis(10))
            .connect(proxy.address())
            .await
            .unwrap();
        let bus = NatsPublisher::builder(client.clone())
            .build()
            .await
            .unwrap();
        say(&bus, "first");
        flushed(&bus).await.unwrap();
        proxy.refuse();
        until_disconnected(&client).await;
        say(&bus, "second");
        let error = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Lost { messages: 1, .. }),
            "{error}"
        );
        let refused = bus.publish(SUBJECT, Bytes::new()).unwrap_err();
        let refused = refused.downcast::<NatsError>().unwrap();
        assert!(matches!(refused, NatsError::Closed), "{refused}");
        assert_eq!((bus.waiting(), bus.lost()), (0, 2));
    });
}

#[test]
fn a_flush_ends_with_its_publisher() {
    run(async |server| {
        let proxy = Proxy::new(server.port()).await;
        proxy.refuse();
        let bus = NatsPublisher::builder(connect_to(&proxy).await)
            .build()
            .await
            .unwrap();
        say(&bus, "never sent");
        let flush = bus.flush();
        drop(bus);
        let flushed = tokio::time::timeout(PATIENCE, flush).await;
        let error = flushed.expect("the flush ends").unwrap_err();
        let error = error.downcast::<NatsError>().unwrap();
        assert!(matches!(error, NatsError::Stopped), "{error}");
    });
}

/// Messages that wait when the runtime is shut down are lost, and so are later ones.
#[test]
fn a_runtime_that_is_shut_down_loses_what_waits() {
    run(async |server| {
        for is_stalled in [false, true] {
            let proxy = Proxy::new(server.port()).await;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let address = proxy.address();
            let building = runtime.spawn(async {
                let options = ConnectOptions::new().retry_on_initial_connect();
                let client = options.connect(address).await.unwrap();
                NatsPublisher::builder(client).build().await.unwrap()
            });
            let bus = building.await.unwrap();
            say(&bus, "confirmed");
            flushed(&bus).await.unwrap();
            if is_stalled {
                proxy.stall();
            } else {
                proxy.refuse();
            }
            for text in ["first", "second", "third"] {
                say(&bus, text);
            }
            runtime.shutdown_background();
            while bus.lost() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let refused = bus.publish(SUBJECT, Bytes::new()).unwrap_err();
            let refused = refused.downcast::<NatsError>().unwrap();
            assert!(matches!(refused, NatsError::Stopped), "{refused}");
            let error = flushed(&bus).await.unwrap_err();
            assert!(matches!(error, NatsError::Stopped), "{error}");
            assert_eq!((bus.waiting(), bus.lost()), (0, 4));
        }
    });
}

/// With echo turned off, the server replies to a confirming message that it has no responders.
#[test]
fn a_client_without_echoes_is_confirmed_as_well() {
    run(async |server| {
        let mut messages = listen(&server).await;
        let options = ConnectOptions::new().no_echo().retry_on_initial_connect();
        let bus = NatsPublisher::connect(options, server.address())
            .await
            .unwrap()
            .build()
            .await
            .unwrap();
        say(&bus, "heard");
        flushed(&bus).await.unwrap();
        assert_eq!(heard(&mut messages).await, "heard");
    });
}

/// A caller that gives up on a flush has not been told what was lost.
#[test]
fn a_flush_that_is_dropped_reports_nothing() {
    run(async |server| {
        let bus = NatsPublisher::builder(connect(&server).await)
            .build()
            .await
            .unwrap();
        bus.publish("not a subject", Bytes::new()).unwrap_err();
        let mut flush = bus.flush();
        let waker = Waker::noop();
        assert!(
            flush
                .poll_unpin(&mut Context::from_waker(waker))
                .is_pending()
        );
        // Time for everything but the caller.
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(flush);
        let error = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Lost { messages: 1, .. }),
            "{error}"
        );
        flushed(&bus).await.unwrap();
    });
}

/// The client's state still says that it is connected.
#[test]
fn a_client_that_is_drained_loses_what_waits() {
    run(async |server| {
        for is_stored in [false, true] {
            let client = connect(&server).await;
            let mut bus = NatsPublisher::builder(client.clone())
                .acknowledgement_timeout(Duration::from_millis(500));
            if is_stored {
                bus = bus.stream(config());
            }
            let bus = bus.build().await.unwrap();
            say(&bus, "first");
            flushed(&bus).await.unwrap();
            client.drain().await.unwrap();
            while client.flush().await.is_ok() {}
            say(&bus, "second");
            let error = flushed(&bus).await.unwrap_err();
            assert!(
                matches!(error, NatsError::Lost { messages: 1, .. }),
                "{error}"
            );
            let refused = bus.publish(SUBJECT, Bytes::new()).unwrap_err();
            let refused = refused.downcast::<NatsError>().unwrap();
            assert!(matches!(refused, NatsError::Closed), "{refused}");
            assert_eq!((bus.waiting(), bus.lost()), (0, 2));
        }
    });
}
