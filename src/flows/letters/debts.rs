//! Who does what the letters of each queue owe: the one place that knows a handler per queue. The
//! worker, a drain, a redrive and a single retry go through [`Debts::settle`].

use std::sync::Arc;
use std::time::Duration;

use crate::flows::letters::handler::{Done, Foreseen, Handler, Undone};
use crate::flows::settling::company::Company;
use crate::queue::{Letter, Payload, Queue};

/// How soon one is tried again for which there is no handler yet.
const RELEASE_PAUSE: Duration = Duration::from_hours(1);

/// What a letter is held by for which there is no handler yet.
pub(crate) const NO_HANDLER: &str = "no_handler";

/// The handlers.
#[derive(Clone, Default)]
pub struct Debts {
    handlers: Vec<(Queue, Arc<dyn Handler>)>,
    /// Who settles beside whom in this process.
    company: Company,
}

impl Debts {
    /// No handlers yet; letters are settled in this company.
    pub fn new(company: Company) -> Self {
        Self { handlers: Vec::new(), company }
    }

    /// With one for a queue that has none.
    #[must_use]
    pub fn with(mut self, queue: Queue, handler: impl Handler + 'static) -> Self {
        self.handlers.push((queue, Arc::new(handler)));
        self
    }

    /// Whether anybody does what this queue owes; otherwise its letters wait for a later release.
    pub fn has_handler(&self, queue: Queue) -> bool {
        self.handler(queue).is_some()
    }

    /// Does what is owed. Whatever it writes is written before the letter goes. A letter whose worker
    /// died is settled while this process settles nothing else.
    pub(crate) async fn settle(
        &self,
        queue: Queue,
        letter: &Letter,
        deaths: u32,
    ) -> Result<Done, Undone> {
        let (_beside, _alone) = if deaths == 0 {
            (Some(self.company.join().await), None)
        } else {
            (None, Some(self.company.clear().await))
        };
        self.find(queue, letter)?.settle(letter).await
    }

    /// What [`Self::settle`] would do, as far as it can be known without doing it.
    pub(crate) async fn rehearse(&self, queue: Queue, letter: &Letter) -> Result<Foreseen, Undone> {
        self.find(queue, letter)?.rehearse(letter).await
    }

    fn handler(&self, queue: Queue) -> Option<&dyn Handler> {
        let found = self.handlers.iter().find(|(of, _)| *of == queue);
        found.map(|(_, handler)| &**handler)
    }

    /// Who settles such a letter, or why nobody does.
    fn find(&self, queue: Queue, letter: &Letter) -> Result<&dyn Handler, Undone> {
        let pause = RELEASE_PAUSE;
        let handler = self.handler(queue).ok_or(Undone::Away { class: NO_HANDLER, pause })?;
        if handler.knows(&letter.payload) {
            return Ok(handler);
        }
        let kind = match letter.payload {
            Payload::Event { .. } | Payload::StoredEvent { .. } => "a webhook event",
            Payload::OutboxRow { .. } => "an event for analytics",
            Payload::Job { .. } => "something of an older release",
        };
        let error = format!("the queue {} cannot owe {kind}", queue.name());
        Err(Undone::failed("misplaced", error))
    }
}
