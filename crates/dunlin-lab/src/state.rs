//! What a lab made, written down before it is made, so that a later `down` finds it whatever happened.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use serde::{Deserialize, Serialize};

use crate::config::{LabConfig, validate_name};
use crate::process::ProcessId;

/// Where the labs of this machine keep their state, a directory each.
pub const LABS_DIR: &str = "/run/dunlin-lab";
const STATE_FILE: &str = "state.json";
const LOCK_FILE: &str = "lock";
/// How long a child that a killed command had just forked may take to its exec.
const EXEC_PATIENCE: Duration = Duration::from_secs(20);
/// Neither kind of lock can be waited for with a deadline: how often it is tried.
const LOCK_RETRY: Duration = Duration::from_millis(2);

/// A process that a lab started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRecord {
    /// What it is: `n1`, `router`, `zebra`…
    pub role: String,
    /// The short name of its namespace.
    pub host: String,
    /// Which process.
    pub process: ProcessId,
}

/// A pod that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Its name: `n1p1`.
    pub name: String,
    /// The name of its node.
    pub node: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Whether CNI plugins attached it.
    pub by_cni: bool,
}

/// Everything about a lab that must survive this process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// The options.
    pub config: LabConfig,
    /// Which boot of the machine it belongs to.
    pub boot_id: String,
    /// The process that builds it, or built it.
    pub owner: ProcessId,
    /// Whether it is complete.
    pub complete: bool,
    /// Short names of its namespaces.
    pub hosts: Vec<String>,
    /// Its processes.
    pub daemons: Vec<DaemonRecord>,
    /// Its pods.
    pub pods: Vec<PodRecord>,
}

/// The directory of one lab, locked against other `dunlin lab` commands that change it.
///
/// The lock file bears two locks. A record lock belongs to the process: it is free as soon as a killed command can do
/// nothing any more. A shared `flock` belongs to the open file, and so to every child just forked too, until its exec
/// closes the file: it tells when those have become processes that carry the lab's mark ([`LabDir::await_children`]).
#[derive(Debug)]
pub struct LabDir {
    path: PathBuf,
    lock: Option<File>,
}

impl LabDir {
    /// The directory of the lab `name`, without a lock: to read.
    ///
    /// # Errors
    /// If the name is not allowed.
    pub fn of(name: &str) -> Result<LabDir> {
        validate_name(name)?;
        Ok(LabDir {
            path: Path::new(LABS_DIR).join(name),
            lock: None,
        })
    }

    /// Creates the directory if it is missing, and locks it until the value is dropped. A command that holds the lock
    /// now has so long to let go of it.
    ///
    /// # Errors
    /// If it cannot be created, or another command holds the lock.
    pub fn lock(name: &str, patience: Duration) -> Result<LabDir> {
        validate_name(name)?;
        let path = Path::new(LABS_DIR).join(name);
        let lock = path.join(LOCK_FILE);
        let deadline = Instant::now() + patience;
        loop {
            fs::create_dir_all(&path).with_context(|| {
                format!("cannot create {} (root is needed here)", path.display())
            })?;
            let file = match File::create(&lock) {
                // A `down` that ends just now took the directory away again.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other.context("cannot create the lock")?,
            };
            let exclusive = FlockOperation::NonBlockingLockExclusive;
            if !try_until(deadline, || fcntl_lock(&file, exclusive).is_ok()) {
                bail!("another `dunlin lab` command works on lab `{name}` now");
            }
            if !is_same(&file, &lock) {
                continue;
            }
            let shared = FlockOperation::NonBlockingLockShared;
            if !try_until(Instant::now() + EXEC_PATIENCE, || {
                flock(&file, shared).is_ok()
            }) {
                bail!("cannot lock {}", lock.display());
            }
            return Ok(LabDir {
                path,
                lock: Some(file),
            });
        }
    }

    /// Waits until no process is left that an earlier command, now dead, forked and that is still on its way to its
    /// own program: until then it does not carry the lab's mark, and nobody else knows of it.
    ///
    /// # Errors
    /// If one does not get there.
    pub fn await_children(&self) -> Result<()> {
        let Some(file) = &self.lock else {
            return Ok(());
        };
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let gone = try_until(Instant::now() + EXEC_PATIENCE, || {
            flock(file, exclusive).is_ok()
        });
        // The children that this command forks from now on must not keep a later command from locking.
        flock(file, FlockOperation::LockShared).context("cannot lock the lab again")?;
        if !gone {
            bail!(
                "a process that an earlier command on this lab was starting hangs before its exec; it holds {} open",
                self.path.join(LOCK_FILE).display()
            );
        }
        Ok(())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state, if the lab was ever begun.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn load(&self) -> Result<Option<State>> {
        let path = self.path.join(STATE_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let state = serde_json::from_str(&text)
            .with_context(|| format!("{} is not the state of a lab", path.display()))?;
        Ok(Some(state))
    }

    /// Replaces the state in one step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, state: &State) -> Result<()> {
        let (new, path) = (self.path.join("state.new"), self.path.join(STATE_FILE));
        let write = || -> Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(state)?)?;
            fs::rename(&new, &path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes the directory with all that is in it.
    ///
    /// # Errors
    /// If something in it cannot be removed.
    pub fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.path)
            .with_context(|| format!("cannot remove {}", self.path.display()))?;
        // The parent goes with the last lab; it stays while there is another.
        let _ = fs::remove_dir(LABS_DIR);
        Ok(())
    }
}

fn try_until(deadline: Instant, mut attempt: impl FnMut() -> bool) -> bool {
    loop {
        if attempt() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

/// Whether the open file is the one that has the name now.
fn is_same(file: &File, path: &Path) -> bool {
    let number = |found: fs::Metadata| (found.dev(), found.ino());
    let named = fs::metadata(path).map(number).ok();
    named.is_some() && named == file.metadata().map(number).ok()
}

/// The names of the labs that have state here.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(LABS_DIR)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| validate_name(name).is_ok())
        .collect();
    names.sort();
    names
}

/// Which boot of the machine this is.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

impl State {
    /// The full name of the namespace of `host`.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.config.name)
    }

    /// The process with this role, if the lab started one.
    pub fn daemon(&self, role: &str) -> Option<&DaemonRecord> {
        self.daemons.iter().find(|daemon| daemon.role == role)
    }
}
