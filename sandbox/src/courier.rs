//! Carries webhooks and callbacks to the merchant: attempts, the retry schedule, what is held, and the record of it all.

mod records;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use reqwest::{Client, Method};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};
use uuid::Uuid;

use self::records::Received;
pub use self::records::{Answer, Attempt, Delivery, DeliveryKind, DeliveryStatus, HeldCallback};
use crate::shelf::Shelf;
use crate::world::lock;

/// How long a delivery may take. Not scaled: the merchant's server does not run faster either.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The waits after each failed attempt but the last; after six attempts an event is dropped.
const WAITS: [Duration; 5] = [
    Duration::from_mins(1),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
];
/// Deliveries on the wire at the same time.
const MOST_AT_ONCE: usize = 1024;

/// One delivery on its way.
#[derive(Debug, Clone)]
pub(crate) struct Parcel {
    pub(crate) kind: DeliveryKind,
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) webhook_id: Option<String>,
    /// None keeps it here.
    pub(crate) target: Option<(Method, Url)>,
    pub(crate) body: Arc<RawValue>,
}

/// A parcel with its place in the record.
#[derive(Debug, Clone)]
struct Load {
    delivery_id: String,
    parcel: Parcel,
}

/// Deliveries by what they are doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    /// On the wire, or due.
    active: u64,
    /// Active, or waiting for their next attempt.
    open: u64,
}

#[derive(Debug)]
struct State {
    deliveries: Shelf<Delivery>,
    attempts: Shelf<Attempt>,
    /// Who waits for a retry; taking one out wakes it and makes it active.
    sleepers: HashMap<String, oneshot::Sender<()>>,
    /// Held back to be sent in the wrong order.
    held_back: Vec<Load>,
    held_webhooks: VecDeque<Arc<RawValue>>,
    held_callbacks: VecDeque<HeldCallback>,
    limit: usize,
}

/// Delivers in the background; every clone is the same courier.
#[derive(Debug, Clone)]
pub(crate) struct Courier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: Client,
    runtime: Handle,
    time_scale: u32,
    permits: Semaphore,
    state: Mutex<State>,
    traffic: watch::Sender<Traffic>,
    stop: CancellationToken,
}

impl Courier {
    /// A client that follows no redirect and gives up in time.
    pub(crate) fn http_client() -> reqwest::Result<Client> {
        let builder = Client::builder().redirect(reqwest::redirect::Policy::none());
        builder.timeout(TIMEOUT).no_proxy().build()
    }

