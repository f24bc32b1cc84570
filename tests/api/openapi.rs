//! Holds every answer against the OpenAPI document: its status is documented for the operation, and
//! its body has the documented media type and shape.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use jsonschema::Validator;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::Answer;

/// The OpenAPI document that answers are held against.
pub struct Contract {
    document: Value,
    /// By schema; compiling one takes longer than a request.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Contract {
    /// The document, read once per test run: it is the same for every test.
    pub async fn get_or_read(read: impl Future<Output = Bytes>) -> &'static Self {
        static CONTRACT: OnceCell<Contract> = OnceCell::const_new();
        let parse = async {
            let document = serde_json::from_slice(&read.await).unwrap();
            Self { document, validators: Mutex::default() }
        };
        CONTRACT.get_or_init(async || parse.await).await
    }

    /// Fails the test if the document does not promise this answer.
    pub fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let Some((template, operation)) = self.operation(method, path) else {
            // No operation: all that can come is a failure, a preflight or an asset.
            if answer.status.is_client_error() && method != Method::HEAD {
                self.check_body(method, path, answer, &problem());
            }
            return;
        };
        record(method, &template, answer);
        if answer.status == StatusCode::URI_TOO_LONG {
            // No operation is asked then, whatever the path begins with.
            return self.check_body(method, path, answer, &problem());
        }
        let status = answer.status.as_str();
        let Some(documented) = operation["responses"].get(status) else {
            panic!("{method} {template} answered {status}, which is not documented: {answer:?}");
        };
        if method != Method::HEAD && documented.get("content").is_some() {
            self.check_body(method, path, answer, &documented["content"]);
        } else {
            assert!(
                answer.body.is_empty(),
                "{method} {template} {status} has an undocumented body"
            );
        }
    }

    /// Every operation as (method, path template, operation).
    fn operations(&self) -> Vec<(Method, String, Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = method.to_uppercase().parse().unwrap();
                operations.push((method, path.clone(), operation.clone()));
            }
        }
        operations
    }

    /// The operation that answers `method` at `path`; a literal path wins over a template.
    fn operation(&self, method: &Method, path: &str) -> Option<(String, Value)> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
        let mut found = self.operations();
        found.retain(|(its, template, _)| its == method && is_match(template, path));
        found.sort_by_key(|(_, template, _)| template.contains('{'));
        found.into_iter().next().map(|(_, template, operation)| (template, operation))
    }

    fn check_body(&self, method: &Method, path: &str, answer: &Answer, content: &Value) {
        let kind = answer.header("content-type").split(';').next().unwrap_or_default();
        let Some(media) = content.get(kind) else {
            panic!("{method} {path} answered {kind:?}, which is not documented: {answer:?}");
        };
        if kind.ends_with("json") {
            let errors = self.errors(&media["schema"], &answer.json());
            assert!(errors.is_empty(), "{method} {path}: {errors:#?}\n{answer:?}");
        }
    }

    fn errors(&self, schema: &Value, body: &Value) -> Vec<String> {
        let validator = self.validator(schema);
        validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| {
            let mut root = schema.as_object().cloned().unwrap_or_default();
            if !root.is_empty() {
                // A field that is not documented is a field nobody can rely on.
                root.insert("unevaluatedProperties".to_owned(), false.into());
            }
            root.insert("components".to_owned(), self.document["components"].clone());
            Arc::new(jsonschema::draft202012::new(&root.into()).unwrap())
        });
        Arc::clone(validator)
    }
}

fn problem() -> Value {
    json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } })
}

fn is_match(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(part), Some(given)) if part == given => (),
            (Some(part), Some(given)) if part.starts_with('{') && !given.is_empty() => (),
            _ => return false,
        }
    }
}

/// Leaves a line for the check that every route has a test.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says where it goes")]
fn record(method: &Method, template: &str, answer: &Answer) {
    let Some(path) = std::env::var_os("ROUTE_COVERAGE") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let line = format!("{method} {template} {}\n", answer.status.as_u16());
    file.write_all(line.as_bytes()).unwrap();
}
