//! The task that takes messages to the server.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, stream};
use async_nats::subject::Subject;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::user_code::{contain, contain_future};

use super::error::NatsError;

/// Pauses before a message is sent again, from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// What the courier is asked to do.
pub(super) enum Errand {
    Deliver {
        subject: Subject,
        payload: Bytes,
    },
    /// To say when all before this has been delivered.
    Confirm(oneshot::Sender<Result<(), NatsError>>),
}

/// Where messages are stored.
struct Store {
    context: Context,
    stream: stream::Config,
    /// What the ids of this courier's messages begin with.
    name: String,
    sent: u64,
}

/// See the module documentation.
pub(super) struct Courier {
    client: Client,
    store: Option<Store>,
    errands: mpsc::Receiver<Errand>,
    lost: Arc<AtomicU64>,
}

impl Courier {
    pub(super) fn new(
        client: Client,
        stream: Option<stream::Config>,
        errands: mpsc::Receiver<Errand>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        let store = stream.map(|stream| Store {
            context: jetstream::new(client.clone()),
            stream,
            name: client.new_inbox(),
            sent: 0,
        });
        Self {
            client,
            store,
            errands,
            lost,
        }
    }

    /// Runs errands until nobody can ask for more.
    pub(super) async fn run(mut self) {
        while let Some(errand) = self.errands.recv().await {
            match errand {
                Errand::Deliver { subject, payload } => {
                    let delivery = async {
                        match &mut self.store {
                            Some(store) => store.put(subject, payload).await,
                            None => send(&self.client, subject, payload).await,
                        }
                    };
                    let delivery = pin!(delivery);
                    let delivered = contain_future("the NATS client panicked", delivery).await;
                    if !matches!(delivered, Some(Ok(()))) {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                    }
                    if let Some(Err(error)) = delivered {
                        log(|| tracing::error!(%error, "a message was lost"));
                    }
                }
                Errand::Confirm(confirm) => {
                    let confirmed = match &self.store {
                        // What is stored has been confirmed.
                        Some(_) => Ok(()),
                        None => {
                            let round_trip = pin!(round_trip(&self.client));
                            contain_future("the NATS client panicked", round_trip)
                                .await
                                .unwrap_or(Err(NatsError::Unconfirmed))
                        }
                    };
                    // An error means that nobody waits any more. Sending calls the waker
                    // of whoever does, which is user code.
                    contain("a waker panicked", || confirm.send(confirmed).is_ok());
                }
            }
        }
    }
}

impl Store {
    /// Sends a message until the server has stored it.
    async fn put(&mut self, subject: Subject, payload: Bytes) -> anyhow::Result<()> {
        let id = format!("{}.{}", self.name, self.sent);
        self.sent += 1;
        let mut pause = PAUSES.0;
        loop {
            let message = PublishMessage::build()
                .payload(payload.clone())
                .message_id(&id);
            let acknowledged = match self.context.send_publish(subject.clone(), message).await {
                Ok(acknowledgement) => acknowledgement.await.map(drop),
                Err(error) => Err(error),
            };
            let Err(error) = acknowledged else {
                return Ok(());
            };
            match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => return Err(error.into()),
                PublishErrorKind::StreamNotFound => self.make_stream().await,
                _ => {}
            }
            log(|| tracing::warn!(%subject, %error, "a message is sent again"));
            sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Makes the stream again, which a server may have kept in memory only.
    async fn make_stream(&self) {
        if let Err(error) = self.context.get_or_create_stream(self.stream.clone()).await {
            let stream = &self.stream.name;
            log(|| tracing::warn!(%stream, %error, "there is no stream"));
        }
    }
}

/// Logs. A log subscriber that panics must not end the courier.
fn log(event: impl FnOnce()) {
    contain("a log subscriber panicked", event);
}

/// Sends a message to whoever listens. Waits while the client has too many that it
/// cannot send.
async fn send(client: &Client, subject: Subject, payload: Bytes) -> anyhow::Result<()> {
    Ok(client.publish(subject, payload).await?)
}

/// Waits until the server has had all that was sent before.
async fn round_trip(client: &Client) -> Result<(), NatsError> {
    let inbox = client.new_inbox();
    let echo = async {
        let mut replies = client.subscribe(inbox.clone()).await?;
        client.publish(inbox, Bytes::new()).await?;
        client.flush().await?;
        anyhow::Ok(replies.next().await)
    };
    match echo.await {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(NatsError::Unconfirmed),
    }
}
