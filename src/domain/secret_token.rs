//! The webhook's shared secret inside a text that somebody else wrote: found and blanked, whether the
//! text is JSON, JSON within a string of JSON, Python's way of writing it, or broken.

use std::borrow::Cow;
use std::ops::Range;

/// The name that stands before the secret.
const NAME: &str = "secret_token";

/// What stands in its place.
const BLANK: &str = "[redacted]";

/// The text without the value of any `secret_token`, every other byte as it was; JSON stays JSON.
pub fn blank_tokens(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let (mut kept, mut at) = (0, 0);
    while let Some(name) = next_name(text, at) {
        at = name.end;
        let Some(Token { value, quote }) = token(text, name.end) else { continue };
        clean.push_str(text.get(kept..value.start).unwrap_or_default());
        clean.extend([quote, BLANK, quote]);
        kept = value.end;
        at = value.end;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(text.get(kept..).unwrap_or_default());
    Cow::Owned(clean)
}

/// A secret: where it stands, quotes included, and the quote that what replaces it is to have.
struct Token<'a> {
    value: Range<usize>,
    quote: &'a str,
}

fn next_name(text: &str, from: usize) -> Option<Range<usize>> {
    let windows = text.as_bytes().get(from..)?.windows(NAME.len());
    let found = windows.enumerate().find(|(_, it)| it.eq_ignore_ascii_case(NAME.as_bytes()));
    found.map(|(at, it)| from + at..from + at + it.len())
}

/// The secret whose name ends at `end`; nothing if this is no name of anything.
fn token(text: &str, end: usize) -> Option<Token<'_>> {
    let (after_name, name_quote) = quote_at(text, end).unwrap_or((end, ""));
    let gap = text.get(after_name..)?;
    let assigned = gap.trim_start().strip_prefix([':', '='])?.trim_start();
    let start = text.len() - assigned.len();
    if let Some((inside, quote)) = quote_at(text, start) {
        return Some(Token { value: start..closing(text, inside, quote), quote });
    }
    let end = match assigned.chars().next()? {
        '{' | '[' => balanced(text, start, name_quote),
        _ => {
            let is_over = |c: char| c.is_whitespace() || ",;&}])\"'\\".contains(c);
            start + assigned.find(is_over).unwrap_or(assigned.len())
        }
    };
    (end > start).then_some(Token { value: start..end, quote: name_quote })
}

/// The quote that begins at `at`, with the backslashes that it has in JSON within JSON, and where it
/// ends.
fn quote_at(text: &str, at: usize) -> Option<(usize, &str)> {
    let rest = text.get(at..)?;
    let slashes = rest.len() - rest.trim_start_matches('\\').len();
    let is_quote = matches!(rest.as_bytes().get(slashes), Some(b'"' | b'\''));
    is_quote.then(|| (at + slashes + 1, rest.get(..=slashes).unwrap_or_default()))
}

/// Where the text ends that `quote` began before `at`, the closing quote included; the end of
/// everything if it was cut off.
fn closing(text: &str, at: usize, quote: &str) -> usize {
    let slashes = quote.len() - 1;
    let mark = quote.as_bytes().last();
    let mut run = 0;
    for (index, byte) in text.bytes().enumerate().skip(at) {
        if byte == b'\\' {
            run += 1;
            continue;
        }
        if Some(&byte) == mark && run % cycle(slashes) == slashes {
            return index + 1;
        }
        run = 0;
    }
    text.len()
}

/// A backslash that is part of the text is written with so many, where a quote has so many before it.
fn cycle(slashes: usize) -> usize {
    2 * (slashes + 1).next_power_of_two()
}

/// Where the object or list ends that begins at `start`, and whose texts have such quotes.
fn balanced(text: &str, start: usize, quote: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = text.as_bytes().get(at) {
        if let Some((inside, found)) = quote_at(text, at)
            && found == quote
        {
            at = closing(text, inside, quote);
            continue;
        }
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_secret_is_blanked_wherever_and_however_it_is_written() {
        let cases = [
            (r#"{"secret_token":"abc","n":1.50}"#, r#"{"secret_token":"[redacted]","n":1.50}"#),
            (r#"{"a":{"Secret_Token" : "a\"b\\"}}"#, r#"{"a":{"Secret_Token" : "[redacted]"}}"#),
            (
                r#"{"body":"{\"secret_token\": \"a\\\"b\", \"x\": 1}"}"#,
                r#"{"body":"{\"secret_token\": \"[redacted]\", \"x\": 1}"}"#,
            ),
            (
                r#"["{\"b\":\"{\\\"secret_token\\\":\\\"abc\\\"}\"}"]"#,
                r#"["{\"b\":\"{\\\"secret_token\\\":\\\"[redacted]\\\"}\"}"]"#,
            ),
            ("{'secret_token': 'ab', 'id': 1}", "{'secret_token': '[redacted]', 'id': 1}"),
            (r#"{"secret_token":"cut of"#, r#"{"secret_token":"[redacted]""#),
            (r#"{"secret_token":17,"a":1}"#, r#"{"secret_token":"[redacted]","a":1}"#),
            (r#"{"secret_token":null}"#, r#"{"secret_token":"[redacted]"}"#),
            (r#"{"secret_token":{"a":["}"]},"b":2}"#, r#"{"secret_token":"[redacted]","b":2}"#),
            (
                r#"{"x":"{\"secret_token\":[\"a]\"],\"b\":2}"}"#,
                r#"{"x":"{\"secret_token\":\"[redacted]\",\"b\":2}"}"#,
            ),
            ("secret_token=abc&n=1", "secret_token=[redacted]&n=1"),
            (
                "secret_token: abc and secret_token=b",
                "secret_token: [redacted] and secret_token=[redacted]",
            ),
            (r#"{"secret_token":[1,"#, r#"{"secret_token":"[redacted]""#),
        ];
        for (text, clean) in cases {
            assert_eq!(blank_tokens(text), clean, "{text}");
            assert_eq!(blank_tokens(clean), clean);
        }
    }

    #[test]
    fn a_text_without_a_secret_stays_as_it_is() {
        for text in
            ["", "secret_token", r#"{"why":"no secret_token came"}"#, "secret_token = ", "]}"]
        {
            assert!(matches!(blank_tokens(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    /// A body with a secret, somewhere inside of something, perhaps as a text.
    fn nested(secret: &str, wraps: &[u8]) -> Value {
        let innermost = json!({"n": 1, "secret_token": secret, "z": "s\\\"{["});
        wraps.iter().fold(innermost, |inner, wrap| match wrap % 4 {
            0 => json!({"raw": inner.to_string(), "id": 7}),
            1 => json!({"event": inner, "é": "\"}"}),
            2 => json!(["\\", inner, null]),
            _ => json!({"secret_token": secret, "data": inner}),
        })
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_it_was_but_for_the_secret(
            secret in "[-a-z\"'\\\\{}\\[\\],:=& é]{1,20}",
            wraps in prop::collection::vec(any::<u8>(), 0..5),
        ) {
            let clean = blank_tokens(&nested(&secret, &wraps).to_string()).into_owned();
            prop_assert_eq!(serde_json::from_str::<Value>(&clean).unwrap(), nested(BLANK, &wraps));
        }

        #[test]
        fn nothing_is_too_odd_for_it(text in "(secret_token|[\"'\\\\{}\\[\\]:= ]|[^a]){0,40}") {
            let clean = blank_tokens(&text).into_owned();
            prop_assert_eq!(blank_tokens(&clean).into_owned(), clean);
        }
    }
}
