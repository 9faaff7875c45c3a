//! The scenarios and what they share.

pub(crate) mod kernel;
pub(crate) mod lab;
pub(crate) mod mesh;
pub(crate) mod routes;

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::Daemon;

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
    pub(crate) fn wants(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|name| name == case)
    }
}
