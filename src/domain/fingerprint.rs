//! What failures have in common: an error without what differs each time it happens.

use sha2::{Digest, Sha256};

/// How much of an error tells what it is about.
const LENGTH: usize = 300;

/// The shortest word that can be the id of something, if it mixes letters and digits.
const ID: usize = 16;

/// The shortest hexadecimal number that nobody writes by chance.
const HEX: usize = 8;

/// The name of the group of failures that have this origin and class, and in essence this error.
pub fn fingerprint(origin: &str, class: &str, error: &str) -> String {
    let mut digest = Sha256::new();
    for part in [origin, class, &essence(error)] {
        digest.update(part);
        digest.update([0]);
    }
    let first = digest.finalize().into_iter().take(8);
    format!("{:016x}", first.fold(0_u64, |name, byte| name << 8 | u64::from(byte)))
}

/// The error with a placeholder for whatever differs each time: what is quoted, addresses, ids, numbers.
pub fn essence(error: &str) -> String {
    let mut essence = String::new();
    let mut rest = error;
    while let Some(first) = rest.chars().next() {
        if essence.chars().count() >= LENGTH {
            break;
        }
        if let Some(behind) = behind_quoted(rest, first) {
            essence.push_str("<text>");
            rest = behind;
        } else if is_part_of_word(first) {
            let end = rest.find(|c| !is_part_of_word(c)).unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            if behind.starts_with("://") {
                let end = behind.find(is_end_of_address).unwrap_or(behind.len());
                essence.push_str("<url>");
                rest = behind.get(end..).unwrap_or_default();
            } else {
                push_word(&mut essence, word);
                rest = behind;
            }
        } else {
            if !first.is_whitespace() {
                essence.push(first);
            } else if !essence.ends_with(' ') {
                essence.push(' ');
            }
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    essence.trim().chars().take(LENGTH).collect()
}

/// What comes behind something that stands in quotation marks. An apostrophe is none.
fn behind_quoted(text: &str, mark: char) -> Option<&str> {
    let closing = match mark {
        '"' | '`' | '\'' => mark,
        '\u{201c}' => '\u{201d}',
        '«' => '»',
        _ => return None,
    };
    let inside = text.get(mark.len_utf8()..)?;
    inside.split_once(closing).map(|(_, behind)| behind)
}

fn is_part_of_word(c: char) -> bool {
    c.is_alphanumeric() || "._%+-@~".contains(c)
}

fn is_end_of_address(c: char) -> bool {
    c.is_whitespace() || "\"'<>`),;]}".contains(c)
}

fn push_word(essence: &mut String, word: &str) {
    // The end of a sentence is no part of what stands there.
    let bare = word.trim_end_matches(['.', '-']);
    let tail = word.get(bare.len()..).unwrap_or_default();
    let name = bare.contains(char::is_alphanumeric).then(|| placeholder(bare)).flatten();
    match name {
        Some(name) => essence.push_str(name),
        None => push_without_numbers(essence, bare),
    }
    essence.push_str(tail);
}

fn placeholder(word: &str) -> Option<&'static str> {
    let is_mixed = word.contains(char::is_numeric) && word.contains(char::is_alphabetic);
    let is_hex = word.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    if word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()) {
        Some("<address>")
    } else if is_mixed && (word.len() >= ID || is_hex && word.len() >= HEX) {
        Some("<id>")
    } else {
        None
    }
}

fn push_without_numbers(essence: &mut String, word: &str) {
    let mut is_in_number = false;
    for c in word.chars() {
        let continues = is_in_number && ".,".contains(c);
        if !c.is_numeric() && !continues {
            essence.push(c);
        } else if !is_in_number {
            essence.push_str("<n>");
        }
        is_in_number = c.is_numeric() || continues;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_each_time_gives_way() {
        let cases = [
            ("timed out after 1500 ms", "timed out after <n> ms"),
            ("timed out after 1.5 s.", "timed out after <n> s."),
            ("HTTP 503", "HTTP <n>"),
            ("payment 0191e2a4-90a1-7cc3-8123-456789abcdef is gone", "payment <id> is gone"),
            ("commit 1a2b3c4d5e6f", "commit <id>"),
            ("invoice inv_8f3kJ2mQ9xLp77aa", "invoice <id>"),
            ("no user \"sara\" at 'home' or `cafe`", "no user <text> at <text> or <text>"),
            ("لا يوجد «سارة» برقم ٤٢", "لا يوجد <text> برقم <n>"),
            ("mail to sara@example.com failed", "mail to <address> failed"),
            ("GET https://example.com/v1/leads/42?x=1 failed", "GET <url> failed"),
            ("table2 column_7", "table<n> column_<n>"),
            ("  much \t\n space  ", "much space"),
            ("can't connect", "can't connect"),
            ("203.0.113.7:443", "<n>:<n>"),
            ("plain words stay", "plain words stay"),
            ("--- @ ~", "--- @ ~"),
            ("", ""),
        ];
        for (error, expected) in cases {
            assert_eq!(essence(error), expected);
        }
        assert_eq!(essence(&"long ".repeat(999)).chars().count(), LENGTH - 1, "ends with a word");
        assert_eq!(essence(&"long".repeat(999)).chars().count(), LENGTH);
    }

    #[test]
    fn the_same_failure_has_the_same_name_and_another_has_another() {
        let first = fingerprint("moyasar", "refused", "payment 4711 is not ours");
        assert_eq!(first, fingerprint("moyasar", "refused", "payment 42 is not ours"));
        assert_eq!(first.len(), 16);
        for (origin, class, error) in [
            ("email", "refused", "payment 42 is not ours"),
            ("moyasar", "timeout", "payment 42 is not ours"),
            ("moyasar", "refused", "payment 42 is not known"),
            ("moyasarrefused", "", "payment 42 is not ours"),
        ] {
            assert_ne!(first, fingerprint(origin, class, error));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_number_of_any_text_is_left(text in "\\PC{0,120}") {
            proptest::prop_assert!(!essence(&text).contains(char::is_numeric));
        }
    }
}
