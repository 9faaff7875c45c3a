//! What a lab made, written down before it is made, so that a later `down` finds it whatever happened.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, fcntl_lock};
use serde::{Deserialize, Serialize};

use crate::config::{LabConfig, validate_name};
use crate::process::ProcessId;

/// Where the labs of this machine keep their state, a directory each.
pub const LABS_DIR: &str = "/run/dunlin-lab";
const STATE_FILE: &str = "state.json";

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
#[derive(Debug)]
pub struct LabDir {
    path: PathBuf,
    _lock: Option<File>,
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
            _lock: None,
        })
    }

    /// Creates the directory if it is missing, and locks it until the value is dropped.
    ///
    /// # Errors
    /// If it cannot be created, or another command holds the lock.
    pub fn lock(name: &str) -> Result<LabDir> {
        validate_name(name)?;
        let path = Path::new(LABS_DIR).join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {} (root is needed here)", path.display()))?;
        let file = File::create(path.join("lock")).context("cannot create the lock")?;
        // A record lock: unlike flock, a child just forked does not hold it on after this process was killed.
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another `dunlin lab` command works on lab `{name}` now");
        }
        Ok(LabDir {
            path,
            _lock: Some(file),
        })
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
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
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
