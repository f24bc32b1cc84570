//! What holds for every route.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use sha2::Digest;
use sqlx::PgPool;

use crate::harness::{
    ADMIN_KEY, JWT_SECRET, METHODS, NOW, READER_KEY, SERVICE_KEY, TestApp, json as json_body,
};

fn request(method: Method, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::empty()).unwrap()
}

fn get(path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    request(Method::GET, path, headers)
}

#[sqlx::test(migrations = "./migrations")]
async fn a_failure_is_a_problem_with_all_its_fields(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.send(get("/nowhere?q=1", &[("x-request-id", "abc")])).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(
        answer.json(),
        json!({
            "type": "https://api.dealix.me/problems/route-not-found",
            "title": "Route not found",
            "status": 404,
            "detail": "There is nothing at this path. The routes are listed at /docs.",
            "instance": "/nowhere",
            "code": "route-not-found",
            "request_id": "abc",
            "retryable": false,
        })
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn a_wrong_method_is_a_problem_and_keeps_allow(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.send(request(Method::DELETE, "/health", &[])).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.code(), "method-not-allowed");
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[sqlx::test(migrations = "./migrations")]
async fn every_code_is_explained_where_its_type_points_in_both_languages(db: PgPool) {
    let app = TestApp::start(db);
    let document = app.get("/openapi.json").await.json();
    let codes = &document["components"]["schemas"]["ProblemCode"]["enum"];
    let codes: Vec<&str> = codes.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(codes.contains(&"route-not-found") && codes.contains(&"internal"));
    for code in codes {
        let path = format!("/problems/{code}");
        let english = app.get(&path).await;
        assert_eq!((english.status, &english.json()["code"]), (StatusCode::OK, &json!(code)));
        assert_eq!(english.json()["type"], format!("https://api.dealix.me{path}"));
        let arabic = app.send(get(&path, &[("accept-language", "ar")])).await;
        assert_ne!(arabic.json()["title"], english.json()["title"]);
        let page = [("accept", "text/html,*/*;q=0.8"), ("accept-language", "ar")];
        let page = app.send(get(&path, &page)).await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(page.text().contains(r#"<html lang="ar" dir="rtl">"#));
        assert!(page.text().contains(arabic.json()["title"].as_str().unwrap()));
    }
    let answer = app.get("/problems/no-such-code").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "problem-not-found".into()));
}

#[sqlx::test(migrations = "./migrations")]
async fn accept_language_ar_gives_arabic_and_everything_else_english(db: PgPool) {
    let app = TestApp::start(db);
    for (asked, language, title) in [
        ("ar", "ar", "المسار غير موجود"),
        ("ar-SA, en;q=0.5", "ar", "المسار غير موجود"),
        ("en", "en", "Route not found"),
        ("fr", "en", "Route not found"),
    ] {
        let answer = app.send(get("/nowhere", &[("accept-language", asked)])).await;
        assert_eq!(answer.json()["title"], title, "{asked}");
        assert_eq!(answer.code(), "route-not-found");
        assert_eq!(answer.header("content-language"), language);
        assert!(vary(&answer.headers).contains("accept-language"));
    }
}

fn vary(headers: &axum::http::HeaderMap) -> String {
    let all: Vec<_> = headers.get_all("vary").iter().map(|it| it.to_str().unwrap()).collect();
    all.join(", ").to_lowercase()
}

#[sqlx::test(migrations = "./migrations")]
async fn a_harmless_request_id_is_echoed_and_any_other_replaced(db: PgPool) {
    let app = TestApp::start(db);
    let long = "a".repeat(64);
    for id in ["a", "0.9_A-z", &long] {
        let answer = app.send(get("/health", &[("x-request-id", id)])).await;
        assert_eq!(answer.header("x-request-id"), id);
    }
    let longer = "a".repeat(65);
    for id in ["", "a b", "a;b", "<script>", &longer] {
        let answer = app.send(get("/health", &[("x-request-id", id)])).await;
        let made: uuid::Uuid = answer.header("x-request-id").parse().unwrap();
        assert_eq!(made.get_version_num(), 7);
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn every_answer_carries_a_request_id(db: PgPool) {
    let app = TestApp::start(db);
    let preflight = [("origin", "https://dealix.me"), ("access-control-request-method", "POST")];
    for request in [
        get("/health", &[]),
        get("/nowhere", &[]),
        get("/docs/swagger-ui.css", &[]),
        request(Method::POST, "/health", &[]),
        request(Method::TRACE, "/health", &[]),
        request(Method::OPTIONS, "/health", &preflight),
        get(&format!("/{}", "a".repeat(9000)), &[]),
    ] {
        let answer = app.send(request).await;
        assert_ne!(answer.header("x-request-id"), "", "{answer:?}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn head_answers_wherever_get_does(db: PgPool) {
    let app = TestApp::start(db);
    let document = app.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_none() {
            continue;
        }
        let path = path.replace(['{', '}'], "");
        let (as_get, as_head) =
            (app.send(get(&path, &[])).await, app.send(request(Method::HEAD, &path, &[])).await);
        assert_eq!(as_head.status, as_get.status, "{path}");
        assert_eq!(as_head.header("content-type"), as_get.header("content-type"), "{path}");
        assert!(as_head.body.is_empty(), "{path}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_trailing_slash_is_the_same_route_except_at_docs(db: PgPool) {
    let app = TestApp::start(db);
    assert_eq!(app.get("/healthz/?x=1").await.json(), app.get("/healthz").await.json());
    assert_eq!(app.get("/healthz//").await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.get("/docs").await.text(), app.get("/docs/").await.text());
    assert_eq!(app.get("/docs/swagger-ui.css/").await.status, StatusCode::NOT_FOUND);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_preflight_never_needs_a_key_and_only_our_origins_pass(db: PgPool) {
    let app = TestApp::start(db);
    for (path, origin, allowed) in [
        ("/health", "https://dealix.me", "https://dealix.me"),
        ("/api/v1/checkout", "https://dealix.me", "https://dealix.me"),
        ("/nowhere", "https://dealix.me", "https://dealix.me"),
        ("/health", "https://dealix.me.example", ""),
        ("/health", "http://dealix.me", ""),
    ] {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,idempotency-key"),
        ];
        let answer = app.send(request(Method::OPTIONS, path, &headers)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{path} {origin}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, "content-type,idempotency-key");
    }
    let answer = app.send(get("/nowhere", &[("origin", "https://dealix.me")])).await;
    assert_eq!(answer.header("access-control-allow-origin"), "https://dealix.me");
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
    assert!(vary(&answer.headers).contains("origin"));
}

#[sqlx::test(migrations = "./migrations")]
async fn trace_is_refused(db: PgPool) {
    let app = TestApp::start(db);
    for path in ["/", "/health", "/nowhere"] {
        let answer = app.send(request(Method::TRACE, path, &[("x-api-key", ADMIN_KEY)])).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert!(!answer.text().contains(ADMIN_KEY));
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn a_uri_of_8_kib_is_read_and_a_longer_one_refused(db: PgPool) {
    let app = TestApp::start(db);
    let uri = |length: usize| format!("/health?{}", "a".repeat(length - "/health?".len()));
    assert_eq!(app.get(&uri(8 * 1024)).await.status, StatusCode::OK);
    let answer = app.get(&uri(8 * 1024 + 1)).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::URI_TOO_LONG, "uri-too-long".into()));
}

#[sqlx::test(migrations = "./migrations")]
async fn every_operation_that_is_not_public_wants_a_key_of_its_scope(db: PgPool) {
    let app = TestApp::start(db);
    let document = app.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(operation) = item.get(method.as_str().to_lowercase()) else { continue };
            let url = path.replace(['{', '}'], "");
            let keyless = app.send(request(method.clone(), &url, &[])).await;
            let Some(security) = operation.get("security") else {
                let is_refused = keyless.status == StatusCode::UNAUTHORIZED
                    && keyless.code() == "unauthenticated";
                assert!(!is_refused, "{method} {path} is said to be public");
                continue;
            };
            assert_eq!(keyless.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(keyless.code(), "unauthenticated");
            assert_ne!(keyless.header("www-authenticate"), "");
            let (weaker, right) = match security[0]["api_key"][0].as_str().unwrap() {
                "service" => (READER_KEY, SERVICE_KEY),
                "admin:read" => (SERVICE_KEY, READER_KEY),
                "admin" => (READER_KEY, ADMIN_KEY),
                other => panic!("{method} {path} wants the unknown scope {other}"),
            };
            let refused = app.send(request(method.clone(), &url, &[("x-api-key", weaker)])).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{method} {path}");
            assert_eq!(refused.code(), "forbidden");
            let let_in = app.send(request(method.clone(), &url, &[("x-api-key", right)])).await;
            assert_ne!(let_in.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_ne!(let_in.status, StatusCode::FORBIDDEN, "{method} {path}");
        }
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn the_document_is_openapi_3_1_with_examples_and_is_not_sent_twice(db: PgPool) {
    let app = TestApp::start(db);
    let answer = app.get("/openapi.json").await;
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let again = app.send(get("/openapi.json", &[("if-none-match", answer.header("etag"))])).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut unclear = Vec::new();
    for (name, schema) in schemas {
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            // A name says enough about a number, a switch, a time or another schema; not about a text.
            let is_text = schema["type"].to_string().contains("string");
            let has_example =
                ["example", "examples", "format"].iter().any(|it| schema.get(it).is_some());
            let is_clear = !is_text || has_example;
            if !is_clear {
                unclear.push(format!("{name}.{field}"));
            }
        }
    }
    assert!(unclear.is_empty(), "without an example: {unclear:?}");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_docs_page_loads_nothing_from_elsewhere_under_a_strict_policy(db: PgPool) {
    let app = TestApp::start(db);
    let page = app.get("/docs").await;
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && policy.contains("default-src 'none'"));
    let sources: Vec<&str> =
        page.text().split(['"', '\'']).filter(|it| it.starts_with('/')).collect();
    assert_eq!(sources.len(), 6);
    assert!(!page.text().contains("http"));
    for source in sources {
        let asset = app.get(source).await;
        assert_eq!(asset.status, StatusCode::OK, "{source}");
        assert!(!asset.body.is_empty(), "{source}");
    }
    let start = app.get("/docs/swagger-initializer.js").await;
    assert!(start.text().contains("/openapi.json") && !start.text().contains("petstore"));
    assert_eq!(app.get("/docs/no-such-asset.js").await.status, StatusCode::NOT_FOUND);
}

#[sqlx::test(migrations = "./migrations")]
async fn answers_carry_security_headers_and_may_be_switched_to_carry_none(db: PgPool) {
    let names = ["content-security-policy", "strict-transport-security", "x-content-type-options"];
    for path in ["/health", "/nowhere", "/docs"] {
        let answer = TestApp::start(db.clone()).get(path).await;
        for name in names {
            assert_ne!(answer.header(name), "", "{path} {name}");
        }
    }
    let app = TestApp::start_with(db, &[("SECURITY_HEADERS_ENABLED", "false")]);
    assert_eq!(app.get("/health").await.header("x-content-type-options"), "");
}

#[sqlx::test(migrations = "./migrations")]
async fn the_probes_say_what_the_contract_says(db: PgPool) {
    let app = TestApp::start_with(db, &[("OPENAI_API_KEY", "sk-1"), ("GROQ_API_KEY", "gsk-1")]);
    assert_eq!(
        app.get("/").await.json(),
        json!({
            "name": "Dealix", "version": env!("CARGO_PKG_VERSION"), "status": "operational",
            "env": "test", "docs": "/docs", "health": "/health",
        })
    );
    assert_eq!(app.get("/healthz").await.json(), json!({ "status": "ok", "service": "dealix" }));
    assert_eq!(app.get("/live").await.json(), json!({ "status": "alive" }));
    let public = app.get("/api/v1/public/health").await.json();
    assert_eq!(public, json!({ "ok": true, "service": "dealix-api" }));
    app.clock.advance(std::time::Duration::from_millis(61_900));
    let mut health = app.get("/health").await.json();
    let commit = health["commit"].take();
    assert!(commit.as_str().is_some_and(|commit| !commit.is_empty()));
    assert_eq!(
        health,
        json!({
            "status": "ok", "version": env!("CARGO_PKG_VERSION"), "commit": null, "env": "test",
            "uptime_s": 61, "providers": ["groq", "openai"],
        })
    );
}

#[sqlx::test(migrations = "./migrations")]
async fn health_touches_no_store(db: PgPool) {
    let app = TestApp::start_with(db.clone(), &[("REDIS_URL", "redis://127.0.0.1:1")]);
    db.close().await;
    assert_eq!(app.get("/health").await.status, StatusCode::OK);
}

/// A route for the scope `service`; whoever is let in is told that the body is incomplete.
const GUARDED: &str = "/api/v1/checkout";

async fn status_at_guarded(app: &TestApp, headers: &[(&str, &str)]) -> StatusCode {
    let request =
        headers.iter().fold(Request::post(GUARDED), |it, (name, value)| it.header(*name, *value));
    app.send(json_body(request, &json!({}))).await.status
}

const IN: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const OUT: StatusCode = StatusCode::UNAUTHORIZED;

#[sqlx::test(migrations = "./migrations")]
async fn a_key_is_taken_from_either_header_and_two_must_be_the_same(db: PgPool) {
    let second = "second-service-key-0123456789abcdefghij";
    let keys = format!("{SERVICE_KEY},{second}");
    let app = TestApp::start_with(db, &[("API_KEYS", &keys)]);
    let bearer = |key: &str| format!("Bearer {key}");
    let (ours, lower) = (bearer(SERVICE_KEY), format!("bearer {SERVICE_KEY}"));
    for (headers, status) in [
        (&[("x-api-key", SERVICE_KEY)][..], IN),
        (&[("x-api-key", second)], IN),
        (&[("authorization", &ours)], IN),
        (&[("authorization", &lower)], IN),
        (&[("x-api-key", SERVICE_KEY), ("authorization", &ours)], IN),
        (&[("x-api-key", ADMIN_KEY)], IN),
        (&[], OUT),
        (&[("x-api-key", "")], OUT),
        (&[("x-api-key", "wrong")], OUT),
        (&[("x-api-key", "ключ-مفتاح")], OUT),
        (&[("authorization", SERVICE_KEY)], OUT),
        (&[("authorization", "Bearer ")], OUT),
        (&[("authorization", "Basic c2VydmljZQ==")], OUT),
        (&[("x-api-key", second), ("authorization", &ours)], OUT),
        (&[("x-api-key", SERVICE_KEY), ("x-api-key", second)], OUT),
        (&[("x-api-key", SERVICE_KEY), ("authorization", "Basic c2VydmljZQ==")], OUT),
        (&[("x-api-key", READER_KEY)], StatusCode::FORBIDDEN),
    ] {
        assert_eq!(status_at_guarded(&app, headers).await, status, "{headers:?}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn nothing_is_open_because_a_variable_is_empty(db: PgPool) {
    let app = TestApp::start_with(db, &[("API_KEYS", ""), ("ADMIN_READ_API_KEYS", ",")]);
    for key in ["", " ", ",", SERVICE_KEY, READER_KEY] {
        assert_eq!(status_at_guarded(&app, &[("x-api-key", key)]).await, OUT, "{key:?}");
    }
}

/// A token as another program would make it.
fn token(secret: &str, scope: &str, valid_for_secs: i64) -> String {
    let now = NOW.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp();
    let digest = sha2::Sha256::digest(secret);
    let nibbles = digest.iter().take(8).flat_map(|byte| [byte >> 4, byte & 15]);
    let kid = nibbles.map(|nibble| char::from_digit(nibble.into(), 16).unwrap()).collect();
    let header = jsonwebtoken::Header { kid: Some(kid), ..jsonwebtoken::Header::default() };
    let claims = json!({
        "iss": "https://api.dealix.me", "aud": "dealix-api", "sub": "operator", "scope": scope,
        "jti": uuid::Uuid::nil(), "iat": now, "nbf": now, "exp": now + valid_for_secs,
    });
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    format!("Bearer {}", jsonwebtoken::encode(&header, &claims, &key).unwrap())
}

#[sqlx::test(migrations = "./migrations")]
async fn a_token_opens_its_scope_until_it_expires_under_the_current_and_the_next_secret(
    db: PgPool,
) {
    let next = "next-jwt-secret-for-tests-0123456789abcdef";
    let app = TestApp::start_with(db, &[("JWT_SECRET_KEY_NEXT", next)]);
    for secret in [JWT_SECRET, next] {
        let token = token(secret, "service", 3600);
        assert_eq!(status_at_guarded(&app, &[("authorization", &token)]).await, IN);
        let in_wrong_header = token.trim_start_matches("Bearer ");
        assert_eq!(status_at_guarded(&app, &[("x-api-key", in_wrong_header)]).await, OUT);
    }
    let reader = token(JWT_SECRET, "admin:read", 3600);
    assert_eq!(status_at_guarded(&app, &[("authorization", &reader)]).await, StatusCode::FORBIDDEN);
    let (forged, short) = (token("guess", "admin", 3600), token(JWT_SECRET, "service", 60));
    assert_eq!(status_at_guarded(&app, &[("authorization", &forged)]).await, OUT);
    assert_eq!(status_at_guarded(&app, &[("authorization", &short)]).await, IN);
    app.clock.advance(std::time::Duration::from_secs(91));
    assert_eq!(status_at_guarded(&app, &[("authorization", &short)]).await, OUT);
}

#[sqlx::test(migrations = "./migrations")]
async fn a_body_is_refused_by_what_is_wrong_with_it(db: PgPool) {
    let app = TestApp::start(db);
    let large = format!(r#"{{"plan_id":"{}"}}"#, "a".repeat(256 * 1024));
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let json = "application/json";
    for (kind, body, status, code) in [
        (json, "{", 400, "invalid-json"),
        (json, "", 400, "invalid-json"),
        (json, &deep, 400, "invalid-json"),
        ("text/plain", "{}", 415, "unsupported-media-type"),
        (json, "{}", 422, "invalid-request"),
        (json, "[]", 422, "invalid-request"),
        (json, r#"{"plan_id":"\u0000"}"#, 422, "invalid-request"),
        (json, &large, 413, "payload-too-large"),
    ] {
        let request = Request::post("/api/v1/pricing/checkout").header("content-type", kind);
        let answer = app.send(request.body(body.to_owned().into()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{answer:?}");
    }
    let not_utf8 = Request::post("/api/v1/pricing/checkout").header("content-type", json);
    let answer = app.send(not_utf8.body(b"{\"plan_id\":\"\xff\"}".to_vec().into()).unwrap()).await;
    assert_eq!(answer.code(), "invalid-json");
}

#[sqlx::test(migrations = "./migrations")]
async fn bad_fields_are_all_named_in_the_language_of_the_client(db: PgPool) {
    let app = TestApp::start(db);
    let body = json!({ "plan_id": "starter", "customer_email": "nobody" });
    for (language, required, no_email) in [
        ("en", "This field is required.", "This is not an e-mail address."),
        ("ar", "هذا الحقل مطلوب.", "هذا ليس عنوان بريد إلكتروني صحيحًا."),
    ] {
        let request = Request::post("/api/v1/pricing/checkout").header("accept-language", language);
        let answer = app.send(json_body(request, &body)).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(
            answer.json()["errors"],
            json!([
                { "pointer": "/customer_name", "detail": required },
                { "pointer": "/customer_email", "detail": no_email },
            ])
        );
    }
}
