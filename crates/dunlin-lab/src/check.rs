//! `dunlin lab check`: waits until the routes are there, then sends real packets down every path.

mod converge;
mod paths;
mod services;

use std::time::{Duration, Instant};

use anyhow::Result;
use dunlin_net::Afi;

pub use converge::{await_routes, converge, expected_on_node, expected_on_router};

use crate::iproute;
use crate::lab::Lab;
use crate::plan::Plan;
use crate::report::{Report, time};
use crate::routes;
use crate::topology::ROUTER;

/// The most lines of a routing table that are shown.
const SHOWN_ROUTES: usize = 12;

/// How many checks passed, and why the others did not.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Checks that passed.
    pub passed: usize,
    /// What failed, and why.
    pub failures: Vec<String>,
    took: Duration,
}

impl Summary {
    /// Prints the last line; says whether everything passed.
    pub fn print(&self, report: &Report) -> bool {
        let took = time(self.took);
        if self.failures.is_empty() {
            report.heading(&format!("All {} checks passed in {took}.", self.passed));
        } else {
            let all = self.passed + self.failures.len();
            report.heading(&format!("{} of {all} checks failed.", self.failures.len()));
            for failure in self.failures.iter().take(20) {
                report.plain(&format!("  {failure}"));
            }
        }
        self.failures.is_empty()
    }

    /// Counts checks and prints one line for them.
    fn record(&mut self, report: &Report, label: &str, text: &str, results: Vec<Result<String>>) {
        let mut shown = None;
        let before = self.failures.len();
        for result in results {
            match result {
                Ok(figure) => {
                    self.passed += 1;
                    shown = Some(figure);
                }
                Err(error) => self.failures.push(format!("{label} {text}: {error:#}")),
            }
        }
        match self.failures.get(before) {
            Some(first) => report.fail(label, text, first),
            None => report.pass(label, text, &shown.unwrap_or_default()),
        }
    }
}

/// Runs all checks on a lab that is up, and prints each.
///
/// # Errors
/// If the lab is broken in a way that no check can tell (a namespace is missing), or the program was asked to end.
pub fn run(lab: &Lab, report: &Report) -> Result<Summary> {
    let began = Instant::now();
    let mut summary = Summary::default();
    daemons(lab, report, &mut summary);
    if let Err(error) = await_routes(lab, Instant::now() + converge::DEADLINE) {
        summary.record(
            report,
            "routes",
            "every subnet on every node",
            vec![Err(error)],
        );
    }
    paths::pod_to_pod(lab, report, &mut summary)?;
    paths::trace(lab, report, &mut summary)?;
    paths::tcp(lab, report, &mut summary)?;
    paths::outside(lab, report, &mut summary)?;
    services::run(lab, report, &mut summary)?;
    summary.took = began.elapsed();
    Ok(summary)
}

fn daemons(lab: &Lab, report: &Report, summary: &mut Summary) {
    for daemon in &lab.state().daemons {
        if !daemon.process.is_alive() {
            let why = anyhow::anyhow!("{}", lab.last_words(&daemon.role));
            summary.record(report, "daemon", &daemon.role, vec![Err(why)]);
        }
    }
}

/// Prints the routes of the first node, and what the router has learned, as an operator would look at them.
///
/// # Errors
/// If `ip` fails.
pub fn show_routes(lab: &Lab, report: &Report) -> Result<()> {
    let families = lab.plan().families();
    let node = Plan::node_name(1);
    for &afi in families {
        show_table(lab, report, &node, lab.node_protocol(), afi)?;
    }
    match (lab.router_protocol(), families.first()) {
        (Some(protocol), Some(&afi)) => show_table(lab, report, ROUTER, protocol, afi),
        _ => Ok(()),
    }
}

fn show_table(lab: &Lab, report: &Report, host: &str, protocol: u8, afi: Afi) -> Result<()> {
    let mut args = match afi {
        Afi::Ipv4 => vec![],
        Afi::Ipv6 => vec!["-6"],
    };
    args.extend(["route", "show", "proto"]);
    let show = |protocol: &str| {
        let mut command = crate::cli::exec::in_host(lab, host, iproute::ip_program())?;
        iproute::text_of(command.args(&args).arg(protocol))
    };
    let number = protocol.to_string();
    let mut name = match protocol {
        routes::PROTOCOL_DUNLIN => "dunlin",
        12 => "bird",
        186 => "bgp",
        _ => &number,
    };
    let text = match show(name) {
        Ok(text) => text,
        // Where the name could not be made known, the number shows the same.
        Err(_) => {
            name = &number;
            show(name)?
        }
    };
    report.heading(&format!("{host}$ ip {} {name}", args.join(" ")));
    for line in text.lines().take(SHOWN_ROUTES) {
        report.plain(line.trim_end());
    }
    if text.lines().count() > SHOWN_ROUTES {
        report.plain(&format!("… {} routes", text.lines().count()));
    }
    Ok(())
}
