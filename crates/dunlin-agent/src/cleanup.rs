//! Removing what the agent made on this machine, and nothing else.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dunlin_kube::cni_file;
use rustix::fs::{FlockOperation, flock};

use crate::cni_plugins;

/// Where the agent's things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The admin socket.
    pub socket: PathBuf,
    /// The directory of the CNI configuration.
    pub cni_conf_dir: PathBuf,
    /// The directory of the route protocol's name.
    pub protocol_names: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The directory of the kept passwords.
    pub secrets_dir: PathBuf,
    /// Where CNI plugins were installed; `None` leaves them there.
    pub cni_bin_dir: Option<PathBuf>,
    /// Whether addresses that pods still hold are forgotten, too.
    pub leases: bool,
}

/// What was removed, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was removed, in words.
    pub removed: Vec<String>,
    /// What is left although it is ours, and why.
    pub problems: Vec<String>,
}

/// Refuses while an agent runs on these places.
///
/// # Errors
/// What tells that one runs.
pub fn refuse_while_running(places: &Places) -> Result<()> {
    if UnixStream::connect(&places.socket).is_ok() {
        bail!(
            "an agent is serving {}: stop it first, or it puts everything back (--force goes on all the same)",
            places.socket.display()
        );
    }
    let lock = places.state_dir.join("lock");
    if let Ok(file) = File::open(&lock)
        && flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    {
        bail!(
            "an agent uses {}: stop it first, or it puts everything back (--force goes on all the same)",
            places.state_dir.display()
        );
    }
    Ok(())
}

/// Removes everything of ours; goes on where something cannot be removed.
///
/// # Errors
/// If the kernel cannot be asked at all.
pub fn run(places: &Places) -> Result<Report> {
    let mut report = Report::default();
    // First, so that no runtime starts a pod meanwhile.
    match cni_file::remove(&places.cni_conf_dir) {
        Ok(cni_file::Outcome::Changed) => {
            report.removed.push(format!(
                "the CNI configuration in {}",
                places.cni_conf_dir.display()
            ));
        }
        Ok(cni_file::Outcome::Unchanged) => {}
        Err(error) => report.problems.push(error.to_string()),
    }
    let kernel = dunlin_kernel::cleanup::cleanup(&places.protocol_names)
        .context("cannot clean the kernel's tables up")?;
    let mut counted = |n: usize, what: &str| {
        if n > 0 {
            let s = if n == 1 { "" } else { "s" };
            report.removed.push(format!("{n} {what}{s}"));
        }
    };
    counted(kernel.routes, "route");
    counted(kernel.nexthops, "nexthop object");
    if kernel.nft_table {
        report
            .removed
            .push("the nf_tables table inet dunlin".into());
    }
    if kernel.nft_service_tables {
        report
            .removed
            .push("the nf_tables tables ip and ip6 dunlin_services".into());
    }
    if kernel.protocol_name {
        report.removed.push(format!(
            "the route protocol's name in {}",
            places.protocol_names.display()
        ));
    }
    report.problems.extend(kernel.problems);
    plugins(places, &mut report);
    for path in [
        places.socket.clone(),
        places.state_dir.join("boot-id"),
        places.state_dir.join("boot-id.new"),
        places.state_dir.join("cluster.redb"),
        places.state_dir.join("cluster.redb.damaged"),
        places.secrets_dir.join("passwords"),
        places.secrets_dir.join("passwords.new"),
        places.state_dir.join("lock"),
    ] {
        remove_file(&path, &mut report);
    }
    remove_leases(&places.state_dir.join("cni"), places.leases, &mut report);
    // Only if nothing is left in them; a container cannot remove what it was given as a mount.
    for dir in [
        Some(&*places.secrets_dir),
        places.socket.parent(),
        Some(&*places.state_dir),
    ] {
        let _ = dir.map(fs::remove_dir);
    }
    Ok(report)
}

fn plugins(places: &Places, report: &mut Report) {
    let removed = match &places.cni_bin_dir {
        Some(dir) => cni_plugins::remove(dir, &places.state_dir),
        None => cni_plugins::forget(&places.state_dir).map(|_| Vec::new()),
    };
    match removed {
        Ok(names) if names.is_empty() => {}
        Ok(names) => report
            .removed
            .push(format!("the CNI plugins {}", names.join(", "))),
        Err(error) => report.problems.push(format!("{error:#}")),
    }
}

fn remove_file(path: &Path, report: &mut Report) {
    match fs::remove_file(path) {
        Ok(()) => report.removed.push(path.display().to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => report.problems.push(format!("{}: {error}", path.display())),
    }
}

/// `host-local` keeps a file for each address that a pod holds. While there are any, their pods' removal needs them.
fn remove_leases(dir: &Path, also_held: bool, report: &mut Report) {
    let Ok(leases) = leases(dir) else { return };
    if leases > 0 && !also_held {
        let (are, s) = if leases == 1 {
            ("is", "")
        } else {
            ("are", "es")
        };
        report.problems.push(format!(
            "{}: {leases} address{s} {are} still given to pods: remove the pods, then run this again",
            dir.display()
        ));
        return;
    }
    match fs::remove_dir_all(dir) {
        Ok(()) => report
            .removed
            .push(format!("the pods' leases in {}", dir.display())),
        Err(error) => report.problems.push(format!("{}: {error}", dir.display())),
    }
}

/// How many addresses are given out: files named for an address, a directory a network.
fn leases(dir: &Path) -> io::Result<usize> {
    let mut leases = 0;
    for network in fs::read_dir(dir)? {
        let network = network?.path();
        if !network.is_dir() {
            continue;
        }
        for entry in fs::read_dir(network)? {
            let name = entry?.file_name();
            let is_address = name
                .to_str()
                .is_some_and(|name| name.parse::<std::net::IpAddr>().is_ok());
            leases += usize::from(is_address);
        }
    }
    Ok(leases)
}

#[cfg(test)]
mod tests;
