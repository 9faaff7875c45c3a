//! `dunlin-bench`: the figures in the README, measured beside the peers found on this machine.
//!
//! Every daemon runs alone in a network namespace; a second namespace drives it over a veth. All
//! subjects of a case take turns, run by run, and the tables show medians.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its result"
)]

mod api_server;
mod bare;
mod daemon;
mod fleet;
mod interrupt;
mod netns;
mod nft_monitor;
mod process;
mod report;
mod scenario;
mod table;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use daemon::{Daemon, Kind};
use scenario::Options;
use scenario::mesh::Shape;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// 1,000,000 prefixes in and out, and three smaller cases
    Routes,
    /// 5,000 internal sessions, not told of each other
    Mesh,
    /// 500 and 2,000 external sessions, each told all others' prefixes
    Transit,
    /// A path dies under traffic, by BFD and by carrier: how long until the other carries it
    Convergence,
    /// 100,000 and 1,000,000 routes into the kernel, beside `ip -batch` and a bare netlink writer
    Kernel,
    /// A lab of 100 nodes, from the last agent's start until every node knows every other
    Lab100,
    /// The agents of a lab of three nodes, a minute after convergence
    Footprint,
    /// From a Service in a real Kubernetes API to the route in FRR, and back
    Services,
    /// An agent where the API holds 5,000 nodes, 10,000 services and 100,000 endpoints
    Scale,
    /// The same against an API in memory, and 50 endpoint changes a second
    Api,
    /// The service proxy beside kube-proxy's nftables mode, at 10,000 and 50,000 services
    Proxy,
}

/// Benchmarks of Dunlin beside BIRD, FRR, OpenBGPD and GoBGP. Needs root and iproute2.
#[derive(Debug, Parser)]
struct Args {
    /// What to measure [default: all]
    scenarios: Vec<Scenario>,
    /// Runs of each case; the tables show medians
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// One run of each case
    #[arg(long, conflicts_with = "runs")]
    quick: bool,
    /// Which daemons [default: all that are found]
    #[arg(long, value_delimiter = ',')]
    daemons: Vec<Kind>,
    /// Only these cases of `routes`, or of `proxy`: middle, kube-proxy, large, connections
    #[arg(long = "case", value_delimiter = ',', value_parser = scenario::case_names())]
    cases: Vec<String>,
    /// Numbers of sessions for `mesh` [default: 5000] and `transit` [default: 500, 2000]
    #[arg(long, value_delimiter = ',')]
    sessions: Vec<u32>,
    /// Numbers of routes for `kernel`
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    routes: Vec<u32>,
    /// How many services `services` creates and removes
    #[arg(long, default_value_t = 200)]
    services: u32,
    /// The dunlin program [default: beside this one]
    #[arg(long)]
    dunlin: Option<PathBuf>,
    /// Give up any single wait after so many seconds
    #[arg(long, default_value_t = 120)]
    patience_secs: u64,
    /// Also write every run's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Args {
    fn sessions_or<'a>(&'a self, sizes: &'a [u32]) -> &'a [u32] {
        match &*self.sessions {
            [] => sizes,
            asked => asked,
        }
    }

    fn dunlin(&self) -> Result<PathBuf> {
        match &self.dunlin {
            Some(path) => Ok(path.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("dunlin")),
        }
    }

    fn options(&self) -> Result<Options> {
        let kinds = if self.daemons.is_empty() {
            &Kind::ALL[..]
        } else {
            &self.daemons
        };
        let dunlin = self.dunlin()?;
        let (mut daemons, mut absent) = (Vec::new(), Vec::new());
        for kind in kinds {
            match Daemon::find(*kind, &dunlin) {
                Ok(daemon) => daemons.push(daemon),
                Err(reason) => absent.push(reason),
            }
        }
        Ok(Options {
            daemons,
            dunlin,
            absent,
            runs: if self.quick { 1 } else { self.runs.max(1) },
            patience: Duration::from_secs(self.patience_secs),
            cases: self.cases.clone(),
        })
    }
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if interrupt::asked() => {
            eprintln!("dunlin-bench: interrupted: {error}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("dunlin-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    // SAFETY: geteuid takes no arguments.
    ensure!(
        unsafe { libc::geteuid() } == 0,
        "network namespaces need root: run this with sudo"
    );
    interrupt::install();
    let options = args.options()?;
    for reason in &options.absent {
        println!("skipped, not found: {reason}");
    }
    let mut results = Vec::new();
    let outcome = run(args, &options, &mut results);
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&results)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    outcome
}

fn run(args: &Args, options: &Options, results: &mut Vec<serde_json::Value>) -> Result<()> {
    let mut show = |report: report::Report| {
        println!("{}", report.text());
        results.push(report.json());
    };
    let all = args.scenarios.is_empty();
    let wants = |scenario| all || args.scenarios.contains(&scenario);
    if wants(Scenario::Routes) {
        scenario::routes::run(options, &mut show)?;
    }
    if wants(Scenario::Mesh) {
        let sizes = args.sessions_or(&[5000]);
        scenario::mesh::run(options, Shape::Mesh, sizes, &mut show)?;
    }
    if wants(Scenario::Transit) {
        let sizes = args.sessions_or(&[500, 2000]);
        scenario::mesh::run(options, Shape::Transit, sizes, &mut show)?;
    }
    if wants(Scenario::Kernel) {
        scenario::kernel::run(options, &args.routes, &mut show)?;
    }
    if wants(Scenario::Convergence) {
        scenario::convergence::run(options, &mut show)?;
    }
    if wants(Scenario::Lab100) {
        scenario::lab::converge(options, &mut show)?;
    }
    if wants(Scenario::Footprint) {
        scenario::lab::footprint(options, &mut show)?;
    }
    if wants(Scenario::Services) {
        scenario::services::run(options, args.services, &mut show)?;
    }
    if wants(Scenario::Scale) {
        scenario::scale::run(options, &mut show)?;
    }
    if wants(Scenario::Api) {
        scenario::api::run(options, &mut show)?;
    }
    if wants(Scenario::Proxy) {
        scenario::proxy::run(options, &mut show)?;
    }
    Ok(())
}
