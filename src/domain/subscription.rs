//! Subscriptions: what a payment grants, for how long, and what ends it.

use chrono::{DateTime, Days, FixedOffset, Months, Utc};
use serde::Serialize;

/// Riyadh is three hours ahead of UTC all year.
const RIYADH_OFFSET_SECS: i32 = 3 * 60 * 60;

/// How long a subscription past its end can still be saved.
pub const GRACE: Days = Days::new(3);

/// Where a subscription stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, sqlx::Type, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Paid for.
    Active,
    /// Past its end by less than the grace period.
    PastDue,
    /// Past its end for good.
    Expired,
    /// Its payment was given back.
    Canceled,
}

/// What a customer may use, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscription {
    /// What was bought.
    pub plan_id: String,
    /// Where it stood when it was last written; ask [`Subscription::status_at`] for now.
    pub status: SubscriptionStatus,
    /// When the paid time began.
    pub current_period_start: DateTime<Utc>,
    /// When the paid time ends.
    pub current_period_end: DateTime<Utc>,
}

/// A running subscription is of another plan: a person must decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanChange {
    /// The plan that runs.
    pub from: String,
    /// The plan that was paid for.
    pub to: String,
}

impl Subscription {
    /// Where it stands at `now`.
    pub fn status_at(&self, now: DateTime<Utc>) -> SubscriptionStatus {
        match self.status {
            SubscriptionStatus::Canceled => SubscriptionStatus::Canceled,
            SubscriptionStatus::Active
            | SubscriptionStatus::PastDue
            | SubscriptionStatus::Expired => {
                if now < self.current_period_end {
                    SubscriptionStatus::Active
                } else if now < self.current_period_end + GRACE {
                    SubscriptionStatus::PastDue
                } else {
                    SubscriptionStatus::Expired
                }
            }
        }
    }

    /// What a payment of one month of `plan_id` at `paid_at` makes of `current`: a new subscription,
    /// a month more of a running one, or nothing, where the running one is of another plan.
    pub fn granted(
        current: Option<&Self>,
        plan_id: &str,
        paid_at: DateTime<Utc>,
    ) -> Result<Self, PlanChange> {
        let fresh = || Self {
            plan_id: plan_id.to_owned(),
            status: SubscriptionStatus::Active,
            current_period_start: paid_at,
            current_period_end: a_month_after(paid_at),
        };
        let Some(current) = current else { return Ok(fresh()) };
        match current.status_at(paid_at) {
            SubscriptionStatus::Expired | SubscriptionStatus::Canceled => Ok(fresh()),
            SubscriptionStatus::Active | SubscriptionStatus::PastDue => {
                if current.plan_id != plan_id {
                    let (from, to) = (current.plan_id.clone(), plan_id.to_owned());
                    return Err(PlanChange { from, to });
                }
                Ok(Self {
                    plan_id: plan_id.to_owned(),
                    status: SubscriptionStatus::Active,
                    current_period_start: current.current_period_start,
                    current_period_end: a_month_after(current.current_period_end),
                })
            }
        }
    }

    /// What these payments make of a subscription, in the order in which they were granted: each a plan
    /// and when it was paid. Nothing if there are none.
    pub fn of_grants<'a>(
        grants: impl IntoIterator<Item = (&'a str, DateTime<Utc>)>,
    ) -> Result<Option<Self>, PlanChange> {
        let mut current = None;
        for (plan_id, paid_at) in grants {
            current = Some(Self::granted(current.as_ref(), plan_id, paid_at)?);
        }
        Ok(current)
    }

    /// The same subscription after all that was paid for it was given back.
    pub fn canceled(self) -> Self {
        Self { status: SubscriptionStatus::Canceled, ..self }
    }
}

