//! A whole cluster: control plane, nodes with agents, and a router beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::agent::{Agent, NAMESPACE, Place};
use crate::control::{API_PORT, ControlPlane};
use crate::kubectl::Kubectl;
use crate::network::{self, CONTROL, Network, ROUTER};
use crate::router::Router;
use crate::token::TokenFile;
use crate::{PATIENCE, wait_for};
use ipnet::IpNet;
use serde_json::{Value, json};

/// A network and a control plane in it; once a test asks for it, a cluster with a router beside it.
#[derive(Debug)]
pub struct World {
    dunlin: PathBuf,
    // In the order in which they end.
    cluster: Option<Cluster>,
    /// The control plane.
    pub plane: ControlPlane,
    /// The hosts.
    pub network: Network,
}

/// Nodes with agents, and FRR.
#[derive(Debug)]
pub struct Cluster {
    /// The agents that were started, by node.
    pub agents: BTreeMap<String, Agent>,
    /// FRR.
    pub router: Router,
    account: String,
    token: TokenFile,
    /// What the token ends with.
    secret: String,
    args: Vec<String>,
    kubeconfig: PathBuf,
}

/// The condition by which a kubelet says that its node is well.
pub fn ready() -> Value {
    json!({
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A token of the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The Secret in [`NAMESPACE`] that it ends with.
    pub secret: String,
    /// The token itself.
    pub token: String,
}

/// The nodes that are there when a test begins, and when it ends.
pub const NODES: [&str; 3] = ["n1", "n2", "n3"];

impl World {
    /// Starts a control plane, from its program. The agents will be of the program `dunlin`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn new(program: PathBuf, dunlin: PathBuf) -> World {
        let network = Network::new();
        let plane = ControlPlane::start(program, network.netns(CONTROL));
        World {
            dunlin,
            cluster: None,
            plane,
            network,
        }
    }

    /// `kubectl` of an administrator.
    pub fn kubectl(&self) -> Kubectl {
        self.plane.kubectl()
    }

    /// The cluster of [`NODES`], made for the first test that asks.
    ///
    /// # Panics
    /// If that fails.
    pub fn cluster(&mut self) -> &mut Cluster {
        if self.cluster.is_none() {
            self.install();
            for node in NODES {
                self.join(node);
            }
            self.settle();
        }
        self.cluster.as_mut().expect("made above")
    }

    /// The file that users apply.
    pub fn manifest() -> String {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dunlin.yaml");
        file.display().to_string()
    }

    /// Applies what a user would, and waits until the API server serves our kinds.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn apply_manifests(&self) {
        let kubectl = self.kubectl();
        kubectl.ok(&["apply", "--server-side", "--filename", &World::manifest()]);
        let established = "--for=condition=Established";
        let kinds = "customresourcedefinitions";
        kubectl.ok(&["wait", established, "--timeout=60s", kinds, "--all"]);
    }

    /// Applies what a user would, and the objects for one router.
    fn install(&mut self) {
        let kubectl = self.kubectl();
        self.apply_manifests();
        let daemon_set = kubectl
            .get(&["daemonset", "dunlin", "--namespace", NAMESPACE])
            .expect("deploy/dunlin.yaml has a DaemonSet");
        let pod = &daemon_set["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str();
        let account = account.expect("a service account").to_owned();
        let args = pod["containers"][0]["args"]
            .as_array()
            .into_iter()
            .flatten();
        let args = args.filter_map(|arg| arg.as_str().map(str::to_owned));
        let secret = "agents-1".to_owned();
        let token = self.plane.token_until_deleted(NAMESPACE, &account, &secret);
        let token = TokenFile::new(self.plane.home().join("token"), &token);
        let user = json!({ "tokenFile": token.path() });
        let kubeconfig = self.plane.kubeconfig("agent.conf", &user);
        let [router, _] = network::addresses(ROUTER);
        kubectl.apply(&format!(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: tor}}\n\
             spec: {{peerAddress: {router}, peerASN: 65000}}\n---\n\
             apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {{name: pods}}\n\
             spec: {{podCIDRs: {{}}}}\n"
        ));
        self.cluster = Some(Cluster {
            agents: BTreeMap::new(),
            router: Router::start(self.network.netns(ROUTER), self.plane.home()),
            account,
            token,
            secret,
            args: args.collect(),
            kubeconfig,
        });
    }

    /// Adds a node: its object, as the kubelet makes it, its agent, and a pod. Waits only for its pod subnets.
    ///
    /// # Panics
    /// If that fails.
    pub fn join(&mut self, node: &str) {
        let kubectl = self.kubectl();
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Node\nmetadata:\n  name: {node}\n  \
             labels: {{kubernetes.io/hostname: {node}}}\n"
        ));
        let addresses: Vec<_> = network::addresses(node)
            .map(|address| json!({"type": "InternalIP", "address": address.to_string()}))
            .into();
        let status = json!({ "addresses": addresses, "conditions": [ready()] });
        kubectl.patch_status(&["node", node], &status);
        let subnets = self.subnets(node);
        self.network.attach_pod(node, &subnets);
        self.start_agent(node);
    }

    /// The pod subnets that the controller manager gave a node.
    ///
    /// # Panics
    /// If that fails.
    pub fn subnets(&self, node: &str) -> Vec<IpNet> {
        let kubectl = self.kubectl();
        wait_for("a node's pod subnets", PATIENCE, || {
            let object = kubectl.get(&["node", node])?;
            let subnets = object["spec"]["podCIDRs"].as_array().into_iter().flatten();
            let subnets: Vec<IpNet> = subnets
                .filter_map(|subnet| subnet.as_str()?.parse().ok())
                .collect();
            (subnets.len() == 2)
                .then_some(subnets)
                .ok_or(object.to_string())
        })
    }

    /// Where the agent of a node runs.
    ///
    /// # Panics
    /// If that fails.
    pub fn place(&self, node: &str) -> Place {
        let cluster = self.cluster.as_ref().expect("installed");
        let [address, _] = network::addresses(CONTROL);
        Place {
            node: node.to_owned(),
            netns: self.network.netns(node),
            home: self.plane.home().join(node),
            dunlin: self.dunlin.clone(),
            args: cluster.args.clone(),
            kubeconfig: cluster.kubeconfig.clone(),
            api_server: format!("{address}:{API_PORT}"),
        }
    }

    /// The token that the agents have.
    ///
    /// # Panics
    /// If there is none yet.
    pub fn token(&self) -> Token {
        let cluster = self.cluster.as_ref().expect("installed");
        Token {
            secret: cluster.secret.clone(),
            token: cluster.token.token(),
        }
    }

    /// Gives the agents another token, as the kubelet does. The one before is good as long as its Secret is there.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn exchange_token(&mut self) {
        let cluster = self.cluster.as_mut().expect("installed");
        let number = cluster.secret.rsplit('-').next();
        let number: u32 = number.and_then(|n| n.parse().ok()).expect("a number");
        cluster.secret = format!("agents-{}", number + 1);
        let (account, secret) = (&cluster.account, &cluster.secret);
        let token = self.plane.token_until_deleted(NAMESPACE, account, secret);
        cluster.token.put(&token);
    }

    /// Starts the agent of a node.
    ///
    /// # Panics
    /// If that fails.
    pub fn start_agent(&mut self, node: &str) {
        let agent = self.place(node).start();
        let cluster = self.cluster.as_mut().expect("installed");
        cluster.agents.insert(node.to_owned(), agent);
    }

    /// Ends a node's agent and takes its pod away: the object was deleted.
    ///
    /// # Panics
    /// If it is not there.
    pub fn remove(&mut self, node: &str) {
        let cluster = self.cluster.as_mut().expect("installed");
        let agent = cluster.agents.remove(node).expect("it runs");
        agent.terminate();
        self.network.detach_pod(node);
    }

    /// Waits until all agents have all sessions and the kernel has all it should.
    ///
    /// # Panics
    /// If that fails.
    #[track_caller]
    pub fn settle(&self) {
        for agent in self.cluster.iter().flat_map(|c| c.agents.values()) {
            agent.await_status("everything is at rest", |status| {
                let (sessions, routes) = (&status.sessions, &status.routes);
                status.ready
                    && status.source_synced
                    && sessions.nodes_up == sessions.nodes_expected
                    && sessions.external_up == 1
                    && routes.installed == routes.wanted
                    && routes.stale == 0
            });
        }
    }
}
