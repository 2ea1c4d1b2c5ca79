//! Errors as Kubernetes' clients read them: an HTTP code and a Status object.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use trilobite_crds::read_api::GROUP;

use crate::query::InvalidQuery;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: u16,
    /// Reason of the Status, e.g. `Forbidden`.
    pub reason: &'static str,
    pub message: String,
    pub retry_after_seconds: Option<u32>,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), retry_after_seconds: None }
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message)
    }

    /// For a path that is none of ours.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub fn not_found(resource: &str, name: &str, detail: &str) -> Self {
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        Self::new(404, "NotFound", format!("{resource}.{GROUP} {name:?} not found{detail}"))
    }

    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the read API only reads: get, list and watch")
    }

    pub fn not_acceptable() -> Self {
        Self::new(406, "NotAcceptable", "only application/json is served, as objects or as a Table of meta.k8s.io/v1")
    }

    pub fn conflict(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self { retry_after_seconds: Some(retry_after_seconds), ..Self::new(409, "Conflict", message) }
    }

    /// What a watch cannot give any more.
    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self { retry_after_seconds: Some(1), ..Self::new(429, "TooManyRequests", message) }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "InternalError", message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after_seconds: Some(1), ..Self::new(503, "ServiceUnavailable", message) }
    }

    /// The Status object.
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(seconds) = self.retry_after_seconds {
            status["details"] = json!({"retryAfterSeconds": seconds});
        }
        status
    }
}

impl From<InvalidQuery> for ApiError {
    fn from(error: InvalidQuery) -> Self {
        match error.parameter {
            // The code by which clients fall back to a list.
            "sendInitialEvents" => Self::invalid(error.to_string()),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.status().to_string()));
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_the_form_that_kubectl_prints() {
        let status = ApiError::not_found("flows", "x", "").status();
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["message"], "flows.read.trilobite.dev \"x\" not found");
        assert_eq!((&status["reason"], &status["code"]), (&json!("NotFound"), &json!(404)));
        assert_eq!(ApiError::conflict("later", 7).status()["details"]["retryAfterSeconds"], 7);
    }

    #[test]
    fn refused_initial_events_have_the_code_of_the_api_server() {
        let error = |parameter| ApiError::from(InvalidQuery { parameter, problem: "is not supported".into() }).code;
        assert_eq!((error("sendInitialEvents"), error("limit")), (422, 400));
    }
}
