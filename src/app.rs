//! The composition root: the only file that names every concrete part.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use sqlx::PgPool;

use crate::clients::breakers::Breakers;
use crate::clients::moyasar::{self, Moyasar};
use crate::clients::posthog::{self, Posthog};
use crate::clock::Clock;
use crate::config::Config;
use crate::http;
use crate::tasks::Tasks;
use crate::wake::Wake;

/// The parts a handler may ask for. Each is cheap to clone.
#[derive(Clone, FromRef)]
pub(crate) struct AppState {
    pub db: PgPool,
    pub clock: Clock,
    pub wake: Wake,
    pub breakers: Arc<Breakers>,
    /// None without a key: nothing can be sold.
    pub moyasar: Option<Arc<Moyasar>>,
    /// None without a key or when switched off: nothing is counted.
    pub posthog: Option<Arc<Posthog>>,
}

/// What differs between production and a test.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The time, if a test holds it.
    pub clock: Clock,
    /// Prefix of every Redis key.
    pub redis_prefix: String,
    /// Run no job and refuse every outbound call.
    pub is_passive: bool,
}

/// The service, wired but not yet started.
#[derive(Clone)]
pub struct App {
    state: AppState,
}

impl App {
    /// Wires the parts together; reaches out to nothing. Tests call this with a pool of their own.
    pub fn build(config: &Config, db: PgPool, overrides: Overrides) -> anyhow::Result<Self> {
        let Overrides { clock, is_passive, .. } = overrides;
        let mut breakers = Breakers::new(clock.clone(), is_passive);
        let breaker = breakers.add(moyasar::CLIENT, config.moyasar.breaker);
        let moyasar = Moyasar::new(&config.moyasar, breaker, clock.clone())?.map(Arc::new);
        let breaker = breakers.add(posthog::CLIENT, config.posthog.breaker);
        let posthog = Posthog::new(&config.posthog, breaker, clock.clone())?.map(Arc::new);
        let breakers = Arc::new(breakers);
        let state = AppState { db, clock, wake: Wake::default(), breakers, moyasar, posthog };
        Ok(Self { state })
    }

    /// The HTTP side.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
    }

    /// Starts the background side.
    pub fn start_jobs(&self, tasks: &Tasks) {
        let _ = tasks;
    }
}
