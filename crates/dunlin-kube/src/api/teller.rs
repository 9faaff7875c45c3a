//! What informers tell goes through here to whoever listens.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dunlin_intent::{Fact, Key, Kind, SecretRef, SourceEvent};
use tokio::sync::{mpsc, watch};

/// Nobody listens any more.
#[derive(Debug)]
pub(super) struct Closed;

/// Tells facts, and keeps what of them matters to the source itself.
#[derive(Clone)]
pub(super) struct Teller {
    events: mpsc::Sender<SourceEvent>,
    shared: Arc<Shared>,
}

struct Shared {
    servers: Mutex<Servers>,
    references: watch::Sender<References>,
}

/// The API servers' addresses: those we were given, and those of the Service `kubernetes`.
#[derive(Default)]
struct Servers {
    given: BTreeSet<IpAddr>,
    slices: BTreeMap<Key, BTreeSet<IpAddr>>,
    told: Option<BTreeSet<IpAddr>>,
}

/// The Secrets that objects refer to.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    by_object: BTreeMap<Key, SecretRef>,
    synced: BTreeSet<Kind>,
}

impl References {
    /// The Secrets, each once.
    pub(super) fn secrets(&self) -> BTreeSet<SecretRef> {
        self.by_object.values().cloned().collect()
    }

    /// Whether all objects that could refer to one are known.
    pub(super) fn complete(&self) -> bool {
        [Kind::Configuration, Kind::Peer]
            .iter()
            .all(|kind| self.synced.contains(kind))
    }
}

impl Teller {
    pub(super) fn new(
        events: mpsc::Sender<SourceEvent>,
        servers: impl IntoIterator<Item = IpAddr>,
    ) -> Teller {
        let servers = Servers {
            given: servers.into_iter().collect(),
            ..Servers::default()
        };
        let (references, _) = watch::channel(References::default());
        let shared = Shared {
            servers: Mutex::new(servers),
            references,
        };
        Teller {
            events,
            shared: Arc::new(shared),
        }
    }

    /// Ends when nobody listens any more.
    pub(super) async fn closed(&self) {
        self.events.closed().await;
    }

    /// What Secrets are referred to, as it changes.
    pub(super) fn references(&self) -> watch::Receiver<References> {
        self.shared.references.subscribe()
    }

    /// Tells an event; waits while the listener is busy.
    pub(super) async fn tell(&self, event: SourceEvent) -> Result<(), Closed> {
        let servers_moved = match &event {
            SourceEvent::Apply(fact) => self.note(fact),
            SourceEvent::Remove(key) => self.note_removed(key),
            SourceEvent::Synced(kind) => {
                let kind = *kind;
                self.shared.references.send_modify(|references| {
                    references.synced.insert(kind);
                });
                false
            }
            _ => false,
        };
        self.events.send(event).await.map_err(|_| Closed)?;
        if servers_moved {
            self.tell_servers().await?;
        }
        Ok(())
    }

    /// Tells the API servers' addresses, if they are others than those last told.
    pub(super) async fn tell_servers(&self) -> Result<(), Closed> {
        let changed = {
            let mut servers = self.servers();
            let all: BTreeSet<IpAddr> = servers
                .given
                .iter()
                .chain(servers.slices.values().flatten())
                .copied()
                .collect();
            let changed = servers.told.as_ref() != Some(&all);
            servers.told = Some(all.clone());
            changed.then_some(all)
        };
        match changed {
            Some(all) => {
                let event = SourceEvent::ApiServers(all.into_iter().collect());
                self.events.send(event).await.map_err(|_| Closed)
            }
            None => Ok(()),
        }
    }

    /// Whether the API servers may have other addresses than before.
    fn note(&self, fact: &Fact) -> bool {
        let reference = match fact {
            Fact::Configuration(configuration) => &configuration.password,
            Fact::Peer(peer) => &peer.password,
            Fact::EndpointSlice(slice) => {
                let is_server = &*slice.name.namespace == "default"
                    && slice.service.as_deref() == Some("kubernetes");
                if is_server {
                    let addresses = slice.endpoints.iter().filter_map(|e| e.address).collect();
                    self.servers().slices.insert(fact.key(), addresses);
                }
                return is_server;
            }
            _ => return false,
        };
        let key = fact.key();
        self.shared.references.send_if_modified(|references| {
            let before = match reference {
                Some(secret) => references.by_object.insert(key, secret.clone()),
                None => references.by_object.remove(&key),
            };
            before != *reference
        });
        false
    }

    /// Whether the API servers may have other addresses than before.
    fn note_removed(&self, key: &Key) -> bool {
        match key {
            Key::Configuration(_) | Key::Peer(_) => {
                self.shared
                    .references
                    .send_if_modified(|references| references.by_object.remove(key).is_some());
                false
            }
            Key::EndpointSlice(_) => self.servers().slices.remove(key).is_some(),
            _ => false,
        }
    }

    fn servers(&self) -> MutexGuard<'_, Servers> {
        // Nothing panics while it is held.
        self.shared
            .servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
