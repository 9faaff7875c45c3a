//! `dunlin lab …`

pub mod exec;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::check;
use crate::config::{LabConfig, NodeDaemon, PodNetwork, RouterKind};
use crate::lab::{self, Lab};
use crate::netns::Netns;
use crate::plan::{Families, Plan};
use crate::report::{Report, time};
use crate::{signals, state, topology, unprivileged};

/// A virtual cluster on this machine, in network namespaces.
#[derive(Clone, Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LabCommand {
    /// Build a cluster, show that it works, take it down.
    Demo {
        #[command(flatten)]
        options: UpOptions,
    },
    /// Build a cluster and leave it up.
    Up {
        #[command(flatten)]
        options: UpOptions,
    },
    /// Try every path of the cluster with ping, traceroute and TCP.
    Check {
        #[command(flatten)]
        lab: LabName,
    },
    /// Run a command in a namespace: `dunlin lab exec n1 -- ip route`.
    Exec {
        #[command(flatten)]
        lab: LabName,
        /// n1, n2…; a pod (n1p1); router, client or underlay.
        host: String,
        /// The command; a shell if there is none.
        #[arg(last = true)]
        command: Vec<std::ffi::OsString>,
    },
    /// Show the nodes, their agents, sessions and routes.
    Status {
        #[command(flatten)]
        lab: LabName,
    },
    /// Remove a cluster and everything that is left of it.
    Down {
        #[command(flatten)]
        lab: LabName,
        /// Every lab on this machine.
        #[arg(long)]
        all: bool,
    },
    /// Copy gobgpd's table into the kernel (started by the lab itself).
    #[command(hide = true)]
    FollowGobgp {
        #[command(flatten)]
        lab: LabName,
    },
}

#[derive(Clone, Debug, Args)]
struct LabName {
    /// The lab's name.
    #[arg(long, default_value = "dunlin")]
    name: String,
}

