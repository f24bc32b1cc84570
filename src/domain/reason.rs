//! Why somebody changes something, as it stands in the audit: how long it may be.

/// Longest reason, in characters.
pub const LONGEST_REASON: usize = 1_000;

/// Whether a text can be a reason: it has words, and not too many.
pub fn is_reason(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().count() <= LONGEST_REASON
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_1_to_1000_characters_without_the_blanks_around_it() {
        let longest = "ج".repeat(LONGEST_REASON);
        for (text, is) in [
            ("x", true),
            (&longest, true),
            (&format!(" {longest} "), true),
            (&format!("{longest}x"), false),
            ("", false),
            (" \n", false),
        ] {
            assert_eq!(is_reason(text), is, "{text}");
        }
    }
}
