//! Takes labs down, complete or not.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, ProcessId};
use crate::report::list;
use crate::state::{LabDir, State, boot_id, names};
use crate::{netns, router};

/// How long a daemon may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long the command that works on the lab may take to let go of it: one that was just killed is still dying.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take until no process is left, however many were killed and whatever they still started.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// What [`Lab::down`] took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Processes that were running.
    pub processes: usize,
    /// Namespaces.
    pub namespaces: usize,
}

/// Takes down whatever there is of a lab, complete or not. Without a state there is only a directory.
///
/// # Errors
/// If something cannot be removed.
pub fn down(name: &str) -> Result<Option<Removed>> {
    if !names().iter().any(|known| known == name) {
        return Ok(None);
    }
    let dir = LabDir::lock(name, LOCK_PATIENCE)?;
    let removed = match dir.load()? {
        Some(state) => take_down(&dir, &state)?,
        None => Removed::default(),
    };
    dir.remove()?;
    Ok(Some(removed))
}

pub(super) fn take_down(dir: &LabDir, state: &State) -> Result<Removed> {
    let mut removed = Removed::default();
    // After a reboot the numbers mean other processes; the start times differ, but why rely on it.
    if state.boot_id == boot_id() {
        dir.await_children()?;
        removed.processes = end_processes(state)?;
    }
    for host in &state.hosts {
        removed.namespaces += usize::from(netns::delete(&state.namespace(host))?);
    }
    let frr = router::frr_run_dir(&state.config.name);
    match fs::remove_dir_all(&frr) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", frr.display()))
        }
        _ => Ok(removed),
    }
}

/// Ends the processes that were written down, and those that were started and not yet written down when the lab's
/// process died: they carry the lab's mark. What one of them forks while it is looked for may escape that look, so two
/// in a row must find nothing. Says how many there were.
fn end_processes(state: &State) -> Result<usize> {
    let name = &state.config.name;
    let deadline = Instant::now() + END_PATIENCE;
    let recorded = state.daemons.iter().map(|daemon| daemon.process);
    let mut running: BTreeSet<ProcessId> = recorded.filter(|process| process.is_alive()).collect();
    running.extend(process::marked(name));
    let mut ended = BTreeSet::new();
    let mut looks_without = 0;
    while looks_without < 2 {
        let found: Vec<_> = running.iter().copied().collect();
        process::stop_all(&found, PATIENCE);
        ended.append(&mut running);
        running.extend(process::marked(name));
        if !running.is_empty() && Instant::now() > deadline {
            let left: Vec<_> = running.iter().map(|left| left.pid.to_string()).collect();
            bail!("processes of lab `{name}` do not end: {}", list(&left));
        }
        looks_without = if running.is_empty() {
            looks_without + 1
        } else {
            0
        };
    }
    Ok(ended.len())
}
