//! Errors as clients see them: RFC 9457 problem details, `application/problem+json`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The problem type of an input that breaks a rule of the API; such a problem names the field at fault where there is one.
const VALIDATION: &str = "urn:problem-type:validation-error";

/// An error answer. `type` is `about:blank` where the status says it all (RFC 9457, section 4.2.1).
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of which the status says the kind; `detail` is for a person: what is wrong, with what, and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            status,
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            field: None,
            headers: Vec::new(),
        }
    }

    /// 400: the field breaks a rule. The field is written as in the body, as in `alerts[0].labels`; empty means the body itself.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Problem {
        let field = Some(field.into()).filter(|field| !field.is_empty());
        Problem { kind: VALIDATION, title: "Validation Error", field, ..Problem::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// 503.
    pub fn unavailable(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    /// 500. The cause goes to the log, not to the client, who can do nothing with it and should not see it.
    pub fn internal(cause: impl std::fmt::Display) -> Problem {
        crate::log!("internal error: {cause}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the service failed to answer this request; its log has the cause",
        )
    }

    /// The same with a header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The field at fault, if there is one.
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// What is wrong, for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": self.kind,
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))];
        let mut response = (self.status, kind, body.to_string()).into_response();
        response.headers_mut().extend(self.headers.into_iter().collect::<axum::http::HeaderMap>());
        response
    }
}
