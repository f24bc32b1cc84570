//! Webhook bodies: real-shaped ones, odd ones, hostile ones, and random ones.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "sample-shared-secret-0f3c9a7e5b1d4286-not-a-real-one";

fn parse(body: &Value) -> Envelope {
    Envelope::parse(body.to_string().as_bytes()).unwrap()
}

fn parse_text(body: &str) -> Envelope {
    Envelope::parse(body.as_bytes()).unwrap()
}

fn token(body: &str) -> Option<String> {
    let token = Unproved::parse(body.as_bytes()).unwrap().secret_token()?;
    Some(token.expose_secret().to_owned())
}

fn kept(envelope: &Envelope) -> &str {
    std::str::from_utf8(&envelope.redacted).unwrap()
}

fn id_of(id: &Value) -> Option<String> {
    parse(&json!({ "id": id })).id
}

#[test]
fn every_event_of_the_papers_is_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/moyasar");
    let mut events = 0;
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.is_dir() {
            continue;
        }
        let body = fs::read_to_string(&file).unwrap();
        let plain: Value = serde_json::from_str(&body).unwrap();
        let envelope = parse_text(&body);
        let name = file.display();
        assert_eq!(envelope.id.as_deref(), plain["id"].as_str(), "{name}");
        assert_eq!(Some(envelope.key().as_str()), plain["id"].as_str(), "{name}");
        assert_eq!(envelope.event_type.as_deref(), plain["type"].as_str(), "{name}");
        assert_eq!(token(&body).as_deref(), Some(TOKEN), "{name}");
        let live = match plain.get("live").map(|live| live.as_bool().unwrap()) {
            None => Live::Absent,
            Some(true) => Live::Says(Mode::Live),
            Some(false) => Live::Says(Mode::Test),
        };
        assert_eq!(envelope.live, live, "{name}");
        let subject = envelope.data.clone().unwrap();
        assert_eq!(subject.payment_id.as_deref(), plain["data"]["id"].as_str(), "{name}");
        assert_eq!(subject.invoice_id.as_deref(), plain["data"]["invoice_id"].as_str(), "{name}");
        let code = plain["data"]["verification_code"].as_str();
        assert_eq!(subject.verification_code.as_deref(), code, "{name}");
        assert_eq!(kept(&envelope), body.replace(TOKEN, "[redacted]"), "{name}");
        events += 1;
    }
    assert_eq!(events, 21);
}

#[test]
fn what_is_no_json_object_is_refused() {
    let bodies: [&[u8]; 15] = [
        b"",
        b" ",
        b"[]",
        b"\"x\"",
        b"null",
        b"1",
        b"true",
        b"{",
        b"{}}",
        b"{} x",
        b"{\"a\":}",
        b"{\"a\" 1}",
        b"{'a':1}",
        b"\xef\xbb\xbf{}",
        b"{\"id\":\"\xff\"}",
    ];
    for body in bodies {
        assert_eq!(Envelope::parse(body).unwrap_err(), InvalidJson, "{body:?}");
    }
    assert!(Envelope::parse(b" {} \n").is_ok());
}

#[test]
fn sixty_four_levels_are_read_and_sixty_five_are_not() {
    // The body itself is the first level.
    let nested = |inner: usize| format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner));
    assert!(Envelope::parse(nested(63).as_bytes()).is_ok());
    assert_eq!(Envelope::parse(nested(64).as_bytes()).unwrap_err(), InvalidJson);
    let objects = |inner: usize| "{\"a\":".repeat(inner) + "{}" + &"}".repeat(inner);
    assert!(Envelope::parse(objects(63).as_bytes()).is_ok());
    assert_eq!(Envelope::parse(objects(64).as_bytes()).unwrap_err(), InvalidJson);
    assert!(Envelope::parse("[".repeat(200_000).as_bytes()).is_err());
}

#[test]
fn width_and_brackets_in_text_are_not_depth() {
    let wide = format!("{{\"a\":[{}[]]}}", "[],".repeat(1_000));
    assert!(Envelope::parse(wide.as_bytes()).is_ok());
    let text = json!({ "a": "[".repeat(100), "b\"[{": "\\\"[[".repeat(100), "c": "\\" });
    assert!(Envelope::parse(text.to_string().as_bytes()).is_ok());
    let hidden = format!("{{\"a\":\"]]}}}}\",\"b\":{}{}}}", "[".repeat(64), "]".repeat(64));
    assert_eq!(Envelope::parse(hidden.as_bytes()).unwrap_err(), InvalidJson, "{hidden}");
}

#[test]
fn an_id_is_a_text_or_a_number_as_written() {
    assert_eq!(id_of(&json!("evt_1")), Some("evt_1".to_owned()));
    assert_eq!(id_of(&json!(0)), Some("0".to_owned()));
    assert_eq!(id_of(&json!(-7)), Some("-7".to_owned()));
    assert_eq!(id_of(&json!(u64::MAX)), Some(u64::MAX.to_string()));
    assert_eq!(
        parse_text("{\"id\":12345678901234567890123}").id.unwrap(),
        "12345678901234567890123"
    );
    assert_eq!(parse_text("{\"id\":1.50}").id.unwrap(), "1.50");
    assert_eq!(id_of(&json!("معرف")), Some("معرف".to_owned()));
}

