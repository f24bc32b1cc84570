//! Lists: filters out of the query string, and pages of forty, newest first.

use chrono::{DateTime, Utc};
use serde::Serialize;
use url::form_urlencoded;

use super::errors::{ApiError, FieldErrors};

const PAGE_SIZE: usize = 40;

/// What a list is asked for.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) page: usize,
    pub(crate) id: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) created_after: Option<DateTime<Utc>>,
    pub(crate) created_before: Option<DateTime<Utc>>,
    pub(crate) updated_after: Option<DateTime<Utc>>,
    pub(crate) updated_before: Option<DateTime<Utc>>,
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) card_last_digits: Option<String>,
    pub(crate) receipt_no: Option<String>,
}

impl Listing {
    /// Refuses a filter that the list does not have: a mistyped one would silently find everything.
    pub(crate) fn parse(query: Option<&str>, allowed: &[&str]) -> Result<Self, ApiError> {
        let mut listing = Self { page: 1, ..Self::default() };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            let key = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
            let filter = if key.is_some() { "metadata" } else { name.as_ref() };
            if !allowed.contains(&filter) {
                return Err(ApiError::refused(&format!("The list has no filter {name}.")));
            }
            match filter {
                "page" => listing.page = page_number(&value)?,
                "id" => listing.id = Some(value.into_owned()),
                "status" => listing.status = Some(value.into_owned()),
                "created[gt]" => listing.created_after = Some(moment("created", &value)?),
                "created[lt]" => listing.created_before = Some(moment("created", &value)?),
                "updated[gt]" => listing.updated_after = Some(moment("updated", &value)?),
                "updated[lt]" => listing.updated_before = Some(moment("updated", &value)?),
                "card_last_digits" => listing.card_last_digits = Some(value.into_owned()),
                "receipt_no" => listing.receipt_no = Some(value.into_owned()),
                _ => {
                    let key = key.unwrap_or_default().to_owned();
                    listing.metadata.push((key, value.into_owned()));
                }
            }
        }
        Ok(listing)
    }
}

fn page_number(value: &str) -> Result<usize, ApiError> {
    let page = value.parse().ok().filter(|page| *page > 0);
    page.ok_or_else(|| FieldErrors::one("page", "The value must be greater than or equal to 1."))
}

fn moment(field: &'static str, value: &str) -> Result<DateTime<Utc>, ApiError> {
    DateTime::parse_from_rfc3339(value)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|_| FieldErrors::one(field, "The value must be an ISO 8601 date."))
}

/// Where a page stands among the others.
#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    current_page: usize,
    next_page: Option<usize>,
    prev_page: Option<usize>,
    total_pages: usize,
    total_count: usize,
}

/// Cuts one page out of everything that matched.
pub(crate) fn page<T>(mut matches: impl Iterator<Item = T>, page: usize) -> (Vec<T>, Meta) {
    let skipped = matches.by_ref().take((page - 1).saturating_mul(PAGE_SIZE)).count();
    let items: Vec<T> = matches.by_ref().take(PAGE_SIZE).collect();
    let total_count = skipped + items.len() + matches.count();
    let total_pages = total_count.div_ceil(PAGE_SIZE).max(1);
    let meta = Meta {
        current_page: page,
        next_page: (page < total_pages).then(|| page + 1),
        prev_page: (page > 1).then(|| page - 1),
        total_pages,
        total_count,
    };
    (items, meta)
}
