//! The agent against real BGP daemons: each folder of `scenarios/`, against each daemon, is a test.
//!
//! A folder is found at run time, so that none can be forgotten. `scenarios/README.md` says what is in one.
#![allow(clippy::print_stderr)]

mod agent;
mod bed;
mod check;
mod cut;
mod daemon;
mod dump;
mod fabric;
mod others;
mod rotation;
mod scenario;
mod station;
#[path = "../../../../crates/dunlin-lab/tests/support/mod.rs"]
mod support;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::bed::Bed;
use crate::daemon::Kind;
use crate::scenario::Scenario;

/// Scenarios mostly wait, each in namespaces of its own.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    match trials(&directory) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trials(directory: &Path) -> Result<Vec<Trial>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let mut trials = Vec::new();
    for folder in folders {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let scenario = Arc::new(Scenario::read(&folder)?);
        for kind in Kind::ALL {
            let scenario = Arc::clone(&scenario);
            // Ignored: the daemon lacks what the scenario is about, and the scenario says what that is.
            let lacks = scenario.without.contains_key(&kind);
            let trial = Trial::test(format!("{name}::{}", kind.name()), move || {
                run(kind, &scenario).map_err(|error| Failed::from(format!("{error:#}")))
            });
            trials.push(trial.with_ignored_flag(lacks));
        }
    }
    trials.extend(fabric::trials());
    trials.push(rotation::trial());
    Ok(trials)
}

fn run(kind: Kind, scenario: &Scenario) -> Result<()> {
    run_with(kind, || Bed::new(kind, scenario)?.run(scenario))
}

/// Runs a test where the daemon is installed.
fn run_with(kind: Kind, test: impl FnOnce() -> Result<()>) -> Result<()> {
    run_unless(able().and_then(|()| kind.find()), test)
}

/// Runs a test where nothing is lacking.
fn run_unless(lack: Result<()>, test: impl FnOnce() -> Result<()>) -> Result<()> {
    if let Err(lack) = lack {
        if std::env::var_os("DUNLIN_ALLOW_SKIP").is_some() {
            eprintln!("skipped: {lack:#}");
            return Ok(());
        }
        return Err(lack.context("this test must not be skipped (DUNLIN_ALLOW_SKIP=1 lets it)"));
    }
    test()
}

fn able() -> Result<()> {
    anyhow::ensure!(
        dunlin_lab::unprivileged::is_root(),
        "needs root, to make network namespaces"
    );
    Ok(())
}
