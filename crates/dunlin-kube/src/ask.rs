//! One request to the API server, with a deadline at both ends.

use std::time::Duration;

use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde::Deserialize;

/// The largest answer taken, in octets: an object is at most some 1.5 MB.
const MAX_ANSWER_OCTETS: usize = 8 << 20;

/// How long the server has at most, and we wait for it, unless said otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(4);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It was done; the object as it is now.
    Done(Vec<u8>),
    /// There is no such object.
    Missing,
    /// The object is another than the one meant.
    Conflict,
    /// The server will not, or not now: with the HTTP status and its words.
    Refused(u16, String),
    /// Nobody knows whether it was done.
    Unknown(String),
}

/// Asks, and waits for `timeout` at most; the server is told to give up by then as well, so that nothing happens late.
/// `path` may have a query.
pub(crate) async fn ask(
    client: &Client,
    timeout: Duration,
    method: Method,
    path: &str,
    body: Option<Text>,
) -> Said {
    let mark = if path.contains('?') { '&' } else { '?' };
    let uri = format!("{path}{mark}timeout={}ms", timeout.as_millis());
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(header::ACCEPT, "application/json");
    let body = match body {
        Some(Text { kind, octets }) => {
            request = request.header(header::CONTENT_TYPE, kind);
            Body::from(octets)
        }
        None => Body::empty(),
    };
    let request = match request.body(body) {
        Ok(request) => request,
        Err(error) => return Said::Refused(0, error.to_string()),
    };
    match tokio::time::timeout(timeout, send(client, request)).await {
        Ok(said) => said,
        Err(_) => Said::Unknown(format!("no answer within {timeout:?}")),
    }
}

/// What is sent.
pub(crate) struct Text {
    pub(crate) kind: &'static str,
    pub(crate) octets: Vec<u8>,
}

impl Text {
    /// An object as a whole.
    pub(crate) fn object(value: &serde_json::Value) -> Text {
        Text {
            kind: "application/json",
            octets: value.to_string().into_bytes(),
        }
    }

    /// What we want of an object (server-side apply).
    pub(crate) fn apply(value: &serde_json::Value) -> Text {
        Text {
            kind: "application/apply-patch+yaml",
            // JSON is YAML.
            octets: value.to_string().into_bytes(),
        }
    }

    /// A JSON merge patch (RFC 7396).
    pub(crate) fn merge_patch(value: &serde_json::Value) -> Text {
        Text {
            kind: "application/merge-patch+json",
            octets: value.to_string().into_bytes(),
        }
    }
}

async fn send(client: &Client, request: Request<Body>) -> Said {
    let response = match client.send(request).await {
        Ok(response) => response,
        Err(error) => return Said::Unknown(error.to_string()),
    };
    let (head, body) = response.into_parts();
    let octets = match Limited::new(body, MAX_ANSWER_OCTETS).collect().await {
        Ok(collected) => collected.to_bytes().to_vec(),
        Err(error) => return Said::Unknown(error.to_string()),
    };
    match head.status {
        status if status.is_success() => Said::Done(octets),
        StatusCode::NOT_FOUND => Said::Missing,
        StatusCode::CONFLICT => Said::Conflict,
        // The server gave up in the middle, or somebody before it did.
        status if status.is_server_error() => Said::Unknown(words(status, &octets)),
        status => Said::Refused(status.as_u16(), words(status, &octets)),
    }
}

fn words(status: StatusCode, octets: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice::<Status>(octets) {
        Ok(said) if !said.message.is_empty() => {
            let short: String = said.message.chars().take(512).collect();
            format!("{status}: {}", short.escape_debug())
        }
        _ => status.to_string(),
    }
}

/// The wall clock as conditions write it, which only people read: `2026-01-31T12:34:56Z`.
pub(crate) fn wall_clock() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// The same with microseconds, as Leases and Events write it.
pub(crate) fn wall_clock_micros() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        .to_string()
}
