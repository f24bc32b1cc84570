//! What operators say about a circuit breaker: to hold it open or closed for a while, or to begin anew.

use chrono::{DateTime, Utc};

/// What a breaker is held at, whatever it has seen itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum Force {
    /// No call goes out.
    Open,
    /// Every call goes out.
    Closed,
}

impl Force {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// A breaker that is held, and until when: a forgotten override ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forced {
    pub to: Force,
    pub until: DateTime<Utc>,
}

/// All that operators have said about one breaker so far. The default is that nobody said anything.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Orders {
    /// Grows with every word, so that an older one never takes the place of a newer one.
    pub version: i64,
    /// How often it was told to begin anew.
    pub resets: i64,
    /// The last word, unless it was to begin anew. It may have ended.
    pub forced: Option<Forced>,
}

impl Orders {
    /// After it was told to be held.
    #[must_use]
    pub fn force(self, forced: Forced) -> Self {
        Self { version: self.version + 1, forced: Some(forced), ..self }
    }

    /// After it was told to begin anew, which ends an override, too.
    #[must_use]
    pub fn reset(self) -> Self {
        Self { version: self.version + 1, resets: self.resets + 1, forced: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_and_every_word_is_newer_than_the_one_before() {
        let until = "2026-11-20T09:00:00Z".parse().unwrap();
        let open = Forced { to: Force::Open, until };
        let held = Orders::default().force(open);
        assert_eq!(held, Orders { version: 1, resets: 0, forced: Some(open) });
        assert_eq!(held.reset(), Orders { version: 2, resets: 1, forced: None });
        assert_eq!(held.reset().force(open), Orders { version: 3, resets: 1, forced: Some(open) });
    }

    #[test]
    fn a_held_breaker_has_the_word_of_its_state() {
        assert_eq!([Force::Open, Force::Closed].map(Force::word), ["open", "closed"]);
    }
}
