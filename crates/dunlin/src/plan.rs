//! `dunlin plan`: what a change of objects would come to on this node, before it is made.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use dunlin_api::{Client, PlanFile, PlanRequest};

use crate::args::OutputOptions;
use crate::output::{Style, print};
use crate::show;

#[derive(Debug, Args)]
#[command(
    after_help = "Asks this node's agent, which tries the change on a copy of what it knows: sessions that would start, end or
reset and why, prefixes that each peer would be told and not told, routes that would be accepted and rejected,
and what would be wrong with which object. Nothing changes by it, and of other nodes nothing is said.

An object of the files takes the place of the one of its name as a whole; a Node's addresses and pod subnets and
the addresses that a Service was given may be left out. Objects that say nothing to routing are passed over.
Exit code 1 if something would be wrong or a file does not parse.

Examples:
  dunlin plan -f peers.yaml
  dunlin plan -f peers.yaml --delete BGPFilter/old -o json
  kubectl get bgppeer tor-1 -o yaml | sed 's/65001/65002/' | dunlin plan -f -"
)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    output: OutputOptions,
    /// A file of objects, YAML or JSON (if its name ends in .json); `-` for standard input. May be given several times.
    #[arg(
        short,
        long = "filename",
        value_name = "FILE",
        required_unless_present = "delete"
    )]
    filename: Vec<PathBuf>,
    /// An object that would be deleted, before those of the files come. May be given several times.
    #[arg(long, value_name = "KIND/[NAMESPACE/]NAME")]
    delete: Vec<String>,
    /// At most so many items in each list; the rest is counted.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(crate) fn run(
    client: &Client,
    options: &PlanOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let mut left = PlanRequest::MAX_BYTES;
    let mut files = Vec::new();
    for path in &options.filename {
        let file = read(path, left)?;
        left -= file.text.len();
        files.push(file);
    }
    let request = PlanRequest {
        files,
        delete: options.delete.clone(),
        limit: Some(options.limit),
    };
    let plan = client.plan_blocking(&request)?;
    print(out, options.output.output, &plan, |_| {
        show::plan(&plan, style)
    })?;
    Ok(!plan.has_problems())
}

/// Reads a file of at most `left` octets.
fn read(path: &Path, left: usize) -> Result<PlanFile> {
    let name = path.display().to_string();
    let source: Box<dyn Read> = match name.as_str() {
        "-" => Box::new(std::io::stdin().lock()),
        _ => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {name}"))?),
    };
    let mut octets = Vec::new();
    source
        .take(left as u64 + 1)
        .read_to_end(&mut octets)
        .with_context(|| format!("cannot read {name}"))?;
    if octets.len() > left {
        bail!(
            "{name} is too large: all files together may have {} octets",
            PlanRequest::MAX_BYTES
        );
    }
    let text = String::from_utf8(octets).with_context(|| format!("{name} is not UTF-8"))?;
    Ok(PlanFile { name, text })
}
