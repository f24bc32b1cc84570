//! What must not leave the house inside a free text: personal data and secrets, told by their shape.
//!
//! It is the last gate behind the rule that such things are not written down in the first place,
//! so it would rather blank too much: every number as long as a telephone number goes.

use std::borrow::Cow;
use std::ops::Range;

const ADDRESS: &str = "[address]";
const NUMBER: &str = "[number]";
const SECRET: &str = "[secret]";

/// Fewest digits that a telephone, identity, account or card number has.
const LONG_NUMBER: usize = 9;
/// Shortest mix of letters and digits that could be a key.
const LONG_TOKEN: usize = 24;
/// How the keys begin of those whom we work with, and tokens of anybody.
const SECRET_PREFIXES: [&str; 9] =
    ["sk_", "pk_", "sk-", "phc_", "phx_", "gsk_", "AIza", "xoxb-", "eyJ"];
/// Words after which the next one is a secret.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
/// Words after which the value is a secret.
const SECRET_NAMES: [&str; 8] =
    ["password", "passwd", "pwd", "secret", "token", "secret_token", "api_key", "authorization"];

/// The text without what must not leave; borrowed when there was nothing to hide.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some((found, name)) = next_find(text, at) {
        clean.push_str(text.get(kept..found.start).unwrap_or_default());
        clean.push_str(name);
        kept = found.end;
        at = found.end;
    }
    if clean.is_empty() {
        return Cow::Borrowed(text);
    }
    clean.push_str(text.get(kept..).unwrap_or_default());
    Cow::Owned(clean)
}

/// The first thing to hide at or behind `at`, and what to show instead.
fn next_find(text: &str, mut at: usize) -> Option<(Range<usize>, &'static str)> {
    loop {
        let range = next_word(text, at)?;
        let word = text.get(range.clone())?;
        at = range.end;
        if let Some(value) = introduced(text, word, range.end) {
            return Some((value, SECRET));
        }
        if is_uuid(word) {
            continue;
        }
        if is_secret(word) {
            return Some((range, SECRET));
        }
        if is_address(word) {
            return Some((range, ADDRESS));
        }
        if let Some(number) = long_number(text, range) {
            return Some((number, NUMBER));
        }
    }
}

/// Words are cut at everything that cannot stand in a key, a mail address or a host name.
fn next_word(text: &str, at: usize) -> Option<Range<usize>> {
    let is_part = |c: char| c.is_alphanumeric() || "._%+-@~".contains(c);
    let start = at + text.get(at..)?.find(is_part)?;
    let rest = text.get(start..)?;
    let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    Some(start..start + length)
}

/// The value behind a word that announces one: `Bearer …`, `token=…`, `"password": "…"`.
fn introduced(text: &str, word: &str, end: usize) -> Option<Range<usize>> {
    let is_one_of = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    let rest = text.get(end..)?;
    let gap = rest.find(|c: char| !(c.is_whitespace() || "=:\"'\\".contains(c)))?;
    let is_assigned = rest.get(..gap)?.contains(['=', ':']);
    if !(is_one_of(&SCHEMES) && gap > 0 || is_one_of(&SECRET_NAMES) && is_assigned) {
        return None;
    }
    let value = rest.get(gap..)?;
    let length = value.find(|c: char| c.is_whitespace() || "\"'\\,;&)}]".contains(c));
    let length = length.unwrap_or(value.len());
    let is_scheme = SCHEMES
        .iter()
        .any(|name| value.get(..length).is_some_and(|value| value.eq_ignore_ascii_case(name)));
    // `Authorization: Bearer …`: the scheme itself is no secret, what follows it is.
    (length > 0 && !is_scheme).then(|| end + gap..end + gap + length)
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && uuid::Uuid::try_parse(word).is_ok()
}

fn is_secret(word: &str) -> bool {
    let has_prefix = SECRET_PREFIXES.iter().any(|prefix| word.starts_with(prefix));
    let is_mixed = word.contains(|c: char| c.is_ascii_digit())
        && word.contains(|c: char| c.is_ascii_alphabetic());
    has_prefix && word.len() > 8 || is_mixed && word.len() >= LONG_TOKEN && !word.contains('@')
}

