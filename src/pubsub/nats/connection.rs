//! Is there a connection, and does the server answer on it?
//!
//! The client reconnects by itself and does not announce it, so its state is polled. Whether
//! the server answers is found out by an *echo*: an empty message to an inbox of the client's
//! own.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::error::NatsError;
use super::ledger::log;

/// How often to check that the connection still stands, since the client does not announce
/// that it broke.
const LOOK: Duration = Duration::from_millis(20);

/// Identifies one of the connections that the client makes one after another, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// The connection to a server. See the module documentation.
pub(super) struct Connection {
    client: Client,
    /// How long to wait for an answer.
    patience: Duration,
    /// The prefix of the echoes' subjects.
    inbox: String,
    echoes: Option<Subscriber>,
    /// How many echoes have been requested.
    asked: u64,
    /// The connection on which the last echo arrived in time.
    proven: Option<Epoch>,
}

impl Connection {
    pub(super) fn new(client: Client, patience: Duration) -> Self {
        Self {
            inbox: client.new_inbox(),
            client,
            patience,
            echoes: None,
            asked: 0,
            proven: None,
        }
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn patience(&self) -> Duration {
        self.patience
    }

    /// Waits for a connection, for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`NatsError::Closed`] if there will never be one.
    pub(super) async fn connected(&self) -> Result<Epoch, NatsError> {
        loop {
            // Until it has the server's information, the client has never connected.
            if self.client.try_server_info().is_some()
                && self.client.connection_state() == State::Connected
            {
                // If this is already the number of a later connection, whatever is sent from
                // now on goes over that one.
                return Ok(self.epoch());
            }
            // Completes once there is a connection, and fails if the client has given up.
            self.client.flush().await.map_err(|_| NatsError::Closed)?;
        }
    }

    /// Waits for a connection that takes what is sent, for as long as it takes. Notices that
    /// a client was drained: its last state was that it is connected.
    ///
    /// # Errors
    ///
    /// [`NatsError::Closed`] if there will never be one.
    pub(super) async fn open(&self) -> Result<(), NatsError> {
        self.connected().await?;
        self.client.flush().await.map_err(|_| NatsError::Closed)
    }

    /// Waits for a connection on which the server answers, for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`NatsError::Closed`] if there will never be one.
    pub(super) async fn answers(&mut self) -> Result<Epoch, NatsError> {
        loop {
            let epoch = self.connected().await?;
            if self.proven == Some(epoch) {
                return Ok(epoch);
            }
            match self.confirm(epoch).await {
                Ok(()) => return Ok(epoch),
                Err(NatsError::Closed) => return Err(NatsError::Closed),
                Err(_) => {
                    let inbox = &self.inbox;
                    log(|| tracing::warn!(%inbox, "the server does not answer"));
                    sleep(LOOK).await;
                }
            }
        }
    }

    /// Waits for the server to confirm that it has everything sent on this connection.
    ///
    /// # Errors
    ///
    /// [`NatsError::Unconfirmed`] if the connection broke, or no answer came in time;
    /// [`NatsError::Closed`] if the client is closed.
    pub(super) async fn confirm(&mut self, epoch: Epoch) -> Result<(), NatsError> {
        self.proven = None;
        let client = self.client.clone();
        let patience = self.patience;
        let echo = tokio::select! {
            biased;
            echo = timeout(patience, self.echo()) => echo.unwrap_or(Err(NatsError::Unconfirmed)),
            () = broken(&client, epoch) => Err(NatsError::Unconfirmed),
        };
        echo?;
        if self.epoch() != epoch {
            return Err(NatsError::Unconfirmed);
        }
        self.proven = Some(epoch);
        Ok(())
    }

    /// Waits until this connection is broken.
    pub(super) async fn broken(&self, epoch: Epoch) {
        broken(&self.client, epoch).await;
    }

    /// Sends an empty message to the inbox and waits until it arrives there.
    async fn echo(&mut self) -> Result<(), NatsError> {
        let echoes = match &mut self.echoes {
            Some(echoes) => echoes,
            None => {
                let echoes = self.client.subscribe(format!("{}.*", self.inbox)).await;
                self.echoes.insert(echoes.map_err(|_| NatsError::Closed)?)
            }
        };
        self.asked += 1;
        let subject = format!("{}.{}", self.inbox, self.asked);
        // On a connection with echo turned off, the server instead replies to the same subject
        // that there are no responders.
        self.client
            .publish_with_reply(subject.clone(), subject.clone(), Bytes::new())
            .await
            .map_err(|_| NatsError::Closed)?;
        while let Some(echo) = echoes.next().await {
            if echo.subject.as_str() == subject {
                return Ok(());
            }
        }
        self.echoes = None;
        Err(NatsError::Closed)
    }

    fn epoch(&self) -> Epoch {
        epoch(&self.client)
    }
}

fn epoch(client: &Client) -> Epoch {
    let connects = &client.statistics().connects;
    Epoch(connects.load(std::sync::atomic::Ordering::Relaxed))
}

async fn broken(client: &Client, since: Epoch) {
    while client.connection_state() == State::Connected && epoch(client) == since {
        sleep(LOOK).await;
    }
}
