//! One term of the one who gives out addresses: from a consistent list to the end of the Lease.

mod pools;
mod retries;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use dunlin_intent::pools::{PoolView, Pools};
use dunlin_intent::{Fact, Key, Kind, NamespacedName, ServiceType, SourceEvent};
use dunlin_net::Instant;
use futures::StreamExt;
use kube::Client;
use serde::Deserialize;
use serde_json::Value;

use super::AllocateOptions;
use super::feed::{self, Feed, KINDS, Told};
use super::roster::Roster;
use super::status::Marks;
use crate::events::Notices;
use crate::lease::plus;
use crate::object::{Resource, read_value};
use pools::PoolWrites;
use retries::Retries;
use write::Writes;

/// What happened, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Addresses given and written.
    pub(super) given: u64,
    /// Writes that did not succeed.
    pub(super) failures: u64,
}

/// The decider with its view of the cluster and its writes under way.
pub(super) struct Term {
    /// Which one: [`crate::lease::Election::term`].
    pub(super) number: u64,
    pools: Pools,
    feed: Feed,
    /// Services of type LoadBalancer, as last seen.
    marks: BTreeMap<NamespacedName, Marks>,
    /// What each kind has, to find what a list names no more.
    known: BTreeMap<Kind, BTreeSet<Key>>,
    /// What the list under way has named.
    listed: BTreeMap<Kind, BTreeSet<Key>>,
    /// The uids of the pools, for Events.
    pool_uids: BTreeMap<String, String>,
    exhausted: BTreeSet<(String, dunlin_net::Afi)>,
    /// The objects other than Services whose addresses the pools were told of.
    roster_keys: BTreeSet<Key>,
    /// Services whose status may have to be written.
    queue: BTreeSet<NamespacedName>,
    retries: Retries,
    writes: Writes,
    pool_writes: PoolWrites,
    client: Client,
    notices: Notices,
    pub(super) counts: Counts,
    /// When a write ended of which nobody knows whether it was done.
    unknown: Option<Instant>,
    /// The views of the pools may have changed.
    changed: bool,
}

impl Term {
    pub(super) fn new(
        number: u64,
        client: Client,
        options: &AllocateOptions,
        notices: Notices,
    ) -> Term {
        Term {
            number,
            pools: Pools::new(options.default_class),
            feed: feed::open(&client),
            pool_writes: PoolWrites::default(),
            client: client.clone(),
            marks: BTreeMap::new(),
            known: KINDS.map(|kind| (kind, BTreeSet::new())).into(),
            listed: BTreeMap::new(),
            pool_uids: BTreeMap::new(),
            exhausted: BTreeSet::new(),
            roster_keys: BTreeSet::new(),
            queue: BTreeSet::new(),
            retries: Retries::default(),
            writes: Writes::new(client, options.times.request),
            notices,
            counts: Counts::default(),
            unknown: None,
            changed: false,
        }
    }

    /// Takes in what the roster says of addresses that others than Services use.
    pub(super) fn see_roster(&mut self, roster: &Roster) {
        let keys = roster.keys();
        for gone in self.roster_keys.difference(&keys) {
            self.pools.handle(SourceEvent::Remove(gone.clone()));
        }
        self.roster_keys = keys;
        roster.events().for_each(|event| self.pools.handle(event));
        self.pools.handle(SourceEvent::Synced(Kind::Node));
    }

    /// Waits for the next thing to happen, and takes it in. Can be dropped at any time.
    pub(super) async fn next(&mut self, now: impl Fn() -> Instant) {
        tokio::select! {
            Some((kind, told)) = self.feed.next() => self.see(kind, told),
            done = self.writes.next() => self.finish(now(), done),
            done = self.pool_writes.next() => self.pool_writes.finish(now(), done),
        }
    }

    /// Decides what can be decided and begins the writes that can be over by `until`. Says when to be called again at the
    /// latest, if ever.
    pub(super) fn step(&mut self, now: Instant, until: Instant) -> Option<Instant> {
        while let Some(decision) = self.pools.poll_decision() {
            self.changed = true;
            self.queue.insert(decision.service);
        }
        self.queue.extend(self.retries.due(now));
        self.begin_writes(now, until);
        self.retries.next()
    }

