//! The edge and the extractors on routes of their own: what no route of the service does on purpose.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use futures_util::stream;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::app::AppState;
use crate::http::auth::Admin;
use crate::http::extract::{Json, Path, Query, RawBody};
use crate::http::problem::Problem;
use crate::http::{Front, dress};

const ADMIN_KEY: &str = "another-admin-key-for-tests-0123456789";

/// `routes` inside everything that surrounds the real ones.
fn front(routes: Router<AppState>) -> Front {
    dress(routes, AppState::without_stores(&[]))
}

struct Answer {
    status: StatusCode,
    response: Response<()>,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Pointer and status of every field error.
    fn pointers(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}

async fn send(front: &Front, request: Request) -> Answer {
    let (parts, body) = front.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, response: Response::from_parts(parts, ()), body }
}

async fn post_json(front: &Front, path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    send(front, request.body(body.into()).unwrap()).await
}

#[derive(Debug, Deserialize)]
struct Order {
    plan: String,
    #[serde(default)]
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    quantity: u32,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    limit: Option<u32>,
}

fn orders() -> Front {
    front(
        Router::new()
            .route(
                "/orders",
                post(async |Json(order): Json<Order>| {
                    format!(
                        "{}:{}",
                        order.plan,
                        order.lines.iter().map(|it| it.quantity).sum::<u32>()
                    )
                }),
            )
            .route(
                "/options",
                get(async |Query(options): Query<Options>| format!("{:?}", options.limit)),
            )
            .route("/orders/{number}", get(async |Path(number): Path<u32>| number.to_string()))
            .route("/names/{name}", get(async |Path(name): Path<String>| name))
            .route("/raw", post(async |RawBody(body): RawBody| body)),
    )
}

#[tokio::test]
async fn a_good_body_is_read_in_one_piece_or_in_many() {
    let front = orders();
    let body = r#"{"plan":"نمو","lines":[{"quantity":1},{"quantity":2}],"more":null}"#;
    let answer = post_json(&front, "/orders", body).await;
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "نمو:3".as_bytes()));
    let pieces = body.as_bytes().chunks(3).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
    assert_eq!(post_json(&front, "/orders", pieces).await.body, "نمو:3");
}

