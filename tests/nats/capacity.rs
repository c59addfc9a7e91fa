//! How many messages are accepted while there is no server?

use super::proxy::Proxy;
use super::*;

/// Publishes until the queue is full, and returns how many messages were accepted.
async fn fill(bus: &NatsPublisher) -> usize {
    let mut accepted = 0;
    loop {
        match bus.publish(SUBJECT, accepted.to_string().into()) {
            Ok(()) => accepted += 1,
            // Retry once, after anything that could make room has had time to.
            Err(_) if bus.lost() == 1 => tokio::time::sleep(Duration::from_millis(200)).await,
            Err(_) => return accepted,
        }
        // Give the task time to take messages from the queue.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(accepted <= 4096, "the queue is bounded");
    }
}

async fn keeps_to_its_capacity(bus: NatsPublisher, expected: &mut Vec<String>) -> NatsPublisher {
    assert_eq!(fill(&bus).await, 16);
    assert_eq!((bus.waiting(), bus.lost()), (16, 2));
    expected.extend((0..16).map(|number| number.to_string()));
    bus
}

#[test]
fn a_queue_keeps_to_its_capacity_before_the_first_connection() {
    run(async |server| {
        let mut messages = listen(&server).await;
        let proxy = Proxy::new(server.port()).await;
        proxy.refuse();
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(proxy.address())
            .await
            .unwrap();
        let bus = NatsPublisher::builder(client).capacity(16);
        let mut expected = Vec::new();
        let bus = keeps_to_its_capacity(bus.build().await.unwrap(), &mut expected).await;
        proxy.relay();
        let error = flushed(&bus).await.unwrap_err();
        assert!(
            matches!(error, NatsError::Lost { messages: 2, .. }),
            "{error}"
        );
        for text in expected {
            assert_eq!(heard(&mut messages).await, text);
        }
        assert_eq!(bus.waiting(), 0);
    });
}

#[test]
fn a_queue_keeps_to_its_capacity_between_connections() {
    run(async |server| {
        for is_stored in [false, true] {
            let mut messages = listen(&server).await;
            let proxy = Proxy::new(server.port()).await;
            let client = ConnectOptions::new()
                .reconnect_delay_callback(|_| Duration::from_millis(20))
                .retry_on_initial_connect()
                .connect(proxy.address())
                .await
                .unwrap();
            let mut bus = NatsPublisher::builder(client.clone()).capacity(16);
            if is_stored {
                bus = bus.stream(config());
            }
            let bus = bus.build().await.unwrap();
            say(&bus, "first");
            flushed(&bus).await.unwrap();
            proxy.refuse();
            while client.connection_state() == async_nats::connection::State::Connected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut expected = vec!["first".to_owned()];
            let bus = keeps_to_its_capacity(bus, &mut expected).await;
            proxy.relay();
            let error = flushed(&bus).await.unwrap_err();
            assert!(
                matches!(error, NatsError::Lost { messages: 2, .. }),
                "{error}"
            );
            for text in &expected {
                assert_eq!(heard(&mut messages).await, *text);
            }
            if is_stored {
                assert_eq!(all_stored(&server).await, expected);
            }
        }
    });
}
