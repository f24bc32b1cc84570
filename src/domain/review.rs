//! A review: what needs a person, until one has decided.

/// Whether somebody has decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum ReviewState {
    /// Nobody has.
    Open,
    /// Somebody has.
    Resolved,
}

impl ReviewState {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }

    /// The state of that name.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Open, Self::Resolved].into_iter().find(|state| state.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_open_or_resolved_and_nothing_else() {
        for state in [ReviewState::Open, ReviewState::Resolved] {
            assert_eq!(ReviewState::named(state.word()), Some(state));
        }
        assert_eq!(ReviewState::named("Open"), None);
        assert_eq!(ReviewState::named(""), None);
    }
}
