//! What we sell: the catalogue of plans, read from `config/plans.toml` and checked before the start.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::domain::money::Halalas;

/// The catalogue that is compiled in.
pub const CATALOGUE: &str = include_str!("../../config/plans.toml");

/// Moyasar takes nothing below one riyal.
const SMALLEST_PRICE: Halalas = Halalas(100);

/// How a plan is paid for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    /// A price per month.
    Monthly,
    /// A price that people agree on.
    Custom,
}

/// Something that can be bought.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The name in URLs and requests.
    pub id: String,
    /// The name for people who read English.
    pub name_en: String,
    /// The name for people who read Arabic.
    pub name_ar: String,
    /// Riyals a month; zero where people agree on one.
    pub price_sar: i64,
    /// How it is paid for.
    pub billing: Billing,
    /// Never listed, and sold only outside production.
    #[serde(default)]
    pub hidden: bool,
    /// What it contains, in English.
    pub features_en: Vec<String>,
    /// What it contains, in Arabic.
    pub features_ar: Vec<String>,
}

impl Plan {
    /// The price; a checked catalogue cannot hold one that does not fit.
    pub fn price(&self) -> Halalas {
        Halalas::from_riyals(self.price_sar).unwrap_or_default()
    }
}

/// Every plan, in the order they are shown.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    plans: Vec<Plan>,
}

/// Why a catalogue must not be sold from.
#[derive(PartialEq, Eq, Debug, thiserror::Error)]
pub enum CatalogueError {
    /// It is no catalogue.
    #[error("the catalogue cannot be read: {0}")]
    Unreadable(String),
    /// There is nothing to sell.
    #[error("the catalogue lists no plan")]
    Empty,
    /// A plan is wrong.
    #[error("plan `{plan}`: {reason}")]
    Plan {
        /// Its id.
        plan: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl Catalogue {
    /// Reads a catalogue and refuses one that would sell something wrong.
    pub fn parse(text: &str) -> Result<Self, CatalogueError> {
        let catalogue: Self =
            toml::from_str(text).map_err(|error| CatalogueError::Unreadable(error.to_string()))?;
        let mut ids = BTreeSet::new();
        for plan in &catalogue.plans {
            let reason = if ids.insert(plan.id.as_str()) {
                wrong_with(plan)
            } else {
                Some("another plan has this id")
            };
            if let Some(reason) = reason {
                return Err(CatalogueError::Plan { plan: plan.id.clone(), reason });
            }
        }
        if catalogue.listed().next().is_none() {
            return Err(CatalogueError::Empty);
        }
        Ok(catalogue)
    }

    /// The plans that everybody may see.
    pub fn listed(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter().filter(|plan| !plan.hidden)
    }

    /// The plan with that id, if everybody may see it.
    pub fn find_listed(&self, id: &str) -> Option<&Plan> {
        self.listed().find(|plan| plan.id == id)
    }

    /// The plan with that id, if it may be sold; hidden ones only where `sells_hidden`.
    pub fn find_for_sale(&self, id: &str, sells_hidden: bool) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.id == id && (sells_hidden || !plan.hidden))
    }
}

