//! Money: whole halalas, and how they are shown to people. No float touches it.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// An amount in the smallest unit of the Saudi riyal; 100 are one riyal.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, sqlx::Type,
)]
#[serde(transparent)]
#[sqlx(transparent)]
pub struct Halalas(pub i64);

/// The one currency we sell in.
pub const SAR: &str = "SAR";

impl Halalas {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many whole riyals; `None` where that does not fit.
    pub fn from_riyals(riyals: i64) -> Option<Self> {
        riyals.checked_mul(100).map(Self)
    }

    /// The same amount, to be shown in riyals.
    pub const fn riyals(self) -> Riyals {
        Riyals(self)
    }
}

/// An amount shown in riyals: `990` or `990.5` becomes the JSON number `990` or `990.50`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Riyals(Halalas);

impl fmt::Display for Riyals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let halalas = self.0.0;
        let sign = if halalas < 0 { "-" } else { "" };
        let (whole, part) = (halalas.unsigned_abs() / 100, halalas.unsigned_abs() % 100);
        if part == 0 {
            write!(formatter, "{sign}{whole}")
        } else {
            write!(formatter, "{sign}{whole}.{part:02}")
        }
    }
}

impl Serialize for Riyals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

impl utoipa::PartialSchema for Riyals {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::Number)
            .description(Some("Riyals, for people; compute with the halalas beside it."))
            .examples([serde_json::json!(990)])
            .into()
    }
}

impl utoipa::ToSchema for Riyals {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_riyals_have_no_fraction_and_others_have_two_digits() {
        for (halalas, shown) in [
            (0, "0"),
            (100, "1"),
            (99_000, "990"),
            (99_050, "990.50"),
            (5, "0.05"),
            (-1, "-0.01"),
            (-12_300, "-123"),
            (i64::MIN, "-92233720368547758.08"),
        ] {
            assert_eq!(Halalas(halalas).riyals().to_string(), shown);
            assert_eq!(serde_json::to_string(&Halalas(halalas).riyals()).unwrap(), shown);
        }
    }

    #[test]
    fn riyals_become_halalas_or_nothing() {
        assert_eq!(Halalas::from_riyals(990), Some(Halalas(99_000)));
        assert_eq!(Halalas::from_riyals(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_what_it_is(halalas: i64) {
            let shown = Halalas(halalas).riyals().to_string();
            let (whole, part) = shown.split_once('.').unwrap_or((&shown, "00"));
            prop_assert_eq!(format!("{whole}{part}").parse::<i64>().unwrap(), halalas);
        }
    }
}
