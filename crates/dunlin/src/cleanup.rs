//! `dunlin cleanup`.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use dunlin_agent::cleanup::{self, Places};

use crate::args::CleanupOptions;

/// Removes what is ours, or says what that would be.
pub(crate) fn run(options: &CleanupOptions, socket: &Path, out: &mut dyn Write) -> Result<bool> {
    let places = Places {
        socket: socket.to_owned(),
        cni_conf_dir: options.cni_conf_dir.clone(),
        protocol_names: options.protocol_names.clone(),
        state_dir: options.state_dir.clone(),
        secrets_dir: options.secrets_dir.clone(),
        cni_bin_dir: options.cni_bin_dir.clone(),
        leases: options.leases,
    };
    if !options.force {
        cleanup::refuse_while_running(&places)?;
    }
    if !options.yes {
        writeln!(
            out,
            "With --yes this removes from this network namespace and machine:"
        )?;
        writeln!(
            out,
            "  routes and nexthop objects of route protocol 68 with our metrics and ids"
        )?;
        writeln!(out, "  the nf_tables table inet dunlin")?;
        writeln!(
            out,
            "  the route protocol's name in {}",
            places.protocol_names.display()
        )?;
        writeln!(
            out,
            "  our CNI configuration in {}",
            places.cni_conf_dir.display()
        )?;
        writeln!(
            out,
            "  {}, the state in {} and the passwords in {}",
            places.socket.display(),
            places.state_dir.display(),
            places.secrets_dir.display()
        )?;
        return Ok(true);
    }
    let report = cleanup::run(&places)?;
    for removed in &report.removed {
        writeln!(out, "removed {removed}")?;
    }
    for problem in &report.problems {
        writeln!(out, "left {problem}")?;
    }
    if report.removed.is_empty() && report.problems.is_empty() {
        writeln!(out, "nothing of ours is here")?;
    }
    Ok(report.problems.is_empty())
}
