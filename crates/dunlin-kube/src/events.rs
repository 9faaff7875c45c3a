//! Kubernetes Events (events.k8s.io/v1): what people should know of an object, said once.
//!
//! [`Notices`] takes what there is to say and never waits. The same of the same object is not said again within
//! [`QUIET`]; all in all at most [`BURST`] at once and one each [`PACE`] from then on; what is beyond is dropped and counted.

mod reason;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dunlin_net::Instant;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::ask::{Said, TIMEOUT, Text, ask, wall_clock_micros};
use crate::lease::{boot_time, plus};

pub use reason::EventReason;

/// How long the same is not said again.
pub const QUIET: Duration = Duration::from_secs(600);
/// How many may be said at once.
pub const BURST: u32 = 100;
/// How often one may be said when the burst is used up.
pub const PACE: Duration = Duration::from_millis(200);
/// Notices that wait to be written; what is beyond is dropped.
const QUEUE: usize = 256;
/// What was said and to remember; the oldest is forgotten first, and may then be said again sooner.
const REMEMBERED: usize = 4096;
/// The most characters of a note (the API's limit is 1 kB).
const NOTE_CHARS: usize = 1000;

/// What to say of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Of which.
    pub object: NoticeObject,
    /// In one word: `AddressAllocated`.
    pub reason: &'static str,
    /// What was being done: `Allocate`.
    pub action: &'static str,
    /// For people.
    pub message: String,
    /// Somebody has to do something about it.
    pub warning: bool,
}

/// The object that a notice is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NoticeObject {
    /// `v1`, `dunlin.dev/v1alpha1`.
    pub api_version: String,
    /// `Service`.
    pub kind: String,
    /// Empty for objects without one.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`, if it is known; `kubectl describe` finds Events by it.
    pub uid: Option<String>,
}

/// Where notices go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notices {
    queue: mpsc::Sender<Notice>,
    dropped: Arc<AtomicU64>,
}

impl Notices {
    /// Says it, if there is room; never waits.
    pub fn tell(&self, notice: Notice) {
        if self.queue.try_send(notice).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were dropped because there were too many, or the server did not take them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// The other end of [`Notices`].
#[derive(Debug)]
pub struct NoticeQueue {
    queue: mpsc::Receiver<Notice>,
    dropped: Arc<AtomicU64>,
}

/// A way to say things, and the end that [`write`] empties.
pub fn notices() -> (Notices, NoticeQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let notices = Notices {
        queue: sender,
        dropped: dropped.clone(),
    };
    let queue = NoticeQueue {
        queue: receiver,
        dropped,
    };
    (notices, queue)
}

impl NoticeQueue {
    /// The next notice, without writing it; for tests and for whoever wants them elsewhere.
    pub async fn next(&mut self) -> Option<Notice> {
        self.queue.recv().await
    }
}

/// Writes notices as Events until nobody is left who could tell any. `instance` says who: the node's name.
pub async fn write(client: Client, instance: String, mut queue: NoticeQueue) {
    let mut ledger = Ledger::new(boot_time());
    while let Some(notice) = queue.queue.recv().await {
        let now = boot_time();
        if ledger.said_before(now, &notice) {
            continue;
        }
        let written = ledger.may_speak(now) && {
            let id = now.as_micros();
            let body = event(&notice, &instance, id, &wall_clock_micros());
            let path = format!(
                "/apis/events.k8s.io/v1/namespaces/{}/events",
                namespace(&notice.object)
            );
            match ask(
                &client,
                TIMEOUT,
                Method::POST,
                &path,
                Some(Text::object(&body)),
            )
            .await
            {
                Said::Done(_) | Said::Conflict => true,
                other => {
                    tracing::debug!(?other, reason = notice.reason, "an Event was not written");
                    false
                }
            }
        };
        if !written {
            ledger.forget(&notice);
            queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Events of objects without a namespace lie in this one, as others put them.
fn namespace(object: &NoticeObject) -> &str {
    match object.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    }
}

fn event(notice: &Notice, instance: &str, id: u64, now: &str) -> Value {
    let object = &notice.object;
    // Events are named after their object; 253 characters are the most.
    let name: String = object.name.chars().take(230).collect();
    let name = name.trim_end_matches(['.', '-']);
    let mut regarding = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        "name": object.name,
    });
    if !object.namespace.is_empty() {
        regarding["namespace"] = object.namespace.as_str().into();
    }
    if let Some(uid) = &object.uid {
        regarding["uid"] = uid.as_str().into();
    }
    let note: String = notice.message.chars().take(NOTE_CHARS).collect();
    // Controllers' names are qualified names, instances at most 128 characters.
    let instance: String = instance.chars().take(128).collect();
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": { "name": format!("{name}.{id:016x}"), "namespace": namespace(object) },
        "eventTime": now,
        "reportingController": "dunlin.dev/agent",
        "reportingInstance": instance,
        "action": notice.action,
        "reason": notice.reason,
        "regarding": regarding,
        "note": note,
        "type": if notice.warning { "Warning" } else { "Normal" },
    })
}

/// What was said, and how much more may be.
#[derive(Debug)]
struct Ledger {
    said: BTreeMap<(NoticeObject, &'static str), (String, Instant)>,
    tokens: u32,
    /// When the last token came in.
    filled: Instant,
}

impl Ledger {
    fn new(now: Instant) -> Ledger {
        Ledger {
            said: BTreeMap::new(),
            tokens: BURST,
            filled: now,
        }
    }

    /// Whether just this was said of the object a short while ago; if not, it counts as said now.
    fn said_before(&mut self, now: Instant, notice: &Notice) -> bool {
        let key = (notice.object.clone(), notice.reason);
        if let Some((message, at)) = self.said.get(&key)
            && *message == notice.message
            && now < plus(*at, QUIET)
        {
            return true;
        }
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, (_, at)| now < plus(*at, QUIET));
        }
        if self.said.len() >= REMEMBERED {
            self.said.clear();
        }
        self.said.insert(key, (notice.message.clone(), now));
        false
    }

    fn forget(&mut self, notice: &Notice) {
        self.said.remove(&(notice.object.clone(), notice.reason));
    }

    fn may_speak(&mut self, now: Instant) -> bool {
        let come_in = now.since(self.filled).as_micros() / PACE.as_micros();
        let come_in = u32::try_from(come_in).unwrap_or(u32::MAX);
        if come_in > 0 {
            self.tokens = self.tokens.saturating_add(come_in).min(BURST);
            self.filled = now;
        }
        match self.tokens {
            0 => false,
            _ => {
                self.tokens -= 1;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
