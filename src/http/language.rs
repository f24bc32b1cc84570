//! Which of our two languages a client reads.

use axum::http::{HeaderMap, HeaderValue, header};

/// A language that we write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Language {
    /// The default.
    #[default]
    English,
    /// Right to left.
    Arabic,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::Arabic];

    /// The tag in `Content-Language` and in `lang` attributes.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Arabic => "ar",
        }
    }

    /// Which way it is written, for `dir` attributes.
    pub const fn direction(self) -> &'static str {
        match self {
            Self::English => "ltr",
            Self::Arabic => "rtl",
        }
    }

    /// The tag as a header value.
    pub const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.tag())
    }

    /// The language that `Accept-Language` ranks highest; of equals the first; else English.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let (mut best, mut language) = (0, Self::default());
        for value in headers.get_all(header::ACCEPT_LANGUAGE) {
            for range in value.to_str().unwrap_or_default().split(',') {
                let mut parts = range.split(';').map(str::trim);
                let tag = parts.next().unwrap_or_default();
                let primary = tag.split('-').next().unwrap_or_default();
                let offered =
                    Self::ALL.into_iter().find(|it| it.tag().eq_ignore_ascii_case(primary));
                let weight = parts.find_map(weight).unwrap_or(1000);
                if let Some(offered) = offered.filter(|_| weight > best) {
                    (best, language) = (weight, offered);
                }
            }
        }
        language
    }
}

/// `q=0.8` in thousandths.
fn weight(parameter: &str) -> Option<u32> {
    let number = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut digits = fraction.chars().map(|digit| digit.to_digit(10).unwrap_or(0));
    let thousandths = (0..3).fold(0, |sum, _| sum * 10 + digits.next().unwrap_or(0));
    Some(if whole == "0" { thousandths } else { 1000 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arabic_is_for_those_who_prefer_it() {
        let language = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, value.parse().unwrap());
            Language::negotiate(&headers)
        };
        for arabic in [
            "ar",
            "AR",
            "ar-SA",
            "ar-SA,ar;q=0.9,en;q=0.8",
            "fr, ar;q=0.1",
            "en;q=0.5, ar;q=0.51",
            "ar,en",
        ] {
            assert_eq!(language(arabic), Language::Arabic, "{arabic}");
        }
        for english in [
            "en",
            "",
            "*",
            "fr",
            "en-US,en;q=0.9,ar;q=0.8",
            "ar;q=0",
            "ar;q=0.0, en",
            "arc",
            "=;q",
            "en,ar",
        ] {
            assert_eq!(language(english), Language::English, "{english}");
        }
        assert_eq!(Language::negotiate(&HeaderMap::new()), Language::English);
    }
}
