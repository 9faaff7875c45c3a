//! What goes wrong between us and the API server, in plain words.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::object::{GROUP, Resource};

/// Why a request did not get what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No server answered, or the connection ended.
    Unreachable(String),
    /// The server does not know who we are (401).
    Unauthorized(String),
    /// We may not (403).
    Forbidden(String),
    /// The server does not know the resource (404): its CRD is not installed.
    NotInstalled,
    /// The version asked for is no longer there (410).
    Gone,
    /// The server does not have the version asked for yet (504), or never will: it was restored from a backup.
    TooNew,
    /// The server wants to be left alone (429), for as long as it says.
    Throttled(Option<Duration>),
    /// The server does not take what was asked (400, 422).
    Refused(String),
    /// Another error of the server's, with the time it asks for.
    Server(u16, String, Option<Duration>),
    /// What came is not what was asked for.
    Garbage(String),
}

impl Trouble {
    /// The word for it in conditions and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Trouble::Unreachable(_) => "Unreachable",
            Trouble::Unauthorized(_) => "Unauthorized",
            Trouble::Forbidden(_) => "Forbidden",
            Trouble::NotInstalled => "NotInstalled",
            Trouble::Gone => "Gone",
            Trouble::TooNew => "TooNew",
            Trouble::Throttled(_) => "Throttled",
            Trouble::Refused(_) => "Refused",
            Trouble::Server(..) => "ServerError",
            Trouble::Garbage(_) => "Garbage",
        }
    }

    /// How long the server wants us to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Trouble::Throttled(after) | Trouble::Server(_, _, after) => *after,
            _ => None,
        }
    }

    /// What it is, where, and what to do.
    pub(crate) fn describe(&self, resource: &Resource) -> String {
        let name = resource.full_name();
        match self {
            Trouble::Unreachable(error) => format!(
                "the API server cannot be reached: {error}: it is tried again, and the last known state stays; \
                 if the address is wrong, give --api-server"
            ),
            Trouble::Unauthorized(error) => format!(
                "the API server does not accept our credentials for {name}: {error}: look whether the service account's \
                 token or the kubeconfig's certificate has run out"
            ),
            Trouble::Forbidden(error) => format!(
                "we may not list and watch {name}: {error}: give the agent's ClusterRole apiGroups [\"{}\"], resources \
                 [\"{}\"], verbs [\"get\", \"list\", \"watch\"]",
                resource.group, resource.plural
            ),
            Trouble::NotInstalled => match resource.group {
                GROUP => format!(
                    "the CustomResourceDefinition {name} is not installed: `dunlin crds | kubectl apply -f -`; everything \
                     else works without"
                ),
                _ => format!("the API server does not serve {name}; everything else works without"),
            },
            Trouble::Gone => {
                format!("the server has forgotten the version of {name} we know: listing again")
            }
            Trouble::TooNew => {
                format!("the server's {name} are older than those we know: listing again")
            }
            Trouble::Throttled(_) => {
                format!("the API server asks for patience with {name}: trying again later")
            }
            Trouble::Refused(error) => {
                format!("the API server refuses the request for {name}: {error}")
            }
            Trouble::Server(code, error, _) => {
                format!("the API server fails at {name} with {code}: {error}: trying again")
            }
            Trouble::Garbage(error) => {
                format!("what the API server says of {name} does not parse: {error}: trying again")
            }
        }
    }

    /// What an answer with an error status, or an ERROR of a watch, means.
    pub(crate) fn of_answer(code: u16, headers: &HeaderMap, body: &[u8]) -> Trouble {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let after = headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .or(status.details.retry_after_seconds)
            .map(Duration::from_secs);
        let message = status.message.unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
            match text.trim() {
                "" => StatusCode::from_u16(code)
                    .ok()
                    .and_then(|code| code.canonical_reason())
                    .unwrap_or("no reason given")
                    .to_owned(),
                text => text.escape_debug().to_string(),
            }
        });
        match (code, status.reason.as_deref()) {
            (401, _) => Trouble::Unauthorized(message),
            (403, _) => Trouble::Forbidden(message),
            (404, _) => Trouble::NotInstalled,
            (410, _) | (_, Some("Expired" | "Gone")) => Trouble::Gone,
            (429, _) => Trouble::Throttled(after),
            (504, Some("Timeout")) if message.contains("Too large resource version") => {
                Trouble::TooNew
            }
            (400 | 405 | 415 | 422, _) => Trouble::Refused(message),
            _ => Trouble::Server(code, message, after),
        }
    }
}

/// A `Status` of the API, as far as it matters.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Status {
    pub(crate) code: Option<u16>,
    message: Option<String>,
    reason: Option<String>,
    details: Details,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: Option<u64>,
}

#[cfg(test)]
mod tests;
