//! When does polling a subscription return an event?
//!
//! As soon as one has been queued: a poll first dispatches everything queued, then reads the
//! channel. If that is empty, it registers the caller's waker and reads once more.
//!
//! It does not await tokio's receiver, which takes part in cooperative scheduling: after
//! about a hundred events that would report an empty channel.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::events::event::KvCacheEvent;
use crate::user_code::Panics;

use super::hub::Hub;
use super::waiters::WaiterId;

/// An event, or the number of events that were lost.
type Item = Result<KvCacheEvent, BroadcastStreamRecvError>;

/// The stream of a subscriber's events.
#[must_use = "streams do nothing unless polled"]
pub(in crate::events) struct Subscription {
    /// `None` once the stream has ended.
    reader: Option<Reader>,
}

impl Subscription {
    /// Creates the stream of a subscription that the dispatcher has added.
    pub(super) fn new(id: WaiterId, events: Receiver<KvCacheEvent>, hub: Arc<Hub>) -> Self {
        Self {
            reader: Some(Reader { id, events, hub }),
        }
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(reader) = &mut self.reader else {
            return Poll::Ready(None);
        };
        let polled = reader.poll(context.waker());
        if let Poll::Ready(None) = polled {
            drop(self.reader.take());
        }
        polled
    }
}

/// A position in the channel and an id among the waiters.
struct Reader {
    id: WaiterId,
    events: Receiver<KvCacheEvent>,
    hub: Arc<Hub>,
}

/// The result of reading the channel.
enum Read {
    Item(Item),
    End,
    /// There is no event, and the next one wakes the subscription.
    Waiting,
    /// There is no event, and the subscription is not registered to be woken.
    Unregistered,
}

impl Reader {
    /// Takes an event only when none of the waker's code is left to run, so that a panic
    /// there loses no event.
    fn poll(&mut self, waker: &Waker) -> Poll<Option<Item>> {
        let mut read = self.read(waker);
        if let Read::Unregistered = read {
            self.register(waker);
            // An event may have arrived in between. If not, the thread that broadcasts the
            // next one finds the waker. The result of comparing wakers is ignored this time:
            // std need not see that a waker and its clone wake the same task.
            read = self.read(waker);
        }
        match read {
            Read::Item(item) => Poll::Ready(Some(item)),
            Read::End => Poll::Ready(None),
            Read::Waiting | Read::Unregistered => Poll::Pending,
        }
    }

    /// Dispatches what is queued and reads the channel under the same lock, so that a
    /// registered subscription that finds nothing is woken by the next event.
    fn read(&mut self, waker: &Waker) -> Read {
        let Self { id, events, hub } = self;
        hub.dispatch(Some(*id), |dispatcher, _| match events.try_recv() {
            Ok(event) => Read::Item(Ok(event)),
            Err(TryRecvError::Lagged(lost)) => {
                Read::Item(Err(BroadcastStreamRecvError::Lagged(lost)))
            }
            Err(TryRecvError::Closed) => Read::End,
            Err(TryRecvError::Empty) if dispatcher.waiters.will_wake(*id, waker) => Read::Waiting,
            Err(TryRecvError::Empty) => Read::Unregistered,
        })
    }

    /// Registers a clone of the waker. If cloning panics, nothing has changed; if dropping
    /// the previous waker panics, the new one is registered.
    fn register(&self, waker: &Waker) {
        let mut panics = Panics::new();
        if let Some(waker) = panics.catch(|| waker.clone()) {
            let replaced = self.hub.dispatcher().waiters.register(self.id, waker);
            panics.drop(replaced);
        }
        panics.resume();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let waker = self.hub.dispatcher().waiters.remove(self.id);
        let mut panics = Panics::new();
        panics.drop(waker);
        panics.resume();
    }
}
