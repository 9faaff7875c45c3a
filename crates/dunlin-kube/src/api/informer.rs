//! Keeps one resource known: lists it, watches it, and tells what changes.

mod objects;

use std::time::Duration;

use dunlin_intent::SourceEvent;
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::exchange::{Exchange, Fresh, Lines, Selection, Streaming, WatchEvent, watch_error};
use super::health::Health;
use super::object::Envelope;
use super::seen::Seen;
use super::state::Saver;
use super::teller::{Closed, Teller};
use super::trouble::Trouble;
use crate::object::GROUP;

/// A watch that ends sooner than this did not work.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// After so many times of nonsense in a row, the version we watch from is given up.
const NONSENSE: u32 = 2;

/// A kind of the server's own that it does not serve comes with another server: thousands of agents need not keep asking.
const UNSERVED_PAUSE: Duration = Duration::from_secs(300);

/// Why a step ends.
pub(super) enum Stop {
    /// Nobody listens any more.
    Closed,
    /// It did not work.
    Trouble(Trouble),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Stop {
        Stop::Trouble(trouble)
    }
}

impl From<Closed> for Stop {
    fn from(_: Closed) -> Stop {
        Stop::Closed
    }
}

/// What an informer works with.
#[derive(Clone)]
pub(super) struct Means {
    pub(super) exchange: Exchange,
    pub(super) teller: Teller,
    pub(super) health: Health,
    pub(super) saver: Saver,
}

/// Keeps one resource, or one object of it, known.
pub(super) struct Informer {
    selection: Selection,
    /// What people call it.
    label: String,
    means: Means,
    seen: Seen,
    /// Where to watch on from; none: list first.
    version: Option<String>,
    /// The version of the last list, for the next to be no older.
    fresh: Fresh,
    /// Lists come in pages; a server that forgets while we read gives all at once.
    paged: bool,
    synced: bool,
    backoff: Backoff,
    /// Garbage in a row.
    nonsense: u32,
    /// Trouble is shown.
    shown: bool,
    /// Told when a list is complete, or it is known that there is nothing to be had.
    answered: Box<dyn Fn() + Send + Sync>,
}

impl Informer {
    pub(super) fn new(selection: Selection, means: Means, seed: u64) -> Informer {
        Informer {
            label: selection.to_string(),
            selection,
            means,
            seen: Seen::default(),
            version: None,
            fresh: Fresh::Any,
            paged: true,
            synced: false,
            backoff: Backoff::new(seed),
            nonsense: 0,
            shown: false,
            answered: Box::new(|| {}),
        }
    }

    /// The same, and calls this when it is known what there is.
    pub(super) fn on_answered(mut self, answered: impl Fn() + Send + Sync + 'static) -> Informer {
        self.answered = Box::new(answered);
        self
    }

