//! Writes the conditions of our objects, if this agent is the one to do it, and NetworkUnavailable of its own Node.
//!
//! Who writes needs no election: every agent computes the same Node from the same facts, and leaves out those whose agents
//! it has had no session with for long. Where two believe to be the one for a while, they write the same under the same name.

use std::time::Duration;

use dunlin_api::{Answer, ObjectReport, Query};
use dunlin_core::status_plan::{Failure, Failures, TokenBucket};
use dunlin_kube::crd::status::ConditionStatus;
use dunlin_kube::crd::status::{ACCEPTED, Condition};
use dunlin_kube::events::{EventReason, NoticeObject};
use dunlin_kube::object::{GROUP, VERSION};
use dunlin_kube::status::{
    ObjectNews, ObservedObjects, WriteError, WriteFault, next_condition, time_text, watch_objects,
};
use dunlin_net::Instant;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::news::{node_of, notice};
use super::{CORE_TIMEOUT, Context, chance, failure, mapping};

/// How long after a change it is looked at: the core has to hear of it too, and changes come in company.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Conditions written each second, and at once.
const WRITES_PER_SEC: u32 = 5;
const BURST: u32 = 10;

/// The names in the log and among troubles.
const WRITER: &str = "conditions";
const NETWORK_WRITER: &str = "NetworkUnavailable";

pub(super) struct ObjectWriter {
    context: Context,
    /// The objects, while it is us who writes.
    watch: Option<BoxStream<'static, ObjectNews>>,
    observed: ObservedObjects,
    bucket: TokenBucket,
    failures: Failures,
    network_failures: Failures,
    /// When to look.
    due: Option<Instant>,
}

impl ObjectWriter {
    pub(super) fn new(context: Context) -> ObjectWriter {
        let now = context.clock.read().now;
        ObjectWriter {
            context,
            watch: None,
            observed: ObservedObjects::default(),
            bucket: TokenBucket::new(now, WRITES_PER_SEC, BURST),
            failures: Failures::default(),
            network_failures: Failures::default(),
            due: Some(now + DEBOUNCE),
        }
    }

