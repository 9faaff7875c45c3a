//! The CNI plugins our configuration calls, put where the container runtime looks.
//!
//! What is there already is somebody else's and stays. What was put there is remembered in the state directory by inode, size
//! and time, so that an upgrade replaces it, and cleanup removes it, only while it is the very file we wrote.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// What is needed: `ptp` with its address management, the two chained ones, and `loopback`, which some runtimes call by
/// themselves.
pub const PLUGINS: [&str; 5] = ["ptp", "host-local", "portmap", "bandwidth", "loopback"];

/// The record of what was put where, in the state directory.
const RECORD: &str = "cni-plugins.json";

/// A file that we wrote, as the file system knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    name: String,
    device: u64,
    inode: u64,
    size: u64,
    modified_nanos: i128,
}

impl Written {
    fn of(name: &str, path: &Path) -> io::Result<Written> {
        let found = fs::symlink_metadata(path)?;
        Ok(Written {
            name: name.to_owned(),
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified_nanos: i128::from(found.mtime()) * 1_000_000_000
                + i128::from(found.mtime_nsec()),
        })
    }
}

/// What became of one plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there.
    Installed,
    /// An earlier one of ours was there.
    Replaced,
    /// It is there and the same.
    Unchanged,
    /// Somebody else's is there, and is left alone.
    Foreign,
}

/// Puts the plugins of directory `from` into directory `to`.
///
/// # Errors
/// What could not be read or written. What was done before that stays, and is remembered.
pub fn install(from: &Path, to: &Path, state_dir: &Path) -> Result<Vec<(&'static str, Outcome)>> {
    let missing: Vec<&str> = PLUGINS
        .into_iter()
        .filter(|name| !from.join(name).is_file())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} lacks {}: is it the image's directory of plugins?",
            from.display(),
            missing.join(", ")
        );
    }
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    fs::create_dir_all(state_dir)
        .with_context(|| format!("cannot create {}", state_dir.display()))?;
    let mut record = read(state_dir)?;
    let mut outcomes = Vec::new();
    for name in PLUGINS {
        let target = to.join(name);
        let ours = Written::of(name, &target)
            .ok()
            .filter(|now| record.contains(now));
        let outcome = match (fs::symlink_metadata(&target), ours) {
            (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Outcome::Installed,
            (Err(error), _) => {
                return Err(error).with_context(|| format!("cannot look at {}", target.display()));
            }
            (Ok(_), None) => Outcome::Foreign,
            (Ok(_), Some(_)) if same(&from.join(name), &target)? => Outcome::Unchanged,
            (Ok(_), Some(_)) => Outcome::Replaced,
        };
        if matches!(outcome, Outcome::Installed | Outcome::Replaced) {
            let written = put(name, &from.join(name), to)?;
            record.retain(|old| old.name != name);
            record.push(written);
            write(state_dir, &record)?;
        }
        outcomes.push((name, outcome));
    }
    Ok(outcomes)
}

/// Removes from directory `dir` what [`install`] put there, and forgets it. Gives the names.
///
/// # Errors
/// What could not be read or removed.
pub fn remove(dir: &Path, state_dir: &Path) -> Result<Vec<String>> {
    let record = read(state_dir)?;
    let mut removed = Vec::new();
    for written in &record {
        let path = dir.join(&written.name);
        if Written::of(&written.name, &path).is_ok_and(|now| now == *written) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            removed.push(written.name.clone());
        }
    }
    forget(state_dir)?;
    Ok(removed)
}

/// Removes the record alone; the plugins stay as anybody's.
pub(crate) fn forget(state_dir: &Path) -> Result<bool> {
    let path = state_dir.join(RECORD);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// A new file under another name, complete on disk before it takes its place.
fn put(name: &str, from: &Path, to: &Path) -> Result<Written> {
    let new = to.join(format!(".dunlin-{name}.new"));
    let target = to.join(name);
    let copied = || -> io::Result<Written> {
        fs::copy(from, &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        File::open(&new)?.sync_all()?;
        let written = Written::of(name, &new)?;
        fs::rename(&new, &target)?;
        Ok(written)
    };
    copied().with_context(|| format!("cannot install {}", target.display()))
}

/// Whether two files hold the same.
fn same(a: &Path, b: &Path) -> Result<bool> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(fs::metadata(a)?.len() == fs::metadata(b)?.len() && read(a)? == read(b)?)
}

fn read(state_dir: &Path) -> Result<Vec<Written>> {
    let path = state_dir.join(RECORD);
    match fs::read_to_string(&path) {
        // One that does not parse is as good as none: what is there counts as somebody else's.
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write(state_dir: &Path, record: &[Written]) -> Result<()> {
    let path: PathBuf = state_dir.join(RECORD);
    let new = state_dir.join(format!("{RECORD}.new"));
    let text = serde_json::to_string(record)?;
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
