//! Tell a story: find out what an id is the name of, what belongs to it, and what happened to it.

use sqlx::PgPool;
use uuid::Uuid;

use crate::db;
use crate::db::stories::Named;
use crate::domain::checkout::{CheckoutId, Locale};
use crate::domain::story::{Story, Thing};

/// Things of one kind in a story.
const ROWS: i64 = 50;

/// Lines of a timeline.
const LINES: usize = 200;

/// What dead letters of Moyasar's events are called, before the event's own id.
const LETTER_PREFIX: &str = "moyasar:";

/// The story of whatever bears that name; none if nothing does.
pub async fn tell_story(db: &PgPool, name: &str, locale: Locale) -> sqlx::Result<Option<Story>> {
    let Some((is, named)) = find(db, name).await? else { return Ok(None) };
    tell(db, name, is, &named, locale).await
}

/// The story of a checkout; none if there is no such checkout.
pub async fn tell_story_of_checkout(
    db: &PgPool,
    id: CheckoutId,
    locale: Locale,
) -> sqlx::Result<Option<Story>> {
    let name = id.to_string();
    let named = Named { thing: Thing::Checkout, id: name.clone() };
    tell(db, &name, Thing::Checkout, &named, locale).await
}

async fn find(db: &PgPool, name: &str) -> sqlx::Result<Option<(Thing, Named)>> {
    if name.contains('@') {
        let named = Named { thing: Thing::Email, id: name.to_owned() };
        return Ok(Some((Thing::Email, named)));
    }
    if let Some(event) = name.strip_prefix(LETTER_PREFIX) {
        let named = db::stories::find(db, event, None).await?;
        return Ok(named.map(|named| (Thing::DeadLetter, named)));
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
