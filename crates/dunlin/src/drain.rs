//! `dunlin drain` and `dunlin undrain`: the annotation on a Node, and waiting until its agent has done what follows from it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use dunlin_agent::config::ClusterSource;
use dunlin_api::{Answer, Client, Query};
use dunlin_kube::api::{ClusterApi, DRAIN_ANNOTATION, DRAINED, DRAINING};
use dunlin_kube::crd::status::{BgpNodeStatus, ConditionStatus};

use crate::api_args::ApiOptions;

/// How often it is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Sets the annotation dunlin.dev/drain on the Node, with your own kubeconfig. At once all routes of the node
become the last choice of routers (community GRACEFUL_SHUTDOWN, RFC 8326); ten seconds later its service
addresses are withdrawn. Pod subnets stay announced: pods may still run. Exit code 1 if that is not done in time.

Example:
  dunlin drain worker-3 && kubectl drain worker-3"
)]
pub(crate) struct DrainOptions {
    #[command(flatten)]
    node: NodeArgs,
    /// How many seconds to wait until it is done; 0 does not wait.
    #[arg(long, value_name = "SECS", default_value_t = 60)]
    wait: u64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Removes the annotation dunlin.dev/drain from the Node: its agent announces everything again at once.

Example:
  dunlin undrain worker-3"
)]
pub(crate) struct UndrainOptions {
    #[command(flatten)]
    node: NodeArgs,
    /// How many seconds to wait until it is done; 0 does not wait.
    #[arg(long, value_name = "SECS", default_value_t = 30)]
    wait: u64,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// The Node.
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    api: ApiOptions,
    /// Where the objects come from: `kube`, or `dir:PATH`, whose files nobody but you writes.
    #[arg(
        long,
        env = "DUNLIN_CLUSTER",
        value_name = "SOURCE",
        default_value = "kube"
    )]
    cluster: ClusterSource,
}

/// How far a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its agent acts on no drain.
    Not,
    /// Peers are given time to move.
    Lingering,
    Drained,
    /// Nobody says.
    Unknown,
}

/// What is asked for, and what is said of it.
struct Asked {
    drain: bool,
    /// When it is done.
    end: Progress,
    begun: &'static str,
    done: &'static str,
}

pub(crate) fn drain(client: &Client, options: &DrainOptions, out: &mut dyn Write) -> Result<bool> {
    let asked = Asked {
        drain: true,
        end: Progress::Drained,
        begun: "is to be drained",
        done: "is drained: its service addresses are withdrawn",
    };
    carry_out(client, &asked, &options.node, options.wait, out)
}

pub(crate) fn undrain(
    client: &Client,
    options: &UndrainOptions,
    out: &mut dyn Write,
) -> Result<bool> {
    let asked = Asked {
        drain: false,
        end: Progress::Not,
        begun: "is no longer to be drained",
        done: "announces everything again",
    };
    carry_out(client, &asked, &options.node, options.wait, out)
}

fn carry_out(
    client: &Client,
    asked: &Asked,
    options: &NodeArgs,
    wait_secs: u64,
    out: &mut dyn Write,
) -> Result<bool> {
    let api = annotate(options, asked.drain)?;
    let node = &options.node;
    writeln!(out, "Node {node} {}", asked.begun)?;
    out.flush()?;
    if wait_secs == 0 {
        return Ok(true);
    }
    let last = wait(client, &api, node, asked.end, wait_secs)?;
    if last != asked.end {
        return late(node, last, wait_secs);
    }
    writeln!(out, "Node {node} {}", asked.done)?;
    Ok(true)
}

fn annotate(options: &NodeArgs, drain: bool) -> Result<ClusterApi> {
    if let ClusterSource::Dir(path) = &options.cluster {
        bail!("{}", by_hand(path, &options.node, drain));
    }
    let api = ClusterApi::connect(&options.api.clone().into())?;
    api.set_drain(&options.node, drain)?;
    Ok(api)
}

/// What to write, and where, in a directory that is the user's own.
fn by_hand(directory: &Path, node: &str, drain: bool) -> String {
    let file = holding(directory, node).map_or_else(
        || {
            format!(
                "the file in {} that holds the Node {node}",
                directory.display()
            )
        },
        |(path, line)| format!("{}, in the Node {node} at line {line}", path.display()),
    );
    match drain {
        true => format!(
            "the objects are files of yours: write `annotations: {{{DRAIN_ANNOTATION}: \"true\"}}` under `metadata` into {file}"
        ),
        false => format!(
            "the objects are files of yours: remove the annotation {DRAIN_ANNOTATION} from {file}"
        ),
    }
}

/// The file of a manifest directory that holds a Node, and the line it begins at.
fn holding(directory: &Path, node: &str) -> Option<(PathBuf, usize)> {
    use dunlin_kube::manifest::{Format, holds_node};
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths.into_iter().find_map(|path| {
        let format = match path.extension()?.to_str()? {
            "yaml" | "yml" => Format::Yaml,
            "json" => Format::Json,
            _ => return None,
        };
        let text = std::fs::read_to_string(&path).ok()?;
        let line = holds_node(&text, format, node)?;
        Some((path, line))
    })
}

/// Looks until it is as wanted, or time is up; how it was last.
fn wait(
    client: &Client,
    api: &ClusterApi,
    node: &str,
    wanted: Progress,
    secs: u64,
) -> Result<Progress> {
    let end = Instant::now() + Duration::from_secs(secs);
    loop {
        let seen = match here(client, node) {
            Some(progress) => progress,
            None => there(api.status(node)?.as_ref()),
        };
        let left = end.saturating_duration_since(Instant::now());
        if seen == wanted || left.is_zero() {
            return Ok(seen);
        }
        std::thread::sleep(LOOK_EVERY.min(left));
    }
}

/// What the agent of this machine says, if it is the one of the node.
fn here(client: &Client, node: &str) -> Option<Progress> {
    let Ok(Answer::Status(status)) = client.ask_blocking(&Query::Status) else {
        return None;
    };
    let progress = match &status.drain {
        None => Progress::Not,
        Some(drain) if drain.drained => Progress::Drained,
        Some(_) => Progress::Lingering,
    };
    (status.node == node).then_some(progress)
}

/// What the node's agent wrote into its `BGPNode`.
fn there(status: Option<&BgpNodeStatus>) -> Progress {
    let Some(status) = status else {
        return Progress::Unknown;
    };
    let mut conditions = status.conditions.iter();
    match conditions.find(|condition| condition.kind == DRAINING) {
        // An agent that knows of draining says so while it is not, too.
        None => Progress::Unknown,
        Some(c) if c.status != ConditionStatus::True => Progress::Not,
        Some(c) if c.reason == DRAINED => Progress::Drained,
        Some(_) => Progress::Lingering,
    }
}

fn late(node: &str, last: Progress, secs: u64) -> Result<bool> {
    let seen = match last {
        Progress::Unknown => {
            "its BGPNode says nothing of it: does an agent of this version run there?"
        }
        Progress::Not => "its agent has not taken it up",
        Progress::Lingering => "its peers are still given time to move",
        Progress::Drained => "it is still drained",
    };
    bail!("Node {node} after {secs} s: {seen}; the annotation stays as asked")
}
