//! Which subjects and payload sizes are accepted?

use std::sync::atomic::{AtomicUsize, Ordering};

use async_nats::Client;
use async_nats::jetstream::stream;
use async_nats::subject::Subject;

use super::error::NatsError;

/// The length of the longest subject, in bytes. A server closes a connection on which the line
/// before a payload exceeds 4096 bytes, and that line also has the reply subject.
const MAX_SUBJECT: usize = 1024;

/// The limits of the server and the stream.
pub(super) struct Limits {
    client: Client,
    /// The size of each message's headers, in bytes.
    headers: usize,
    /// The stream's limit in bytes; `usize::MAX` if it has none.
    stream: AtomicUsize,
}

impl Limits {
    /// Creates limits for messages with `headers` bytes of headers.
    pub(super) fn new(client: Client, headers: usize) -> Self {
        Self {
            client,
            headers,
            stream: AtomicUsize::new(usize::MAX),
        }
    }

    /// Updates the stream's limit.
    pub(super) fn learn(&self, stream: &stream::Config) {
        // 0 and -1 mean that there is no limit.
        let max = usize::try_from(stream.max_message_size)
            .ok()
            .filter(|&max| max > 0);
        self.stream
            .store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Returns the size of the largest payload in bytes. Until the client has connected, the
    /// server's limit is taken to be the default of 1 MiB.
    pub(super) fn max_payload(&self) -> usize {
        let max = { self.client.max_payload() }.min(self.stream.load(Ordering::Relaxed));
        max.saturating_sub(self.headers)
    }

    /// Checks a message before it is accepted.
    pub(super) fn check(&self, subject: &Subject, size: usize) -> Result<(), NatsError> {
        let is_subject =
            subject.is_valid() && !subject.contains(['*', '>']) && subject.len() <= MAX_SUBJECT;
        if !is_subject {
            return Err(NatsError::Subject(subject.to_string()));
        }
        self.check_size(size)
    }

    /// Checks the size of a payload.
    pub(super) fn check_size(&self, size: usize) -> Result<(), NatsError> {
        let max = self.max_payload();
        if size > max {
            return Err(NatsError::TooLarge { size, max });
        }
        Ok(())
    }
}