    /// Whether writes are under way.
    pub(super) fn is_writing(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Ends the writes under way, and says whether nothing that was begun may be done yet.
    pub(super) async fn end(&mut self, now: impl Fn() -> Instant) -> bool {
        let timeout = self.writes.timeout();
        let settled = async {
            while !self.writes.is_empty() {
                let done = self.writes.next().await;
                self.finish(now(), done);
            }
        };
        let settled = tokio::time::timeout(timeout, settled).await.is_ok();
        let over = |unknown: Instant| now() > plus(unknown, timeout);
        settled && self.unknown.is_none_or(over)
    }

    /// How the pools stand, if that may have changed since it was last asked; says so in their status and in Events as well.
    pub(super) fn count(&mut self, now: Instant, until: Instant) -> Option<Vec<PoolView>> {
        if !self.pools.ready() {
            return None;
        }
        let views = std::mem::take(&mut self.changed).then(|| self.pools.pools());
        if let Some(views) = &views {
            self.tell_exhausted(views);
            self.pool_writes.want(views);
        }
        let timeout = self.writes.timeout();
        if plus(now, timeout) <= until {
            self.pool_writes.begin(now, &self.client, timeout);
        }
        views
    }

    /// Services that lack addresses.
    pub(super) fn short(&self) -> usize {
        let outcomes = self.pools.outcomes();
        outcomes.filter(|(_, outcome)| !outcome.complete()).count()
    }

    fn see(&mut self, kind: Kind, told: Told) {
        self.changed = true;
        match told {
            Told::Begin => {
                self.listed.insert(kind, BTreeSet::new());
            }
            Told::Object(object) => self.object(kind, &object),
            Told::Gone(object) => self.gone(kind, &object),
            Told::Complete => {
                let listed = self.listed.remove(&kind).unwrap_or_default();
                let known = self.known.get(&kind);
                let gone: Vec<Key> = known.into_iter().flatten().cloned().collect();
                for key in gone.into_iter().filter(|key| !listed.contains(key)) {
                    self.remove(kind, key);
                }
                self.pools.handle(SourceEvent::Synced(kind));
            }
            Told::Trouble(error) => {
                tracing::warn!(%error, ?kind, "load-balancer addresses: cannot follow the cluster");
            }
        }
    }

    fn object(&mut self, kind: Kind, object: &Value) {
        let fact = match read_value(Resource::of(kind), object) {
            Ok(fact) => fact,
            Err(fault) => {
                // What it said before stays; the agents' own source tells of it.
                if let (Some(key), Some(listed)) = (fault.key, self.listed.get_mut(&kind)) {
                    listed.insert(key);
                }
                return;
            }
        };
        let key = fact.key();
        if let Some(listed) = self.listed.get_mut(&kind) {
            listed.insert(key.clone());
        }
        match &fact {
            Fact::Service(service) => {
                let marks = Marks::deserialize(object).unwrap_or_default();
                let name = service.name.clone();
                if self
                    .marks
                    .get(&name)
                    .is_some_and(|known| known.is_newer_than(&marks))
                {
                    return;
                }
                match service.service_type == ServiceType::LoadBalancer {
                    true => {
                        self.marks.insert(name.clone(), marks);
                        self.know(kind, key);
                        // Whatever was in the way of a write may be no more.
                        self.retries.hasten(&name);
                        self.queue.insert(name);
                    }
                    false => {
                        self.forget(&name);
                        // Its external addresses are nobody else's for as long as it is there.
                        if !service.external_ips.is_empty() {
                            self.know(kind, key);
                        }
                    }
                }
            }
            Fact::Pool(pool) => {
                if let Some(uid) = object["metadata"]["uid"].as_str() {
                    self.pool_uids.insert(pool.name.clone(), uid.to_owned());
                }
                self.know(kind, key);
            }
            _ => self.know(kind, key),
        }
        self.pools.handle(SourceEvent::Apply(fact));
    }

    fn gone(&mut self, kind: Kind, object: &Value) {
        // What else it said need not make sense any more.
        let text = |name: &str| object.pointer(name).and_then(Value::as_str);
        let Some(name) = text("/metadata/name") else {
            return;
        };
        let Some(key) = Resource::of(kind).key_of(text("/metadata/namespace"), name) else {
            return;
        };
        if let Key::Service(name) = &key {
            let known = self.marks.get(name);
            // One of the name has been made since, and seen by the answer to a write.
            if known.is_some_and(|known| known.metadata.uid.as_deref() != text("/metadata/uid")) {
                return;
            }
        }
        self.remove(kind, key);
    }

    fn remove(&mut self, kind: Kind, key: Key) {
        if let Some(known) = self.known.get_mut(&kind) {
            known.remove(&key);
        }
        match &key {
            Key::Service(name) => self.forget(name),
            Key::Pool(name) => {
                self.pool_uids.remove(name);
            }
            _ => {}
        }
        self.pools.handle(SourceEvent::Remove(key));
    }

    fn know(&mut self, kind: Kind, key: Key) {
        self.known.entry(kind).or_default().insert(key);
    }

    fn forget(&mut self, name: &NamespacedName) {
        self.marks.remove(name);
        self.queue.remove(name);
        self.retries.forget(name);
        if let Some(known) = self.known.get_mut(&Kind::Service) {
            known.remove(&Key::Service(name.clone()));
        }
    }
}
