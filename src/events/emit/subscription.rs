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
use super::waiters::Seat;
use crate::events::event::KvCacheEvent;

/// An event, or how many were lost.
type Item = Result<KvCacheEvent, BroadcastStreamRecvError>;

/// A subscription: reads all pending notes, then takes the next event.
///
/// It does not await tokio's receiver, which uses up the task's cooperative budget and
/// after about a hundred events claims that there are no more.
pub(in crate::events) struct Subscription {
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

/// A subscriber's position in the channel, and its seat among the sleepers.
struct Place {
    seat: Seat,
    events: Receiver<KvCacheEvent>,
    hub: Arc<Hub>,
}

/// The result of a look at the channel.
enum Look {
    Found(Item),
    Ended,
    /// There is no event, and the subscription will be woken by the next.
    Asleep,
    /// There is no event, and the subscription is not registered to be woken.
    Unregistered,
}

impl Place {
    /// Takes an event only when no code of the waker's is left to run, so that a panic
    /// there loses none.
    fn poll(&mut self, waker: &Waker) -> Poll<Option<Item>> {
        let mut look = self.look(waker);
        if let Look::Unregistered = look {
            self.register(waker);
            // An event may have arrived since. If not, whoever broadcasts the next one
            // finds the waker. It is not compared again: a waker's clone need not
            // `will_wake` the same task as far as std can tell.
            look = self.look(waker);
        }
        match look {
            Look::Found(item) => Poll::Ready(Some(item)),
            Look::Ended => Poll::Ready(None),
            Look::Asleep | Look::Unregistered => Poll::Pending,
        }
    }

    /// Events are broadcast and wakers taken under the desk's lock, as is this look, so a
    /// registered subscription that finds nothing is woken by the next event.
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

    /// Registers a clone of the waker. If cloning panics, nothing has changed; if dropping
    /// the previous waker panics, the new one is registered.
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