#[tokio::test]
async fn json_that_does_not_parse_is_not_utf8_or_is_nested_too_deep_is_invalid_json() {
    let front = orders();
    let nested = |depth: usize| {
        format!(r#"{{"plan":"a","deep":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth)).into_bytes()
    };
    let bad: [&[u8]; 8] = [
        b"",
        b"{",
        b"plan=starter",
        b"{\"plan\":\"\xff\"}",
        br#"{"plan":"a"} trailing"#,
        br#"{"plan":1,"#,
        b"{\"plan\":\"a\x00b\"}",
        &nested(64),
    ];
    for body in bad {
        let answer = post_json(&front, "/orders", body.to_vec()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", String::from_utf8_lossy(body));
        assert_eq!(answer.code(), "invalid-json");
    }
    assert_eq!(post_json(&front, "/orders", nested(63)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn another_media_type_is_unsupported() {
    let front = orders();
    let body = r#"{"plan":"a"}"#;
    for (kind, status) in [
        ("application/json", StatusCode::OK),
        ("Application/JSON; Charset=\"UTF-8\"", StatusCode::OK),
        ("application/vnd.dealix+json", StatusCode::OK),
        ("application/json; charset=utf-16", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("text/json", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("text/plain", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/x-www-form-urlencoded", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/jsonp", StatusCode::UNSUPPORTED_MEDIA_TYPE),
    ] {
        let request = Request::post("/orders").header(header::CONTENT_TYPE, kind);
        assert_eq!(send(&front, request.body(body.into()).unwrap()).await.status, status, "{kind}");
    }
    let answer = send(&front, Request::post("/orders").body(body.into()).unwrap()).await;
    assert_eq!(answer.code(), "unsupported-media-type");
}

#[tokio::test]
async fn bad_fields_of_a_well_formed_body_are_named_by_pointer() {
    let front = orders();
    for (body, pointer, detail) in [
        ("{}", "/plan", "This field is required."),
        (r#"{"plan":1}"#, "/plan", "This value has the wrong type."),
        (r#"{"plan":null}"#, "/plan", "This value has the wrong type."),
        (r#"{"plan":"a","plan":"b"}"#, "/plan", "This value is not allowed."),
        (
            r#"{"plan":"a","lines":[{"quantity":-1}]}"#,
            "/lines/0/quantity",
            "This value is not allowed.",
        ),
        (
            r#"{"plan":"a","lines":[{"quantity":1},{}]}"#,
            "/lines/1/quantity",
            "This field is required.",
        ),
        (
            r#"{"plan":"a","lines":[{"quantity":1,"a/b~":2}]}"#,
            "/lines/0/a~1b~0",
            "This field is not known here.",
        ),
        (r#"["starter", []]"#, "", "This value has the wrong type."),
        ("1", "", "This value has the wrong type."),
    ] {
        let answer = post_json(&front, "/orders", body).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.code(), "invalid-request");
        let expected = json!([{ "pointer": pointer, "detail": detail }]);
        assert_eq!(answer.json()["errors"], expected, "{body}");
    }
}

#[tokio::test]
async fn a_nul_in_any_text_is_named_by_pointer_wherever_it_is() {
    let front = orders();
    let body = r#"{"plan":"a\u0000","lines":[],"note":{"x":["\u0000"]},"b\u0000":1}"#;
    let answer = post_json(&front, "/orders", body).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.pointers(), ["/b\0", "/note/x/0", "/plan"]);
    assert_eq!(post_json(&front, "/orders", r#"{"plan":"\u0000""#).await.code(), "invalid-json");
    for path in ["/options?limit=%00", "/names/a%00b"] {
        let answer = send(&front, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[tokio::test]
async fn parameters_that_make_no_sense_are_named() {
    let front = orders();
    for (path, pointer) in [
        ("/orders/abc", "/number"),
        ("/orders/%ff", "/number"),
        ("/options?limit=abc", "/limit"),
        ("/options?limit=-1", "/limit"),
        ("/options?limit=1&limit=2", "/limit"),
    ] {
        let answer = send(&front, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(answer.pointers(), [pointer], "{path}");
    }
    let answer =
        send(&front, Request::get("/options?limit=5&other=x").body(Body::empty()).unwrap());
    assert_eq!(answer.await.body, "Some(5)");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_declared_length_and_by_its_real_one() {
    let front = orders();
    let limit = 256 * 1024;
    let answer = post_json(&front, "/raw", vec![b'a'; limit]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, limit));
    let declared = Request::post("/raw").header(header::CONTENT_LENGTH, limit + 1);
    let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(send(&front, declared.body(never).unwrap()).await.code(), "payload-too-large");
    let endless =
        stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'a'; 1000])));
    let chunked = Request::post("/raw").body(Body::from_stream(endless)).unwrap();
    let answer = send(&front, chunked).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.code(), "payload-too-large");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let front = orders();
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
    let stuck = Body::from_stream(futures_util::StreamExt::chain(begun, stream::pending()));
    let answer = post_json(&front, "/orders", stuck).await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.code(), "client-too-slow");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_longer_than_30_s_is_given_up() {
    let front = front(
        Router::new()
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(29)).await))
            .route("/hung", get(async || std::future::pending::<()>().await)),
    );
    let slow = send(&front, Request::get("/slow").body(Body::empty()).unwrap()).await;
    assert_eq!(slow.status, StatusCode::OK);
    let hung = Request::get("/hung").header(header::ORIGIN, "https://dealix.me");
    let hung = send(&front, hung.body(Body::empty()).unwrap()).await;
    assert_eq!(hung.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(
        (hung.code(), &hung.json()["retryable"]),
        ("request-timeout".to_owned(), &json!(true))
    );
    let allowed = &hung.response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN];
    assert_eq!(allowed, "https://dealix.me", "a browser may read it");
}

#[tokio::test]
async fn a_panic_is_one_answer_that_says_nothing() {
    let front = front(
        Router::new()
            .route("/panic", get(async || -> () { panic!("the password is hunter2") }))
            .route("/fine", get(async || "fine")),
    );
    let answer = send(&front, Request::get("/panic").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.code(), "internal");
    assert!(!String::from_utf8_lossy(&answer.body).contains("hunter2"));
    let answer = send(&front, Request::get("/fine").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.body, "fine");
}

#[tokio::test]
async fn no_failure_shows_its_cause() {
    let cause = || anyhow::anyhow!("relation \"payments\" does not exist").context("db-1.internal");
    let front = front(Router::new().route(
        "/broken",
        get(async move || -> Result<(), Problem> { Err(Problem::Internal(cause())) }),
    ));
    let answer = send(&front, Request::get("/broken").body(Body::empty()).unwrap()).await;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(!body.contains("payments") && !body.contains("db-1"), "{body}");
}

#[tokio::test]
async fn what_a_library_answers_by_itself_gets_the_same_shape() {
    let statuses =
        [404, 405, 408, 413, 414, 415, 422].map(|status| StatusCode::from_u16(status).unwrap());
    for status in statuses {
        let front =
            front(Router::new().route("/made-up", get(async move || (status, "plain words"))));
        let answer = send(&front, Request::get("/made-up").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["status"], status.as_u16());
        assert_eq!(answer.response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
    // Whatever else a library thinks of is a fault of ours; what a handler says itself is kept.
    let front =
        front(Router::new().route("/odd", get(async || StatusCode::IM_A_TEAPOT)).route(
            "/own",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "a": 1 })))),
        ));
    let odd = send(&front, Request::get("/odd").body(Body::empty()).unwrap()).await;
    assert_eq!(odd.code(), "internal");
    let own = send(&front, Request::get("/own").body(Body::empty()).unwrap()).await;
    assert_eq!((own.status, own.json()), (StatusCode::SERVICE_UNAVAILABLE, json!({ "a": 1 })));
}

#[tokio::test]
async fn literal_details_are_literal_in_every_language() {
    for language in ["en", "ar"] {
        for (problem, detail) in [
            (Problem::BadSignature, "bad_signature"),
            (Problem::WebhookInvalidJson, "invalid_json"),
            (Problem::UnknownPlan("Gold".to_owned()), "unknown_plan: Gold"),
            (Problem::InvalidEmail, "invalid_email"),
            (Problem::PaymentProviderError, "payment_provider_error"),
        ] {
            let cell = Arc::new(Mutex::new(Some(problem)));
            let handler = async move || -> Problem { cell.lock().unwrap().take().unwrap() };
            let front = front(Router::new().route("/literal", get(handler)));
            let request = Request::get("/literal").header(header::ACCEPT_LANGUAGE, language);
            let answer = send(&front, request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.json()["detail"], detail);
        }
    }
}

#[tokio::test]
async fn what_a_handler_chose_for_itself_is_kept() {
    let chosen = [
        (header::CACHE_CONTROL, "public, max-age=60"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'"),
        (header::CONTENT_LANGUAGE, "ar"),
    ];
    let answer = chosen.clone();
    let front = front(Router::new().route("/page", get(async move || (answer, "page"))));
    let answer = send(&front, Request::get("/page").body(Body::empty()).unwrap()).await;
    for (name, value) in chosen {
        let all: Vec<_> = answer.response.headers().get_all(&name).iter().collect();
        assert_eq!(all, [value], "{name}");
    }
}

#[tokio::test]
async fn security_headers_can_be_switched_off() {
    let routes = || Router::new().route("/page", get(async || "page"));
    let request = || Request::get("/page").body(Body::empty()).unwrap();
    let on = send(&front(routes()), request()).await;
    assert_eq!(on.response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let state = AppState::without_stores(&[("SECURITY_HEADERS_ENABLED", "false")]);
    let off = send(&dress(routes(), state), request()).await;
    assert!(!off.response.headers().contains_key(header::X_CONTENT_TYPE_OPTIONS));
}

#[tokio::test]
async fn head_answers_as_get_does_without_a_body() {
    let front = orders();
    let head = Request::builder().method(Method::HEAD).uri("/orders/abc").body(Body::empty());
    let answer = send(&front, head.unwrap()).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::UNPROCESSABLE_ENTITY, 0));
    assert_ne!(answer.response.headers()[header::CONTENT_LENGTH], "0");
}

/// What is logged meanwhile, one JSON object a line.
async fn logged(work: impl Future<Output = ()>) -> Vec<Value> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Lines(Arc::clone(&lines));
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    // Threads that log to nobody must not be asked whether a line is of interest: the first one that
    // comes by a place would answer no for all of them.
    drop(tracing::subscriber::set_global_default(tracing_subscriber::registry()));
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_leaves_one_line_with_its_id_route_and_caller_and_a_good_probe_none() {
    let front = dress(
        Router::new()
            .route("/things/{id}", get(async |_: Admin| "a thing"))
            .route("/health", get(async || "fine")),
        AppState::without_stores(&[("ADMIN_API_KEYS", ADMIN_KEY)]),
    );
    let lines = logged(async {
        let thing = Request::get("/things/7?secret=1").header("x-api-key", ADMIN_KEY);
        let thing = thing
            .header("x-request-id", "abc")
            .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        send(&front, thing.body(Body::empty()).unwrap()).await;
        send(&front, Request::get("/health").body(Body::empty()).unwrap()).await;
    })
    .await;
    let [line] = &lines[..] else { panic!("not one line: {lines:?}") };
    assert_eq!(
        (&line["level"], &line["fields"]["route"]),
        (&json!("INFO"), &json!("/things/{id}"))
    );
    assert_eq!(
        (&line["fields"]["status"], &line["fields"]["method"]),
        (&json!(200), &json!("GET"))
    );
    assert_eq!(line["span"]["request_id"], "abc");
    assert_eq!(line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(line["fields"]["caller"].as_str().unwrap().starts_with("key:"));
    assert!(!line.to_string().contains("secret") && !line.to_string().contains(ADMIN_KEY));
}

#[tokio::test]
async fn the_cause_of_a_failure_is_logged_once_and_with_the_request_id() {
    let cause = || anyhow::anyhow!("the disk is full").context("could not store it");
    let front = front(Router::new().route(
        "/broken",
        get(async move || -> Result<(), Problem> { Err(Problem::Internal(cause())) }),
    ));
    let mut id = String::new();
    let lines = logged(async {
        let answer = send(&front, Request::get("/broken").body(Body::empty()).unwrap()).await;
        id = answer.json()["request_id"].as_str().unwrap().to_owned();
    })
    .await;
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    let [error] = &errors[..] else { panic!("not one error: {lines:?}") };
    assert_eq!(error["fields"]["error"], "could not store it: the disk is full");
    assert_eq!(error["span"]["request_id"], id);
    assert_eq!(lines.len(), 2);
}