fn is_address(word: &str) -> bool {
    word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

/// The first long run of digits that begins inside the word; single separators do not end a run,
/// so that it may reach beyond the word.
fn long_number(text: &str, word: Range<usize>) -> Option<Range<usize>> {
    let mut at = word.start;
    while at < word.end {
        let start = at + text.get(at..word.end)?.find(is_digit)?;
        let run = digit_run(text.get(start..)?);
        if run.digits >= LONG_NUMBER {
            return Some(start..start + run.length);
        }
        at = start + run.length;
    }
    None
}

struct DigitRun {
    digits: usize,
    length: usize,
}

fn digit_run(text: &str) -> DigitRun {
    let mut run = DigitRun { digits: 0, length: 0 };
    let mut is_after_separator = false;
    for (at, c) in text.char_indices() {
        if is_digit(c) {
            run.digits += 1;
            run.length = at + c.len_utf8();
            is_after_separator = false;
        } else if " -.()\u{a0}".contains(c) && !is_after_separator {
            is_after_separator = true;
        } else {
            break;
        }
    }
    run
}

/// European, Arabic-Indic and Persian digits.
fn is_digit(c: char) -> bool {
    matches!(c, '0'..='9' | '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_data_is_hidden_in_every_spelling() {
        let cases = [
            ("mail to sara.q+1@example.com failed", "mail to [address] failed"),
            ("سارة@مثال.السعودية لم يصل", "[address] لم يصل"),
            ("call 0501234567 now", "call [number] now"),
            ("call +966 50 123 4567 now", "call +[number] now"),
            ("call 00966-50-123-4567.", "call [number]."),
            ("call 501234567", "call [number]"),
            ("اتصل ٠٥٠١٢٣٤٥٦٧ الآن", "اتصل [number] الآن"),
            ("call ۰۵۰۱۲۳۴۵۶۷", "call [number]"),
            ("phone_0501234567_x", "phone_[number]_x"),
            ("id 1012345678, iqama 2012345678", "id [number], iqama [number]"),
            ("iban SA0380000000608010167519", "iban [secret]"),
            ("iban SA03 8000 0000 6080 1016 7519", "iban SA[number]"),
            ("card 4111 1111 1111 1111 exp 12/30", "card [number] exp 12/30"),
            ("card 4111111111111111", "card [number]"),
            ("card 4111-1111-1111-1111", "card [number]"),
            ("from 203.0.113.1:443", "from 203.0.113.1:443"),
            ("from 203.0.113.100:443", "from [number]:443"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    #[test]
    fn secrets_are_hidden_by_shape_and_by_introduction() {
        let cases = [
            ("key sk_live_abc123", "key [secret]"),
            ("key pk_test_abc", "key [secret]"),
            ("key sk_abcdef", "key [secret]"),
            ("key sk-ant-abcdef", "key [secret]"),
            ("key phc_abcdefgh gsk_abcdefgh AIzaabcdefg", "key [secret] [secret] [secret]"),
            ("eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "[secret]"),
            ("hash 9f86d081884c7d659a2feaa0c55ad015", "hash [secret]"),
            ("exactly a1bcdefghijklmnopqrstuvw", "exactly [secret]"),
            ("Bearer short", "Bearer [secret]"),
            ("Authorization: Basic dXNl/cjpw+YXNz==", "Authorization: Basic [secret]"),
            ("password=hunter2&next=1", "password=[secret]&next=1"),
            (r#"{"secret_token": "abc", "id": 1}"#, r#"{"secret_token": "[secret]", "id": 1}"#),
            ("TOKEN: x", "TOKEN: [secret]"),
            ("postgres://app:hunter2@db.example/app", "postgres://app:[address]/app"),
        ];
        for (text, expected) in cases {
            assert_eq!(redact(text), expected, "{text}");
        }
    }

    #[test]
    fn what_helps_and_harms_nobody_stays() {
        let texts = [
            "",
            "payment 0191e2a4-90a1-7cc3-8123-456789abcdef is not paid: 49900 of 99000 halalas",
            "a step of settle_events failed after 3 attempts, 12345678 rows",
            "the token was refused, and that is basic",
            "commit 1a2b3c4d5e6f at 2026-11-20T12:34:56Z",
            "exactly a1bcdefghijklmnopqrstuv",
            "dealix_http_request_duration_seconds is missing",
            "twelve @ signs @here there@",
            "password",
            "sk_",
            "sk_abcde",
            "basic/simple is a path, bearer) is not introduced by anything",
            "token: , is empty, and so is bearer ;",
        ];
        for text in texts {
            assert_eq!(redact(text), text);
            assert!(matches!(redact(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived_and_clean_afterwards(text in "\\PC{0,80}") {
            let once = redact(&text).into_owned();
            proptest::prop_assert!(!once.chars().collect::<Vec<_>>().windows(9).any(|run| run.iter().all(|c| is_digit(*c))));
        }
    }
}
