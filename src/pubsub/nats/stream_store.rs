//! How does a message get into a JetStream stream, and which failures are final?

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{
    ContextBuilder, CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind, PublishError,
};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{Context, ErrorCode, context};
use async_nats::subject::Subject;
use bytes::Bytes;
use tokio::time::timeout;

use super::limits::Limits;
use super::subjects::cover;

/// The stream in which messages are stored.
pub(super) struct StreamStore {
    context: Context,
    config: Config,
    limits: Arc<Limits>,
    /// How long to wait for an answer.
    patience: Duration,
    /// The prefix of this publisher's message ids.
    name: String,
}

impl StreamStore {
    pub(super) fn new(client: Client, config: Config, patience: Duration) -> Self {
        let name = client.new_inbox();
        let headers = header_size(&name, &config.name);
        Self {
            context: ContextBuilder::new()
                .timeout(patience)
                .build(client.clone()),
            config,
            limits: Arc::new(Limits::new(client, headers)),
            patience,
            name,
        }
    }

    pub(super) const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub(super) fn stream(&self) -> &str {
        &self.config.name
    }

    /// Looks up the stream, creating it if necessary, and returns the subjects it covers.
    pub(super) async fn open(&self) -> Result<Vec<String>, CreateStreamError> {
        let stream = self.context.get_or_create_stream(self.config.clone());
        // There are up to two requests, and each may wait for room in the client's queue.
        let stream = timeout(self.patience * 2, stream)
            .await
            .unwrap_or(Err(CreateStreamErrorKind::TimedOut.into()))?;
        let config = &stream.cached_info().config;
        self.limits.learn(config);
        Ok(config.subjects.clone())
    }

    /// Returns whether the server says that there is no stream of this name.
    pub(super) async fn is_gone(&self) -> bool {
        let found = self.context.get_stream(&self.config.name);
        match timeout(self.patience * 2, found).await {
            Ok(Err(error)) => matches!(
                error.kind(),
                GetStreamErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND
            ),
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Returns the subjects of the configuration that `covers` does not cover.
    pub(super) fn missing(&self, covers: &[String]) -> Vec<String> {
        // The server's default: a stream without subjects covers its own name.
        let default = [self.config.name.clone()];
        let needed = match self.config.subjects.as_slice() {
            [] if self.config.mirror.is_none() && self.config.sources.is_none() => &default,
            subjects => subjects,
        };
        needed
            .iter()
            .filter(|subject| !cover(covers, subject))
            .cloned()
            .collect()
    }

    /// Sends a message and waits until the server acknowledges that it is stored, now or under
    /// the same number before.
    pub(super) async fn put(
        &self,
        number: u64,
        subject: Subject,
        payload: Bytes,
    ) -> Result<(), PublishError> {
        let message = PublishMessage::build()
            .payload(payload)
            .message_id(format!("{}.{number}", self.name))
            .expected_stream(&self.config.name);
        let acknowledgement = self.context.send_publish(subject, message).await?;
        acknowledgement.await?;
        Ok(())
    }
}

/// Returns the size in bytes of the headers that [`StreamStore::put`] sends, with the longest
/// number.
fn header_size(name: &str, stream: &str) -> usize {
    const LONGEST_NUMBER: &str = ".18446744073709551615";
    [
        "NATS/1.0\r\n",
        "Nats-Msg-Id: ",
        name,
        LONGEST_NUMBER,
        "\r\n",
    ]
    .into_iter()
    .chain(["Nats-Expected-Stream: ", stream, "\r\n\r\n"])
    .map(str::len)
    .sum()
}

/// Returns whether the same request may succeed later.
pub(super) fn is_transient(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::TimedOut
        | CreateStreamErrorKind::JetStreamUnavailable
        | CreateStreamErrorKind::NotFound
        | CreateStreamErrorKind::Response
        | CreateStreamErrorKind::ResponseParse => true,
        CreateStreamErrorKind::JetStream(error) => !is_clients_fault(&error),
        CreateStreamErrorKind::EmptyStreamName
        | CreateStreamErrorKind::InvalidStreamName
        | CreateStreamErrorKind::DomainAndExternalSet => false,
    }
}

/// Returns whether no server answers, or none with JetStream. Both happen while a server
/// starts.
pub(super) fn is_absence(error: &CreateStreamError) -> bool {
    match error.kind() {
        CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable => true,
        CreateStreamErrorKind::JetStream(error) => {
            error.error_code() == ErrorCode::CLUSTER_NOT_AVAILABLE
        }
        _ => false,
    }
}

/// Returns whether the same message can never be stored.
pub(super) fn is_refusal(error: &PublishError) -> bool {
    use context::PublishErrorKind;
    use std::error::Error;

    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence => true,
        // The source is the server's own error.
        PublishErrorKind::Other => error
            .source()
            .and_then(|source| source.downcast_ref())
            .is_some_and(is_clients_fault),
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending => false,
    }
}

/// Returns whether the client is at fault. Error codes follow HTTP's: 4xx.
fn is_clients_fault(error: &async_nats::jetstream::Error) -> bool {
    (400..500).contains(&error.code())
}
