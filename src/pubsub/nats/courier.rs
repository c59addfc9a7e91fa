//! Who takes messages from the queue to the server? The courier, a task that does nothing else.

use std::pin::pin;
use std::sync::Arc;

use async_nats::subject::Subject;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::user_code::contain_future;

use super::core_delivery::CoreDelivery;
use super::error::NatsError;
use super::ledger::Ledger;
use super::stream_delivery::StreamDelivery;

/// An accepted message.
pub(super) struct Message {
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
}

/// Where messages go.
pub(super) enum Route {
    /// To current subscribers.
    Subscribers(Box<CoreDelivery>),
    /// Into a JetStream stream.
    Stream(Box<StreamDelivery>),
}

/// Delivers messages until the queue is closed and empty.
pub(super) async fn run(
    queue: mpsc::UnboundedReceiver<Message>,
    mut route: Route,
    ledger: Arc<Ledger>,
) {
    let mut waiting = Waiting {
        queue,
        ledger: &ledger,
    };
    let queue = &mut waiting.queue;
    loop {
        let first = match &mut route {
            Route::Subscribers(delivery) => delivery.next(queue, &ledger).await,
            Route::Stream(_) => queue.recv().await,
        };
        let Some(first) = first else { return };
        let mut account = Account {
            ledger: &ledger,
            open: 1,
            taken: 1,
        };
        match &mut route {
            Route::Subscribers(delivery) => {
                let window = CoreDelivery::window(first, queue);
                account.open = window.len();
                account.taken = window.len();
                let delivery = pin!(delivery.deliver(window, &mut account));
                contain_future("the NATS client panicked", delivery).await;
            }
            Route::Stream(delivery) => {
                let delivery = pin!(delivery.deliver(first, &mut account));
                contain_future("the NATS client panicked", delivery).await;
            }
        }
        account.close();
    }
}

/// The messages in the queue, which are lost when the task is stopped.
struct Waiting<'a> {
    queue: mpsc::UnboundedReceiver<Message>,
    ledger: &'a Ledger,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.close();
        let messages = std::iter::from_fn(|| self.queue.try_recv().ok()).count();
        self.ledger.abandon(messages, messages);
    }
}

/// The messages being delivered, each of which must end up confirmed or lost.
pub(super) struct Account<'a> {
    ledger: &'a Ledger,
    /// How many of them are neither confirmed nor lost yet.
    open: usize,
    /// How many are still to be settled.
    taken: usize,
}

impl Account<'_> {
    /// Counts messages as confirmed.
    pub(super) const fn confirm(&mut self, messages: usize) {
        self.open -= messages;
    }

    /// Counts messages as lost. If the client is closed, closes the ledger as well.
    pub(super) fn lose(&mut self, messages: usize, error: &NatsError) {
        self.open -= messages;
        self.ledger.lose(messages, error);
        if matches!(error, NatsError::Closed) {
            self.ledger.close();
        }
    }

    /// Counts a message that had been confirmed as lost after all.
    pub(super) fn lose_confirmed(&self, error: &NatsError) {
        self.ledger.lose(1, error);
    }

    /// Counts all messages that are neither confirmed nor lost yet as lost.
    pub(super) fn lose_rest(&mut self, error: &NatsError) {
        self.lose(self.open, error);
    }

    /// Settles all of the messages, even after a panic.
    fn close(mut self) {
        self.lose_rest(&NatsError::Panicked);
        self.ledger.settle(std::mem::take(&mut self.taken));
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        // More than none if the task was stopped.
        self.ledger.abandon(self.taken, self.open);
    }
}
