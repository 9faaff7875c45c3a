//! What an operator asks of nodes through the API, with the operator's own credentials: to drain one, and how they stand.
//!
//! For a command that ends: each call blocks until the server has answered, and nothing is kept or watched.

use std::collections::BTreeMap;

use http::{Method, Request};
use kube::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::config::ApiConfig;
use super::connect::{ConnectError, chain, connect};
use crate::ask::{Said, TIMEOUT, Text, ask};
use crate::crd::status::BgpNodeStatus;

/// The annotation of a Node that is drained.
pub const DRAIN_ANNOTATION: &str = "dunlin.dev/drain";

/// The condition of a `BGPNode` that is being drained; its reason is [`DRAINED`] once that is done.
pub const DRAINING: &str = "Draining";

/// The reason of [`DRAINING`] once the service addresses are withdrawn.
pub const DRAINED: &str = "Drained";

/// How many objects are asked for at once.
const PAGE: usize = 250;

/// The most objects of a kind that are read: beyond, something is wrong with the server.
const OBJECTS_MAX: usize = 100_000;

/// Why the API did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// There is no way to the API.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No name of a Node.
    #[error("{0:?} is no name of a Node: `kubectl get nodes` lists them")]
    Name(String),
    /// There is no such Node.
    #[error("there is no Node {0}: `kubectl get nodes` lists them")]
    NoSuchNode(String),
    /// The kind is not there.
    #[error(
        "the API server does not know BGPNodes: `dunlin crds | kubectl apply --server-side -f -`"
    )]
    NotInstalled,
    /// The server said no, or nothing.
    #[error("{what}: {error}")]
    Failed {
        /// What was asked.
        what: String,
        /// What it said.
        error: String,
    },
    /// There is no runtime to ask in.
    #[error("cannot ask the API server: {0}")]
    Runtime(#[from] std::io::Error),
}

/// A node of the cluster, and what its agent says of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNode {
    /// Its name.
    pub node: String,
    /// What its agent wrote into its `BGPNode`.
    pub status: Option<BgpNodeStatus>,
    /// Why that is missing, or may be old.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The API, asked by a command.
pub struct ClusterApi {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl ClusterApi {
    /// Finds the way to the API. Nothing is sent yet.
    ///
    /// # Errors
    /// If it is not known where the API is, or who we are.
    pub fn connect(config: &ApiConfig) -> Result<ClusterApi, NodesError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(connect(config))?;
        Ok(ClusterApi { runtime, client })
    }

    /// Sets or removes the annotation that drains a Node.
    ///
    /// # Errors
    /// If there is no such Node, or the server does not do it.
    pub fn set_drain(&self, node: &str, drain: bool) -> Result<(), NodesError> {
        let path = format!("/api/v1/nodes/{}", checked(node)?);
        let value = drain.then_some("true");
        let patch = json!({"metadata": {"annotations": {DRAIN_ANNOTATION: value}}});
        let body = Some(Text::merge_patch(&patch));
        let asked = ask(&self.client, TIMEOUT, Method::PATCH, &path, body);
        let error = match self.runtime.block_on(asked) {
            Said::Done(_) => return Ok(()),
            Said::Missing => return Err(NodesError::NoSuchNode(node.to_owned())),
            Said::Conflict => "somebody else changed it at the same time: try again".to_owned(),
            Said::Refused(_, error) => error,
            Said::Unknown(error) => format!("{error}; whether it was done is not known: try again"),
        };
        Err(NodesError::Failed {
            what: format!("annotate the Node {node}"),
            error,
        })
    }

    /// What a node's agent says of it, if it does.
    ///
    /// # Errors
    /// If the server does not say.
    pub fn status(&self, node: &str) -> Result<Option<BgpNodeStatus>, NodesError> {
        let path = format!("/apis/dunlin.dev/v1alpha1/bgpnodes/{}", checked(node)?);
        let asked = ask(&self.client, TIMEOUT, Method::GET, &path, None);
        let failed = |error: String| NodesError::Failed {
            what: format!("read the BGPNode {node}"),
            error,
        };
        match self.runtime.block_on(asked) {
            Said::Done(octets) => {
                let object: BgpNode = serde_json::from_slice(&octets)
                    .map_err(|error| failed(format!("the answer is no BGPNode: {error}")))?;
                Ok(object.status)
            }
            Said::Missing => Ok(None),
            Said::Conflict => Err(failed("a conflict".to_owned())),
            Said::Refused(_, error) | Said::Unknown(error) => Err(failed(error)),
        }
    }

