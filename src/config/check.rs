//! Whether the settings may be used: everything that is wrong with them, at once.

use std::fmt;

/// Something that must be mended before the service starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The variable or the key of the setting, as the operator writes it.
    pub name: String,
    /// What is wrong and what would be right; never the value of a secret.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name, self.detail)
    }
}
