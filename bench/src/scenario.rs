//! The scenarios and what they share.

pub(crate) mod api;
pub(crate) mod convergence;
pub(crate) mod kernel;
pub(crate) mod lab;
pub(crate) mod mesh;
pub(crate) mod proxy;
pub(crate) mod routes;
pub(crate) mod scale;
pub(crate) mod services;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::daemon::{Daemon, Kind, Router};
use crate::interrupt;
use crate::netns::Bed;
use crate::process::{Processes, Scratch};
use crate::report::Report;

/// What `--case` takes.
pub(crate) fn case_names() -> clap::builder::PossibleValuesParser {
    let names = routes::case_names().chain(proxy::CASES);
    names.collect::<Vec<_>>().into()
}

/// What the command line chose.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) daemons: Vec<Daemon>,
    /// The dunlin program.
    pub(crate) dunlin: PathBuf,
    /// Daemons not found, with the reason.
    pub(crate) absent: Vec<String>,
    pub(crate) runs: u32,
    /// For each wait within a run.
    pub(crate) patience: Duration,
    /// The cases to run; none means all.
    pub(crate) cases: Vec<String>,
}

impl Options {
    fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }

    /// When a wait that begins now ends.
    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// One run of every daemon, in turn. `skip` says why a daemon is not asked; a daemon that
    /// failed is noted and not asked again.
    fn take_turns(
        &self,
        report: &mut Report,
        skip: impl Fn(Kind) -> Option<&'static str>,
        measure: impl Fn(&Daemon) -> Result<Vec<f64>>,
    ) -> Result<()> {
        for daemon in &self.daemons {
            if report.has_note(&daemon.name) {
                continue;
            }
            if let Some(reason) = skip(daemon.kind) {
                report.note(&daemon.name, reason.to_owned());
                continue;
            }
            match measure(daemon) {
                Ok(values) => report.add(&daemon.name, values),
                Err(error) if interrupt::asked() => return Err(error),
                Err(error) => report.note(&daemon.name, format!("failed: {error:#}")),
            }
        }
        Ok(())
    }
}

/// Starts `daemon` alone in a namespace and runs `drive` in the namespace next to it. A failure
/// comes with the end of the daemon's log.
fn on_bed(
    daemon: &Daemon,
    router: &Router,
    drive: impl FnOnce(&Processes) -> Result<Vec<f64>> + Send,
) -> Result<Vec<f64>> {
    let bed = Bed::new(u32::try_from(router.peers.len())?)?;
    let scratch = Scratch::new()?;
    let mut processes = daemon.start(router, &bed.daemon, &scratch)?;
    bed.driver.run(|| drive(&processes))?.or_else(|error| {
        processes.check_alive()?;
        Err(error.context(processes.logs()))
    })
}