    /// All nodes, by name: those that are Nodes, and those that only left a `BGPNode`.
    ///
    /// # Errors
    /// If the server does not say.
    pub fn nodes(&self) -> Result<Vec<ClusterNode>, NodesError> {
        let said: Vec<BgpNode> = match self.list("/apis/dunlin.dev/v1alpha1/bgpnodes", "BGPNodes") {
            Err(NodesError::NoSuchNode(_)) => return Err(NodesError::NotInstalled),
            said => said?,
        };
        let nodes: Vec<Node> = self.list("/api/v1/nodes", "Nodes")?;
        Ok(joined(nodes, said))
    }

    fn list<T: for<'a> Deserialize<'a> + Send + 'static>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Vec<T>, NodesError> {
        let failed = |error: String| NodesError::Failed {
            what: format!("list the {what}"),
            error,
        };
        let mut items = Vec::new();
        let mut next = String::new();
        loop {
            let more = match next.is_empty() {
                true => String::new(),
                false => format!("&continue={}", encoded(&next)),
            };
            let uri = format!("{path}?limit={PAGE}{more}");
            let request = Request::get(uri).body(Vec::new());
            let request = request.map_err(|error| failed(error.to_string()))?;
            let asked = tokio_timeout(self.client.request::<List<T>>(request));
            let page = match self.runtime.block_on(asked) {
                Ok(Ok(page)) => page,
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                    return Err(NodesError::NoSuchNode(path.to_owned()));
                }
                Ok(Err(error)) => return Err(failed(chain(&error))),
                Err(_) => return Err(failed("no answer".to_owned())),
            };
            items.extend(page.items);
            next = page.metadata.next.unwrap_or_default();
            if next.is_empty() {
                return Ok(items);
            }
            if items.len() >= OBJECTS_MAX {
                return Err(failed(format!("there are more than {OBJECTS_MAX}")));
            }
        }
    }
}

async fn tokio_timeout<F: Future>(answer: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    // A page of the largest BGPNodes is some 25 MB.
    tokio::time::timeout(TIMEOUT * 5, answer).await
}

/// The Nodes with what is said of them; then what is said of Nodes that are gone.
fn joined(nodes: Vec<Node>, said: Vec<BgpNode>) -> Vec<ClusterNode> {
    let mut said: BTreeMap<String, Option<BgpNodeStatus>> = said
        .into_iter()
        .map(|object| (object.metadata.name, object.status))
        .collect();
    let mut all = Vec::with_capacity(nodes.len());
    for node in nodes {
        let name = node.metadata.name;
        let status = said.remove(&name).flatten();
        let note = match &status {
            None => Some("no agent has said anything of this node: does one run there?".to_owned()),
            Some(_) if !node.status.is_ready() => {
                Some("the Node is not Ready: what its agent said may be old".to_owned())
            }
            Some(_) => None,
        };
        all.push(ClusterNode {
            node: name,
            status,
            note,
        });
    }
    for (node, status) in said {
        let note = Some("there is no such Node any more: delete the BGPNode".to_owned());
        all.push(ClusterNode { node, status, note });
    }
    all.sort_by(|a, b| a.node.cmp(&b.node));
    all
}

/// The name, if it can be part of a path.
fn checked(name: &str) -> Result<&str, NodesError> {
    let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    let fine = (1..=253).contains(&name.len())
        && name.bytes().all(good)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    match fine {
        true => Ok(name),
        false => Err(NodesError::Name(name.to_owned())),
    }
}

/// The text as part of a query (RFC 3986 section 2.3).
fn encoded(text: &str) -> String {
    let each = text.bytes().map(|octet| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(octet).to_string()
        }
        _ => format!("%{octet:02X}"),
    });
    each.collect()
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default)]
    metadata: ListMeta,
    items: Vec<T>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct BgpNode {
    metadata: Named,
    status: Option<BgpNodeStatus>,
}

#[derive(Deserialize)]
struct Node {
    metadata: Named,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
struct NodeStatus {
    conditions: Option<Vec<NodeCondition>>,
}

#[derive(Deserialize)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl NodeStatus {
    /// Whether the kubelet says, or lately said, that the node is well. A Node of which nobody says anything counts as well.
    fn is_ready(&self) -> bool {
        let ready = self.conditions.iter().flatten().find(|c| c.kind == "Ready");
        ready.is_none_or(|condition| condition.status == "True")
    }
}

#[cfg(test)]
mod tests;
