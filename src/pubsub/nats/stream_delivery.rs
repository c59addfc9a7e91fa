//! Delivery into a stream.
//!
//! A message is sent, with an id by which the server knows it again, until the server
//! acknowledges that it is stored. The next one is sent after that, so that they are
//! stored in order.
//!
//! What the server refuses for good is lost at once. After any other failure the stream
//! is looked up, which tells three cases apart: if the server does not answer, or has no
//! JetStream, the message waits until it does; if the stream does not cover the subject, the
//! message is lost; and otherwise it is sent again, a limited number of times.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::sleep;

use super::courier::{Account, Message};
use super::error::NatsError;
use super::ledger::log;
use super::link::Link;
use super::refusals::Denials;
use super::store::{Store, is_absence, is_refusal};
use super::subjects::cover;

/// Pauses before a message is sent again, from the first to the longest. Each is twice as
/// long as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// See the module documentation.
pub(super) struct StreamDelivery {
    link: Link,
    store: Store,
    denials: Denials,
    /// How often a message is sent to a server that answers.
    attempts: NonZeroU32,
    /// The number of the next message.
    number: u64,
}

/// Why a message was not stored.
enum Failure {
    /// It never will be.
    Lost(NatsError),
    /// It may be next time.
    Passing(String),
}

impl StreamDelivery {
    pub(super) fn new(link: Link, store: Store, denials: Denials, attempts: NonZeroU32) -> Self {
        Self {
            link,
            store,
            denials,
            attempts,
            number: 0,
        }
    }

    /// Sends a message until it is stored or lost.
    pub(super) async fn deliver(&mut self, message: Message, account: &mut Account<'_>) {
        let number = self.number;
        self.number += 1;
        match self.put(number, &message).await {
            Ok(()) => account.confirm(1),
            Err(error) => account.lose_rest(&error),
        }
    }

    async fn put(&mut self, number: u64, message: &Message) -> Result<(), NatsError> {
        let subject = &message.subject;
        let mut pause = PAUSES.0;
        for attempt in 1..=self.attempts.get() {
            let reason = match self.attempt(number, message).await {
                Ok(()) => return Ok(()),
                Err(Failure::Lost(error)) => return Err(error),
                Err(Failure::Passing(reason)) => reason,
            };
            log(|| tracing::warn!(%subject, attempt, reason, "a message was not stored"));
            self.examine(message).await?;
            if attempt < self.attempts.get() {
                sleep(pause).await;
                pause = PAUSES.1.min(pause * 2);
            }
        }
        Err(NatsError::Unacknowledged {
            subject: subject.to_string(),
            attempts: self.attempts.get(),
        })
    }

    async fn attempt(&mut self, number: u64, message: &Message) -> Result<(), Failure> {
        let Message { subject, payload } = message;
        let epoch = self.link.connected().await.map_err(Failure::Lost)?;
        // The client may be connected to another server than when this was accepted.
        let size = self.store.limits().check_size(payload.len());
        size.map_err(Failure::Lost)?;
        // Those of earlier messages.
        while self.denials.try_next().is_some() {}
        let denied = async { while self.denials.next().await != *subject {} };
        let put = self.store.put(number, subject.clone(), payload.clone());
        let error = tokio::select! {
            biased;
            put = put => match put {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            () = denied => {
                let subject = subject.to_string();
                return Err(Failure::Lost(NatsError::Denied { subject }));
            }
            // The client does not fail what waits for an answer.
            () = self.link.broken(epoch) => {
                return Err(Failure::Passing("the connection broke".to_owned()));
            }
        };
        if is_refusal(&error) {
            // The stream's limits may be others than they were.
            let _ = self.store.open().await;
            return Err(Failure::Lost(NatsError::Refused {
                subject: subject.to_string(),
                error,
            }));
        }
        Err(Failure::Passing(error.to_string()))
    }

    /// Waits for a server that answers, and looks whether it can store the message at all.
    /// Creates the stream if it is gone, which a server may have kept in memory only.
    async fn examine(&self, message: &Message) -> Result<(), NatsError> {
        let stream = self.store.stream();
        loop {
            self.link.open().await?;
            match self.store.open().await {
                Ok(covers) if cover(&covers, &message.subject) => return Ok(()),
                Ok(covers) => {
                    return Err(NatsError::Uncovered {
                        stream: stream.to_owned(),
                        covers,
                        subject: message.subject.to_string(),
                    });
                }
                Err(error) => {
                    log(|| tracing::warn!(stream, %error, "the stream cannot be looked up"));
                    // A server that answers may fail to create the stream without a word, for
                    // want of a permission.
                    if !is_absence(&error) || self.store.is_gone().await {
                        return Ok(());
                    }
                    sleep(PAUSES.0).await;
                }
            }
        }
    }
}
