//! The stream that a subscriber polls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::user_code::Panics;

use super::hub::Hub;
use super::protocol::KvCacheEvent;
use super::sleepers::Seat;

/// An event, or how many were lost.
type Item = Result<KvCacheEvent, BroadcastStreamRecvError>;

/// A subscription: reads all pending notes, then takes the next event.
///
/// It takes events without tokio's help, whose cooperative budget would make a task
/// believe that there are no more after a hundred or so.
pub(super) struct Subscription {
    /// `None` once the stream has ended.
    place: Option<Place>,
}

impl Subscription {
    pub(super) fn new(seat: Seat, events: Receiver<KvCacheEvent>, hub: Arc<Hub>) -> Self {
        Self {
            place: Some(Place { seat, events, hub }),
        }
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(place) = &mut self.place else {
            return Poll::Ready(None);
        };
        let polled = place.poll(context.waker());
        if let Poll::Ready(None) = polled {
            drop(self.place.take());
        }
        polled
    }
}

/// A subscriber's place in the channel, and its seat among those who sleep.
struct Place {
    seat: Seat,
    events: Receiver<KvCacheEvent>,
    hub: Arc<Hub>,
}

/// What a look at the channel came to.
enum Look {
    Found(Item),
    Ended,
    /// There is nothing, and the subscription will be woken when there is.
    Asleep,
    /// There is nothing, and the subscription is not registered to be woken.
    Unregistered,
}

impl Place {
    /// No event is taken before the waker's own code has run, so a panic there loses
    /// none.
    fn poll(&mut self, waker: &Waker) -> Poll<Option<Item>> {
        let mut look = self.look(waker);
        if let Look::Unregistered = look {
            self.register(waker);
            // There may be an event since. If there is none, whoever broadcasts the
            // next one finds the waker. Whether it `will_wake` the task is not asked
            // again: the clone of a waker may look like another one.
            look = self.look(waker);
        }
        match look {
            Look::Found(item) => Poll::Ready(Some(item)),
            Look::Ended => Poll::Ready(None),
            Look::Asleep | Look::Unregistered => Poll::Pending,
        }
    }

    /// Events are broadcast, and wakers taken, while the desk is locked, as it is here:
    /// a subscription that finds nothing and is registered is woken by the next event.
    fn look(&mut self, waker: &Waker) -> Look {
        let Self { seat, events, hub } = self;
        hub.read(Some(*seat), |desk, _| match events.try_recv() {
            Ok(event) => Look::Found(Ok(event)),
            Err(TryRecvError::Lagged(lost)) => {
                Look::Found(Err(BroadcastStreamRecvError::Lagged(lost)))
            }
            Err(TryRecvError::Closed) => Look::Ended,
            Err(TryRecvError::Empty) if desk.sleepers.waits(*seat, waker) => Look::Asleep,
            Err(TryRecvError::Empty) => Look::Unregistered,
        })
    }

    /// Registers a clone of the waker. If cloning it panics, nothing has changed; if
    /// dropping the one before it does, the new one is registered.
    fn register(&self, waker: &Waker) {
        let mut panics = Panics::new();
        if let Some(waker) = panics.catch(|| waker.clone()) {
            let replaced = self.hub.desk().sleepers.register(self.seat, waker);
            panics.drop(replaced);
        }
        panics.resume();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = self.hub.desk().sleepers.remove(self.seat);
        let mut panics = Panics::new();
        panics.drop(waker);
        panics.resume();
    }
}
