//! How the Kubernetes API as a source stands.

use std::collections::BTreeMap;
use std::fmt;

use dunlin_kube::api::{ResourceHealth, SourceHealth};
use tokio::time::Instant;

use super::encode::{Labels, Out};

/// What of a resource is counted; the Secrets, each watched by itself, count as one.
#[derive(Default)]
struct Counts {
    objects: u64,
    lists: u64,
    watches: u64,
    events: u64,
    last_event: Option<Instant>,
    failing: bool,
}

impl Counts {
    fn add(&mut self, health: &ResourceHealth) {
        self.objects += health.objects;
        self.lists += health.lists;
        self.watches += health.watches;
        self.events += health.events;
        self.last_event = self.last_event.max(health.last_event);
        self.failing |= health.trouble.is_some();
    }
}

/// How the source stands with its server and its state file.
fn of_all(out: &mut Out<'_>, health: &SourceHealth) -> fmt::Result {
    out.gauge(
        "dunlin_source_connected",
        "Whether the API server answers",
        health.connected.into(),
    )?;
    let away = health
        .unreachable_since
        .map_or(0, |since| since.elapsed().as_secs());
    out.gauge(
        "dunlin_source_unreachable_seconds",
        "Since the API server stopped answering; 0 while it does",
        away,
    )?;
    out.gauge(
        "dunlin_source_on_saved_state",
        "Whether the agent runs on the state file, for lack of an answer",
        health.running_on_state.is_some().into(),
    )?;
    out.counter(
        "dunlin_source_state_writes",
        "How often the state file was written",
        health.state_writes,
    )?;
    let errors = health.errors.iter();
    out.counters(
        "dunlin_source_errors",
        "Requests to the API server that failed, by reason",
        errors.map(|(reason, n)| (vec![("reason", *reason)], *n)),
    )
}

pub(super) fn encode(out: &mut Out<'_>, health: &SourceHealth) -> fmt::Result {
    of_all(out, health)?;
    let mut resources: BTreeMap<&str, Counts> = BTreeMap::new();
    for (label, resource) in &health.resources {
        let name = label.split(' ').next().unwrap_or(label);
        resources.entry(name).or_default().add(resource);
    }
    let each = |count: fn(&Counts) -> u64| -> Vec<(Labels<'_>, u64)> {
        let samples = resources.iter();
        samples
            .map(|(name, counts)| (vec![("resource", *name)], count(counts)))
            .collect()
    };
    out.gauges(
        "dunlin_source_objects",
        "Objects known, by resource",
        each(|c| c.objects),
    )?;
    out.gauges(
        "dunlin_source_failing",
        "Whether something keeps a resource from being read",
        each(|c| c.failing.into()),
    )?;
    out.gauges(
        "dunlin_source_silence_seconds",
        "Since the API server last said anything of a resource, bookmarks included",
        each(|c| c.last_event.map_or(0, |at| at.elapsed().as_secs())),
    )?;
    out.counters(
        "dunlin_source_lists",
        "Lists completed, by resource: more than one means that a watch could not be resumed",
        each(|c| c.lists),
    )?;
    out.counters(
        "dunlin_source_watches",
        "Watches begun, by resource",
        each(|c| c.watches),
    )?;
    out.counters(
        "dunlin_source_received",
        "Objects and events received, by resource, also those that change nothing",
        each(|c| c.events),
    )
}