#[derive(Clone, Debug, Args)]
struct UpOptions {
    #[command(flatten)]
    lab: LabName,
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// How many pods on each node.
    #[arg(long, default_value_t = 1)]
    pods: u16,
    /// What speaks BGP on the router outside the cluster.
    #[arg(long, value_enum, default_value = "dunlin")]
    router: RouterKind,
    /// Address families.
    #[arg(long, value_enum, default_value = "dual")]
    family: Families,
    /// How pods are attached.
    #[arg(long, value_enum, default_value = "auto")]
    pod_network: PodNetwork,
    /// Leave it up: after the demo, or when something failed.
    #[arg(long)]
    keep: bool,
    /// Hold time of the nodes' sessions, in seconds.
    #[arg(long, value_name = "SECONDS")]
    hold_time: Option<u16>,
    /// Let the nodes deliver what is sent to services.
    #[arg(long)]
    service_proxy: bool,
    /// What runs on the nodes.
    #[arg(long, value_enum, default_value = "dunlin", hide = true)]
    node_daemon: NodeDaemon,
    /// The program that has the `agent` command, if not this one.
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

impl UpOptions {
    fn config(&self) -> Result<LabConfig> {
        let agent = match &self.agent {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("cannot name this program")?,
        };
        let config = LabConfig {
            name: self.lab.name.clone(),
            plan: Plan {
                nodes: self.nodes,
                pods_per_node: self.pods,
                families: self.family,
            },
            router: self.router,
            pod_network: self.pod_network,
            node_daemon: self.node_daemon,
            agent,
            hold_time_secs: self.hold_time,
            service_proxy: self.service_proxy,
            // Without root, the namespaces end with this process, and so must the daemons.
            daemons_die_with_us: unprivileged::is_inside(),
        };
        config.validate()?;
        Ok(config)
    }
}

/// Runs a `dunlin lab` command: 0 when all is well, 1 when a check failed.
///
/// # Errors
/// If the command could not be carried out.
pub fn run(args: LabArgs) -> Result<ExitCode> {
    if unprivileged::is_inside() {
        unprivileged::prepare_inside()?;
    } else if !unprivileged::is_root() {
        return as_ordinary_user(args.command);
    }
    let report = Report::new();
    match args.command {
        LabCommand::Demo { options } => demo(&options, &report),
        LabCommand::Up { options } => up(&options, &report),
        LabCommand::Check { lab } => {
            signals::catch()?;
            let lab = Lab::view(&lab.name)?;
            Ok(verdict(check::run(&lab, &report)?.print(&report)))
        }
        LabCommand::Exec { lab, host, command } => Err(exec::replace_process(
            &Lab::view(&lab.name)?,
            &host,
            &command,
        )),
        LabCommand::Status { lab } => Ok(verdict(status::show(&Lab::view(&lab.name)?, &report)?)),
        LabCommand::Down { lab, all } => down(&lab.name, all, &report),
        LabCommand::FollowGobgp { lab } => {
            let lab = Lab::view(&lab.name)?;
            let router: Netns = lab.netns(topology::ROUTER)?;
            crate::router::gobgp::follow(&router, lab.plan())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Everything happens in a user namespace: a new one, or the one of a lab that is up.
fn as_ordinary_user(command: LabCommand) -> Result<ExitCode> {
    match command {
        LabCommand::Demo { options } => {
            if options.keep {
                bail!("--keep: as an ordinary user, take `dunlin lab up` for a lab that stays");
            }
            options.config()?;
            unprivileged::run_inside()
        }
        LabCommand::Up { options } => {
            options.config()?;
            unprivileged::run_holder(&options.lab.name)
        }
        LabCommand::Check { lab }
        | LabCommand::Exec { lab, .. }
        | LabCommand::Status { lab }
        | LabCommand::FollowGobgp { lab } => unprivileged::join(&lab.name),
        LabCommand::Down { lab, all } => {
            let report = Report::new();
            let names = if all {
                unprivileged::holders()?
            } else {
                vec![lab.name]
            };
            for name in names {
                let began = Instant::now();
                if unprivileged::end_holder(&name)? {
                    report.done("down", &format!("lab `{name}`"), began.elapsed());
                } else {
                    report.note("down", &format!("there is no lab `{name}` of yours"));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn verdict(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn headline(config: &LabConfig) -> String {
    let families = match config.plan.families {
        Families::Ipv4 => "IPv4",
        Families::Ipv6 => "IPv6",
        Families::Dual => "IPv4 and IPv6",
    };
    let count = |n: u16, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
    format!(
        "Lab `{}`: {}, {} on each, a router and a host outside, {families}",
        config.name,
        count(config.plan.nodes, "node"),
        count(config.plan.pods_per_node, "pod"),
    )
}

fn up(options: &UpOptions, report: &Report) -> Result<ExitCode> {
    signals::catch()?;
    let config = options.config()?;
    report.heading(&headline(&config));
    let converge = |lab: &Lab| check::converge(lab, report);
    let lab = Lab::up_with(config, report, options.keep, converge)?;
    let name = &options.lab.name;
    let flag = if name == "dunlin" {
        String::new()
    } else {
        format!(" --name {name}")
    };
    report.gap();
    report.plain(&format!("Try: dunlin lab check{flag}"));
    report.plain(&format!(
        "     dunlin lab exec{flag} n1 -- ip route show proto dunlin"
    ));
    report.plain(&format!("     dunlin lab down{flag}"));
    if unprivileged::hold()? {
        signals::clear();
        lab.down()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(options: &UpOptions, report: &Report) -> Result<ExitCode> {
    signals::catch()?;
    let began = Instant::now();
    let config = options.config()?;
    report.heading(&headline(&config));
    let converge = |lab: &Lab| check::converge(lab, report);
    let lab = Lab::up_with(config, report, options.keep, converge)?;
    let outcome = show(&lab, report);
    signals::clear();
    if options.keep {
        report.plain(&format!(
            "The lab stays: dunlin lab down --name {}",
            options.lab.name
        ));
        return outcome.map(verdict);
    }
    let good = match (outcome, lab.down()) {
        (Err(error), _) | (_, Err(error)) => return Err(error),
        (Ok(good), Ok(_)) => good,
    };
    report.plain(&format!(
        "Everything was taken down again. {} in all.",
        time(began.elapsed())
    ));
    Ok(verdict(good))
}

fn show(lab: &Lab, report: &Report) -> Result<bool> {
    report.gap();
    let summary = check::run(lab, report)?;
    report.gap();
    check::show_routes(lab, report)?;
    report.gap();
    Ok(summary.print(report))
}

fn down(name: &str, all: bool, report: &Report) -> Result<ExitCode> {
    let names = if all {
        state::names()
    } else {
        vec![name.to_owned()]
    };
    for name in names {
        let began = Instant::now();
        match lab::down(&name)? {
            Some(removed) => report.done(
                "down",
                &format!(
                    "lab `{name}`: {} processes ended, {} namespaces removed",
                    removed.processes, removed.namespaces
                ),
                began.elapsed(),
            ),
            None => report.note("down", &format!("there is no lab `{name}`")),
        }
    }
    Ok(ExitCode::SUCCESS)
}
