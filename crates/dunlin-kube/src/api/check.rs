//! Whether the API can be reached, and whether we may read what the agent reads.

use std::time::Duration;

use http::{Request, header};
use kube::client::Body;
use serde::Deserialize;
use serde_json::json;

use super::config::ApiConfig;
use super::connect::connect;
use super::exchange::Exchange;
use super::health::Health;
use super::trouble::Trouble;
use crate::object::Resource;

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The server's version; or why there is no way to it, and what to do.
    pub server: Result<String, String>,
    /// What keeps a resource from being read, and what to do about it.
    pub problems: Vec<String>,
    /// Resources that are not there and that the agent does without.
    pub missing: Vec<String>,
    /// Resources that can be read.
    pub readable: usize,
}

/// Looks whether the API can be reached and read. Changes nothing. Call within a runtime.
pub async fn check(config: &ApiConfig) -> Access {
    let unreachable = |why: String| Access {
        server: Err(why),
        problems: Vec::new(),
        missing: Vec::new(),
        readable: 0,
    };
    let client = match connect(config).await {
        Ok(client) => client,
        Err(error) => return unreachable(error.to_string()),
    };
    match tokio::time::timeout(PATIENCE, look(client)).await {
        Ok(access) => access,
        Err(_) => unreachable(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The same behind any client.
pub async fn look(client: kube::Client) -> Access {
    let (health, _watched) = Health::new();
    let exchange = Exchange::new(client.clone(), health);
    let mut access = Access {
        server: exchange.version().await.map_err(|trouble| words(&trouble)),
        problems: Vec::new(),
        missing: Vec::new(),
        readable: 0,
    };
    // A server may keep its version to itself.
    if let Err(why) = &access.server
        && !why.contains("403")
    {
        return access;
    }
    for resource in Resource::watched() {
        match exchange.probe(&resource).await {
            Ok(()) => match may_watch(&client, &resource).await {
                Ok(false) => {
                    let trouble = Trouble::Forbidden("watch is not allowed".to_owned());
                    access.problems.push(trouble.describe(&resource));
                }
                Ok(true) | Err(_) => access.readable += 1,
            },
            Err(trouble @ Trouble::NotInstalled) => {
                access.missing.push(trouble.describe(&resource))
            }
            Err(Trouble::Forbidden(_)) if resource.is_optional() => {}
            Err(trouble) => access.problems.push(trouble.describe(&resource)),
        }
    }
    access
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Unreachable(error) => format!("the API server cannot be reached: {error}"),
        Trouble::Unauthorized(error) => {
            format!("the API server does not accept our credentials: {error}")
        }
        Trouble::Forbidden(error) => format!("403: {error}"),
        other => format!(
            "the API server does not tell its version: {}",
            other.reason()
        ),
    }
}

/// Asks the server whether we may watch a resource.
async fn may_watch(client: &kube::Client, resource: &Resource) -> Result<bool, kube::Error> {
    #[derive(Deserialize)]
    struct Review {
        status: Answer,
    }
    #[derive(Deserialize)]
    struct Answer {
        allowed: bool,
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"group": resource.group, "resource": resource.plural, "verb": "watch"}},
    });
    let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(review.to_string().into_bytes()))
        .map_err(kube::Error::HttpError)?;
    let answer = client
        .send(request)
        .await?
        .into_body()
        .collect_bytes()
        .await?;
    let review: Review = serde_json::from_slice(&answer).map_err(kube::Error::SerdeError)?;
    Ok(review.status.allowed)
}