#[test]
fn an_id_has_up_to_128_characters() {
    assert_eq!(id_of(&json!("ع".repeat(128))), Some("ع".repeat(128)));
    assert_eq!(id_of(&json!("x".repeat(129))), None);
    let digits = |count: usize| format!("{{\"id\":{}}}", "9".repeat(count));
    assert_eq!(parse_text(&digits(128)).id.unwrap().len(), 128);
    assert_eq!(parse_text(&digits(129)).id, None);
}

#[test]
fn without_a_usable_id_the_redacted_body_is_the_key() {
    let unusable = [json!(""), json!(null), json!(true), json!([]), json!({}), json!("a\u{0}b")];
    for id in unusable {
        assert_eq!(id_of(&id), None, "{id}");
    }
    // The digest of `{}` by any other tool.
    let known = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(parse_text("{}").key(), format!("sha256:{known}"));
    let told = |token: &str| parse(&json!({ "secret_token": token, "type": "x" })).key();
    assert_eq!(told("one-secret"), told("another"), "a rotated secret makes no new event");
    assert_ne!(told("one-secret"), parse(&json!({ "secret_token": "a", "type": "y" })).key());
}

#[test]
fn a_type_is_a_text_of_bearable_length() {
    let of = |kind: Value| parse(&json!({ "type": kind })).event_type;
    assert_eq!(of(json!("payment_paid")), Some("payment_paid".to_owned()));
    for kind in [json!(""), json!(1), json!(null), json!("x".repeat(129)), json!("a\u{0}")] {
        assert_eq!(of(kind), None);
    }
    assert_eq!(parse(&json!({})).event_type, None);
}

