//! The connection: whether there is one, and whether the server answers on it.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::error::NatsError;
use super::ledger::log;

/// How often a wait looks whether the connection still stands. The client does not tell.
const LOOK: Duration = Duration::from_millis(20);

/// A connection, of those that the client makes one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

/// See the module documentation.
pub(super) struct Link {
    client: Client,
    /// How long to wait for an answer.
    patience: Duration,
    /// The beginning of the subjects of echoes.
    inbox: String,
    echoes: Option<Subscriber>,
    /// How many echoes have been asked for.
    asked: u64,
    /// The connection on which the last echo came in time.
    proven: Option<Epoch>,
}

impl Link {
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
            // Without the server's information, the client is only about to start.
            if self.client.try_server_info().is_some()
                && self.client.connection_state() == State::Connected
            {
                // If this is the number of a later connection already, what is sent from
                // now on is sent over that one.
                return Ok(self.epoch());
            }
            // Completes once there is a connection. Fails once the client has given up.
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

    /// Confirms that the server has everything that was sent on this connection.
    ///
    /// # Errors
    ///
    /// [`NatsError::Unconfirmed`] if the connection broke, or no answer came in time;
    /// [`NatsError::Closed`].
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

    /// Sends a message to itself and waits for it.
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
        // On a connection without echoes, the server replies that nobody has received it.
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
