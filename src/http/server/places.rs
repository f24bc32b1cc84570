//! The connections that are served at once. When all places are taken, a connection that only waits
//! gives way at once to the next one: idle and half-open connections can lock nobody out.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;

use crate::http::edge::Client;

/// How many may be on their way out while whoever came in their stead is served already. A few turns
/// of the scheduler suffice for them, so accepting stands still for no longer than that.
const AT_ONCE: usize = 64;

/// Every place there is.
pub(super) struct Places {
    state: Mutex<State>,
    /// Rung when a place may have become free.
    changed: Notify,
}

/// The connections of one client whose next request has not come completely, the longest wait first.
type Crowd = BTreeMap<u64, Arc<Notify>>;

/// How many wait, and since when the longest.
type Rank = (usize, Reverse<u64>);

struct State {
    count: usize,
    /// At most `count`, apart from those who are leaving.
    taken: usize,
    next: u64,
    crowds: HashMap<Client, Crowd>,
    /// Whose turn it is to give way: the largest crowd's, of several the one with the longest wait.
    ranks: BTreeMap<Rank, Client>,
    /// Those who were asked to go.
    leaving: HashSet<u64>,
}

/// One connection's place; free again when the last handle is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    client: Client,
    ticket: Mutex<u64>,
    leave: Arc<Notify>,
}

impl Places {
    pub fn new(count: usize) -> Arc<Self> {
        let (crowds, ranks, leaving) = (HashMap::new(), BTreeMap::new(), HashSet::new());
        let state = State { count, taken: 0, next: 0, crowds, ranks, leaving };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Takes a place, and asks somebody to leave if there is none; waits only while everybody works.
    pub async fn take(self: &Arc<Self>, client: Client) -> Arc<Place> {
        loop {
            match self.try_take(client) {
                Some(place) => return place,
                None => self.changed.notified().await,
            }
        }
    }

    fn try_take(self: &Arc<Self>, client: Client) -> Option<Arc<Place>> {
        let mut state = self.state();
        while state.taken >= state.count + state.leaving.len() {
            if !state.ask_one_to_leave() {
                return None;
            }
        }
        state.taken += 1;
        let leave = Arc::new(Notify::new());
        let ticket = Mutex::new(state.wait(client, &leave));
        Some(Arc::new(Place { places: Arc::clone(self), client, ticket, leave }))
    }

    /// Asks somebody to leave, because something else than a place is short, and waits for a change.
    pub async fn make_room(&self) {
        self.state().ask_one_to_leave();
        self.changed.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, client: Client, leave: &Arc<Notify>) -> u64 {
        let ticket = self.next;
        self.next += 1;
        self.change(client, |crowd| crowd.insert(ticket, Arc::clone(leave)));
        ticket
    }

    /// Tells whether it waited.
    fn stop_waiting(&mut self, client: Client, ticket: u64) -> bool {
        self.change(client, |crowd| crowd.remove(&ticket)).is_some()
    }

    /// Asks whoever has waited longest in the largest crowd; tells whether there was anybody.
    fn ask_one_to_leave(&mut self) -> bool {
        if self.leaving.len() >= AT_ONCE {
            return false;
        }
        let largest = self.ranks.last_key_value().map(|(_, client)| *client);
        let longest = largest.and_then(|client| self.change(client, BTreeMap::pop_first));
        let Some((ticket, leave)) = longest else { return false };
        self.leaving.insert(ticket);
        leave.notify_one();
        true
    }

    /// Changes a crowd, and its rank with it.
    fn change<T>(&mut self, client: Client, change: impl FnOnce(&mut Crowd) -> T) -> T {
        let mut crowd = self.crowds.remove(&client).unwrap_or_default();
        if let Some(rank) = rank(&crowd) {
            self.ranks.remove(&rank);
        }
        let changed = change(&mut crowd);
        if let Some(rank) = rank(&crowd) {
            self.ranks.insert(rank, client);
            self.crowds.insert(client, crowd);
        }
        changed
    }
}

fn rank(crowd: &Crowd) -> Option<Rank> {
    crowd.first_key_value().map(|(longest, _)| (crowd.len(), Reverse(*longest)))
}

impl Place {
    /// The client's request is here completely: from now on it waits for us.
    fn work(&self) {
        let ticket = self.ticket();
        let mut state = self.places.state();
        // Its request came at the last moment: somebody else has to go.
        if !state.stop_waiting(self.client, *ticket) && state.leaving.remove(&ticket) {
            state.ask_one_to_leave();
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
        state.stop_waiting(self.client, *ticket);
        *ticket = state.wait(self.client, &self.leave);
        if state.taken >= state.count {
            self.places.changed.notify_one();
        }
    }

    /// Resolves when this connection has to give way, unless its request has come in the meantime.
    pub async fn asked_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.has_to_leave() {
                return;
            }
        }
    }

