//! Services of a node with the service proxy: their objects, and the kernel's tables as `nft` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;

use dunlin_lab::iproute::text_of;
use dunlin_lab::netns::Netns;

use crate::agent::{Agent, Place};
use crate::cluster::{ATTACKER, Cluster};
use crate::flows::serve;

/// The port of all endpoints.
pub const PORT: u16 = 8080;
/// How many servers there are: 192.0.2.40 and on, and fd00:2::40 and on.
pub const SERVERS: u8 = 8;
/// The client that is no node: the host of `n2`, where no agent runs.
pub const CLIENT: &str = "n2";

/// Elements by family and set, and rules by family and chain.
pub type Tables = BTreeMap<String, BTreeSet<String>>;

/// A server's address.
pub fn server(number: u8, ipv6: bool) -> IpAddr {
    let last = 40 + number % SERVERS;
    match ipv6 {
        false => Ipv4Addr::new(192, 0, 2, last).into(),
        // As it is written: fd00:2::40.
        true => format!("fd00:2::{last}").parse().expect("an address"),
    }
}

/// The address of a Service.
pub fn service_addr(number: u8, ipv6: bool) -> IpAddr {
    match ipv6 {
        false => Ipv4Addr::new(10, 96, 0, number).into(),
        true => format!("fd96::{number:x}").parse().expect("an address"),
    }
}

/// An endpoint, and how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// It is ready.
    Ready(u8),
    /// It terminates and still serves.
    Leaving(u8),
    /// It is not ready.
    Unready(u8),
    /// It is not ready either, of a Service with `publishNotReadyAddresses`: so who writes slices calls it ready.
    Published(u8),
}

/// A Service `sN` at port 80 of [`service_addr`] in both families, and what is behind it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its number.
    pub number: u8,
    /// `TCP` or `UDP`.
    pub protocol: &'static str,
    /// For so many seconds a client comes back to the same endpoint.
    pub affinity_secs: Option<u32>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

impl Service {
    /// Of TCP, with ready endpoints.
    pub fn new(number: u8, endpoints: &[u8]) -> Service {
        Service {
            number,
            protocol: "TCP",
            affinity_secs: None,
            endpoints: endpoints.iter().copied().map(Endpoint::Ready).collect(),
        }
    }

    /// Where it is reached.
    pub fn at(&self, ipv6: bool) -> SocketAddr {
        SocketAddr::new(service_addr(self.number, ipv6), 80)
    }

    /// Who may answer new connections.
    pub fn answers(&self, ipv6: bool) -> BTreeSet<SocketAddr> {
        let ready = self.endpoints.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Ready(number) | Endpoint::Published(number) => {
                Some(SocketAddr::new(server(*number, ipv6), PORT))
            }
            Endpoint::Leaving(_) | Endpoint::Unready(_) => None,
        });
        ready.collect()
    }

    fn objects(&self) -> String {
        let Service {
            number, protocol, ..
        } = self;
        let affinity = self.affinity_secs.map_or(String::new(), |secs| {
            format!(
                ", sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: {secs}}}}}"
            )
        });
        let is_published = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Published(_));
        let publishes = self.endpoints.iter().any(is_published);
        let mut text = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: web, creationTimestamp: \"2026-01-01T00:00:00Z\"}}\n\
             spec: {{type: ClusterIP, clusterIPs: [\"{}\", \"{}\"], ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, \
             ports: [{{name: p, protocol: {protocol}, port: 80}}], publishNotReadyAddresses: {publishes}{affinity}}}\n",
            service_addr(*number, false),
            service_addr(*number, true),
        );
        for (family, ipv6) in [("IPv4", false), ("IPv6", true)] {
            let _ = write!(
                text,
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {{name: s{number}-{ipv6}, namespace: web, labels: {{kubernetes.io/service-name: s{number}}}}}\n\
                 addressType: {family}\nports: [{{name: p, protocol: {protocol}, port: {PORT}}}]\nendpoints:\n"
            );
            for endpoint in &self.endpoints {
                let (number, conditions) = match endpoint {
                    Endpoint::Ready(number) => (number, "ready: true"),
                    Endpoint::Leaving(number) => {
                        (number, "ready: false, serving: true, terminating: true")
                    }
                    Endpoint::Unready(number) => (number, "ready: false, serving: false"),
                    Endpoint::Published(number) => (number, "ready: true, serving: false"),
                };
                let addr = server(*number, ipv6);
                let _ = writeln!(
                    text,
                    "  - {{addresses: [\"{addr}\"], nodeName: n9, conditions: {{{conditions}}}}}"
                );
            }
            if self.endpoints.is_empty() {
                text.truncate(text.len() - "endpoints:\n".len());
                text.push_str("endpoints: []\n");
            }
        }
        text
    }
}

