//! What is said in the status of pools: how many addresses are given and left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_intent::pools::PoolView;
use dunlin_net::{Afi, Instant};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::ask::{Said, Text, ask, wall_clock};
use crate::lease::plus;

/// The condition of a pool that says whether addresses are left.
pub(super) const AVAILABLE: &str = "Available";
/// How long a pool's status is left alone after it could not be written.
const PAUSE: Duration = Duration::from_secs(30);
/// Writes under way at once; the rest waits for the next count.
const AT_ONCE: usize = 8;

/// What a status is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stand {
    allocated: u32,
    available: u32,
    /// What has nothing left.
    exhausted: Vec<Afi>,
}

/// A write that is over.
pub(super) struct PoolDone {
    name: String,
    stand: Stand,
    said: Said,
}

/// The status of the pools, as written and as it should be.
#[derive(Default)]
pub(super) struct PoolWrites {
    wanted: BTreeMap<String, Stand>,
    /// With the time of the condition's last transition.
    told: BTreeMap<String, (Stand, String)>,
    not_before: BTreeMap<String, Instant>,
    names: BTreeSet<String>,
    under_way: FuturesUnordered<BoxFuture<'static, PoolDone>>,
}

impl PoolWrites {
    /// Takes in how the pools stand.
    pub(super) fn want(&mut self, views: &[PoolView]) {
        let stands = views.iter().map(|view| (view.name.clone(), stand(view)));
        self.wanted = stands.collect();
        self.told.retain(|name, _| self.wanted.contains_key(name));
        self.not_before
            .retain(|name, _| self.wanted.contains_key(name));
    }

    /// Begins the writes that are due.
    pub(super) fn begin(&mut self, now: Instant, client: &Client, timeout: Duration) {
        for (name, stand) in &self.wanted {
            let told = self.told.get(name);
            if told.is_some_and(|(told, _)| told == stand)
                || self.names.contains(name)
                || self.not_before.get(name).is_some_and(|at| now < *at)
                || self.names.len() >= AT_ONCE
            {
                continue;
            }
            let same =
                told.filter(|(told, _)| told.exhausted.is_empty() == stand.exhausted.is_empty());
            let since = same.map_or_else(wall_clock, |(_, since)| since.clone());
            let patch = Text::apply(&object(name, stand, &since));
            let (client, name, stand) = (client.clone(), name.clone(), stand.clone());
            self.names.insert(name.clone());
            self.told.insert(name.clone(), (stand.clone(), since));
            self.under_way.push(Box::pin(async move {
                let path = format!(
                    "/apis/dunlin.dev/v1alpha1/loadbalancerpools/{name}/status?fieldManager=dunlin-load-balancer&force=true"
                );
                let said = ask(&client, timeout, Method::PATCH, &path, Some(patch)).await;
                PoolDone { name, stand, said }
            }));
        }
    }

    /// The next that is over; waits for ever while there is none.
    pub(super) async fn next(&mut self) -> PoolDone {
        match self.under_way.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Takes in what came of a write.
    pub(super) fn finish(&mut self, now: Instant, done: PoolDone) {
        let PoolDone { name, stand, said } = done;
        self.names.remove(&name);
        if !matches!(said, Said::Done(_) | Said::Missing) {
            tracing::info!(
                pool = name,
                ?said,
                "a LoadBalancerPool's status was not written: trying again"
            );
            if self.told.get(&name).is_some_and(|(told, _)| *told == stand) {
                self.told.remove(&name);
            }
            self.not_before.insert(name, plus(now, PAUSE));
        }
    }
}

fn stand(view: &PoolView) -> Stand {
    let used: usize = Afi::ALL.iter().map(|afi| *view.used.get(*afi)).sum();
    let left = |afi: &Afi| match *view.exhausted.get(*afi) {
        true => 0,
        false => view
            .total
            .get(*afi)
            .saturating_sub(*view.used.get(*afi) as u128),
    };
    let available = Afi::ALL
        .iter()
        .fold(0u128, |sum, afi| sum.saturating_add(left(afi)));
    let exhausted = Afi::ALL.into_iter().filter(|afi| *view.exhausted.get(*afi));
    Stand {
        allocated: u32::try_from(used).unwrap_or(u32::MAX),
        available: u32::try_from(available).unwrap_or(u32::MAX),
        exhausted: exhausted.collect(),
    }
}

fn object(name: &str, stand: &Stand, since: &str) -> Value {
    let full: Vec<String> = stand.exhausted.iter().map(Afi::to_string).collect();
    let (status, reason, message) = match full.is_empty() {
        true => (
            "True",
            "AddressesLeft",
            "Services can have addresses of it".to_owned(),
        ),
        false => {
            let message = format!(
                "all {} addresses are in use: add some to spec.addresses",
                full.join(" and ")
            );
            ("False", "Exhausted", message)
        }
    };
    json!({
        "apiVersion": "dunlin.dev/v1alpha1",
        "kind": "LoadBalancerPool",
        "metadata": { "name": name },
        "status": {
            "allocated": stand.allocated,
            "available": stand.available,
            "conditions": [{
                "type": AVAILABLE,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": since,
            }],
        },
    })
}
