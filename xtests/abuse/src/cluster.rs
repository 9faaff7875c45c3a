//! Nodes and an attacker on one bridge, each a network namespace.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use dunlin_lab::iproute::{self, Batch};
use dunlin_lab::netns::{self, Netns};

use crate::agent::{Agent, Place};

/// The host that is no node.
pub const ATTACKER: &str = "atk";

/// The attacker's addresses: 192.0.2.10 to 192.0.2.99, of which [`STRANGER`] is never a peer's.
pub const FIRST_PEER: u8 = 10;

/// An address of the attacker that no object names.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);

/// The AS of the attacker's peers.
pub const PEER_ASN: u32 = 65010;

/// Namespaces with a manifest directory; all gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    prefix: String,
    home: PathBuf,
    hosts: Vec<String>,
}

/// An address of the attacker.
pub fn peer_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, FIRST_PEER + index)
}

impl Cluster {
    /// Namespaces for so many nodes and the attacker, on a bridge. The nodes' objects are written, no agent runs.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn new(nodes: u8) -> Cluster {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("abuse{}-{number}", std::process::id());
        let home = std::env::temp_dir().join(format!("dunlin-{prefix}"));
        fs::create_dir_all(home.join("manifests")).expect("a directory");
        let mut hosts: Vec<String> = (1..=nodes).map(|n| format!("n{n}")).collect();
        hosts.push(ATTACKER.into());
        let cluster = Cluster {
            prefix,
            home,
            hosts,
        };
        cluster.build();
        for node in 1..=nodes {
            cluster.write_node(node);
        }
        cluster
    }

    fn build(&self) {
        let names: Vec<String> = self.names().collect();
        netns::create(&names).expect("namespaces");
        let switch = self.netns("sw");
        let mut bridge = Batch::new();
        bridge.push("link add br0 type bridge");
        bridge.push("link set br0 up");
        for host in &self.hosts {
            let space = self.netns(host);
            // Else every IPv6 address waits a second for duplicates.
            let dad = ["all", "default"].map(|i| format!("net/ipv6/conf/{i}/accept_dad"));
            let dad: Vec<(&str, &str)> = dad.iter().map(|key| (key.as_str(), "0")).collect();
            space.sysctls(&dad).expect("sysctls");
            bridge.push(format_args!(
                "link add {host} type veth peer name eth0 netns {}",
                space.name()
            ));
            bridge.push(format_args!("link set {host} master br0 up"));
        }
        bridge.run(&switch).expect("a bridge");
        for (host, number) in self.hosts.iter().zip(1u8..) {
            let mut setup = Batch::new();
            setup.push("link set lo up");
            setup.push("link set eth0 up");
            if host == ATTACKER {
                for last in FIRST_PEER..100 {
                    setup.push(format_args!("address add 192.0.2.{last}/24 dev eth0"));
                }
            } else {
                setup.push(format_args!("address add 192.0.2.{number}/24 dev eth0"));
                setup.push(format_args!("address add fd00:2::{number}/64 dev eth0"));
                setup.push("route add default via 192.0.2.254");
                setup.push("route add default via fd00:2::fe");
            }
            setup.run(&self.netns(host)).expect("addresses");
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let hosts = self.hosts.iter().map(String::as_str).chain(["sw"]);
        hosts.map(|host| format!("{}-{host}", self.prefix))
    }

    /// The namespace of a host: `n1`, `atk`, `sw`.
    ///
    /// # Panics
    /// If there is none.
    pub fn netns(&self, host: &str) -> Netns {
        Netns::open(&format!("{}-{host}", self.prefix)).expect("a host")
    }

    /// The attacker's namespace.
    pub fn attacker(&self) -> Netns {
        self.netns(ATTACKER)
    }

    /// A directory of the test's own.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The manifest directory.
    pub fn manifests(&self) -> PathBuf {
        self.home.join("manifests")
    }

    /// Runs `ip` commands on a host.
    #[track_caller]
    pub fn ip(&self, host: &str, lines: &[&str]) {
        let mut batch = Batch::new();
        lines.iter().for_each(|line| batch.push(line));
        batch.run(&self.netns(host)).expect("ip");
    }

    /// What `ip` prints on a host.
    #[track_caller]
    pub fn ip_says(&self, host: &str, args: &[&str]) -> String {
        iproute::output(&self.netns(host), args).expect("ip")
    }

    /// Writes a manifest, in place of the one before, at once.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn put(&self, file: &str, content: impl AsRef<[u8]>) {
        let new = self.home.join(format!("{file}.new"));
        fs::write(&new, content).expect("a file");
        fs::rename(&new, self.manifests().join(file)).expect("a file");
    }

    /// Takes a manifest away.
    ///
    /// # Panics
    /// If it is not there.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.manifests().join(file)).expect("a file");
    }

    /// Writes the Node object of a node: 192.0.2.N, 10.244.N.0/24, and both in IPv6.
    pub fn write_node(&self, number: u8) {
        self.put(&format!("n{number}.yaml"), node_object(number));
    }

    /// Writes a `BGPPeer` for each of the attacker's first addresses, `p0` on, whatever it announces accepted, with these
    /// lines added to each spec.
    pub fn write_peers(&self, count: u8, more: &str) {
        let mut text = String::from(
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPFilter\nmetadata: {name: all}\nspec: {rules: [{action: Accept}]}\n",
        );
        for index in 0..count {
            let address = peer_address(index);
            text.push_str(&format!(
                "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: p{index}}}\nspec:\n  \
                 peerAddress: {address}\n  nodeSelector: {{matchLabels: {{name: n1}}}}\n  importFilter: all\n{more}"
            ));
        }
        self.put("peers.yaml", text);
    }

    /// Has `n1` pass on to so many external peers what each of them announces, and no pod subnet of its own.
    pub fn write_relay(&self, peers: u8) {
        self.put(
            "none.yaml",
            "apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {name: pods}\nspec: {podCIDRs: {}}\n",
        );
        self.write_peers(peers, "  peerASN: 65010\n  exportFilter: all\n");
    }

    /// Where a node's agent is.
    ///
    /// # Panics
    /// If its directory cannot be made.
    pub fn place(&self, node: &str) -> Place {
        let home = self.home.join(node);
        fs::create_dir_all(&home).expect("a directory");
        Place {
            node: node.to_owned(),
            home,
            manifests: self.manifests(),
            netns: self.netns(node),
            more_args: Vec::new(),
        }
    }

    /// Starts a node's agent.
    #[track_caller]
    pub fn start(&self, node: &str) -> Agent {
        self.place(node).start()
    }

    /// Starts the agents of `n1` and `n2` and waits until they have each other's routes.
    #[track_caller]
    pub fn start_pair(&self) -> (Agent, Agent) {
        let pair = (self.start("n1"), self.start("n2"));
        for agent in [&pair.0, &pair.1] {
            await_rest(agent);
        }
        pair
    }
}

/// Waits until an agent's node sessions are up and the kernel has all it should.
#[track_caller]
pub fn await_rest(agent: &Agent) {
    agent.await_status("the agents are at rest", |status| {
        let (s, r) = (&status.sessions, &status.routes);
        // A node that is up may not have told its subnets yet: each has one of each family.
        let subnets = 2 * (s.nodes_expected as u64 + 1);
        status.ready
            && s.nodes_up == s.nodes_expected
            && r.wanted >= subnets
            && r.installed == r.wanted
            && r.stale == 0
    });
}

/// The Node object of a node.
pub fn node_object(number: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: n{number}\n  labels: {{name: n{number}}}\n  \
         creationTimestamp: \"2026-01-01T00:00:0{number}Z\"\nspec:\n  \
         podCIDRs: [10.244.{number}.0/24, \"fd10:0:0:{number}::/64\"]\nstatus:\n  addresses:\n  \
         - {{type: InternalIP, address: 192.0.2.{number}}}\n  - {{type: InternalIP, address: \"fd00:2::{number}\"}}\n"
    )
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for name in self.names() {
            let _ = netns::delete(&name);
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}
