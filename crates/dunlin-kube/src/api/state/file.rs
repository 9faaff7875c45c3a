use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::mpsc;

use super::Item;
use super::queue::{Batch, Changes, LAG, Queue};
use crate::api::health::{Health, StateAge};
use crate::object::Resource;

/// `plural/namespace/name` → the object's text.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");

/// `plural` → the wall clock's seconds when all of it was first known to be here; under [`SAVED`] when anything was last
/// written.
const COMPLETE: TableDefinition<&str, u64> = TableDefinition::new("complete");
const SAVED: &str = "";

/// Memory for the file's pages, octets.
const CACHE_OCTETS: usize = 2 << 20;

/// Octets written before they are made durable at once.
const BATCH_OCTETS: usize = 4 << 20;

/// Objects larger than this are not saved.
const MAX_OCTETS: usize = 1 << 20;

/// After a failure nothing is written for so long.
const PAUSE: Duration = Duration::from_secs(60);

type Outcome<T> = Result<T, redb::Error>;

/// The thread that owns the file.
pub(super) struct Writer {
    path: PathBuf,
    health: Health,
    database: Option<Database>,
    pending: Option<Pending>,
    paused_until: Option<Instant>,
}

/// What is written and not yet durable.
struct Pending {
    transaction: WriteTransaction,
    since: Instant,
    octets: usize,
}

impl Pending {
    /// Writes changes, in the order of their keys: neighbours lie on the same pages.
    fn apply(&mut self, changes: Changes) -> Outcome<()> {
        let mut objects = self.transaction.open_table(OBJECTS)?;
        // Lists first: what was told of an object since its list is the newer word.
        let mut complete = self.transaction.open_table(COMPLETE)?;
        for (plural, names) in changes.complete {
            let (first, last) = range(plural);
            let prefix = first.len();
            objects.retain_in(first.as_str()..last.as_str(), |key, _| {
                key.get(prefix..).is_some_and(|name| names.contains(name))
            })?;
            complete.insert(plural, wall_clock())?;
        }
        for (key, text) in changes.objects {
            let Some(text) = text else {
                objects.remove(key.as_str())?;
                continue;
            };
            if text.len() > MAX_OCTETS {
                continue;
            }
            let same = objects
                .get(key.as_str())?
                .is_some_and(|old| old.value() == text);
            if !same {
                self.octets += text.len();
                objects.insert(key.as_str(), text.as_slice())?;
            }
        }
        Ok(())
    }
}

impl Writer {
    pub(super) fn new(path: PathBuf, health: Health) -> Writer {
        Writer {
            path,
            health,
            database: None,
            pending: None,
            paused_until: None,
        }
    }

