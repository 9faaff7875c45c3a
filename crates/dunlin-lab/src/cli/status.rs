//! `dunlin lab status`: one line a node.

use anyhow::Result;

use crate::config::{NodeDaemon, RouterKind};
use crate::lab::Lab;
use crate::plan::Plan;
use crate::report::Report;
use crate::routes;
use crate::state::DaemonRecord;
use crate::topology::ROUTER;

/// Prints the table; says whether every daemon runs.
pub(super) fn show(lab: &Lab, report: &Report) -> Result<bool> {
    let mut good = lab.state().complete;
    if !good {
        report.plain("The lab is not complete: it is being built, or `dunlin lab down` is due.");
    }
    report.heading(&format!(
        "{:8} {:<10} {:>8}  {:8} {:>8} {:>9} {:>7}",
        "HOST", "DAEMON", "PID", "STATE", "MEMORY", "SESSIONS", "ROUTES"
    ));
    let nodes = lab.plan().node_numbers().map(Plan::node_name);
    for host in nodes.chain([ROUTER.to_owned()]) {
        for daemon in lab.state().daemons.iter().filter(|d| d.host == host) {
            good &= daemon.process.is_alive();
            report.plain(&line(lab, daemon)?);
        }
    }
    Ok(good)
}

fn line(lab: &Lab, daemon: &DaemonRecord) -> Result<String> {
    let is_router = daemon.host == ROUTER;
    let config = lab.config();
    let is_agent = match is_router {
        true => config.router == RouterKind::Dunlin,
        false => config.node_daemon == NodeDaemon::Dunlin,
    };
    let (mut state, mut sessions) = ("ended", "-".to_owned());
    if daemon.process.is_alive() {
        state = "runs";
        if is_agent {
            match lab.agent_status(&daemon.host) {
                Ok(status) => {
                    let s = status.sessions;
                    let up = s.nodes_up + s.external_up;
                    let expected = s.nodes_expected + s.external_expected;
                    // The router waits for whoever dials, and carries no pods.
                    sessions = if is_router {
                        up.to_string()
                    } else {
                        format!("{up}/{expected}")
                    };
                    state = if status.ready || is_router {
                        "ready"
                    } else {
                        "starting"
                    };
                }
                Err(_) => state = "silent",
            }
        }
    }
    let memory = daemon.process.resident_kib().map_or_else(
        || "-".to_owned(),
        |kib| format!("{:.1} MB", kib as f64 / 1024.0),
    );
    let protocol = if is_router {
        lab.router_protocol()
    } else {
        Some(lab.node_protocol())
    };
    let routes = match protocol {
        Some(protocol) => routes::installed_by(&lab.netns(&daemon.host)?, protocol)?
            .len()
            .to_string(),
        None => "-".to_owned(),
    };
    let name = if is_agent { "agent" } else { &daemon.role };
    Ok(format!(
        "{:8} {name:<10} {:>8}  {state:8} {memory:>8} {sessions:>9} {routes:>7}",
        daemon.host, daemon.process.pid
    ))
}
