//! A directory of manifests, watched live.
//!
//! Nothing polls: inotify wakes us, and after a short pause, so that an editor's steps count as one, what was named is read
//! again. A writer that replaces files by rename is never seen half-way; one that writes in place is seen when it
//! closes the file.

mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_intent::{Kind, ObjectKind, ObjectRef, Problem, Reason, SourceEvent};
use rustix::fs::OFlags;
use tokio::sync::mpsc;

use crate::manifest::{self, Format};
use crate::store::{FileFault, Store};
use watch::{Seen, Watch};

/// How long after the first event we look: an editor's steps come closer together.
const DEBOUNCE: Duration = Duration::from_millis(30);

/// What a directory may hold, so that a mistake in it does not become one in the agent. What is beyond is not read, and
/// is a problem of the directory or of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most manifest files.
    pub files: usize,
    /// The largest file, in octets.
    pub file_octets: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            files: 10_000,
            file_octets: 16 << 20,
        }
    }
}

/// Why a manifest directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The path does not exist or cannot be read.
    #[error("manifest directory {}: {error}; create it, or name another with --cluster dir:PATH", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The path is no directory.
    #[error("manifest directory {}: is not a directory; name one with --cluster dir:PATH", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory cannot be watched.
    #[error("manifest directory {}: cannot be watched: {error}; raise fs.inotify.max_user_watches or max_user_instances if they are exhausted", path.display())]
    Watch {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A manifest directory that is being watched.
#[derive(Debug)]
pub struct ManifestDir {
    path: PathBuf,
    limits: Limits,
    watch: Watch,
    store: Store,
    /// The files' marks as last read, to leave alone what has not changed.
    marks: BTreeMap<String, Mark>,
}

/// Tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    dev: u64,
    ino: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Mark {
    fn of(meta: &fs::Metadata) -> Mark {
        Mark {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl ManifestDir {
    /// Begins to watch a directory. Call within a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// If the path is no directory that can be read, or it cannot be watched.
    pub fn open(path: impl Into<PathBuf>, limits: Limits) -> Result<ManifestDir, DirError> {
        let path = path.into();
        // Opening it for listing tells at once whether we may.
        match fs::read_dir(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(DirError::NotADirectory { path });
            }
            Err(error) => return Err(DirError::Unreadable { path, error }),
        }
        // Watch first, look then: what changes in between is seen twice rather than never.
        match Watch::new(&path) {
            Ok(watch) => Ok(ManifestDir {
                path,
                limits,
                watch,
                store: Store::default(),
                marks: BTreeMap::new(),
            }),
            Err(error) => Err(DirError::Watch { path, error }),
        }
    }

    /// Tells all there is, then what changes, until the receiver is dropped. A full channel makes it wait; meanwhile the
    /// kernel collects events, and if it drops some, the directory is looked through again.
    ///
    /// # Errors
    /// If watching fails.
    pub async fn run(mut self, events: mpsc::Sender<SourceEvent>) -> Result<(), DirError> {
        let mut told = self.look_through();
        told.extend(self.store.complete());
        loop {
            for event in told.drain(..) {
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            tokio::select! {
                woken = self.watch.readable() => {
                    woken.map_err(|error| self.watch_error(error))?;
                }
                () = events.closed() => return Ok(()),
            }
            tokio::time::sleep(DEBOUNCE).await;
            let seen = self
                .watch
                .drain()
                .map_err(|error| self.watch_error(error))?;
            told = self.look_at(seen);
        }
    }

    fn watch_error(&self, error: io::Error) -> DirError {
        DirError::Watch {
            path: self.path.clone(),
            error,
        }
    }

    fn look_at(&mut self, seen: Seen) -> Vec<SourceEvent> {
        if seen.everything {
            return self.look_through();
        }
        let mut told = Vec::new();
        for name in seen.names {
            // Names such as `..data` are what symbolic links lead through: any file may be another now.
            match manifest_name(&name) {
                Some(name) => self.look_at_file(name, &mut told),
                None if name.as_bytes().starts_with(b"..") => return self.look_through(),
                None => {}
            }
        }
        told
    }

    /// Looks at every file there is.
    fn look_through(&mut self) -> Vec<SourceEvent> {
        let mut told = Vec::new();
        let names = match self.names() {
            Ok(names) => names,
            // The directory is gone or cannot be read: what it last held stays.
            Err(error) => {
                let message = format!("{error}; what it last held stays: restore it");
                told.push(self.dir_problem(Some(message)));
                return told;
            }
        };
        let prefix = self.path.join("").display().to_string();
        let shown = self
            .store
            .paths()
            .filter_map(|path| path.strip_prefix(&prefix));
        let known: BTreeSet<String> = shown.map(str::to_owned).collect();
        let beyond = names.len().saturating_sub(self.limits.files);
        told.push(self.dir_problem((beyond > 0).then(|| {
            format!(
                "holds {} manifest files, of which the first {} by name are read: remove some",
                names.len(),
                self.limits.files
            )
        })));
        let names: BTreeSet<String> = names.into_iter().take(self.limits.files).collect();
        for name in names.union(&known) {
            self.look_at_file(name, &mut told);
        }
        told
    }

    fn dir_problem(&self, message: Option<String>) -> SourceEvent {
        let object = ObjectRef::new(ObjectKind::File, self.path.display().to_string());
        let problem = message.map(|m| Problem::new(object.clone(), Reason::Unreadable, m));
        SourceEvent::Problems(object, problem.into_iter().collect())
    }

    /// The names of all manifest files.
    fn names(&self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.path)? {
            if let Some(name) = manifest_name(&entry?.file_name()) {
                names.insert(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Reads one file again, if it is not as last read.
    fn look_at_file(&mut self, name: &str, told: &mut Vec<SourceEvent>) {
        let path = self.path.join(name);
        let shown = path.display().to_string();
        let opened = open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (meta, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.marks.remove(name);
                told.extend(self.store.remove(&shown));
                return;
            }
            Err(error) => {
                self.marks.remove(name);
                told.extend(self.store.fail(&shown, unreadable(error.to_string())));
                return;
            }
        };
        if meta.is_dir() {
            return;
        }
        let mark = Mark::of(&meta);
        if self.marks.get(name) == Some(&mark) {
            return;
        }
        let is_new = !self.marks.contains_key(name);
        if is_new && self.marks.len() >= self.limits.files {
            let message = format!(
                "is beyond the {} files that are read: remove some",
                self.limits.files
            );
            told.push(self.dir_problem(Some(format!("{name} {message}"))));
            return;
        }
        self.marks.insert(name.to_owned(), mark);
        let events = match read_file(file, &meta, name, self.limits) {
            Ok(objects) => self.store.put(&shown, objects),
            Err(fault) => self.store.fail(&shown, fault),
        };
        told.extend(events);
    }
}

/// Opens without waiting: a FIFO would keep us until somebody writes to it.
fn open(path: &Path) -> io::Result<fs::File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// The name, if it is that of a manifest: hidden files and those that editors leave are none.
fn manifest_name(name: &OsStr) -> Option<&str> {
    let text = name.to_str()?;
    let extension = Path::new(name).extension()?.to_str()?;
    let is_manifest = !text.starts_with(['.', '#']) && matches!(extension, "yaml" | "yml" | "json");
    is_manifest.then_some(text)
}

fn unreadable(message: String) -> FileFault {
    FileFault {
        at: None,
        message,
        kinds: Kind::ALL.to_vec(),
    }
}

fn read_file(
    file: fs::File,
    meta: &fs::Metadata,
    name: &str,
    limits: Limits,
) -> Result<Vec<manifest::Located>, FileFault> {
    let too_large = || {
        unreadable(format!(
            "has more than {} octets, the most that is read of a file: split it",
            limits.file_octets
        ))
    };
    if !meta.is_file() {
        return Err(unreadable("is no regular file: remove it".to_owned()));
    }
    if meta.len() > limits.file_octets {
        return Err(too_large());
    }
    let mut octets = Vec::new();
    // It may have grown since.
    let mut bounded = file.take(limits.file_octets.saturating_add(1));
    bounded
        .read_to_end(&mut octets)
        .map_err(|error| unreadable(error.to_string()))?;
    if octets.len() as u64 > limits.file_octets {
        return Err(too_large());
    }
    let text = String::from_utf8(octets)
        .map_err(|error| unreadable(format!("is not UTF-8: {}", error.utf8_error())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let format = match name.ends_with(".json") {
        true => Format::Json,
        false => Format::Yaml,
    };
    manifest::read(text, format).map_err(|fault| FileFault {
        at: Some(match fault.column {
            0 => format!("line {}", fault.line),
            column => format!("line {}, column {column}", fault.line),
        }),
        message: fault.message,
        kinds: manifest::mentioned_kinds(text),
    })
}

#[cfg(test)]
mod tests;