    /// Until the core ends.
    pub(super) async fn run(mut self) {
        let mut revisions = self.context.engine.revisions();
        let mut state = self.context.engine.state();
        let mut seen = revisions.borrow_and_update().objects;
        let mut carried = false;
        let clock = self.context.clock;
        loop {
            let mut look = false;
            tokio::select! {
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = revisions.borrow_and_update().objects;
                    look = std::mem::replace(&mut seen, now) != now;
                }
                changed = state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let carries = state.borrow_and_update().pod_network.is_some();
                    look = std::mem::replace(&mut carried, carries) != carries;
                }
                news = next(&mut self.watch) => {
                    self.observed.take(news);
                    look = true;
                }
                () = clock.wait(self.due) => {
                    self.due = None;
                    self.look().await;
                }
            }
            if look {
                self.look_by(clock.read().now + DEBOUNCE);
            }
        }
    }

    fn look_by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    async fn look(&mut self) {
        let asked = self.context.engine.ask(Query::ObjectReport, CORE_TIMEOUT);
        match asked.await {
            Ok(Answer::ObjectReport(report)) => self.act(&report).await,
            Ok(_) => tracing::error!("the core answered another question"),
            // It is busy, or ending.
            Err(_) => self.look_by(self.context.clock.read().now + DEBOUNCE),
        }
    }

    /// Does what the report asks for, and says when to look again.
    async fn act(&mut self, report: &ObjectReport) {
        if let Some(secs) = report.again_secs {
            let pause = Duration::from_secs(secs.into());
            self.look_by(self.context.clock.read().now + pause);
        }
        if report.clear_network_unavailable {
            self.clear_network_unavailable().await;
        }
        match (report.is_us, self.watch.is_some()) {
            (true, false) => {
                tracing::info!("this agent writes the conditions of BGP objects");
                self.watch = Some(watch_objects(&self.context.client));
            }
            (false, true) => {
                let writer = report.writer.as_deref().unwrap_or("nobody");
                tracing::info!(writer, "another agent writes the conditions of BGP objects");
                self.watch = None;
                self.observed = ObservedObjects::default();
                self.context.troubles.over(WRITER);
            }
            _ => {}
        }
        self.write(report).await;
    }

    async fn clear_network_unavailable(&mut self) {
        let clocks = self.context.clock.read();
        let node = self.context.node.clone();
        let written = self
            .context
            .api
            .network_is_available(&node, clocks.wall_micros);
        match written.await {
            Ok(()) => {
                tracing::info!(
                    node,
                    "NetworkUnavailable was True and is False now: the node's pods have a network"
                );
                self.network_failures = Failures::default();
                let reason = EventReason::NetworkAvailable;
                let message = "NetworkUnavailable was True and is False now".to_owned();
                self.context
                    .notices
                    .tell(notice(node_of(&node, None), reason, "Start", message));
                self.context.troubles.over(NETWORK_WRITER);
            }
            Err(error) => {
                let object = format!("Node/{node}");
                self.context.troubles.note(NETWORK_WRITER, object, &error);
                let pause = self.network_failures.pause(failure(&error), chance());
                self.look_by(clocks.now + pause);
            }
        }
    }

    /// Writes each condition that differs from what the object carries.
    pub(super) async fn write(&mut self, report: &ObjectReport) {
        if !report.is_us {
            return;
        }
        let clocks = self.context.clock.read();
        for (kind, name, condition) in
            wanted(&self.observed, report, &time_text(clocks.wall_micros))
        {
            if let Err(at) = self.bucket.take(self.context.clock.read().now) {
                self.look_by(at);
                return;
            }
            let written = self.context.api.write_condition(kind, &name, &condition);
            match written.await {
                Ok(()) => {
                    self.tell(kind, &name, &condition);
                    self.observed.wrote(kind, &name, condition);
                    self.failures = Failures::default();
                    self.context.troubles.over(WRITER);
                }
                // It was deleted a moment ago.
                Err(error) if error.fault == WriteFault::Missing => self.observed.lost(kind, &name),
                Err(error) => {
                    self.context
                        .troubles
                        .note(WRITER, format!("{kind}/{name}"), &error);
                    let pause = self.pause(&error);
                    self.look_by(clocks.now + pause);
                    return;
                }
            }
        }
    }

    /// Tells of an object that is refused, or was.
    fn tell(&self, kind: dunlin_intent::ObjectKind, name: &str, condition: &Condition) {
        let Some(before) = self.observed.get(kind, name) else {
            return;
        };
        let was = before.accepted.as_ref().map(|before| before.status);
        let reason = match condition.status {
            ConditionStatus::True if was == Some(ConditionStatus::False) => {
                EventReason::ObjectAccepted
            }
            ConditionStatus::True => return,
            _ if condition.reason == EventReason::SecretMissing.as_str() => {
                EventReason::SecretMissing
            }
            _ => EventReason::ObjectRefused,
        };
        let message = match reason {
            EventReason::ObjectAccepted => "what was wrong is put right".to_owned(),
            _ => format!("{}: {}", condition.reason, condition.message),
        };
        let object = NoticeObject {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.as_str().into(),
            namespace: String::new(),
            name: name.into(),
            uid: before.uid.clone(),
        };
        self.context
            .notices
            .tell(notice(object, reason, "Judge", message));
    }

    fn pause(&mut self, error: &WriteError) -> Duration {
        let kind: Failure = failure(error);
        self.failures.pause(kind, chance())
    }
}

/// The conditions to be written.
fn wanted(
    observed: &ObservedObjects,
    report: &ObjectReport,
    now: &str,
) -> Vec<(dunlin_intent::ObjectKind, String, Condition)> {
    let each = observed.iter().filter_map(|(kind, name, observed)| {
        let own = |problem: &&dunlin_api::ObjectProblem| {
            problem.name == name && problem.kind == kind.as_str()
        };
        let verdict = mapping::accepted(report.problems.iter().filter(own));
        let before = observed.accepted.as_ref();
        let condition = next_condition(before, ACCEPTED, &verdict, observed.generation, now)?;
        Some((kind, name.to_owned(), condition))
    });
    each.collect()
}

/// The next word of the API, if it is listened to. A watch never ends by itself.
async fn next(watch: &mut Option<BoxStream<'static, ObjectNews>>) -> ObjectNews {
    if let Some(watch) = watch
        && let Some(news) = watch.next().await
    {
        return news;
    }
    std::future::pending().await
}

#[cfg(test)]
impl ObjectWriter {
    pub(super) fn take(&mut self, news: ObjectNews) {
        self.observed.take(news);
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }
}