    /// Runs until nobody listens any more. `fallback` turns true if no server answers at first: then what was saved counts.
    pub(super) async fn run(mut self, fallback: watch::Receiver<bool>) {
        let mut fallback = Some(fallback);
        loop {
            let step = tokio::select! {
                step = self.step() => Some(step),
                () = fallen_back(&mut fallback), if !self.synced => None,
            };
            let pause = match step {
                None => match self.preload().await {
                    Ok(()) => continue,
                    Err(Closed) => return,
                },
                Some(Ok(())) => {
                    // What the API says is newer than anything saved.
                    fallback = None;
                    continue;
                }
                Some(Err(Stop::Closed)) => return,
                Some(Err(Stop::Trouble(trouble))) => match self.take_in(&trouble).await {
                    Ok(pause) => pause,
                    Err(Closed) => return,
                },
            };
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    () = fallen_back(&mut fallback), if !self.synced => {
                        if self.preload().await.is_err() {
                            return;
                        }
                    }
                    () = self.means.teller.closed() => return,
                }
            }
        }
    }

    async fn step(&mut self) -> Result<(), Stop> {
        match self.version.clone() {
            Some(version) => self.watch(&version).await,
            None => self.list_somehow().await,
        }
    }

    /// Facts from elsewhere, until the API answers.
    async fn preload(&mut self) -> Result<(), Closed> {
        let Some(mut stored) = self.means.saver.load(self.selection.resource) else {
            return Ok(());
        };
        while let Some(text) = stored.next().await {
            match self.object(&text, false).await {
                Ok(()) => {}
                Err(Stop::Closed) => return Err(Closed),
                Err(Stop::Trouble(trouble)) => {
                    let what = trouble.describe(&self.selection.resource);
                    tracing::warn!("an object of the state file is left out: {what}");
                }
            }
        }
        if let Some(age) = stored.complete() {
            self.means
                .health
                .update(|health| health.running_on_state = Some(age));
            self.sync().await?;
        }
        self.count();
        Ok(())
    }

    /// What to do after trouble: how long to wait.
    async fn take_in(&mut self, trouble: &Trouble) -> Result<Duration, Closed> {
        let resource = self.selection.resource;
        let what = trouble.describe(&resource);
        self.means.health.update(|health| {
            *health.errors.entry(trouble.reason()).or_default() += 1;
        });
        match trouble {
            // The normal course of things for a watch that was away for long.
            Trouble::Gone if self.version.is_some() => {
                tracing::debug!(resource = resource.plural, "{what}");
                self.version = None;
            }
            Trouble::Gone => {
                self.fresh = Fresh::Newest;
                self.paged = false;
            }
            Trouble::TooNew => {
                self.version = None;
                self.fresh = Fresh::Newest;
            }
            Trouble::Garbage(_) => {
                self.nonsense += 1;
                if self.nonsense >= NONSENSE {
                    self.version = None;
                    self.fresh = Fresh::Newest;
                }
                self.show(trouble, &what);
            }
            Trouble::Refused(_) => {
                self.version = None;
                self.fresh = Fresh::Newest;
                self.show(trouble, &what);
            }
            // Health tells of it once for all.
            Trouble::Unreachable(_) => {}
            Trouble::NotInstalled | Trouble::Forbidden(_) => {
                self.show(trouble, &what);
                let nothing_to_be_had = match trouble {
                    Trouble::NotInstalled => true,
                    _ => resource.is_optional() || self.selection.only.is_some(),
                };
                if nothing_to_be_had {
                    self.version = None;
                    self.sync().await?;
                }
            }
            Trouble::Unauthorized(_) | Trouble::Throttled(_) | Trouble::Server(..) => {
                self.show(trouble, &what);
            }
        }
        let asked = match trouble {
            Trouble::NotInstalled if resource.group != GROUP => Some(UNSERVED_PAUSE),
            _ => trouble.retry_after(),
        };
        Ok(self.backoff.next(asked))
    }

    fn show(&mut self, trouble: &Trouble, what: &str) {
        let resource = self.selection.resource;
        self.shown = true;
        let mut is_new = false;
        self.means.health.of(&self.label, |health| {
            is_new = health
                .trouble
                .as_ref()
                .is_none_or(|(reason, _)| *reason != trouble.reason());
            health.trouble = Some((trouble.reason(), what.to_owned()));
        });
        if is_new {
            tracing::warn!(
                resource = resource.plural,
                reason = trouble.reason(),
                "{what}"
            );
        }
    }

    fn all_is_well(&mut self) {
        self.backoff.reset();
        self.nonsense = 0;
        // This happens with every event.
        if std::mem::take(&mut self.shown) {
            let health = &self.means.health;
            health.of(&self.label, |health| health.trouble = None);
        }
    }

    async fn list_somehow(&mut self) -> Result<(), Stop> {
        if self.means.exchange.streaming() == Streaming::Yes {
            return match self.stream().await {
                // It was turned off, or the server is another than the one we asked.
                Err(Stop::Trouble(Trouble::Refused(why))) => {
                    tracing::debug!(why, "the server does not stream lists");
                    self.means.exchange.set_streaming(Streaming::No);
                    self.list().await
                }
                other => other,
            };
        }
        self.list().await
    }

    /// Lists everything, page by page.
    async fn list(&mut self) -> Result<(), Stop> {
        self.seen.begin_list();
        let mut continue_from = String::new();
        loop {
            let page =
                self.means
                    .exchange
                    .list(&self.selection, &self.fresh, &continue_from, self.paged);
            let mut page = page.await?;
            while let Some(items) = page.items().await? {
                for item in items.iter() {
                    self.item(item).await?;
                }
            }
            let meta = page.finish()?;
            continue_from = meta.continue_from;
            if continue_from.is_empty() {
                return Ok(self.list_complete(meta.resource_version).await?);
            }
        }
    }

    /// Lists everything as the beginning of a watch, and goes on with that watch.
    async fn stream(&mut self) -> Result<(), Stop> {
        self.seen.begin_list();
        let secs = self.means.exchange.watch_secs(self.backoff.chance());
        let lines = self
            .means
            .exchange
            .stream(&self.selection, &self.fresh, secs);
        let lines = lines.await?;
        self.follow(lines, true).await
    }

    /// Watches from a version until the server ends it.
    async fn watch(&mut self, version: &str) -> Result<(), Stop> {
        let secs = self.means.exchange.watch_secs(self.backoff.chance());
        let begun = Instant::now();
        let lines = self.means.exchange.watch(&self.selection, version, secs);
        let lines = lines.await?;
        self.means
            .health
            .of(&self.label, |health| health.watches += 1);
        self.follow(lines, false).await?;
        if self.seen.has_unsaved() {
            self.version = None;
        }
        match begun.elapsed() < SHORT_WATCH {
            true => Err(Trouble::Unreachable("the watch ended at once".to_owned()).into()),
            false => Ok(()),
        }
    }

    async fn follow(&mut self, mut lines: Lines, mut listing: bool) -> Result<(), Stop> {
        loop {
            let line = tokio::select! {
                line = lines.next() => line?,
                () = self.means.teller.closed() => return Err(Stop::Closed),
            };
            let Some(line) = line else {
                return match listing {
                    true => Err(Trouble::Unreachable("the list broke off".to_owned()).into()),
                    false => Ok(()),
                };
            };
            if line.is_empty() {
                continue;
            }
            let event = WatchEvent::read(line).map_err(Trouble::Garbage)?;
            if let Some(version) = self.event(&event).await? {
                match listing {
                    // Until then a list is not complete, and no version of it is one to go on from.
                    true if version.ends_list => {
                        listing = false;
                        self.list_complete(version.version).await?;
                    }
                    true => {}
                    false => self.version = Some(version.version),
                }
            }
            if !listing {
                self.all_is_well();
            }
        }
    }

    async fn event(&mut self, event: &WatchEvent<'_>) -> Result<Option<Reached>, Stop> {
        let text = event.object;
        if event.kind == "ERROR" {
            return Err(watch_error(text).into());
        }
        let envelope = Envelope::read(text).map_err(Trouble::Garbage)?;
        match event.kind {
            "ADDED" | "MODIFIED" => self.object(text, true).await?,
            "DELETED" => {
                if let Some(key) = envelope.key(self.selection.resource) {
                    self.gone(key).await?;
                }
            }
            "BOOKMARK" => {}
            other => {
                return Err(Trouble::Garbage(format!("an event of type {other:?}")).into());
            }
        }
        let objects = self.seen.len() as u64;
        let health = &self.means.health;
        health.count(&self.label, |health| health.objects = objects);
        let ends_list = event.kind == "BOOKMARK" && envelope.metadata.ends_initial_events();
        let version = envelope.metadata.resource_version;
        Ok((!version.is_empty()).then_some(Reached { version, ends_list }))
    }

    async fn item(&mut self, text: &[u8]) -> Result<(), Stop> {
        self.means.health.count(&self.label, |_| {});
        match self.object(text, true).await {
            // Nobody can tell which object it is: the others go on.
            Err(Stop::Trouble(trouble @ Trouble::Garbage(_))) => {
                self.show(&trouble, &trouble.describe(&self.selection.resource));
                Ok(())
            }
            other => other,
        }
    }

    /// All there is has been told; what is left over is gone.
    async fn list_complete(&mut self, version: String) -> Result<(), Closed> {
        for key in self.seen.missing() {
            self.gone(key).await?;
        }
        self.fresh = Fresh::NotOlderThan(version.clone());
        self.version = Some(version);
        self.paged = true;
        self.all_is_well();
        self.means
            .health
            .update(|health| health.running_on_state = None);
        self.means
            .health
            .of(&self.label, |health| health.lists += 1);
        self.count();
        if self.selection.only.is_none() {
            self.means
                .saver
                .complete(self.selection.resource, self.seen.keys());
        }
        self.sync().await
    }

    async fn sync(&mut self) -> Result<(), Closed> {
        if self.synced {
            return Ok(());
        }
        self.synced = true;
        (self.answered)();
        self.means
            .health
            .of(&self.label, |health| health.synced = true);
        if self.selection.only.is_some() {
            return Ok(());
        }
        let kind = self.selection.resource.facts;
        self.means.teller.tell(SourceEvent::Synced(kind)).await
    }

    fn count(&self) {
        let objects = self.seen.len() as u64;
        self.means
            .health
            .of(&self.label, |health| health.objects = objects);
    }
}

/// Waits until what was saved is wanted; from then on without end.
async fn fallen_back(fallback: &mut Option<watch::Receiver<bool>>) {
    if let Some(wanted) = fallback
        && wanted.wait_for(|wanted| *wanted).await.is_ok()
    {
        *fallback = None;
        return;
    }
    std::future::pending().await
}

/// Where an event brings us.
struct Reached {
    version: String,
    ends_list: bool,
}
