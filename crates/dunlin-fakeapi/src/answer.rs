//! Answers other than objects.

use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use crate::body::Streamed;

pub(crate) type Answer = Response<Streamed>;

/// JSON.
pub(crate) fn json(status: u16, value: &Value) -> Answer {
    text(status, value.to_string().into_bytes())
}

pub(crate) fn text(status: u16, text: Vec<u8>) -> Answer {
    body(status, Streamed::text(text))
}

pub(crate) fn body(status: u16, body: Streamed) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// A `Status` of failure.
pub(crate) fn failure(status: u16, reason: &str, message: &str) -> Answer {
    json(status, &status_object(status, reason, message))
}

pub(crate) fn status_object(status: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": status,
    })
}

pub(crate) fn not_found(what: &str) -> Answer {
    failure(404, "NotFound", &format!("{what} not found"))
}
