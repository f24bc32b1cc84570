//! What makes a secret one: not a placeholder, not short, not used twice; and making one up.

use secrecy::SecretString;
use uuid::Uuid;

/// Shortest secret of our own that is not weak, in bytes.
pub(super) const SHORTEST: usize = 32;

/// Whether somebody forgot to replace this: `changeme`, `xxx`, `todo`, `<…>`.
pub(super) fn is_placeholder(secret: &str) -> bool {
    let secret = secret.to_ascii_lowercase();
    let joined: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
    // Whole words only: a random key contains "xxx" by chance.
    let mut words = secret.split(|letter: char| !letter.is_ascii_alphanumeric());
    let is_crosses = |word: &str| word.len() >= 3 && word.bytes().all(|byte| byte == b'x');
    joined.contains("changeme")
        || words.any(|word| word == "todo" || is_crosses(word))
        || secret.split_once('<').is_some_and(|(_, rest)| rest.contains('>'))
}

/// Whether a key of this text could never be presented: a caller's is compared as visible ASCII,
/// and three parts separated by dots are read as a JWT.
pub(super) fn is_unusable_key(key: &str) -> bool {
    !key.bytes().all(|byte| byte.is_ascii_graphic()) || key.split('.').count() == 3
}

/// A random secret of 64 hexadecimal digits.
pub(super) fn made_up() -> SecretString {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_seen_in_every_spelling() {
        for placeholder in [
            "changeme",
            "CHANGE_ME",
            "change-me-please-0123456789abcdef",
            "xxx",
            "sk_live_xxxx",
            "todo",
            "todo: ask Finance",
            "<your key>",
            "sk_test_<key>",
            "postgresql://dealix:changeme@127.0.0.1/dealix",
        ] {
            assert!(is_placeholder(placeholder), "{placeholder}");
        }
    }

    #[test]
    fn a_random_secret_is_no_placeholder_though_it_contains_crosses() {
        for secret in ["kQxxxL29vTodoMn", "sk_live_8fK2xX", "a<b", "", "xx"] {
            assert!(!is_placeholder(secret), "{secret}");
        }
    }

    #[test]
    fn a_key_that_nobody_could_present_is_unusable() {
        assert!(is_unusable_key("مفتاح"));
        assert!(is_unusable_key("two words"));
        assert!(is_unusable_key("reads.like.jwt"));
        assert!(!is_unusable_key("one.dot"));
    }
}