/// A cluster whose node `n1` delivers to Services, with servers elsewhere and a client at [`CLIENT`].
#[derive(Debug)]
pub struct Delivered {
    /// Its namespaces and objects.
    pub cluster: Cluster,
}

impl Delivered {
    /// With everything but an agent and Services. Cluster IPs are announced to the routers there are.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn new() -> Delivered {
        let cluster = Cluster::new(2);
        cluster.put(
            "services.yaml",
            "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: kubernetes}\n\
             spec: {cidrs: [10.96.0.0/16, \"fd96::/64\"]}\n\
             ---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {name: services}\n\
             spec: {services: {addresses: [ClusterIP]}}\n",
        );
        let servers: Vec<String> = (0..SERVERS)
            .map(|number| format!("address add {}/64 dev eth0 nodad", server(number, true)))
            .collect();
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        cluster.ip(ATTACKER, &servers);
        cluster.ip(
            CLIENT,
            &[
                "route add 10.96.0.0/16 via 192.0.2.1",
                "route add fd96::/64 via fd00:2::1",
            ],
        );
        for host in ["n1", CLIENT] {
            // All are neighbours, and nobody is to go past n1.
            let keys = ["send_redirects", "accept_redirects"];
            let keys = keys.map(|key| (format!("net/ipv4/conf/all/{key}"), "0"));
            let keys: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            cluster.netns(host).sysctls(&keys).expect("sysctls");
        }
        for number in 0..SERVERS {
            for ipv6 in [false, true] {
                let at = SocketAddr::new(server(number, ipv6), PORT);
                serve(&cluster.attacker(), at);
            }
        }
        Delivered { cluster }
    }

    /// Writes a Service and its endpoints, in place of what there was.
    pub fn put(&self, service: &Service) {
        let file = format!("s{}.yaml", service.number);
        self.cluster.put(&file, service.objects());
    }

    /// Takes a Service away.
    pub fn remove(&self, number: u8) {
        self.cluster.remove(&format!("s{number}.yaml"));
    }

    /// Starts `n1`'s agent with the service proxy; waits until it answers.
    #[track_caller]
    pub fn start(&self) -> Agent {
        self.place().start()
    }

    /// Where `n1`'s agent is.
    pub fn place(&self) -> Place {
        let mut place = self.cluster.place("n1");
        place.more_args = ["--service-proxy", "on"].map(str::to_owned).into();
        place
    }

    /// The namespace of a host.
    pub fn netns(&self, host: &str) -> Netns {
        self.cluster.netns(host)
    }

    /// The elements of both tables as `nft` shows them, by set and family; without those that packets add.
    ///
    /// # Errors
    /// If a table is not there.
    pub fn tables(&self) -> Result<Tables, String> {
        let mut sets = Tables::new();
        for family in ["ip", "ip6"] {
            let mut nft = self.netns("n1").command("nft");
            nft.args(["list", "table", family, "dunlin_services"]);
            let text = text_of(&mut nft).map_err(|error| error.to_string())?;
            read_sets(family, &text, &mut sets);
        }
        Ok(sets)
    }

    /// Runs `nft` in `n1`; these may be many lines.
    ///
    /// # Panics
    /// If `nft` refuses them.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        let mut nft = self.netns("n1").command("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped());
        let mut child = nft.spawn().expect("nft starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(script.as_bytes()).expect("nft reads");
        drop(stdin);
        assert!(
            child.wait().expect("nft ends").success(),
            "nft: {script:.200}"
        );
    }
}

impl Default for Delivered {
    fn default() -> Delivered {
        Delivered::new()
    }
}

fn read_sets(family: &str, text: &str, sets: &mut Tables) {
    let (mut name, mut inside) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        let mut rest = line;
        if matches!(first, "set" | "map" | "chain") {
            name = format!("{family} {}", words.next().unwrap_or_default());
            if first != "chain" && !name.ends_with(" affinity") {
                sets.entry(name.clone()).or_default();
            }
        } else if let Some(elements) = line.strip_prefix("elements = {") {
            (inside, rest) = (true, elements);
        }
        if !inside {
            // The rules count as elements of their chain.
            if line.contains(" comment ") {
                sets.entry(name.clone())
                    .or_default()
                    .insert(line.to_owned());
            }
            continue;
        }
        if let Some(set) = sets.get_mut(&name) {
            let elements = rest.trim_end_matches('}').split(',').map(str::trim);
            set.extend(elements.filter(|e| !e.is_empty()).map(str::to_owned));
        }
        inside = !line.ends_with('}');
    }
}

/// `SplitMix64`: the same course each time.
#[derive(Clone, Debug)]
pub struct Rng(pub u64);

impl Rng {
    /// Less than `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// Some servers, at least one.
    pub fn servers(&mut self) -> Vec<u8> {
        let mask = 1 + self.below((1 << SERVERS) - 1);
        (0..SERVERS).filter(|n| mask >> n & 1 == 1).collect()
    }
}
