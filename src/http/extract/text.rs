//! One pass over the text of a JSON document, before any parser allocates for it.

/// How deep arrays and objects may be nested.
const DEPTH_LIMIT: usize = 64;

/// What one look at a text finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    /// Arrays and objects are nested deeper than anybody needs.
    pub is_too_deep: bool,
    /// A string contains U+0000, which is legal JSON and which no store takes.
    pub has_nul: bool,
}

/// Looks at a text. Says nothing of value about one that is not JSON.
pub(super) fn look(text: &str) -> Look {
    let (mut depth, mut deepest, mut has_nul, mut is_in_string) = (0_usize, 0, false, false);
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => {
                has_nul |= tail.starts_with(b"u0000");
                rest = tail.split_first().map_or(tail, |(_, after)| after);
            }
            b'[' | b'{' if !is_in_string => {
                depth += 1;
                deepest = depth.max(deepest);
            }
            b']' | b'}' if !is_in_string => depth = depth.saturating_sub(1),
            _ => (),
        }
    }
    Look { is_too_deep: deepest > DEPTH_LIMIT, has_nul }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_what_is_open_at_once_outside_of_strings() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!look(&nested(64)).is_too_deep);
        assert!(look(&nested(65)).is_too_deep);
        assert!(look(&"{\"a\":".repeat(65)).is_too_deep);
        assert!(!look(&format!("[{}1]", "[],".repeat(100))).is_too_deep);
        assert!(!look(&format!("\"{}\"", "[".repeat(100))).is_too_deep);
        assert!(!look(&format!("\"\\\"{}\"", "[".repeat(100))).is_too_deep);
        assert!(look(&format!("\"\\\\\"{}", "[".repeat(65))).is_too_deep);
    }

    #[test]
    fn a_nul_is_seen_in_any_string_and_nowhere_else() {
        assert!(look(r#"{"a":"b\u0000"}"#).has_nul);
        assert!(look(r#"{"\u0000":1}"#).has_nul);
        assert!(look(r#""\\\u0000""#).has_nul);
        assert!(!look(r#""\\u0000""#).has_nul);
        assert!(!look(r#""\u0001 u0000""#).has_nul);
    }
}