#[test]
fn live_says_a_mode_or_nothing_or_nonsense() {
    let of = |body: Value| parse(&body).live;
    assert_eq!(of(json!({})), Live::Absent);
    assert_eq!(of(json!({ "live": true })), Live::Says(Mode::Live));
    assert_eq!(of(json!({ "live": false })), Live::Says(Mode::Test));
    for nonsense in [json!(null), json!("true"), json!(1)] {
        assert_eq!(of(json!({ "live": nonsense })), Live::Unreadable);
    }
    assert_eq!(parse_text(r#"{"live":false,"live":true}"#).live, Live::Unreadable);
}

#[test]
fn data_that_is_no_object_is_none() {
    for data in [json!(null), json!([]), json!("x"), json!(1), json!([{ "id": "p" }])] {
        assert_eq!(parse(&json!({ "data": data })).data, None);
    }
    assert_eq!(parse(&json!({})).data, None);
    assert_eq!(parse_text(r#"{"data":{"id":"p"},"data":{"id":"q"}}"#).data, None);
    assert_eq!(parse(&json!({ "data": {} })).data, Some(Subject::default()));
}

#[test]
fn ids_in_data_are_kept_only_if_they_can_stand_in_a_url() {
    let of = |id: Value| parse(&json!({ "data": { "id": id, "invoice_id": id } })).data.unwrap();
    let plain = of(json!("b61e6ba5-3682_A"));
    assert_eq!(plain.payment_id.as_deref(), Some("b61e6ba5-3682_A"));
    assert_eq!(plain.invoice_id, plain.payment_id);
    for id in ["..", "a/b", "a?b", "a b", "é", "", "a.b"].map(Value::from) {
        assert_eq!(of(id), Subject::default());
    }
    for id in [json!(7), json!(null), json!({}), json!("x".repeat(129))] {
        assert_eq!(of(id), Subject::default());
    }
    let twice = parse_text(r#"{"data":{"id":"p","id":"q","invoice_id":"i"}}"#).data.unwrap();
    assert_eq!((twice.payment_id, twice.invoice_id.as_deref()), (None, Some("i")));
}

#[test]
fn odd_fields_of_the_predecessors_nightmares_break_nothing() {
    let envelope = parse(&json!({
        "id": "e", "created_at": 5, "secret_token": "t",
        "data": { "id": "p", "metadata": null, "amount": "11500", "source": [] },
    }));
    assert_eq!(envelope.data.unwrap().payment_id.as_deref(), Some("p"));
}

#[test]
fn a_number_that_no_float_holds_is_no_reason_to_refuse() {
    let envelope = parse_text(r#"{"id":1e999,"type":"x","data":{"amount":1e999,"id":"p"}}"#);
    assert_eq!((envelope.id, envelope.event_type.as_deref()), (None, Some("x")));
    assert_eq!(envelope.data.unwrap().payment_id.as_deref(), Some("p"));
}

#[test]
fn a_token_that_is_missing_or_no_text_is_none() {
    assert_eq!(token("{}"), None);
    for odd in [json!(null), json!(5), json!([TOKEN]), json!({ "a": TOKEN }), json!(true)] {
        let body = json!({ "secret_token": odd, "z": 1 }).to_string();
        assert_eq!(token(&body), None);
        assert_eq!(kept(&parse_text(&body)), r#"{"secret_token":"[redacted]","z":1}"#);
    }
}

#[test]
fn a_token_that_comes_twice_is_none_and_both_are_blanked() {
    let body = r#"{"secret_token":"first-secret","a":1,"secret_token":"second-secret"}"#;
    assert_eq!(token(body), None);
    assert_eq!(
        kept(&parse_text(body)),
        r#"{"secret_token":"[redacted]","a":1,"secret_token":"[redacted]"}"#
    );
}

#[test]
fn a_token_under_an_escaped_name_is_the_token() {
    let body = r#"{"secret\u005ftoken":"a-\u0073ecret"}"#;
    assert_eq!(token(body).as_deref(), Some("a-secret"));
    assert_eq!(kept(&parse_text(body)), r#"{"secret\u005ftoken":"[redacted]"}"#);
}

#[test]
fn every_other_byte_is_kept_spaces_order_and_doubles_included() {
    let body = " {\r\n \"b\" : 1.0e+2 ,\t\"secret_token\" :  \"x\\\"}y\" , \"a\":\"\\u0041ع\",\"b\":{ } }\n";
    let expected = body.replace("\"x\\\"}y\"", "\"[redacted]\"");
    assert_eq!(kept(&parse_text(body)), expected);
    assert_eq!(token(body).as_deref(), Some("x\"}y"));
}

#[test]
fn only_the_top_level_has_the_token() {
    let body = r#"{"data":{"secret_token":"inner"},"x":"secret_token"}"#;
    assert_eq!(token(body), None);
    assert_eq!(kept(&parse_text(body)), body);
}

#[test]
fn an_envelope_shows_neither_its_token_nor_its_body() {
    let envelope = parse(&json!({ "id": "e", "type": "x", "secret_token": TOKEN, "data": {} }));
    let shown = r#"Envelope { id: Some("e"), event_type: Some("x"), .. }"#;
    assert_eq!(format!("{envelope:?}"), shown);
}

/// JSON as somebody else might write it: any value, any spacing.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        Just("-0.5E-3".to_owned()),
        ".{0,12}".prop_map(|text| Value::from(text).to_string()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[ {} ]", items.join(" ,\n"))),
            proptest::collection::vec((".{0,6}", inner), 0..4).prop_map(|entries| object(&entries)),
        ]
    })
}

fn object(entries: &[(String, String)]) -> String {
    let entry =
        |(key, value): &(String, String)| format!("{} :\t{value}", Value::from(key.as_str()));
    format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(" , "))
}

fn any_entries() -> impl Strategy<Value = Vec<(String, String)>> {
    let key = prop_oneof![
        "[a-z]{1,4}",
        Just("id".to_owned()),
        Just("type".to_owned()),
        Just("live".to_owned()),
        Just("data".to_owned()),
    ];
    proptest::collection::vec((key, any_json()), 0..6)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in any::<Vec<u8>>()) {
        drop(Envelope::parse(&body));
    }

    #[test]
    fn no_broken_json_makes_it_panic(
        entries in any_entries(),
        cut in any::<proptest::sample::Index>(),
        noise in any::<char>(),
    ) {
        let mut body = object(&entries);
        let mut at = cut.index(body.len());
        while !body.is_char_boundary(at) {
            at -= 1;
        }
        body.insert(at, noise);
        drop(Envelope::parse(body.as_bytes()));
        drop(Envelope::parse(&body.as_bytes()[..at]));
    }

    #[test]
    fn only_the_token_is_taken_out(
        before in any_entries(),
        secret in "[A-Za-z0-9\"\\\\é]{8,40}",
        after in any_entries(),
    ) {
        let written = Value::from(secret.as_str()).to_string();
        let with = |token: &str| {
            let token = [("secret_token".to_owned(), token.to_owned())];
            object(&[&before[..], &token, &after[..]].concat())
        };
        let envelope = Envelope::parse(with(&written).as_bytes()).unwrap();
        prop_assert_eq!(token(&with(&written)), Some(secret.clone()));
        prop_assert_eq!(kept(&envelope), with("\"[redacted]\""));
        let elsewhere = object(&before).contains(&secret) || object(&after).contains(&secret);
        prop_assert!(elsewhere || !kept(&envelope).contains(&secret));
        prop_assert_eq!(<[u8; 32]>::from(Sha256::digest(&envelope.redacted)), envelope.sha256);
        // What was kept reads as what came, so that nothing else need be kept.
        let again = Envelope::parse(&envelope.redacted).unwrap();
        prop_assert_eq!(again.key(), envelope.key());
        prop_assert_eq!((again.redacted, again.sha256), (envelope.redacted, envelope.sha256));
        prop_assert_eq!((again.event_type, again.live), (envelope.event_type, envelope.live));
        prop_assert_eq!(again.data, envelope.data);
    }
}
