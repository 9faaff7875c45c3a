//! The Secrets that our objects refer to, each watched by itself: a role may name them one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_intent::{Fact, Key, Kind, SecretFact, SecretRef, SourceEvent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::exchange::Selection;
use super::informer::{Informer, Means};
use super::teller::{Closed, Teller};
use super::vault::Vault;
use crate::object::Resource;

/// Secrets watched at once; sessions whose Secret is beyond wait for it, as for one that does not exist.
const MOST: usize = 256;

/// What the informers of Secrets tell, waiting to be passed on.
const QUEUE: usize = 16;

/// Watches Secrets as they are referred to.
pub(super) struct Secrets {
    means: Means,
    vault: Vault,
    fallback: watch::Receiver<bool>,
    watched: BTreeMap<SecretRef, Watched>,
    /// What of them has been told.
    known: BTreeMap<SecretRef, Fact>,
    /// What the vault held at the start and the API has not answered for.
    stored: BTreeMap<SecretRef, SecretFact>,
    /// Those of the known that only the vault has told.
    recalled: BTreeSet<SecretRef>,
    synced: bool,
    seed: u64,
}

struct Watched {
    task: JoinHandle<()>,
    label: String,
    /// It is known whether the Secret exists.
    answered: Arc<Mutex<bool>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Secrets {
    pub(super) fn new(
        means: Means,
        vault: Vault,
        fallback: watch::Receiver<bool>,
        seed: u64,
    ) -> Secrets {
        let stored = vault
            .recall()
            .into_iter()
            .map(|secret| (secret.at.clone(), secret));
        Secrets {
            means,
            stored: stored.collect(),
            vault,
            fallback,
            watched: BTreeMap::new(),
            known: BTreeMap::new(),
            recalled: BTreeSet::new(),
            synced: false,
            seed,
        }
    }

    /// Runs until nobody listens any more.
    pub(super) async fn run(mut self) {
        let (events, mut told) = mpsc::channel(QUEUE);
        let (answered, mut news) = watch::channel(());
        let teller = self.means.teller.clone();
        let mut references = teller.references();
        let mut fallback = self.fallback.clone();
        let mut fallen_back = false;
        loop {
            let wanted = references.borrow_and_update().clone();
            if self
                .want(wanted.secrets().into_iter().collect(), &events, &answered)
                .await
                .is_err()
            {
                return;
            }
            if fallen_back && self.recall().await.is_err() {
                return;
            }
            // What an informer told before it answered is on its way until then.
            if told.is_empty() && self.drop_recalled().await.is_err() {
                return;
            }
            self.stored.retain(|at, _| {
                let watched = self.watched.get(at);
                watched.map_or(!wanted.complete(), |w| !*lock(&w.answered))
            });
            let all_answered = self.watched.values().all(|w| *lock(&w.answered));
            let all_told = all_answered && told.is_empty();
            if wanted.complete() && (all_told || fallen_back) && !self.synced {
                self.synced = true;
                if teller
                    .tell(SourceEvent::Synced(Kind::Secret))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            tokio::select! {
                changed = references.changed() => if changed.is_err() { return },
                changed = news.changed() => if changed.is_err() { return },
                event = told.recv() => match event {
                    Some(event) => if self.pass_on(event).await.is_err() { return },
                    None => return,
                },
                () = fallen(&mut fallback), if !fallen_back => fallen_back = true,
                () = teller.closed() => return,
            }
        }
    }

    /// Watches these Secrets and no others.
    async fn want(
        &mut self,
        wanted: Vec<SecretRef>,
        events: &mpsc::Sender<SourceEvent>,
        answered: &watch::Sender<()>,
    ) -> Result<(), Closed> {
        let wanted: Vec<SecretRef> = wanted.into_iter().take(MOST).collect();
        let health = self.means.health.clone();
        self.watched.retain(|at, watched| {
            let stays = wanted.contains(at);
            if !stays {
                health.forget(&watched.label);
            }
            stays
        });
        let unwanted: Vec<SecretRef> = self
            .known
            .keys()
            .filter(|at| !wanted.contains(at))
            .cloned()
            .collect();
        for at in unwanted {
            self.pass_on(SourceEvent::Remove(Key::Secret(at))).await?;
        }
        for at in wanted {
            if !self.watched.contains_key(&at) {
                let watched = self.watch(&at, events.clone(), answered.clone());
                self.watched.insert(at, watched);
            }
        }
        Ok(())
    }

    fn watch(
        &mut self,
        at: &SecretRef,
        events: mpsc::Sender<SourceEvent>,
        news: watch::Sender<()>,
    ) -> Watched {
        let selection = Selection {
            resource: Resource::of(Kind::Secret),
            only: Some((at.namespace.clone(), at.name.clone())),
        };
        let label = selection.to_string();
        let means = Means {
            teller: Teller::new(events, []),
            saver: super::state::Saver::none(),
            ..self.means.clone()
        };
        self.seed = self.seed.wrapping_add(1);
        let answered = Arc::new(Mutex::new(false));
        let flag = answered.clone();
        let informer = Informer::new(selection, means, self.seed).on_answered(move || {
            *lock(&flag) = true;
            let _ = news.send(());
        });
        // There is nothing of it in the state file.
        let (_, never) = watch::channel(false);
        Watched {
            task: tokio::spawn(informer.run(never)),
            label,
            answered,
        }
    }

    async fn pass_on(&mut self, event: SourceEvent) -> Result<(), Closed> {
        match &event {
            SourceEvent::Apply(fact @ Fact::Secret(secret)) => {
                // One that is no longer wanted may still have been on its way.
                if !self.watched.contains_key(&secret.at)
                    || self.known.get(&secret.at) == Some(fact)
                {
                    return Ok(());
                }
                self.known.insert(secret.at.clone(), fact.clone());
                self.recalled.remove(&secret.at);
            }
            SourceEvent::Remove(Key::Secret(at)) => {
                self.recalled.remove(at);
                if self.known.remove(at).is_none() {
                    return Ok(());
                }
            }
            _ => {}
        }
        let is_kept = matches!(event, SourceEvent::Apply(_) | SourceEvent::Remove(_));
        self.means.teller.tell(event).await?;
        if is_kept {
            let known = self.known.values().filter_map(|fact| match fact {
                Fact::Secret(secret) => Some(secret),
                _ => None,
            });
            let unknown = self
                .stored
                .values()
                .filter(|secret| !self.known.contains_key(&secret.at));
            let outcome = self.vault.keep(known.chain(unknown));
            self.means.health.vault(outcome.err());
        }
        Ok(())
    }

    /// What the vault holds of Secrets that the API has not told.
    async fn recall(&mut self) -> Result<(), Closed> {
        let unanswered: Vec<SecretFact> = self
            .watched
            .iter()
            .filter(|(at, watched)| !self.known.contains_key(at) && !*lock(&watched.answered))
            .filter_map(|(at, _)| self.stored.get(at).cloned())
            .collect();
        for secret in unanswered {
            let at = secret.at.clone();
            self.pass_on(SourceEvent::Apply(Fact::Secret(secret)))
                .await?;
            self.recalled.insert(at);
        }
        Ok(())
    }

    /// Takes back what the vault told of Secrets that the API says are gone.
    async fn drop_recalled(&mut self) -> Result<(), Closed> {
        let gone: Vec<SecretRef> = self
            .recalled
            .iter()
            .filter(|at| self.watched.get(at).is_none_or(|w| *lock(&w.answered)))
            .cloned()
            .collect();
        for at in gone {
            self.pass_on(SourceEvent::Remove(Key::Secret(at))).await?;
        }
        Ok(())
    }
}

/// Waits until what was saved is wanted.
async fn fallen(fallback: &mut watch::Receiver<bool>) {
    if fallback.wait_for(|wanted| *wanted).await.is_err() {
        std::future::pending().await
    }
}

fn lock(flag: &Mutex<bool>) -> std::sync::MutexGuard<'_, bool> {
    flag.lock().unwrap_or_else(PoisonError::into_inner)
}
