//! `dunlin crds`: the definitions of our kinds for an API server.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use dunlin_kube::crd;

/// The options of `dunlin crds`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dunlin crds | kubectl apply --server-side -f -")]
pub(crate) struct CrdsOptions {
    /// Write each into a file of its own in this directory instead.
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
}

/// Prints or writes them.
pub(crate) fn run(options: &CrdsOptions, out: &mut dyn Write) -> Result<bool> {
    for (plural, text) in crd::yaml() {
        match &options.directory {
            Some(directory) => {
                let path = directory.join(format!("{plural}.yaml"));
                std::fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write!(out, "---\n{text}")?,
        }
    }
    Ok(true)
}
