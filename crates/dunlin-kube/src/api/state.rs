//! The last known state on disk, for a start without the API server.
//!
//! A thread of its own writes it, some seconds behind; a disk that hangs holds nobody back. A complete list is written at
//! once, and so is everything at an orderly end. After a crash the file holds, as one consistent state, what was known at
//! most those seconds before: the API says the rest again, and only where it cannot be reached at the next start does the
//! agent go by the older state, as it would had the API gone away those seconds earlier.

mod file;
mod queue;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dunlin_intent::Key;
use tokio::sync::{mpsc, oneshot};

use super::health::{Health, StateAge};
use super::slim::slim;
use crate::object::Resource;
use file::Writer;
use queue::{Load, Queue};

/// How long to wait for room, and in which steps.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(5);

/// How long a disk may take at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Objects read ahead of whoever takes them in.
const READ_AHEAD: usize = 64;

/// The way to the state file. Saves nothing if there is none.
#[derive(Clone)]
pub(super) struct Saver(Option<Arc<Asker>>);

/// One of those who ask; the thread ends with the last.
struct Asker(Arc<Queue>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Saver {
    /// Keeps nothing.
    pub(super) fn none() -> Saver {
        Saver(None)
    }

    /// Keeps the state in a file of this directory, which exists. What is wrong with the file is told to `health`.
    pub(super) fn open(dir: Option<PathBuf>, health: Health) -> Saver {
        let Some(dir) = dir else {
            return Saver::none();
        };
        let asker = Asker(Arc::default());
        let queue = asker.0.clone();
        let path = dir.join("cluster.redb");
        let told = health.clone();
        let writer = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || Writer::new(path, told).run(&queue));
        match writer {
            Ok(_) => Saver(Some(Arc::new(asker))),
            Err(error) => {
                health.state(Some(format!(
                    "no thread for the state file: {error}: nothing is saved"
                )));
                Saver::none()
            }
        }
    }

    fn queue(&self) -> Option<&Queue> {
        self.0.as_ref().map(|asker| &*asker.0)
    }

    /// Saves an object as it is now. Whether it will be.
    pub(super) async fn put(&self, resource: Resource, key: &Key, text: &[u8]) -> bool {
        if self.0.is_none() {
            return true;
        }
        let Some(text) = slim(text) else {
            return true;
        };
        self.change(resource, key, Some(text)).await
    }

    /// Forgets an object.
    pub(super) async fn delete(&self, resource: Resource, key: &Key) {
        // One that is not forgotten now is with the next complete list.
        let _ = self.change(resource, key, None).await;
    }

    async fn change(&self, resource: Resource, key: &Key, mut text: Option<Vec<u8>>) -> bool {
        let Some(queue) = self.queue() else {
            return true;
        };
        let key = format!("{}/{}", resource.plural, name(key));
        if queue.put(&key, &mut text) {
            return true;
        }
        let begun = tokio::time::Instant::now();
        while begun.elapsed() <= PATIENCE {
            tokio::time::sleep(STEP).await;
            if queue.put(&key, &mut text) {
                return true;
            }
        }
        false
    }

    /// These are all objects of a resource: the file holds no others.
    pub(super) fn complete<'a>(&self, resource: Resource, keys: impl Iterator<Item = &'a Key>) {
        if let Some(queue) = self.queue() {
            queue.complete(resource, keys.map(name).collect());
        }
    }

    /// Has all that was told until now written, as far as the disk takes it in time.
    pub(super) async fn flush(&self) {
        if let Some(queue) = self.queue() {
            let (done, written) = oneshot::channel();
            queue.flush(done);
            // The sender is dropped when it is done.
            if tokio::time::timeout(FLUSH_TIMEOUT, written).await.is_err() {
                tracing::warn!(
                    "the state file was not written in time: it holds what was some seconds ago"
                );
            }
        }
    }

    /// Reads what was saved of a resource.
    pub(super) fn load(&self, resource: Resource) -> Option<Stored> {
        let (objects, stored) = mpsc::channel(READ_AHEAD);
        self.queue()?.load(Load { resource, objects });
        Some(Stored {
            objects: stored,
            complete: None,
        })
    }
}

/// An object's name within its resource.
fn name(key: &Key) -> String {
    key.object().name
}

/// What was saved of a resource.
pub(super) struct Stored {
    objects: mpsc::Receiver<Item>,
    complete: Option<StateAge>,
}

/// What comes out of the state file.
#[derive(Debug)]
enum Item {
    Object(Vec<u8>),
    /// That was all there was when it was last complete, so long ago.
    Complete(StateAge),
}

impl Stored {
    /// The next object.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.objects.recv().await? {
                Item::Object(text) => return Some(text),
                Item::Complete(age) => self.complete = Some(age),
            }
        }
    }

    /// How long ago the file was written, if all objects there were then have come; known at the end.
    pub(super) fn complete(&self) -> Option<StateAge> {
        self.complete
    }
}
