//! A source being listened to, and what it has told so far.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dunlin_fakeapi::FakeApi;
use dunlin_intent::{Fact, Key, Kind, ObjectRef, Problem, SourceEvent};
use dunlin_kube::api::{ApiSource, Client, SourceHealth, SourceOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine; with a paused clock, how long it may seem to take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a source has told.
pub(crate) struct World {
    events: mpsc::Receiver<SourceEvent>,
    pub(crate) facts: BTreeMap<Key, Fact>,
    pub(crate) synced: BTreeSet<Kind>,
    pub(crate) problems: BTreeMap<ObjectRef, Vec<Problem>>,
    pub(crate) servers: Vec<std::net::IpAddr>,
    /// All events so far.
    pub(crate) told: u64,
    /// How often objects were told to be gone.
    pub(crate) removed: u64,
    pub(crate) health: Option<watch::Receiver<SourceHealth>>,
    task: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Listens to a source.
    pub(crate) fn listen(
        health: Option<watch::Receiver<SourceHealth>>,
        run: impl FnOnce(mpsc::Sender<SourceEvent>) -> JoinHandle<()>,
    ) -> World {
        let (sender, events) = mpsc::channel(256);
        World {
            events,
            facts: BTreeMap::new(),
            synced: BTreeSet::new(),
            problems: BTreeMap::new(),
            servers: Vec::new(),
            told: 0,
            removed: 0,
            health,
            task: run(sender),
        }
    }

    /// Listens to a fake API server.
    pub(crate) fn of(api: &FakeApi) -> World {
        World::with(api, SourceOptions::default())
    }

    pub(crate) fn with(api: &FakeApi, options: SourceOptions) -> World {
        let source = ApiSource::new(Client::new(api.clone(), "default"), options);
        let health = source.health();
        World::listen(Some(health), |events| {
            tokio::spawn(async move { source.run(events).await })
        })
    }

    /// Stops listening and waits until the source has ended by itself.
    pub(crate) async fn end(mut self) {
        self.events.close();
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended.expect("the source ends").expect("and does not panic");
    }

    /// Takes events in until this holds.
    pub(crate) async fn until(&mut self, what: &str, done: impl Fn(&World) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            match tokio::time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => self.take(event),
                Ok(None) => panic!("the source ended before: {what}"),
                Err(_) => panic!(
                    "not in time: {what}; synced {:?}, facts {:?}, problems {:?}, health {:?}",
                    self.synced,
                    self.facts.keys(),
                    self.problems,
                    self.health.as_ref().map(|health| health.borrow().clone())
                ),
            }
        }
    }

    /// Takes events in for so long.
    pub(crate) async fn spend(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(Some(event)) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            self.take(event);
        }
    }

    /// Waits until the source says this of itself; events are taken in meanwhile.
    pub(crate) async fn until_health(&mut self, what: &str, done: impl Fn(&SourceHealth) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let health = self
                .health
                .as_ref()
                .expect("an API source")
                .borrow()
                .clone();
            if done(&health) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "not in time: {what}; {health:?}"
            );
            self.spend(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn until_synced(&mut self) {
        let all = Kind::ALL.len();
        self.until("everything is synced", |world| world.synced.len() == all)
            .await;
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.facts.contains_key(key)
    }

    pub(crate) fn count(&self, kind: fn(&Key) -> bool) -> usize {
        self.facts.keys().filter(|key| kind(key)).count()
    }

    fn take(&mut self, event: SourceEvent) {
        self.told += 1;
        match event {
            SourceEvent::Apply(fact) => {
                let key = fact.key();
                let before = self.facts.insert(key.clone(), fact);
                assert_ne!(before.as_ref(), self.facts.get(&key), "told twice");
            }
            SourceEvent::Remove(key) => {
                self.removed += 1;
                assert!(self.facts.remove(&key).is_some(), "{key:?} was never told");
            }
            SourceEvent::Synced(kind) => {
                assert!(self.synced.insert(kind), "{kind:?} synced twice");
            }
            SourceEvent::Problems(object, problems) if problems.is_empty() => {
                self.problems.remove(&object);
            }
            SourceEvent::Problems(object, problems) => {
                self.problems.insert(object, problems);
            }
            SourceEvent::ApiServers(servers) => self.servers = servers,
        }
    }
}
