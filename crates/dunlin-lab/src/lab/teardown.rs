//! Takes labs down, complete or not.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::state::{LabDir, State, boot_id, names};
use crate::{netns, process, router};

/// How long a daemon may take to end when asked, before it is killed.
const PATIENCE: Duration = Duration::from_secs(3);

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
    let dir = LabDir::lock(name)?;
    let removed = match dir.load()? {
        Some(state) => take_down(&state)?,
        None => Removed::default(),
    };
    dir.remove()?;
    Ok(Some(removed))
}

pub(super) fn take_down(state: &State) -> Result<Removed> {
    let mut removed = Removed::default();
    // After a reboot the numbers mean other processes; the start times differ, but why rely on it.
    if state.boot_id == boot_id() {
        let recorded = state
            .daemons
            .iter()
            .map(|daemon| daemon.process)
            .collect::<Vec<_>>();
        removed.processes += process::stop_all(&recorded, PATIENCE);
        // What was started and not yet written down when the lab's process died.
        let unrecorded = process::marked(&state.config.name);
        removed.processes += process::stop_all(&unrecorded, PATIENCE);
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
