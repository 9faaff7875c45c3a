//! The writes of a term.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dunlin_intent::pools::{Outcome, PoolView};
use dunlin_intent::{Kind, NamespacedName};
use dunlin_net::{Afi, Instant};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use http::Method;
use kube::Client;
use serde_json::Value;

use super::Term;
use crate::allocate::status::Marks;
use crate::ask::{Said, Text, ask, wall_clock};
use crate::events::{EventReason, Notice, NoticeObject};
use crate::lease::plus;

/// Writes under way at once: a thousand Services take some thirty round trips.
const AT_ONCE: usize = 32;

/// A write that is over.
pub(super) struct Done {
    name: NamespacedName,
    uid: Option<String>,
    outcome: Outcome,
    /// Addresses that it did not show before.
    new: Vec<IpAddr>,
    said: Said,
}

/// The writes under way.
pub(super) struct Writes {
    client: Client,
    /// How long one may take.
    timeout: Duration,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    names: BTreeSet<NamespacedName>,
}

impl Writes {
    pub(super) fn new(client: Client, timeout: Duration) -> Writes {
        Writes {
            client,
            timeout,
            under_way: FuturesUnordered::new(),
            names: BTreeSet::new(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next that is over; waits for ever while there is none.
    pub(super) async fn next(&mut self) -> Done {
        match self.under_way.next().await {
            Some(done) => {
                self.names.remove(&done.name);
                done
            }
            None => std::future::pending().await,
        }
    }

    fn begin(&mut self, name: NamespacedName, marks: &Marks, outcome: Outcome, new: Vec<IpAddr>) {
        self.names.insert(name.clone());
        let patch = Text::merge_patch(&marks.patch(&outcome, &wall_clock()));
        let (client, timeout) = (self.client.clone(), self.timeout);
        let uid = marks.metadata.uid.clone();
        self.under_way.push(Box::pin(async move {
            let path = format!(
                "/api/v1/namespaces/{}/services/{}/status",
                name.namespace, name.name
            );
            let said = ask(&client, timeout, Method::PATCH, &path, Some(patch)).await;
            Done {
                name,
                uid,
                outcome,
                new,
                said,
            }
        }));
    }
}

impl Term {
    /// Begins what is to be written and can be over by `until`.
    pub(super) fn begin_writes(&mut self, now: Instant, until: Instant) {
        if plus(now, self.writes.timeout) > until {
            return;
        }
        let mut waiting = Vec::new();
        while self.writes.names.len() < AT_ONCE {
            let Some(name) = self.queue.pop_first() else {
                break;
            };
            // What it shall be then is written when this is over.
            if self.writes.names.contains(&name) {
                waiting.push(name);
                continue;
            }
            let Some((marks, outcome, new)) = self.wanted(&name) else {
                continue;
            };
            if self.retries.may_write(now, &name) {
                let uid = marks.metadata.uid.as_deref();
                self.pools.writing(&name, uid, &outcome.addresses);
                self.writes.begin(name, &marks, outcome, new);
            }
        }
        self.queue.extend(waiting);
    }

    /// What is to be written of a Service, if anything.
    fn wanted(&self, name: &NamespacedName) -> Option<(Marks, Outcome, Vec<IpAddr>)> {
        let decision = self.pools.decision(name)?;
        let marks = self.marks.get(name)?;
        if !self.pools.ready() || marks.metadata.uid != decision.uid {
            return None;
        }
        let outcome = decision.outcome;
        if marks.leave_alone(&outcome, decision.differs)
            || (!decision.differs && marks.says(&outcome))
        {
            return None;
        }
        let shown = self.pools.shown(name);
        let new = outcome.addresses.iter().filter(|ip| !shown.contains(ip));
        let new = new.copied().collect();
        Some((marks.clone(), outcome, new))
    }

    /// Takes in what came of a write.
    pub(super) fn finish(&mut self, now: Instant, done: Done) {
        let Done {
            name,
            uid,
            outcome,
            new,
            said,
        } = done;
        // The answer is the Service as it is now, and may be newer than what the watch tells for a while.
        let said = match said {
            Said::Done(octets) => read(&octets, &name)
                .ok_or(Said::Unknown("the answer is not the Service".to_owned())),
            other => Err(other),
        };
        match said {
            Ok(object) => {
                self.retries.succeeded(now, &name);
                self.pools
                    .written(&name, uid.as_deref(), &outcome.addresses);
                self.counts.given += u64::try_from(new.len()).unwrap_or(u64::MAX);
                self.tell(&name, uid, &outcome, &new);
                self.changed = true;
                self.object(Kind::Service, &object);
            }
            Err(said) => {
                let certain = !matches!(said, Said::Unknown(_));
                self.pools.not_written(&name, uid.as_deref(), certain);
                self.failed(now, &name, said);
            }
        }
    }

    fn failed(&mut self, now: Instant, name: &NamespacedName, said: Said) {
        match said {
            // The watch tells what it is now.
            Said::Done(_) | Said::Missing => {}
            Said::Conflict => self.retries.failed(now, name, true),
            Said::Refused(code, words) => {
                self.counts.failures += 1;
                tracing::warn!(service = %name, code, %words, "the API server does not take a Service's addresses");
                self.retries.failed(now, name, false);
            }
            Said::Unknown(words) => {
                self.counts.failures += 1;
                self.unknown = Some(now);
                tracing::info!(service = %name, %words, "a Service's addresses may not have been written: trying again");
                self.retries.failed(now, name, false);
            }
        }
    }

    fn tell(&self, name: &NamespacedName, uid: Option<String>, outcome: &Outcome, new: &[IpAddr]) {
        let object = NoticeObject {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            uid,
        };
        let notice = |reason, message, warning| Notice {
            object: object.clone(),
            reason,
            action: "Allocate",
            message,
            warning,
        };
        if !new.is_empty() {
            let new: Vec<String> = new.iter().map(IpAddr::to_string).collect();
            let message = format!("got {}", new.join(", "));
            self.notices.tell(notice(
                EventReason::AddressAllocated.as_str(),
                message,
                false,
            ));
        }
        if !outcome.complete() {
            let message = outcome.to_string();
            self.notices.tell(notice(outcome.reason(), message, true));
        }
    }

    /// Says which pools have come to have nothing left.
    pub(super) fn tell_exhausted(&mut self, views: &[PoolView]) {
        let now = views.iter().flat_map(|view| {
            let full = Afi::ALL.into_iter().filter(|afi| *view.exhausted.get(*afi));
            full.map(|afi| (view.name.clone(), afi))
        });
        let now: BTreeSet<(String, Afi)> = now.collect();
        for (name, afi) in now.difference(&self.exhausted) {
            self.notices.tell(Notice {
                object: NoticeObject {
                    api_version: "dunlin.dev/v1alpha1".to_owned(),
                    kind: "LoadBalancerPool".to_owned(),
                    namespace: String::new(),
                    name: name.clone(),
                    uid: self.pool_uids.get(name).cloned(),
                },
                reason: EventReason::PoolExhausted.as_str(),
                action: "Allocate",
                message: format!("all {afi} addresses are in use: add some to spec.addresses"),
                warning: true,
            });
        }
        self.exhausted = now;
    }
}

/// The Service that an answer is, if it is this one.
fn read(octets: &[u8], name: &NamespacedName) -> Option<Value> {
    let object: Value = serde_json::from_slice(octets).ok()?;
    let metadata = &object["metadata"];
    let same = metadata["name"] == *name.name && metadata["namespace"] == *name.namespace;
    (same && metadata["resourceVersion"].is_string()).then_some(object)
}
