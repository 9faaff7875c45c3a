//! `dunlin install-cni`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dunlin_agent::cni_plugins::{self, Outcome};
use dunlin_agent::config::DEFAULT_STATE_DIR;

/// Where the image holds them.
const DEFAULT_FROM: &str = "/usr/local/lib/dunlin/cni";

#[derive(Debug, Args)]
#[command(
    after_help = "Plugins that are there already and were not put there by this command are left alone."
)]
pub(crate) struct InstallCniOptions {
    /// The directory that has them.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_FROM)]
    from: PathBuf,
    /// The directory where the container runtime looks.
    #[arg(long, value_name = "PATH", default_value = "/opt/cni/bin")]
    to: PathBuf,
    /// The directory that remembers what was put there.
    #[arg(long, env = "DUNLIN_STATE_DIR", value_name = "PATH", default_value = DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
}

pub(crate) fn run(options: &InstallCniOptions, out: &mut dyn Write) -> Result<bool> {
    for (name, outcome) in cni_plugins::install(&options.from, &options.to, &options.state_dir)? {
        let word = match outcome {
            Outcome::Installed => "installed",
            Outcome::Replaced => "replaced",
            Outcome::Unchanged => "unchanged",
            Outcome::Foreign => "left alone, it is not ours",
        };
        writeln!(out, "{}: {word}", options.to.join(name).display())?;
    }
    Ok(true)
}