    pub(crate) fn new(
        http: Client,
        time_scale: u32,
        limit: usize,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let state = State {
            deliveries: Shelf::bounded(limit),
            attempts: Shelf::bounded(limit),
            sleepers: HashMap::new(),
            held_back: Vec::new(),
            held_webhooks: VecDeque::new(),
            held_callbacks: VecDeque::new(),
            limit,
        };
        let inner = Inner {
            http,
            runtime: Handle::try_current()?,
            time_scale: time_scale.max(1),
            permits: Semaphore::new(MOST_AT_ONCE),
            state: Mutex::new(state),
            traffic: watch::Sender::new(Traffic::default()),
            stop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends at once, or after `delay`.
    pub(crate) fn send(&self, parcel: Parcel, delay: Duration) {
        let load = self.record(parcel, DeliveryStatus::Pending);
        if load.parcel.target.is_none() {
            return self.keep(&load);
        }
        let is_due = delay.is_zero();
        self.count(|traffic| {
            traffic.open += 1;
            traffic.active += u64::from(is_due);
        });
        // A delayed parcel sleeps from the start, so that a flush in the next line already finds it.
        let wait = (!is_due).then(|| self.register_sleeper(&load.delivery_id));
        let courier = self.clone();
        self.spawn(async move {
            if let Some(woken) = wait {
                courier.sleep(&load.delivery_id, delay, woken).await;
            }
            courier.carry(load).await;
        });
    }

    /// Records a parcel that never leaves.
    pub(crate) fn lose(&self, parcel: Parcel) {
        self.record(parcel, DeliveryStatus::Lost);
    }

    /// Holds a parcel until the next flush.
    pub(crate) fn hold_back(&self, parcel: Parcel) {
        let load = self.record(parcel, DeliveryStatus::Pending);
        lock(&self.inner.state).held_back.push(load);
    }

    /// Keeps a callback that may not leave this machine.
    pub(crate) fn hold_callback(&self, url: String, body: Value) {
        let mut state = lock(&self.inner.state);
        if state.held_callbacks.len() >= state.limit {
            state.held_callbacks.pop_front();
        }
        state.held_callbacks.push_back(HeldCallback { url, body });
    }

    /// Makes everything due that waits for a retry, a delay or a flush; what was held back goes newest first.
    pub(crate) fn flush(&self) {
        let mut state = lock(&self.inner.state);
        let sleepers = std::mem::take(&mut state.sleepers);
        let mut held_back = std::mem::take(&mut state.held_back);
        held_back.reverse();
        let (kept, leaving): (Vec<Load>, Vec<Load>) =
            held_back.into_iter().partition(|load| load.parcel.target.is_none());
        let (woken, sent) = (sleepers.len() as u64, leaving.len() as u64);
        self.count(|traffic| {
            traffic.active += woken + sent;
            traffic.open += sent;
        });
        drop(state);
        for load in &kept {
            self.keep(load);
        }
        for sleeper in sleepers.into_values() {
            // It has just woken by itself if it no longer listens.
            sleeper.send(()).unwrap_or_default();
        }
        let courier = self.clone();
        self.spawn(async move {
            for load in leaving {
                courier.carry_first(load).await;
            }
        });
    }

    /// Waits until nothing is on the wire or due. Retries that wait for their time do not count.
    pub(crate) async fn settled(&self) {
        self.wait_for(|traffic| traffic.active == 0).await;
    }

    /// Waits until every delivery has arrived or was dropped.
    pub(crate) async fn concluded(&self) {
        self.wait_for(|traffic| traffic.open == 0).await;
    }

    /// Posts a body now, outside of any schedule.
    pub(crate) async fn post(&self, url: Url, body: Vec<u8>) -> anyhow::Result<Answer> {
        let request = self.inner.http.post(url).header("content-type", "application/json");
        let response = request.body(body).send().await?;
        Ok(Answer { status: response.status().as_u16(), body: response.text().await? })
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.inner.state).deliveries.oldest_first().cloned().collect()
    }

    pub(crate) fn count_deliveries(&self) -> (u64, BTreeMap<DeliveryStatus, u64>) {
        let state = lock(&self.inner.state);
        let mut by_status = BTreeMap::new();
        for delivery in state.deliveries.oldest_first() {
            *by_status.entry(delivery.status).or_default() += 1;
        }
        (state.deliveries.total(), by_status)
    }

    pub(crate) fn held_webhooks(&self) -> Vec<Arc<RawValue>> {
        lock(&self.inner.state).held_webhooks.iter().cloned().collect()
    }

    pub(crate) fn take_held_webhooks(&self) -> Vec<Arc<RawValue>> {
        std::mem::take(&mut lock(&self.inner.state).held_webhooks).into()
    }

    pub(crate) fn held_callbacks(&self) -> Vec<HeldCallback> {
        lock(&self.inner.state).held_callbacks.iter().cloned().collect()
    }

    pub(crate) fn attempt(&self, id: &str) -> Option<Attempt> {
        lock(&self.inner.state).attempts.get(id).cloned()
    }

    /// Reads the attempts, newest first.
    pub(crate) fn attempts<T>(
        &self,
        read: impl FnOnce(&mut dyn Iterator<Item = Attempt>) -> T,
    ) -> T {
        read(&mut lock(&self.inner.state).attempts.newest_first().cloned())
    }

    fn record(&self, parcel: Parcel, status: DeliveryStatus) -> Load {
        let delivery = Delivery {
            id: Uuid::new_v4().to_string(),
            kind: parcel.kind,
            event_id: parcel.event_id.clone(),
            event_type: parcel.event_type.clone(),
            url: parcel.target.as_ref().map(|(_, url)| url.clone()),
            status,
            attempts: Vec::new(),
            body: Arc::clone(&parcel.body),
        };
        let delivery_id = delivery.id.clone();
        lock(&self.inner.state).deliveries.insert(&delivery_id, delivery);
        Load { delivery_id, parcel }
    }

    fn keep(&self, load: &Load) {
        let mut state = lock(&self.inner.state);
        if state.held_webhooks.len() >= state.limit {
            state.held_webhooks.pop_front();
        }
        state.held_webhooks.push_back(Arc::clone(&load.parcel.body));
        if let Some(delivery) = state.deliveries.get_mut(&load.delivery_id) {
            delivery.status = DeliveryStatus::Held;
        }
    }

    /// All attempts, with the waits between them.
    async fn carry(self, load: Load) {
        if let Some(next) = self.first_attempt(&load).await {
            self.retry(load, next).await;
        }
    }

    /// The first attempt; the others, if any, no longer hold up what follows.
    async fn carry_first(&self, load: Load) {
        if let Some(next) = self.first_attempt(&load).await {
            self.spawn(self.clone().retry(load, next));
        }
    }

    async fn first_attempt(&self, load: &Load) -> Option<oneshot::Receiver<()>> {
        let is_delivered = self.attempt_once(load, 1).await;
        self.after_attempt(load, 1, is_delivered)
    }

    async fn retry(self, load: Load, mut woken: oneshot::Receiver<()>) {
        for (retry_number, wait) in (2..).zip(WAITS) {
            self.sleep(&load.delivery_id, wait / self.inner.time_scale, woken).await;
            let is_delivered = self.attempt_once(&load, retry_number).await;
            match self.after_attempt(&load, retry_number, is_delivered) {
                Some(next) => woken = next,
                None => return,
            }
        }
    }

    /// Concludes a delivery, or puts it to sleep until its next attempt.
    fn after_attempt(
        &self,
        load: &Load,
        retry_number: usize,
        is_delivered: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let has_retries = load.parcel.kind == DeliveryKind::Webhook && retry_number <= WAITS.len();
        if !is_delivered && has_retries {
            let woken = self.register_sleeper(&load.delivery_id);
            self.count(|traffic| traffic.active -= 1);
            return Some(woken);
        }
        if let Some(delivery) = lock(&self.inner.state).deliveries.get_mut(&load.delivery_id) {
            delivery.status =
                if is_delivered { DeliveryStatus::Delivered } else { DeliveryStatus::Dropped };
        }
        self.count(|traffic| {
            traffic.active -= 1;
            traffic.open -= 1;
        });
        None
    }

    fn register_sleeper(&self, delivery_id: &str) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        lock(&self.inner.state).sleepers.insert(delivery_id.to_owned(), wake);
        woken
    }