    /// Does what is asked until nobody can ask any more.
    pub(super) fn run(mut self, queue: &Queue) {
        loop {
            let batch = queue.take(self.pending.as_ref().map(|pending| pending.since));
            let ended = batch.ended;
            // The file's library may give up on a damaged file by panicking.
            let done = catch_unwind(AssertUnwindSafe(|| self.work(batch)));
            match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.fail(&error.to_string()),
                Err(_) => {
                    self.fail("it is damaged");
                    self.set_aside();
                }
            }
            if ended {
                return;
            }
        }
    }

    fn work(&mut self, batch: Batch) -> Outcome<()> {
        let at_once = batch.is_urgent();
        let Batch { changes, loads, .. } = batch;
        self.write(changes)?;
        let due = self.pending.as_ref().is_some_and(|pending| {
            at_once || pending.since.elapsed() >= LAG || pending.octets >= BATCH_OCTETS
        });
        if due {
            self.commit()?;
        }
        for load in loads {
            self.load(load.resource, &load.objects)?;
        }
        // Those who wait for it go with the batch.
        drop(batch.waiting);
        Ok(())
    }

    fn commit(&mut self) -> Outcome<()> {
        if let Some(pending) = self.pending.take() {
            let mut complete = pending.transaction.open_table(COMPLETE)?;
            complete.insert(SAVED, wall_clock())?;
            drop(complete);
            pending.transaction.commit()?;
            self.health.saved();
        }
        Ok(())
    }

    fn open(&mut self) -> Outcome<Option<&Database>> {
        if self
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return Ok(None);
        }
        if self.database.is_none() {
            self.database = Some(self.create()?);
        }
        Ok(self.database.as_ref())
    }

    /// Opens the file; one that is damaged is set aside.
    fn create(&self) -> Outcome<Database> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_OCTETS);
        let begun = Instant::now();
        let mut opened = open(&builder, &self.path);
        // Whoever had it open before us may still be closing it.
        while matches!(opened, Ok(Err(redb::DatabaseError::DatabaseAlreadyOpen)))
            && begun.elapsed() < LAG
        {
            std::thread::sleep(Duration::from_millis(50));
            opened = open(&builder, &self.path);
        }
        let why = match opened {
            Ok(Ok(database)) => return Ok(database),
            Ok(Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))))
                if error.kind() != std::io::ErrorKind::InvalidData =>
            {
                return Err(redb::Error::Io(error));
            }
            Ok(Err(error @ redb::DatabaseError::DatabaseAlreadyOpen)) => return Err(error.into()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it is damaged".to_owned(),
        };
        tracing::error!(path = %self.path.display(), why, "the state file cannot be used: it is set aside, and a new one begun");
        self.set_aside();
        Ok(builder.create(&self.path)?)
    }

    fn set_aside(&self) {
        let aside = self.path.with_extension("redb.damaged");
        if let Err(error) = std::fs::rename(&self.path, &aside) {
            tracing::warn!(path = %self.path.display(), %error, "the state file cannot be set aside");
        }
    }

    fn fail(&mut self, why: &str) {
        self.pending = None;
        self.database = None;
        self.paused_until = Some(Instant::now() + PAUSE);
        self.health.state(Some(format!(
            "the state file {}: {why}: nothing is saved for the next minute; a restart without the API server would begin \
             with what it last held",
            self.path.display()
        )));
    }

    fn write(&mut self, changes: Changes) -> Outcome<()> {
        let nothing = changes.objects.is_empty() && changes.complete.is_empty();
        if nothing || self.open()?.is_none() {
            return Ok(());
        }
        let Some(database) = &self.database else {
            return Ok(());
        };
        if self.pending.is_none() {
            self.pending = Some(Pending {
                transaction: database.begin_write()?,
                since: Instant::now(),
                octets: 0,
            });
        }
        match &mut self.pending {
            Some(pending) => pending.apply(changes),
            None => Ok(()),
        }
    }

    fn load(&mut self, resource: Resource, out: &mpsc::Sender<Item>) -> Outcome<()> {
        self.commit()?;
        let Some(database) = self.open()? else {
            return Ok(());
        };
        let reading = database.begin_read()?;
        let objects = match reading.open_table(OBJECTS) {
            Ok(objects) => objects,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (first, last) = range(resource.plural);
        for entry in objects.range(first.as_str()..last.as_str())? {
            let (_, text) = entry?;
            if out
                .blocking_send(Item::Object(text.value().to_vec()))
                .is_err()
            {
                return Ok(());
            }
        }
        let complete = match reading.open_table(COMPLETE) {
            Ok(complete) => match complete.get(resource.plural)? {
                Some(first) => complete.get(SAVED)?.or(Some(first)).map(|at| at.value()),
                None => None,
            },
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(at) = complete {
            let age = wall_clock().checked_sub(at).map(Duration::from_secs);
            let _ = out.blocking_send(Item::Complete(StateAge(age)));
        }
        Ok(())
    }
}

/// Opens a file; the library may give up on a damaged one by panicking.
fn open(
    builder: &redb::Builder,
    path: &Path,
) -> std::thread::Result<Result<Database, redb::DatabaseError>> {
    catch_unwind(AssertUnwindSafe(|| builder.create(path)))
}

/// The keys of a resource: from the first, up to and without the last.
fn range(plural: &str) -> (String, String) {
    // '0' follows '/'.
    (format!("{plural}/"), format!("{plural}0"))
}

fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