/// The same day and time next month by the wall clock of Riyadh; the month's last day where that
/// day does not exist.
fn a_month_after(at: DateTime<Utc>) -> DateTime<Utc> {
    let Some(riyadh) = FixedOffset::east_opt(RIYADH_OFFSET_SECS) else { return at };
    at.with_timezone(&riyadh).checked_add_months(Months::new(1)).map_or(at, |end| end.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn starter(paid_at: &str) -> Subscription {
        Subscription::granted(None, "starter", at(paid_at)).unwrap()
    }

    #[test]
    fn a_first_payment_lasts_until_the_same_day_next_month_in_riyadh() {
        for (paid, end) in [
            ("2026-11-20T10:00:00Z", "2026-12-20T10:00:00Z"),
            // 21:30 UTC on the 30th is the 31st in Riyadh: the 28th is February's last day there.
            ("2026-01-30T21:30:00Z", "2026-02-27T21:30:00Z"),
            ("2026-01-31T12:00:00Z", "2026-02-28T12:00:00Z"),
            ("2028-01-31T12:00:00Z", "2028-02-29T12:00:00Z"),
            ("2026-12-31T21:30:00Z", "2027-01-31T21:30:00Z"),
        ] {
            assert_eq!(starter(paid).current_period_end, at(end), "{paid}");
        }
    }

    #[test]
    fn a_second_payment_extends_from_the_end_and_keeps_the_beginning() {
        let first = starter("2026-11-20T10:00:00Z");
        for paid_again in ["2026-12-01T00:00:00Z", "2026-12-22T00:00:00Z"] {
            let second = Subscription::granted(Some(&first), "starter", at(paid_again)).unwrap();
            assert_eq!(second.current_period_end, at("2027-01-20T10:00:00Z"));
            assert_eq!(second.current_period_start, first.current_period_start);
            assert_eq!(second.status, SubscriptionStatus::Active);
        }
    }

    #[test]
    fn another_plan_needs_a_person_while_the_first_one_runs() {
        let first = starter("2026-11-20T10:00:00Z");
        let change = PlanChange { from: "starter".into(), to: "growth".into() };
        for paid in ["2026-12-01T00:00:00Z", "2026-12-21T00:00:00Z"] {
            assert_eq!(
                Subscription::granted(Some(&first), "growth", at(paid)),
                Err(change.clone())
            );
        }
    }

    #[test]
    fn after_the_end_or_a_refund_any_plan_starts_afresh() {
        let first = starter("2026-11-20T10:00:00Z");
        let late = at("2026-12-23T10:00:00Z");
        for old in [first.clone(), first.canceled()] {
            let next = Subscription::granted(Some(&old), "growth", late).unwrap();
            assert_eq!((next.plan_id.as_str(), next.current_period_start), ("growth", late));
            assert_eq!(next.current_period_end, at("2027-01-23T10:00:00Z"));
        }
    }

    #[test]
    fn without_one_of_its_payments_it_is_what_the_others_make_of_it() {
        let (first, second) = (at("2026-11-20T10:00:00Z"), at("2026-12-01T00:00:00Z"));
        let both = Subscription::of_grants([("starter", first), ("starter", second)]);
        assert_eq!(both.unwrap().unwrap().current_period_end, at("2027-01-20T10:00:00Z"));
        let older = Subscription::of_grants([("starter", first)]).unwrap().unwrap();
        assert_eq!(older, starter("2026-11-20T10:00:00Z"));
        let newer = Subscription::of_grants([("starter", second)]).unwrap().unwrap();
        assert_eq!(newer, starter("2026-12-01T00:00:00Z"));
        assert_eq!(Subscription::of_grants([]), Ok(None));
        let change = PlanChange { from: "starter".into(), to: "growth".into() };
        let plans = [("starter", first), ("growth", second)];
        assert_eq!(Subscription::of_grants(plans), Err(change));
    }

    #[test]
    fn it_is_past_due_for_three_days_and_then_expired() {
        use SubscriptionStatus::{Active, Canceled, Expired, PastDue};
        let subscription = starter("2026-11-20T10:00:00Z");
        for (now, status) in [
            ("2026-12-20T09:59:59Z", Active),
            ("2026-12-20T10:00:00Z", PastDue),
            ("2026-12-23T09:59:59Z", PastDue),
            ("2026-12-23T10:00:00Z", Expired),
        ] {
            assert_eq!(subscription.status_at(at(now)), status, "{now}");
        }
        let canceled = subscription.canceled();
        assert_eq!(canceled.status_at(at("2026-11-21T00:00:00Z")), Canceled);
    }
}
