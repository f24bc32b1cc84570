//! Tell a story: find out what an id is the name of, what belongs to it, and what happened to it.

use futures_util::future::try_join_all;
use redis::{RedisError, RedisResult};
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clock::Clock;
use crate::db;
use crate::db::stories::Named;
use crate::domain::checkout::{CheckoutId, Locale};
use crate::domain::story::{Actor, Happening, Story, Thing};
use crate::queue::{Content, Entry, Letters, Queue};

/// Things of one kind in a story.
const ROWS: i64 = 50;

/// Lines of a timeline.
const LINES: usize = 200;

/// What dead letters of Moyasar's events are called, before the event's own id.
const EVENT_PREFIX: &str = "moyasar:";

/// What dead letters of the outbox are called, before the row's id.
const OUTBOX_PREFIX: &str = "outbox:";

/// What telling stories needs.
#[derive(Clone)]
pub(crate) struct TellStory {
    pub db: PgPool,
    pub letters: Letters,
    pub clock: Clock,
}

/// Why a story was not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoryError {
    #[error("the database failed: {0}")]
    Storage(#[from] sqlx::Error),
    /// Postgres knows nothing of the name, and the queues might.
    #[error("Redis failed: {0}")]
    Queue(#[from] RedisError),
}

impl TellStory {
    /// The story of whatever bears that name; none if nothing does. What Postgres does not know may be
    /// a dead letter that is only in Redis.
    pub async fn run(&self, name: &str, locale: Locale) -> Result<Option<Story>, StoryError> {
        if let Some(story) = db::in_time(tell_what_is_stored(&self.db, name, locale)).await? {
            return Ok(Some(story));
        }
        if name.contains('@') {
            return Ok(None);
        }
        let found = self.find_letter(name).await?;
        Ok(found.map(|(queue, entry)| tell_letter(name, queue, entry, locale)))
    }

    /// The story of a checkout; none if there is no such checkout.
    pub async fn of_checkout(&self, id: CheckoutId, locale: Locale) -> sqlx::Result<Option<Story>> {
        let name = id.to_string();
        let named = Named { thing: Thing::Checkout, id: name.clone() };
        db::in_time(tell(&self.db, &name, Thing::Checkout, &named, locale)).await
    }

    /// The letter of that id, whose ever it is; of an event, also by the event's own id.
    async fn find_letter(&self, name: &str) -> RedisResult<Option<(Queue, Entry)>> {
        let of_an_event = format!("{EVENT_PREFIX}{name}");
        let places = Queue::ALL.map(|queue| (queue, name));
        let places = places.into_iter().chain([(Queue::Webhooks, of_an_event.as_str())]);
        let now = self.clock.now();
        let asked = places.map(async |(queue, id)| {
            let entry = self.letters.get(queue, id, now).await?;
            Ok::<_, RedisError>(entry.map(|entry| (queue, entry)))
        });
        Ok(try_join_all(asked).await?.into_iter().flatten().next())
    }
}

async fn tell_what_is_stored(
    db: &PgPool,
    name: &str,
    locale: Locale,
) -> sqlx::Result<Option<Story>> {
    let Some((is, named)) = find(db, name).await? else { return Ok(None) };
    tell(db, name, is, &named, locale).await
}

/// All that is known of a letter that is only in Redis.
fn tell_letter(name: &str, queue: Queue, entry: Entry, locale: Locale) -> Story {
    let Entry { id, state, content, created_at, source, error_class, request_id, .. } = entry;
    let letter = match content {
        Content::Letter(letter) => Some(letter),
        Content::Newer | Content::Unreadable => None,
    };
    let actor = Actor {
        thing: Thing::DeadLetter,
        id: Some(id.clone()),
        state: state.name().to_owned(),
        more: Some(error_class.clone()),
        amount: None,
        failures: letter.as_ref().map_or(0, |letter| letter.attempt.into()),
    };
    let request_id = Some(request_id).filter(|request_id| !request_id.is_empty());
    let happening = |at, what: &str, details| Happening {
        at,
        what: what.to_owned(),
        subject: id.clone(),
        details,
        request_id: request_id.clone(),
    };
    let details = json!({ "queue": queue.name(), "source": source });
    let written = happening(created_at, "letter_written", details);
    let tried = letter.and_then(|letter| {
        let details = json!({ "error_class": error_class, "error": letter.error });
        letter.last_attempt_at.map(|at| happening(at, "letter_tried", details))
    });
    Story {
        id: name.to_owned(),
        is: Thing::DeadLetter,
        actors: vec![actor.shown(locale)],
        timeline: [Some(written), tried].into_iter().flatten().map(|it| it.told(locale)).collect(),
        is_cut: false,
    }
}

async fn find(db: &PgPool, name: &str) -> sqlx::Result<Option<(Thing, Named)>> {
    if name.contains('@') {
        let named = Named { thing: Thing::Email, id: name.to_owned() };
        return Ok(Some((Thing::Email, named)));
    }
    if let Some(event) = name.strip_prefix(EVENT_PREFIX) {
        let named = db::stories::find(db, event, None).await?;
        return Ok(named.map(|named| (Thing::DeadLetter, named)));
    }
    if let Some(row) = name.strip_prefix(OUTBOX_PREFIX).and_then(|id| Uuid::try_parse(id).ok()) {
        let named = Named { thing: Thing::AnalyticsEvent, id: row.to_string() };
        return Ok(Some((Thing::DeadLetter, named)));
    }
    let id = Uuid::try_parse(name).ok();
    let named = db::stories::find(db, name, id).await?;
    Ok(named.map(|named| (named.thing, named)))
}

async fn tell(
    db: &PgPool,
    name: &str,
    is: Thing,
    named: &Named,
    locale: Locale,
) -> sqlx::Result<Option<Story>> {
    let family = db::stories::get_family(db, named, ROWS).await?;
    let request = (named.thing == Thing::Request).then_some(named.id.as_str());
    // One more than is shown tells whether there is more.
    let limit = i64::try_from(LINES + 1).unwrap_or(i64::MAX);
    let mut lines = db::stories::timeline::list(db, &family, request, limit).await?;
    if lines.is_empty() {
        return Ok(None);
    }
    let is_cut = lines.len() > LINES;
    lines.truncate(LINES);
    let actors = db::stories::list_actors(db, &family).await?;
    Ok(Some(Story {
        id: name.to_owned(),
        is,
        actors: actors.into_iter().map(|actor| actor.shown(locale)).collect(),
        timeline: lines.into_iter().rev().map(|line| line.told(locale)).collect(),
        is_cut,
    }))
}