fn wrong_with(plan: &Plan) -> Option<&'static str> {
    let is_slug = |id: &str| {
        !id.is_empty()
            && id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if !is_slug(&plan.id) {
        return Some("an id has lower-case letters, digits and underscores");
    }
    if [&plan.name_en, &plan.name_ar].iter().any(|name| name.trim().is_empty()) {
        return Some("it needs a name in both languages");
    }
    if plan.features_en.is_empty() || plan.features_en.len() != plan.features_ar.len() {
        return Some("it needs the same features in both languages");
    }
    match (plan.billing, Halalas::from_riyals(plan.price_sar)) {
        (_, None) => Some("its price does not fit"),
        (Billing::Custom, Some(Halalas::ZERO)) => None,
        (Billing::Custom, Some(_)) => Some("a custom plan has no price"),
        (Billing::Monthly, Some(price)) if price < SMALLEST_PRICE => {
            Some("a monthly plan costs at least one riyal")
        }
        (Billing::Monthly, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue_with(change: &str) -> Result<Catalogue, CatalogueError> {
        let text = "[[plans]]\nid = 'a'\nname_en = 'A'\nname_ar = 'أ'\nprice_sar = 1\n\
                    billing = 'monthly'\nfeatures_en = ['x']\nfeatures_ar = ['س']\n";
        let key = change.split(" = ").next().unwrap_or_default();
        let kept = text.lines().filter(|line| key.is_empty() || !line.starts_with(key));
        Catalogue::parse(&format!("{}\n{change}\n", kept.collect::<Vec<_>>().join("\n")))
    }

    fn reason(change: &str) -> &'static str {
        match catalogue_with(change) {
            Err(CatalogueError::Plan { reason, .. }) => reason,
            other => panic!("{change}: {other:?}"),
        }
    }

    #[test]
    fn the_compiled_in_catalogue_is_what_the_contract_sells() {
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let listed: Vec<_> = catalogue
            .listed()
            .map(|plan| (plan.id.as_str(), plan.price_sar, plan.price(), plan.billing))
            .collect();
        assert_eq!(
            listed,
            [
                ("starter", 990, Halalas(99_000), Billing::Monthly),
                ("growth", 2490, Halalas(249_000), Billing::Monthly),
                ("enterprise", 0, Halalas::ZERO, Billing::Custom),
            ]
        );
    }

    #[test]
    fn a_hidden_plan_is_never_listed_and_sold_only_where_allowed() {
        let catalogue = Catalogue::parse(CATALOGUE).unwrap();
        let hidden = "pilot_1sar";
        assert_eq!(catalogue.find_listed(hidden), None);
        assert_eq!(catalogue.find_for_sale(hidden, false), None);
        assert_eq!(catalogue.find_for_sale(hidden, true).unwrap().price(), Halalas(100));
        assert_eq!(catalogue.find_for_sale("starter", false).unwrap().id, "starter");
        assert_eq!(catalogue.find_listed("growth").unwrap().id, "growth");
        assert_eq!(catalogue.find_for_sale("nothing", true), None);
    }

    #[test]
    fn a_broken_catalogue_is_refused_with_its_plan_named() {
        assert!(catalogue_with("").is_ok());
        assert!(catalogue_with("id = 'a_1'").is_ok());
        assert!(matches!(Catalogue::parse("plans = 3"), Err(CatalogueError::Unreadable(_))));
        assert!(matches!(catalogue_with("prize = 1"), Err(CatalogueError::Unreadable(_))));
        assert_eq!(Catalogue::parse("plans = []"), Err(CatalogueError::Empty));
        assert_eq!(catalogue_with("hidden = true"), Err(CatalogueError::Empty));
        assert!(reason("id = 'A'").contains("an id has"));
        assert!(reason("id = ''").contains("an id has"));
        assert!(reason("id = 'a-b'").contains("an id has"));
        assert!(reason("name_en = ' '").contains("both languages"));
        assert!(reason("name_ar = ''").contains("both languages"));
        assert!(reason("features_en = []").contains("the same features"));
        assert!(reason("features_ar = []").contains("the same features"));
        assert!(reason("features_ar = ['س', 'ص']").contains("the same features"));
        assert!(reason("price_sar = 0").contains("at least one riyal"));
        assert!(reason("price_sar = 9223372036854775807").contains("does not fit"));
        assert!(reason("billing = 'custom'").contains("no price"));
        let plan = CATALOGUE.split("[[plans]]").nth(1).unwrap();
        let twice = format!("[[plans]]{plan}[[plans]]{plan}");
        assert!(Catalogue::parse(&twice).unwrap_err().to_string().contains("another plan"));
    }
}
