//! The connections that are served at once. When all places are taken, whoever has kept us waiting
//! longest for a request gives way: idle and half-open connections can lock nobody out.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a connection may keep us waiting before it has to give way.
const GRACE: Duration = Duration::from_secs(1);

/// Every place there is.
pub(super) struct Places {
    state: Mutex<State>,
    /// Rung when a place may have become free.
    changed: Notify,
}

struct State {
    free: usize,
    next: u64,
    /// Connections whose next request has not come completely, by when that began.
    waiting: BTreeMap<u64, (Instant, Arc<Notify>)>,
    /// Those of them that were asked to go.
    leaving: BTreeSet<u64>,
}

/// One connection's place; free again when the last handle is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    ticket: Mutex<u64>,
    leave: Arc<Notify>,
}

impl Places {
    pub fn new(count: usize) -> Arc<Self> {
        let (waiting, leaving) = (BTreeMap::new(), BTreeSet::new());
        let state = Mutex::new(State { free: count, next: 0, waiting, leaving });
        Arc::new(Self { state, changed: Notify::new() })
    }

    /// Waits for a free place, and asks somebody to leave if there is none.
    pub async fn take(self: &Arc<Self>) -> Arc<Place> {
        loop {
            match self.try_take() {
                Ok(place) => return place,
                Err(None) => self.changed.notified().await,
                Err(Some(later)) => tokio::select! {
                    () = self.changed.notified() => (),
                    () = tokio::time::sleep_until(later) => (),
                },
            }
        }
    }

    /// A place, or when somebody has waited long enough to be asked to leave.
    fn try_take(self: &Arc<Self>) -> Result<Arc<Place>, Option<Instant>> {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            let leave = Arc::new(Notify::new());
            let ticket = state.wait(&leave);
            let (places, ticket) = (Arc::clone(self), Mutex::new(ticket));
            return Ok(Arc::new(Place { places, ticket, leave }));
        }
        Err(state.ask_one_to_leave())
    }

    /// Asks whoever has waited longest to leave, because something else than a place is short.
    pub fn make_room(&self) {
        self.state().ask_one_to_leave();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, leave: &Arc<Notify>) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.waiting.insert(ticket, (Instant::now(), Arc::clone(leave)));
        ticket
    }

    /// One at a time. Answers when to come back if nobody has waited long enough yet.
    fn ask_one_to_leave(&mut self) -> Option<Instant> {
        if !self.leaving.is_empty() {
            return None;
        }
        let longest = self.waiting.first_entry()?;
        let since = longest.get().0;
        if since.elapsed() < GRACE {
            return Some(since + GRACE);
        }
        let (ticket, (_, leave)) = longest.remove_entry();
        self.leaving.insert(ticket);
        leave.notify_one();
        None
    }
}

impl Place {
    /// The client's request is here completely: from now on it waits for us.
    fn work(&self) {
        let ticket = self.ticket();
        let mut state = self.places.state();
        // Its request came at the last moment: somebody else has to go.
        if state.waiting.remove(&ticket).is_none() && state.leaving.remove(&ticket) {
            self.places.changed.notify_one();
        }
    }

    /// The client has its answer: from now on we wait for it.
    fn wait(&self) {
        let mut ticket = self.ticket();
        let mut state = self.places.state();
        if state.leaving.contains(&ticket) {
            return;
        }
        state.waiting.remove(&ticket);
        *ticket = state.wait(&self.leave);
        if state.free == 0 {
            self.places.changed.notify_one();
        }
    }

    /// Resolves when this connection has to give way.
    pub async fn asked_to_leave(&self) {
        loop {
            self.leave.notified().await;
            let ticket = *self.ticket();
            if self.places.state().leaving.contains(&ticket) {
                return;
            }
        }
    }

    fn ticket(&self) -> MutexGuard<'_, u64> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ticket = *self.ticket();
        let mut state = self.places.state();
        state.waiting.remove(&ticket);
        state.leaving.remove(&ticket);
        state.free += 1;
        self.places.changed.notify_one();
    }
}

/// The body of a request: once it is here, the connection works.
pub(super) struct Arriving<B> {
    body: B,
    place: Arc<Place>,
}

impl<B: HttpBody> Arriving<B> {
    pub fn new(body: B, place: Arc<Place>) -> Self {
        if body.is_end_stream() {
            place.work();
        }
        Self { body, place }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Arriving<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            self.place.work();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: once it is gone, the connection waits.
pub(super) struct Leaving {
    body: Body,
    place: Arc<Place>,
}

impl Leaving {
    pub fn new(body: Body, place: Arc<Place>) -> Self {
        Self { body, place }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.place.wait();
    }
}

impl HttpBody for Leaving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn when_all_places_are_taken_the_longest_wait_ends_and_no_work() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        first.work();
        assert!(places.take().now_or_never().is_none(), "nobody has waited long enough");
        assert!(second.asked_to_leave().now_or_never().is_none());
        tokio::time::advance(GRACE).await;
        assert!(places.take().now_or_never().is_none());
        assert!(first.asked_to_leave().now_or_never().is_none());
        second.asked_to_leave().await;
        drop(second);
        let third = places.take().await;
        // Both work: whoever is done first has to go, however short its wait.
        third.work();
        first.wait();
        tokio::time::advance(GRACE).await;
        assert!(places.take().now_or_never().is_none());
        first.asked_to_leave().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_at_the_last_moment_stays_and_another_one_goes() {
        let places = Places::new(2);
        let (first, second) = (places.take().await, places.take().await);
        tokio::time::advance(GRACE).await;
        assert!(places.take().now_or_never().is_none());
        first.work();
        assert!(first.asked_to_leave().now_or_never().is_none());
        assert!(places.take().now_or_never().is_none());
        second.asked_to_leave().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_place_gets_it_as_soon_as_one_is_free_or_may_be_made_so() {
        let places = Places::new(1);
        let first = places.take().await;
        let next = places.take();
        let free = async {
            first.asked_to_leave().await;
            drop(first);
        };
        // The grace passes by itself: nothing else is left to do.
        let (second, ()) = tokio::join!(next, free);
        second.work();
        let next = places.take();
        let (_third, ()) = tokio::join!(next, async { drop(second) });
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_before_the_whole_request_begins_a_new_wait() {
        let places = Places::new(1);
        let only = places.take().await;
        tokio::time::advance(GRACE).await;
        only.wait();
        assert_eq!(places.state().waiting.len(), 1);
        assert!(places.take().now_or_never().is_none());
        assert!(only.asked_to_leave().now_or_never().is_none());
        drop(only);
        let state = places.state();
        assert_eq!((state.free, state.waiting.len()), (1, 0));
    }
}
