//! How the source stands, for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::trouble::Trouble;

/// How a source stands with its API server.
#[derive(Clone, Debug, Default)]
pub struct SourceHealth {
    /// A server has answered, and since none has failed to.
    pub connected: bool,
    /// Since when none answers; none while one does.
    pub unreachable_since: Option<Instant>,
    /// When a server last said anything.
    pub heard: Option<Instant>,
    /// What was last heard instead of an answer.
    pub last_error: Option<String>,
    /// The facts were taken from the state file, saved this long before it was loaded.
    pub running_on_state: Option<StateAge>,
    /// What is wrong with the state file.
    pub state_problem: Option<String>,
    /// How often the state file was written.
    pub state_writes: u64,
    /// Why passwords are not kept for a restart.
    pub vault_problem: Option<String>,
    /// Each resource.
    pub resources: BTreeMap<String, ResourceHealth>,
    /// Errors by their reason.
    pub errors: BTreeMap<&'static str, u64>,
}

/// How old a loaded state was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateAge(pub Option<Duration>);

/// How one resource stands.
#[derive(Clone, Debug, Default)]
pub struct ResourceHealth {
    /// It has been listed completely.
    pub synced: bool,
    /// Objects known.
    pub objects: u64,
    /// Lists completed.
    pub lists: u64,
    /// Watches begun.
    pub watches: u64,
    /// Events and items taken in.
    pub events: u64,
    /// When it last said anything, a bookmark included.
    pub last_event: Option<Instant>,
    /// Why it stands still: a reason and what to do. None while all is well.
    pub trouble: Option<(&'static str, String)>,
}

/// A resource of these, nearly always known before.
fn resource<'a>(
    resources: &'a mut BTreeMap<String, ResourceHealth>,
    label: &str,
) -> &'a mut ResourceHealth {
    if !resources.contains_key(label) {
        resources.insert(label.to_owned(), ResourceHealth::default());
    }
    resources
        .get_mut(label)
        .expect("it was put there if it was not")
}

/// The one who tells.
#[derive(Clone, Debug)]
pub(super) struct Health(Arc<watch::Sender<SourceHealth>>);

impl Health {
    pub(super) fn new() -> (Health, watch::Receiver<SourceHealth>) {
        let (sender, receiver) = watch::channel(SourceHealth::default());
        (Health(Arc::new(sender)), receiver)
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut SourceHealth)) {
        self.0.send_modify(change);
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&SourceHealth) -> T) -> T {
        read(&self.0.borrow())
    }

    /// A server has answered, whatever it said.
    pub(super) fn reached(&self) {
        let mut was_away = None;
        // This happens with everything that is read.
        self.0.send_if_modified(|health| {
            health.heard = Some(Instant::now());
            if std::mem::replace(&mut health.connected, true) {
                return false;
            }
            was_away = health.unreachable_since.take();
            health.last_error = None;
            true
        });
        if let Some(since) = was_away {
            let secs = since.elapsed().as_secs();
            tracing::info!(away_secs = secs, "the API server answers again");
        }
    }

    /// No server answers.
    pub(super) fn unreachable(&self, trouble: &Trouble) {
        let Trouble::Unreachable(error) = trouble else {
            return;
        };
        let mut is_new = false;
        self.update(|health| {
            is_new = health.unreachable_since.is_none();
            health.connected = false;
            health.unreachable_since.get_or_insert_with(Instant::now);
            health.last_error = Some(error.clone());
        });
        if is_new {
            tracing::warn!(%error, "the API server cannot be reached: the last known state stays");
        }
    }

    pub(super) fn of(&self, label: &str, change: impl FnOnce(&mut ResourceHealth)) {
        self.update(|health| change(resource(&mut health.resources, label)));
    }

    /// An event or an item was taken in. Nobody is woken for that.
    pub(super) fn count(&self, label: &str, change: impl FnOnce(&mut ResourceHealth)) {
        self.0.send_if_modified(|health| {
            let resource = resource(&mut health.resources, label);
            resource.last_event = Some(Instant::now());
            resource.events += 1;
            change(resource);
            false
        });
    }

    /// What is not watched any more.
    pub(super) fn forget(&self, label: &str) {
        self.update(|health| {
            health.resources.remove(label);
        });
    }

    /// Why passwords are not kept for a restart; none when they are.
    pub(super) fn vault(&self, problem: Option<String>) {
        if let Some(problem) = &problem
            && self.read(|health| health.vault_problem.as_ref() != Some(problem))
        {
            tracing::warn!("{problem}");
        }
        self.update(|health| health.vault_problem = problem);
    }

    /// The state file was written.
    pub(super) fn saved(&self) {
        self.update(|health| {
            health.state_problem = None;
            health.state_writes += 1;
        });
    }

    /// What is wrong with the state file; none when it is well.
    pub(super) fn state(&self, problem: Option<String>) {
        if let Some(problem) = &problem
            && self.read(|health| health.state_problem.as_ref() != Some(problem))
        {
            tracing::warn!("{problem}");
        }
        self.update(|health| health.state_problem = problem);
    }
}
