//! `dunlin cleanup`.

use std::io::Write;
use std::path::Path;

use anyhow::{Result, bail};
use dunlin_agent::cleanup::{self, Places};
use dunlin_agent::other_proxies::{self, Found};

use crate::args::CleanupOptions;

/// Removes what is ours, or says what that would be.
pub(crate) fn run(options: &CleanupOptions, socket: &Path, out: &mut dyn Write) -> Result<bool> {
    if options.kube_proxy {
        return other_proxy(options, out);
    }
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
        writeln!(
            out,
            "  the nf_tables tables inet dunlin, ip dunlin_services and ip6 dunlin_services"
        )?;
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

/// Removes what another service proxy left, or says what that would be.
fn other_proxy(options: &CleanupOptions, out: &mut dyn Write) -> Result<bool> {
    let running = other_proxies::running();
    if let Some(who) = &running
        && options.yes
        && !options.force
    {
        bail!(
            "{who} runs here: stop it first, or it makes everything again (--force goes on all the same). Installed by kubeadm, \
             it goes by `kubectl -n kube-system delete daemonset kube-proxy`"
        );
    }
    let found = Found::look()?;
    if found.is_empty() {
        writeln!(out, "nothing of another service proxy is here")?;
        return Ok(true);
    }
    if !options.yes {
        let removable = found.removable();
        if !removable.is_empty() {
            writeln!(out, "With --yes this removes from this network namespace:")?;
        }
        for what in &removable {
            writeln!(out, "  {what}")?;
        }
        for what in found.left() {
            writeln!(out, "and leaves {what}")?;
        }
        if let Some(who) = running {
            writeln!(out, "{who} runs here: stop it before")?;
        }
        if !found.ours {
            writeln!(
                out,
                "Dunlin does not deliver services here: without --service-proxy on or take-over they are out of reach then, and \
                 connections to them break"
            )?;
        }
        return Ok(true);
    }
    let done = found.remove();
    for removed in &done.removed {
        writeln!(out, "removed {removed}")?;
    }
    for problem in done.kept.iter().chain(&done.problems) {
        writeln!(out, "left {problem}")?;
    }
    Ok(done.problems.is_empty())
}
