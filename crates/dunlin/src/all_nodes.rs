//! `--all-nodes`: what the agents of all nodes wrote into their `BGPNode`s, read through the API.

use std::io::Write;

use anyhow::Result;
use clap::Args;
use dunlin_kube::api::{ClusterApi, ClusterNode};
use dunlin_kube::crd::status::SessionStatus;
use serde::Serialize;

use crate::api_args::ApiOptions;
use crate::args::{NeighborOptions, NodeOptions, OutputOptions};
use crate::output::{Style, print};
use crate::show;

/// The state of a session that is up.
const ESTABLISHED: &str = "Established";

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    #[command(flatten)]
    pub(crate) all: AllNodes,
}

#[derive(Debug, Args)]
pub(crate) struct AllNodes {
    /// Of all nodes, as their BGPNode objects say; asks the API, not the agent of this machine.
    #[arg(long)]
    pub(crate) all_nodes: bool,
    #[command(flatten)]
    api: ApiOptions,
}

impl AllNodes {
    /// All nodes, those with problems first.
    fn read(&self) -> Result<Vec<ClusterNode>> {
        let mut nodes = ClusterApi::connect(&self.api.clone().into())?.nodes()?;
        nodes.sort_by_key(is_fine);
        Ok(nodes)
    }
}

/// A session of one of the nodes.
#[derive(Debug, Serialize)]
pub(crate) struct NodeSession {
    pub(crate) node: String,
    #[serde(flatten)]
    pub(crate) session: SessionStatus,
}

/// Whether nothing is wrong with a node, as far as is known.
pub(crate) fn is_fine(node: &ClusterNode) -> bool {
    let status = node.status.as_ref();
    node.note.is_none()
        && status.is_some_and(|status| {
            let sessions = &status.session_counts;
            status.problem_count == 0
                && status.route_counts.failed == 0
                && sessions.established >= sessions.expected
        })
}

pub(crate) fn status(
    all: &AllNodes,
    output: &OutputOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let nodes = all.read()?;
    print(out, output.output, &nodes, |wide| {
        show::cluster_status(&nodes, wide, style)
    })?;
    Ok(nodes.iter().all(is_fine))
}

pub(crate) fn nodes(options: &NodeOptions, style: Style, out: &mut dyn Write) -> Result<bool> {
    let mut nodes = options.all.read()?;
    let wanted = options.node.as_ref();
    nodes.retain(|node| wanted.is_none_or(|wanted| node.node == *wanted));
    print(out, options.output.output, &nodes, |wide| {
        show::cluster_nodes(&nodes, wide, style)
    })?;
    Ok(true)
}

pub(crate) fn neighbors(
    options: &NeighborOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let nodes = options.all.read()?;
    let mut sessions = Vec::new();
    for ClusterNode { node, status, .. } in &nodes {
        let of_node = status.iter().flat_map(|status| &status.sessions);
        let wanted = of_node.filter(|session| is_wanted(session, options));
        sessions.extend(wanted.map(|session| NodeSession {
            node: node.clone(),
            session: session.clone(),
        }));
    }
    sessions.sort_by(|a, b| {
        let key = |s: &NodeSession| (s.session.state == ESTABLISHED, s.node.clone());
        key(a).cmp(&key(b))
    });
    print(out, options.output.output, &sessions, |wide| {
        show::cluster_neighbors(&sessions, wide, style)
    })?;
    said_nothing(&nodes)?;
    Ok(true)
}

fn is_wanted(session: &SessionStatus, options: &NeighborOptions) -> bool {
    let peer = options.peer.as_ref();
    let node = options.node.as_ref();
    peer.is_none_or(|wanted| session.peer == *wanted || session.address.as_ref() == Some(wanted))
        && node.is_none_or(|wanted| session.kind == "Node" && session.peer == *wanted)
}

/// Names on standard error the nodes whose sessions are missing, not all known, or maybe no longer so.
fn said_nothing(nodes: &[ClusterNode]) -> Result<()> {
    for node in nodes {
        let truncated = node.status.as_ref().and_then(|status| status.truncated);
        let left_out = truncated.map_or(0, |truncated| truncated.sessions);
        if let Some(note) = &node.note {
            writeln!(std::io::stderr(), "dunlin: {}: {note}", node.node)?;
        }
        if left_out > 0 {
            writeln!(
                std::io::stderr(),
                "dunlin: {}: {left_out} more sessions do not fit its BGPNode: ask its agent",
                node.node
            )?;
        }
    }
    Ok(())
}
