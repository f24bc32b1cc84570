//! Entity tags: "you have this already", by RFC 9110.

use axum::http::{HeaderMap, HeaderValue, header};

/// A tag for content with this digest.
pub fn of(digest: &[u8]) -> HeaderValue {
    let mut tag = String::from("\"");
    tag.extend(digest.iter().take(8).flat_map(|byte| {
        [byte >> 4, byte & 15].map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0'))
    }));
    tag.push('"');
    HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names `etag`: weak comparison, lists, `*`.
pub fn matches(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let bare = |tag: &'_ str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let ours = bare(etag.to_str().unwrap_or_default());
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|tag| tag == "*" || bare(tag) == ours)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_again_in_every_way_it_may_be_written() {
        let etag = of(&[0x01, 0xab, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(etag, "\"01ab020304050607\"");
        let is_match = |value: &str| {
            matches(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]), &etag)
        };
        for same in [
            "\"01ab020304050607\"",
            "W/\"01ab020304050607\"",
            "*",
            "\"x\" , W/\"01ab020304050607\"",
        ] {
            assert!(is_match(same), "{same}");
        }
        for other in ["", "\"01ab\"", "01ab020304050607", "\"x\", \"y\""] {
            assert!(!is_match(other), "{other}");
        }
        assert!(!matches(&HeaderMap::new(), &etag));
    }
}
