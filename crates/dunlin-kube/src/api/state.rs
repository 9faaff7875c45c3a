//! The last known state on disk, for a start without the API server.
//!
//! A thread of its own writes it, some seconds behind; a disk that hangs holds nobody back.

mod file;

use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use dunlin_intent::Key;
use tokio::sync::mpsc;

use super::health::{Health, StateAge};
use super::slim::slim;
use crate::object::Resource;
use file::{Order, Writer};

/// Orders that wait for the disk. Beyond, whoever tells waits a moment, and then goes on without.
const QUEUE: usize = 256;

/// How long to wait for room, and in which steps.
const PATIENCE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(5);

/// Objects read ahead of whoever takes them in.
const READ_AHEAD: usize = 64;

/// The way to the state file. Saves nothing if there is none.
#[derive(Clone)]
pub(super) struct Saver(Option<SyncSender<Order>>);

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
        let (orders, waiting) = sync_channel(QUEUE);
        let path = dir.join("cluster.redb");
        let told = health.clone();
        let writer = std::thread::Builder::new()
            .name("state".into())
            .spawn(move || Writer::new(path, told).run(&waiting));
        match writer {
            Ok(_) => Saver(Some(orders)),
            Err(error) => {
                health.state(Some(format!(
                    "no thread for the state file: {error}: nothing is saved"
                )));
                Saver::none()
            }
        }
    }

    /// Saves an object as it is now. Whether it will be.
    pub(super) async fn put(&self, resource: Resource, text: &[u8]) -> bool {
        if self.0.is_none() {
            return true;
        }
        let Some(text) = slim(text) else {
            return true;
        };
        let order = Order::Put { resource, text };
        self.order(order).await
    }

    /// Forgets an object.
    pub(super) async fn delete(&self, resource: Resource, key: &Key) {
        // One that is not forgotten now is with the next complete list.
        let name = name(key);
        let _ = self.order(Order::Delete { resource, name }).await;
    }

    /// These are all objects of a resource: the file holds no others.
    pub(super) async fn complete<'a>(
        &self,
        resource: Resource,
        keys: impl Iterator<Item = &'a Key>,
    ) {
        if self.0.is_some() {
            let names = keys.map(name).collect();
            let _ = self.order(Order::Complete { resource, names }).await;
        }
    }

    /// Reads what was saved of a resource.
    pub(super) fn load(&self, resource: Resource) -> Option<Stored> {
        let (objects, stored) = mpsc::channel(READ_AHEAD);
        let orders = self.0.as_ref()?;
        orders.try_send(Order::Load { resource, objects }).ok()?;
        Some(Stored {
            objects: stored,
            complete: None,
        })
    }

    async fn order(&self, mut order: Order) -> bool {
        let Some(orders) = &self.0 else {
            return true;
        };
        let begun = tokio::time::Instant::now();
        loop {
            match orders.try_send(order) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(back)) => {
                    if begun.elapsed() > PATIENCE {
                        return false;
                    }
                    order = back;
                    tokio::time::sleep(STEP).await;
                }
            }
        }
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
