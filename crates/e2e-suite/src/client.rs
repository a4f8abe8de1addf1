//! A blocking HTTP client of one workload.
//!
//! Any answer is a [`Response`], whatever its status: a test decides which status is right. A request that gets no answer at all
//! is never right, so it panics with the request and the reason.

use std::time::Duration;

use serde_json::Value;

/// How long one request may take. A service that needs longer hangs as far as its users are concerned.
const LIMIT: Duration = Duration::from_secs(30);

/// A client of one workload, with the bearer token that it shows. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the service at `base`, such as `http://127.0.0.1:4001`.
    pub fn new(base: &str, token: Option<&str>) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(LIMIT))
            // a service's own address is never behind the caller's proxy
            .proxy(None)
            .max_redirects(0)
            .build();
        Client { agent: config.into(), base: base.trim_end_matches('/').to_owned(), token: token.map(str::to_owned) }
    }

    /// The same service without a token.
    pub fn anonymous(&self) -> Client {
        Client { token: None, ..self.clone() }
    }

    /// The same service with another token.
    pub fn with_token(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The whole address of a path, for a test that speaks to the service in its own way.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The bearer token that this client shows.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// GET; `path` starts with a slash and may have a query, already percent-encoded.
    ///
    /// # Panics
    ///
    /// Like every request here, if no answer comes.
    pub fn get(&self, path: &str) -> Response {
        let request = self.agent.get(self.url(path));
        self.answer("GET", path, self.authorized(request).call())
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Response {
        let request = self.agent.delete(self.url(path));
        self.answer("DELETE", path, self.authorized(request).call())
    }

    /// POST with a JSON body.
    pub fn post(&self, path: &str, json: &Value) -> Response {
        self.post_raw(path, "application/json", json.to_string().as_bytes(), &[])
    }

    /// POST with any body; an empty content type sends none. `headers` are added as they are.
    pub fn post_raw(&self, path: &str, content_type: &str, body: &[u8], headers: &[(&str, &str)]) -> Response {
        let mut request = self.authorized(self.agent.post(self.url(path)));
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.answer("POST", path, request.send(body))
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Response {
        let request = format!("{method} {}", self.url(path));
        let answer = result.and_then(|mut response| {
            let body = response.body_mut().read_to_vec()?;
            let headers = response.headers().iter().map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            });
            Ok((response.status().as_u16(), headers.collect(), body))
        });
        match answer {
            Ok((status, headers, body)) => Response { status, headers, body, request },
            Err(error) => panic!("{request}: no answer: {error}"),
        }
    }
}

/// An answer of a service.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers with lower-case names, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
    request: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is something else, with the body in the message.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{}: {} with a body that is not JSON ({error}): {}", self.request, self.status, self.text())
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first header of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Itself, if the status is `status`.
    ///
    /// # Panics
    ///
    /// Otherwise, with the request and the whole answer.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text());
        self
    }

    /// The parsed problem, if the answer is one (RFC 9457) with this status.
    ///
    /// # Panics
    ///
    /// If the status, the content type or a member that every problem has is another.
    #[track_caller]
    pub fn expect_problem(self, status: u16) -> Value {
        let answer = self.expect_status(status);
        let kind = answer.header("content-type").unwrap_or("none");
        assert_eq!(kind, "application/problem+json", "content type of {}: {}", answer.request, answer.text());
        let problem = answer.json();
        assert_eq!(problem["status"], status, "member `status` of {problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "member `{member}` of {problem}");
        }
        problem
    }
}