    /// Whether this connection was asked to give way and has no reason to stay.
    pub fn has_to_leave(&self) -> bool {
        let ticket = *self.ticket();
        self.places.state().leaving.contains(&ticket)
    }

    fn ticket(&self) -> MutexGuard<'_, u64> {
        self.ticket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ticket = *self.ticket();
        let mut state = self.places.state();
        state.stop_waiting(self.client, ticket);
        state.leaving.remove(&ticket);
        state.taken -= 1;
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

    const HERE: Client = Client::V4([203, 0, 113, 7]);
    const THERE: Client = Client::V4([203, 0, 113, 8]);

    impl Places {
        fn take_now(self: &Arc<Self>, client: Client) -> Option<Arc<Place>> {
            self.take(client).now_or_never()
        }
    }

    #[test]
    fn when_all_places_are_taken_the_longest_wait_ends_at_once_and_no_work() {
        let places = Places::new(2);
        let (first, second) = (places.take_now(HERE).unwrap(), places.take_now(HERE).unwrap());
        first.work();
        let third = places.take_now(HERE).unwrap();
        assert!(second.has_to_leave() && !first.has_to_leave() && !third.has_to_leave());
        second.asked_to_leave().now_or_never().unwrap();
        drop(second);
        third.work();
        assert!(places.take_now(HERE).is_none(), "both work");
        // Whoever is done first has to go, however short its wait.
        first.wait();
        let fourth = places.take_now(HERE).unwrap();
        assert!(first.has_to_leave() && !fourth.has_to_leave());
        drop((first, third, fourth));
        let state = places.state();
        assert_eq!((state.taken, state.leaving.len()), (0, 0));
        assert!(state.crowds.is_empty() && state.ranks.is_empty());
    }

    #[test]
    fn the_largest_crowd_gives_way_and_nobody_who_came_alone() {
        let places = Places::new(4);
        let alone = places.take_now(THERE).unwrap();
        let mut crowd: Vec<_> = (0..3).map(|_| places.take_now(HERE).unwrap()).collect();
        for _ in 0..1_000 {
            crowd.push(places.take_now(HERE).unwrap());
            assert!(crowd.remove(0).has_to_leave() && !alone.has_to_leave());
        }
        // Crowds of one size: the longest wait ends.
        crowd.truncate(1);
        let others: Vec<_> =
            (9..11).map(|n| places.take_now(Client::V4([203, 0, 113, n])).unwrap()).collect();
        let _newest = places.take_now(Client::Unknown).unwrap();
        assert!(alone.has_to_leave());
        assert!(!others.iter().chain(&crowd).any(|place| place.has_to_leave()));
    }

    #[test]
    fn a_request_at_the_last_moment_stays_and_another_one_goes() {
        let places = Places::new(2);
        let (first, second) = (places.take_now(HERE).unwrap(), places.take_now(HERE).unwrap());
        let third = places.take_now(HERE).unwrap();
        assert!(first.has_to_leave());
        first.work();
        assert!(!first.has_to_leave() && second.has_to_leave() && !third.has_to_leave());
        assert!(first.asked_to_leave().now_or_never().is_none());
    }

    #[test]
    fn only_a_few_leave_at_once() {
        let places = Places::new(100);
        let waiting: Vec<_> = (0..100).map(|_| places.take_now(HERE).unwrap()).collect();
        let mut newer: Vec<_> = (0..AT_ONCE).map(|_| places.take_now(THERE).unwrap()).collect();
        assert!(places.take_now(THERE).is_none());
        drop(waiting);
        newer.push(places.take_now(THERE).unwrap());
        assert_eq!(places.state().taken, newer.len());
    }

    #[tokio::test]
    async fn who_waits_for_a_place_gets_it_as_soon_as_one_is_free_or_may_be_made_so() {
        let places = Places::new(1);
        let first = places.take(HERE).await;
        first.work();
        let (second, ()) = tokio::join!(places.take(HERE), async { first.wait() });
        first.asked_to_leave().await;
        drop(first);
        second.work();
        let (_third, ()) = tokio::join!(places.take(HERE), async { drop(second) });
    }

    #[tokio::test]
    async fn whatever_is_short_somebody_leaves_and_is_waited_for() {
        let places = Places::new(2);
        let (first, second) = (places.take(HERE).await, places.take(HERE).await);
        let leave = async {
            first.asked_to_leave().await;
            drop(first);
        };
        tokio::join!(places.make_room(), leave);
        assert!(!second.has_to_leave());
    }

    #[test]
    fn an_answer_before_the_whole_request_begins_a_new_wait() {
        let places = Places::new(2);
        let (first, second) = (places.take_now(HERE).unwrap(), places.take_now(HERE).unwrap());
        first.wait();
        let _third = places.take_now(HERE).unwrap();
        assert!(second.has_to_leave() && !first.has_to_leave());
    }
}
