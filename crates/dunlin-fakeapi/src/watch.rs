//! Watches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::answer::{self, Answer, status_object};
use crate::body::Streamed;
use crate::list::{Selection, too_new};
use crate::request::{Target, parameter};
use crate::server::Inner;
use crate::store::{Change, ChangeKind};

/// Lines on their way to a client that reads slowly.
const LINES: usize = 64;

/// How long a watch lasts that does not say.
const DEFAULT_SECS: u64 = 1800;

/// Begins a watch.
pub(crate) fn watch(inner: &Arc<Inner>, target: &Target, query: &str) -> Answer {
    let is = |name: &str| matches!(parameter(query, name).as_deref(), Some("true" | "1"));
    let initial = is("sendInitialEvents");
    let asked = parameter(query, "resourceVersion").unwrap_or_default();
    let (begin, first) = {
        let store = inner.store();
        if initial && !inner.settings().streaming {
            let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                           feature gate is enabled";
            return answer::failure(422, "Invalid", message);
        }
        if let Some(refusal) = too_new(&store, &asked) {
            return refusal;
        }
        let selection = Selection::of(target, query);
        let objects = || -> Vec<Arc<Value>> {
            let all = store.objects(&target.collection);
            all.filter(|object| selection.takes(object))
                .cloned()
                .collect()
        };
        match asked.as_str() {
            // Without a version, or with any, a watch begins with what there is.
            _ if initial => (store.version, objects()),
            "" | "0" => (store.version, objects()),
            version => (version.parse().unwrap_or(0), Vec::new()),
        }
    };
    let secs = parameter(query, "timeoutSeconds").and_then(|secs| secs.parse().ok());
    let (lines, out) = mpsc::channel(LINES);
    let watcher = Watcher {
        inner: inner.clone(),
        collection: target.collection.clone(),
        template: json!({"kind": "", "apiVersion": target.api_version}),
        selection: Selection::of(target, query),
        bookmarks: is("allowWatchBookmarks"),
        version: begin,
        lines,
    };
    let lasts = Duration::from_secs(secs.unwrap_or(DEFAULT_SECS));
    tokio::spawn(async move {
        let mut dropped = watcher.inner.dropped();
        tokio::select! {
            _ = watcher.run(first, initial) => {}
            () = tokio::time::sleep(lasts) => {}
            _ = dropped.changed() => {}
        }
    });
    answer::body(200, Streamed::lines(out))
}

struct Watcher {
    inner: Arc<Inner>,
    collection: String,
    template: Value,
    selection: Selection,
    bookmarks: bool,
    version: u64,
    lines: mpsc::Sender<Bytes>,
}

/// The client has gone, or the watch has ended itself.
struct Ended;

impl Watcher {
    async fn run(mut self, first: Vec<Arc<Value>>, initial: bool) -> Result<(), Ended> {
        for object in first {
            self.line("ADDED", &object).await?;
        }
        if initial && self.bookmarks {
            let end = json!({"k8s.io/initial-events-end": "true"});
            self.bookmark(Some(end)).await?;
        }
        let mut news = self.inner.news();
        loop {
            let latest = *news.borrow_and_update();
            let changes = self.inner.store().since(self.version);
            let Some(changes) = changes else {
                let status = status_object(410, "Expired", "too old resource version");
                self.line("ERROR", &status).await?;
                return Err(Ended);
            };
            for change in changes {
                self.version = change.version;
                self.tell(&change).await?;
            }
            self.version = self.version.max(latest);
            let pause = self.inner.settings().bookmark_every;
            tokio::select! {
                changed = news.changed() => changed.map_err(|_| Ended)?,
                () = tokio::time::sleep(pause) => self.bookmark(None).await?,
                () = self.lines.closed() => return Err(Ended),
            }
        }
    }

    async fn tell(&self, change: &Change) -> Result<(), Ended> {
        if *change.collection != *self.collection {
            return Ok(());
        }
        let now = change.kind != ChangeKind::Deleted && self.selection.takes(&change.object);
        let before = change
            .before
            .as_ref()
            .is_some_and(|b| self.selection.takes(b));
        match (before, now) {
            (false, true) => self.line("ADDED", &change.object).await,
            (true, true) => self.line("MODIFIED", &change.object).await,
            (true, false) => self.line("DELETED", &change.object).await,
            (false, false) => Ok(()),
        }
    }

    async fn bookmark(&self, annotations: Option<Value>) -> Result<(), Ended> {
        if !self.bookmarks {
            return Ok(());
        }
        let mut object = self.template.clone();
        object["metadata"] = json!({"resourceVersion": self.version.to_string()});
        if let Some(annotations) = annotations {
            object["metadata"]["annotations"] = annotations;
        }
        self.line("BOOKMARK", &object).await
    }

    async fn line(&self, kind: &str, object: &Value) -> Result<(), Ended> {
        let text = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        self.lines.send(text.into()).await.map_err(|_| Ended)
    }
}
