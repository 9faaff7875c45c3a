//! A server that answers and does not tell what there is, as one does whose storage is away.

use std::time::Duration;

use tokio::sync::watch;

use super::health::{Health, SourceHealth};
use crate::object::Resource;

/// How long the first lists have, and how often it is looked whether they came.
const FIRST_LISTS: Duration = Duration::from_secs(10);

/// Lets what was saved count if the first lists fail. Ends when that is so, or when all is listed.
pub(super) async fn fall_back(health: Health, fall_back: watch::Sender<bool>) {
    let all = Resource::watched().count();
    loop {
        tokio::time::sleep(FIRST_LISTS).await;
        let listed = health.read(|health| health.resources.values().filter(|r| r.synced).count());
        if listed >= all || *fall_back.borrow() {
            return;
        }
        if health.read(stands_still) {
            tracing::warn!(
                "the API server does not tell what there is: going on with the last known state, if there is one"
            );
            let _ = fall_back.send(true);
            return;
        }
    }
}

/// Whether something is not listed for a reason that passes by itself. What we may not read, or what is not installed, is
/// somebody's will.
fn stands_still(health: &SourceHealth) -> bool {
    let passes = |reason: &str| !matches!(reason, "Forbidden" | "NotInstalled");
    health.unreachable_since.is_some()
        || health.resources.values().any(|resource| {
            let trouble = resource.trouble.as_ref();
            !resource.synced && trouble.is_some_and(|(reason, _)| passes(reason))
        })
}
