//! The OpenAPI document, put together from the routes, and Swagger UI with every asset served by us.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::OpenApi;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{
    Components, Content, ContentBuilder, Ref, RefOr, Required, Response as Answer, Schema,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::Config;

use crate::access::Scope;
use crate::app::AppState;
use crate::http::auth;
use crate::http::edge;
use crate::http::etag;
use crate::http::language::Language;
use crate::http::problem::{Problem, ProblemBody};
use crate::http::problems::Code;

/// Swagger UI sets `style` attributes; everything else comes from files of ours.
const DOCS_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
     form-action 'none'",
);

const PROBLEM: &str = "application/problem+json";

const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// What the document says apart from its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Dealix API",
        description = "Sells Dealix plans: price list, checkout, payment webhooks, health.\n\n\
            Every failure is `application/problem+json` (RFC 9457), in Arabic with \
            `Accept-Language: ar`. Money is integer halalas, with riyals beside it for people.",
        license(name = "Proprietary"),
    ),
    servers(
        (url = "/", description = "This server"),
        (url = "https://api.dealix.me", description = "Production"),
    ),
    tags(
        (name = "pricing", description = "The price list"),
        (name = "checkout", description = "Buying a plan"),
        (name = "webhooks", description = "What the payment provider tells us"),
        (name = "public", description = "Forms and events of the landing page"),
        (name = "pages", description = "Pages for people"),
        (name = "health", description = "Whether it works"),
        (name = "admin", description = "For operators"),
        (name = "dead letters", description = "What could not be done, for operators"),
        (name = "docs", description = "This documentation"),
    ),
    components(schemas(ProblemBody)),
)]
struct Document;

/// The document as it is served.
struct Served {
    json: String,
    etag: HeaderValue,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let json = openapi().to_json().unwrap_or_default();
    let etag = etag::of(Sha256::digest(&json).as_slice());
    Served { json, etag }
});

static SWAGGER: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    // "none" keeps the page from asking a validator on the internet about our document.
    Arc::new(Config::new(["/openapi.json"]).validator_url("none").display_request_duration(true))
});

pub(super) fn routes() -> OpenApiRouter<AppState> {
    // The assets are no part of the contract.
    let assets =
        Router::new().route("/docs/", get(show_docs)).route("/docs/{*asset}", get(show_asset));
    OpenApiRouter::new()
        .routes(routes!(show_openapi))
        .routes(routes!(show_docs))
        .merge(assets.into())
}

/// An empty document that the routes are added to.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_with(Components::new);
    components.add_security_scheme(
        "api_key",
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))),
    );
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("key or JWT");
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
    document
}

/// The whole document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = super::routes().into_openapi();
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            operation.security = auth::scope_of(method, path).map(security);
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                drop_null(body);
            }
            add_problems(path, operation);
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let all = [
        ("GET", &mut item.get),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// A body that may be left out is no body then, and never `null`.
fn drop_null(body: &mut RequestBody) {
    let is_null = |schema: &RefOr<Schema>| {
        serde_json::to_value(schema).is_ok_and(|schema| schema == json!({ "type": "null" }))
    };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        if let Some(RefOr::T(Schema::OneOf(either))) = &mut content.schema {
            either.items.retain(|schema| !is_null(schema));
            if let [only] = either.items.as_slice() {
                content.schema = Some(only.clone());
                body.required = Some(Required::False);
            }
        }
    }
}

/// Either way to show a key that has this scope.
fn security(scope: Scope) -> Vec<SecurityRequirement> {
    ["api_key", "bearer"].map(|way| SecurityRequirement::new(way, [scope.name()])).into()
}

/// Adds the failures that every operation of its kind can end in, and gives all of them their shape.
fn add_problems(path: &str, operation: &mut Operation) {
    let mut codes = vec![Code::Internal, Code::RequestTimeout];
    if edge::is_limited(path) {
        codes.push(Code::RateLimited);
    }
    if operation.security.is_some() {
        codes.extend([Code::Unauthenticated, Code::Forbidden]);
    }
    if operation.request_body.is_some() {
        codes.extend([
            Code::InvalidJson,
            Code::UnsupportedMediaType,
            Code::InvalidRequest,
            Code::PayloadTooLarge,
            Code::ClientTooSlow,
        ]);
    } else if operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        codes.push(Code::InvalidRequest);
    }
    let responses = &mut operation.responses.responses;
    for code in codes {
        let answer = || RefOr::T(Answer::new(format!("`{}`", code.name())));
        responses.entry(code.status().as_str().to_owned()).or_insert_with(answer);
    }
    for (status, answer) in responses {
        if let RefOr::T(answer) = answer
            && status.as_str() >= "400"
            && answer.content.is_empty()
        {
            let problem = RefOr::T(problem(path, answer));
            answer.content.insert(PROBLEM.to_owned(), problem);
        }
    }
}

/// The shape of a failure, with an example for every code that the description names.
fn problem(path: &str, answer: &Answer) -> Content {
    let named =
        Code::ALL.iter().filter(|code| answer.description.contains(&format!("`{}`", code.name())));
    let examples = named.map(|code| {
        let example = ExampleBuilder::new().value(Some(example(*code, path))).build();
        (code.name(), RefOr::T(example))
    });
    ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .examples_from_iter(examples)
        .build()
}

fn example(code: Code, path: &str) -> Value {
    let texts = code.texts(Language::English);
    json!({
        "type": code.url(),
        "title": texts.title,
        "status": code.status().as_u16(),
        "detail": texts.detail,
        "instance": path,
        "code": code.name(),
        "request_id": "019b7e3c-5a10-7c3e-9d6f-0a1b2c3d4e5f",
        "retryable": code.is_retryable(),
    })
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "docs",
    responses(
        (status = 200, description = "The OpenAPI 3.1 document", body = Value, content_type = "application/json"),
        (status = 304, description = "The document has not changed"),
    ),
)]
async fn show_openapi(headers: HeaderMap) -> Response {
    let caching = [(header::ETAG, SERVED.etag.clone()), (header::CACHE_CONTROL, AN_HOUR)];
    if etag::matches(&headers, &SERVED.etag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    (caching, [(header::CONTENT_TYPE, json)], SERVED.json.as_str()).into_response()
}

/// Swagger UI
#[utoipa::path(
    get,
    path = "/docs",
    tag = "docs",
    responses((status = 200, description = "A page to read and try the API", body = String, content_type = "text/html")),
)]
async fn show_docs() -> Response {
    let page = Html(include_str!("../../templates/docs.html"));
    ([(header::CONTENT_SECURITY_POLICY, DOCS_POLICY)], page).into_response()
}

/// The scripts and styles of the page.
async fn show_asset(uri: Uri) -> Result<Response, Problem> {
    let name = uri.path().trim_start_matches("/docs/");
    let file = utoipa_swagger_ui::serve(name, Arc::clone(&SWAGGER));
    let file = file.map_err(|error| Problem::Internal(anyhow::anyhow!(error.to_string())))?;
    let file = file.ok_or(Problem::RouteNotFound)?;
    let head = [(header::CONTENT_TYPE, file.content_type)];
    let policy = [(header::CONTENT_SECURITY_POLICY, DOCS_POLICY), (header::CACHE_CONTROL, AN_HOUR)];
    Ok((policy, head, file.bytes.into_owned()).into_response())
}