    /// Sleeps until the time is over or a flush comes, whichever is first, and is active again.
    async fn sleep(&self, delivery_id: &str, wait: Duration, mut woken: oneshot::Receiver<()>) {
        tokio::select! {
            // An error means the flush took the sleeper out, which counted it.
            _ = &mut woken => (),
            () = sleep(wait) => {
                let mut state = lock(&self.inner.state);
                if state.sleepers.remove(delivery_id).is_some() {
                    self.count(|traffic| traffic.active += 1);
                }
            }
        }
    }

    async fn attempt_once(&self, load: &Load, retry_number: usize) -> bool {
        let Some((method, url)) = &load.parcel.target else { return false };
        let (created_at, began) = (Utc::now(), Instant::now());
        let answer = match self.inner.permits.acquire().await {
            Ok(_permit) => self.try_send(method, url, &load.parcel.body).await,
            Err(_) => return false,
        };
        let is_delivered = answer.code.is_some_and(|code| (200..300).contains(&code));
        let attempt = Attempt {
            id: Uuid::new_v4().to_string(),
            webhook_id: load.parcel.webhook_id.clone(),
            event_id: load.parcel.event_id.clone(),
            event_type: load.parcel.event_type.clone(),
            retry_number: u32::try_from(retry_number).unwrap_or(u32::MAX),
            result: if is_delivered { "success" } else { "failed" },
            message: answer.message,
            response_code: answer.code,
            response_headers: answer.headers,
            response_body: answer.body,
            created_at,
            took: began.elapsed(),
        };
        let mut state = lock(&self.inner.state);
        if let Some(delivery) = state.deliveries.get_mut(&load.delivery_id) {
            delivery.attempts.push(attempt.clone());
        }
        if attempt.webhook_id.is_some() {
            state.attempts.insert(&attempt.id.clone(), attempt);
        }
        is_delivered
    }

    async fn try_send(&self, method: &Method, url: &Url, body: &RawValue) -> Received {
        let request = self.inner.http.request(method.clone(), url.clone());
        let request =
            request.header("content-type", "application/json").header("user-agent", "Moyasar");
        match request.body(body.get().to_owned()).send().await {
            Ok(response) => Received::read(response).await,
            Err(error) => Received::nothing(&error),
        }
    }

    fn count(&self, change: impl FnOnce(&mut Traffic)) {
        self.inner.traffic.send_modify(change);
    }

    async fn wait_for(&self, is_reached: impl Fn(&Traffic) -> bool) {
        let mut traffic = self.inner.traffic.subscribe();
        // The sender lives in the courier that waits here.
        traffic.wait_for(|traffic| is_reached(traffic)).await.map(drop).unwrap_or_default();
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.inner.runtime.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => (),
                () = work => (),
            }
        });
    }
}

/// Whether a URL stays on this machine. Nothing the sandbox makes up may reach a real host by accident.
pub(crate) fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
