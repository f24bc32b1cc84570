//! What happens before routing: a trailing slash is the same route.

use std::borrow::Cow;
use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use tower::Service;

/// The whole service: every request enters here.
#[derive(Clone, Debug)]
pub struct Front {
    router: Router,
}

impl Front {
    pub(in crate::http) fn new(router: Router) -> Self {
        Self { router }
    }
}

impl Service<Request> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<Request<Body>>>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(uri) = without_slash(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.router.call(request)
    }
}

/// The URI without the slash at the end of its path, if it has one that means nothing. The page at
/// `/docs/` finds its assets by relative paths, so there the slash counts.
fn without_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    if path == "/docs" || path.starts_with("/docs/") {
        return None;
    }
    let path_and_query: Cow<'_, str> = match uri.query() {
        Some(query) => format!("{path}?{query}").into(),
        None => path.into(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query.as_ref()).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_at_the_end_is_dropped_and_all_else_kept() {
        let stripped =
            |uri: &'static str| without_slash(&Uri::from_static(uri)).map(|uri| uri.to_string());
        assert_eq!(stripped("/health/").as_deref(), Some("/health"));
        assert_eq!(stripped("/a/b/?c=d/").as_deref(), Some("/a/b?c=d/"));
        assert_eq!(stripped("/a//").as_deref(), Some("/a/"));
        assert_eq!(stripped("http://host/a/").as_deref(), Some("http://host/a"));
        for kept in ["/", "/health", "/docs/", "/docs/index.html/", "/a?b=/"] {
            assert_eq!(stripped(kept), None, "{kept}");
        }
        assert_eq!(stripped("//").as_deref(), Some("/"));
        assert_eq!(stripped("/docsish/").as_deref(), Some("/docsish"));
    }
}
