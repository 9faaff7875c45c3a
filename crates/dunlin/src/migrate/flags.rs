//! kube-router's flags.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde_json::Value;

use super::{Migration, name};

/// How a flag is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `--flag` alone says true.
    Switch,
    /// `--flag=value` or `--flag value`.
    Value,
}

/// What becomes of a flag.
enum Fate {
    /// It is told by the objects; the text says by which.
    Told(&'static str),
    /// Nothing has to be said: the text says why.
    Needless(&'static str),
    /// There is no equivalent: the text says what to do.
    Missing(&'static str),
}

use Fate::{Missing, Needless, Told};
use Shape::{Switch, Value as Text};

const PROXY: Fate = Missing("the service proxy stays kube-proxy's");
const POLICY: Fate = Missing("NetworkPolicy is not enforced by Dunlin");
const OVERLAY: Fate = Missing("there is no overlay");
const TIMELESS: Fate = Needless("changes are acted upon as they happen");
const BFD: Fate = Missing("BFD is not built yet; the hold time decides");
const RANGES: Fate = Missing(
    "who may set externalIPs is the API server's to say (admission plugin DenyServiceExternalIPs)",
);

/// Every flag of kube-router 2.11, and what becomes of it.
const FLAGS: [(&str, Shape, Fate); 83] = [
    ("advertise-cluster-ip", Switch, Told("BGPAdvertisement")),
    ("advertise-external-ip", Switch, Told("BGPAdvertisement")),
    (
        "advertise-loadbalancer-ip",
        Switch,
        Told("BGPAdvertisement"),
    ),
    ("advertise-pod-cidr", Switch, Told("BGPAdvertisement")),
    (
        "auto-mtu",
        Switch,
        Needless("pods get the MTU of the node's uplink; there is no overlay to subtract"),
    ),
    ("bfd-desired-min-tx-interval", Text, BFD),
    ("bfd-detection-multiplier", Text, BFD),
    ("bfd-port", Text, BFD),
    ("bfd-required-min-rx-interval", Text, BFD),
    (
        "bgp-graceful-restart",
        Switch,
        Told("BGPPeer gracefulRestart.enabled; between nodes it stays on"),
    ),
    (
        "bgp-graceful-restart-deferral-time",
        Text,
        Needless("additions never wait; only deletions wait for the peers' End-of-RIB"),
    ),
    (
        "bgp-graceful-restart-time",
        Text,
        Told("BGPPeer gracefulRestart.restartSeconds"),
    ),
    ("bgp-holdtime", Text, Told("BGPPeer timers.holdTimeSeconds")),
    ("bgp-port", Text, Told("BGPConfiguration listenPort")),
    (
        "cache-sync-timeout",
        Text,
        Needless("the agent waits for the API server for as long as it takes, and says so"),
    ),
    (
        "cleanup-config",
        Switch,
        Needless("it is `dunlin cleanup`, which removes only what is Dunlin's"),
    ),
    ("cluster-asn", Text, Told("BGPConfiguration asn")),
    (
        "disable-source-dest-check",
        Switch,
        Missing("on AWS turn the source/destination check of the nodes' interfaces off yourself"),
    ),
    ("enable-bfd", Switch, BFD),
    (
        "enable-cni",
        Switch,
        Needless("the agent always writes its CNI configuration"),
    ),
    (
        "enable-ibgp",
        Switch,
        Told("BGPConfiguration topology.mode"),
    ),
    (
        "enable-ipv4",
        Switch,
        Needless("families follow the pod subnets and addresses of the Nodes"),
    ),
    (
        "enable-ipv6",
        Switch,
        Needless("families follow the pod subnets and addresses of the Nodes"),
    ),
    ("enable-overlay", Switch, OVERLAY),
    (
        "enable-pod-egress",
        Switch,
        Told("BGPConfiguration podEgress.masquerade"),
    ),
    ("enable-pprof", Switch, Missing("there is none")),
    ("excluded-cidrs", Text, PROXY),
    (
        "gobgp-admin-address",
        Text,
        Needless("ask the agent with the `dunlin` command, through a socket of the node"),
    ),
    (
        "gobgp-admin-port",
        Text,
        Needless("ask the agent with the `dunlin` command, through a socket of the node"),
    ),
    ("hairpin-mode", Switch, PROXY),
    (
        "health-addr",
        Text,
        Needless("health is served beside the metrics: `dunlin manifests --metrics-addr`"),
    ),
    (
        "health-port",
        Text,
        Needless("health is served beside the metrics: `dunlin manifests --metrics-addr`"),
    ),
    ("help", Switch, Needless("")),
    (
        "hostname-override",
        Text,
        Needless("the DaemonSet tells each agent its Node's name"),
    ),
    ("injected-routes-sync-period", Text, TIMELESS),
    ("iptables-sync-period", Text, POLICY),
    ("ipvs-graceful-period", Text, PROXY),
    ("ipvs-graceful-termination", Switch, PROXY),
    ("ipvs-permit-all", Switch, PROXY),
    ("ipvs-sync-period", Text, PROXY),
    (
        "kubeconfig",
        Text,
        Needless("the DaemonSet's service account is used"),
    ),
    (
        "loadbalancer-default-class",
        Switch,
        Needless("services without a class are served, too"),
    ),
    ("loadbalancer-ip-range", Text, Told("LoadBalancerPool")),
    ("loadbalancer-sync-period", Text, TIMELESS),
    ("masquerade-all", Switch, PROXY),
    (
        "master",
        Text,
        Missing("give the API server's address to `dunlin manifests --api-server HOST:PORT`"),
    ),
    (
        "metrics-addr",
        Text,
        Missing(
            "give it to `dunlin manifests --metrics-addr ADDR:PORT`; the default is 127.0.0.1:9179",
        ),
    ),
    ("metrics-path", Text, Missing("it is always /metrics")),
    (
        "metrics-port",
        Text,
        Missing(
            "give it to `dunlin manifests --metrics-addr ADDR:PORT`; the metrics have other names: docs/metrics.md",
        ),
    ),
    ("netpol-default-deny", Switch, POLICY),
    ("nodeport-bindon-all-ip", Switch, PROXY),
    (
        "nodes-full-mesh",
        Switch,
        Told("BGPConfiguration topology.mode"),
    ),
    ("overlay-encap", Text, OVERLAY),
    ("overlay-encap-port", Text, OVERLAY),
    ("overlay-type", Text, OVERLAY),
    (
        "override-nexthop",
        Switch,
        Needless("the next hop toward routers is always the announcing node"),
    ),
    ("peer-router-asns", Text, Told("BGPPeer")),
    ("peer-router-ips", Text, Told("BGPPeer")),
    (
        "peer-router-multihop-ttl",
        Text,
        Told("BGPPeer ebgpMultihop"),
    ),
    (
        "peer-router-passwords",
        Text,
        Told("BGPPeer passwordSecretRef"),
    ),
    (
        "peer-router-passwords-file",
        Text,
        Missing(
            "its content is not known here: make a Secret for each router and name it as the peer's passwordSecretRef",
        ),
    ),
    ("peer-router-ports", Text, Told("BGPPeer port")),
    (
        "router-id",
        Text,
        Needless("it is the Node's IPv4 InternalIP, or else a hash of its name"),
    ),
    ("routes-sync-period", Text, TIMELESS),
    ("run-firewall", Switch, POLICY),
    ("run-loadbalancer", Switch, Told("LoadBalancerPool")),
    ("run-router", Switch, Needless("it is what Dunlin does")),
    ("run-service-proxy", Switch, PROXY),
    ("runtime-endpoint", Text, PROXY),
    ("service-cluster-ip-range", Text, RANGES),
    ("service-external-ip-range", Text, RANGES),
    ("service-node-port-range", Text, PROXY),
    ("service-tcp-timeout", Text, PROXY),
    ("service-tcpfin-timeout", Text, PROXY),
    ("service-udp-timeout", Text, PROXY),
    ("strict-external-ip-validation", Switch, RANGES),
    ("use-nftables-for-netpol", Switch, POLICY),
    (
        "v",
        Text,
        Missing("give the level to `dunlin manifests --log`"),
    ),
    ("version", Switch, Needless("")),
    // Of klog, which it takes, too.
    (
        "alsologtostderr",
        Switch,
        Needless("the log goes to standard error"),
    ),
    (
        "logtostderr",
        Switch,
        Needless("the log goes to standard error"),
    ),
    (
        "stderrthreshold",
        Text,
        Needless("the log goes to standard error"),
    ),
    (
        "vmodule",
        Text,
        Missing("give levels by module to `dunlin manifests --log`"),
    ),
];

/// The flags that were given, by name; a list's parts are joined by commas.
#[derive(Debug, Default)]
pub(super) struct Flags(BTreeMap<&'static str, String>);

impl Flags {
    /// The text given, if any.
    pub(super) fn text(&self, flag: &str) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
    }

    /// A switch, or its default.
    pub(super) fn on(&self, flag: &str, default: bool) -> bool {
        match self.text(flag) {
            None => default,
            // As Go's strconv.ParseBool has it; kube-router itself refuses to start on anything else.
            Some(text) => matches!(text, "1" | "t" | "T" | "true" | "True" | "TRUE"),
        }
    }

    /// The parts of a list.
    pub(super) fn list(&self, flag: &str) -> Vec<&str> {
        match self.text(flag) {
            None | Some("") => Vec::new(),
            Some(text) => text.split(',').map(str::trim).collect(),
        }
    }

    /// A duration in whole seconds, at least one: `90s`, `1m30s`.
    pub(super) fn seconds(&self, flag: &str) -> Result<Option<u64>> {
        self.text(flag).map(|text| seconds(flag, text)).transpose()
    }
}

/// Finds the DaemonSet and reads its flags.
pub(super) fn read(objects: &[Value], migration: &mut Migration) -> Result<Flags> {
    let lines: Vec<(&Value, Vec<&str>)> = objects.iter().filter_map(command_line).collect();
    let line = match lines.as_slice() {
        [] => {
            migration
                .warn("no kube-router DaemonSet was given: its flags are taken for the defaults");
            &[] as &[&str]
        }
        [(_, line)] => line,
        several => {
            let names: Vec<&str> = several.iter().map(|(object, _)| name(object)).collect();
            bail!(
                "several kube-router DaemonSets ({}): give one",
                names.join(", ")
            );
        }
    };
    let flags = parse(line, migration);
    warn_of_defaults(&flags, migration);
    Ok(flags)
}

/// The arguments of the container that runs kube-router.
fn command_line(object: &Value) -> Option<(&Value, Vec<&str>)> {
    let workload = ["DaemonSet", "Pod", "Deployment"].contains(&object["kind"].as_str()?);
    let spec = match object["kind"].as_str() {
        Some("Pod") => &object["spec"],
        _ => &object["spec"]["template"]["spec"],
    };
    if !workload {
        return None;
    }
    spec["containers"].as_array()?.iter().find_map(|container| {
        let words = |key: &str| -> Vec<&str> {
            let list = container[key].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).collect()
        };
        let (command, args) = (words("command"), words("args"));
        let is_it = container["name"] == "kube-router"
            || command
                .first()
                .is_some_and(|program| program.ends_with("kube-router"))
            || container["image"]
                .as_str()
                .is_some_and(|image| image.contains("kube-router"));
        is_it.then(|| (object, [command, args].concat()))
    })
}

fn parse(words: &[&str], migration: &mut Migration) -> Flags {
    let mut flags = Flags::default();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix('-') else {
            continue;
        };
        let flag = flag.trim_start_matches('-');
        let (given, value) = match flag.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (flag, None),
        };
        // `-v2` and the like.
        let (given, value) = match given.strip_prefix('v') {
            Some(level) if !level.is_empty() && level.bytes().all(|b| b.is_ascii_digit()) => {
                ("v", Some(level))
            }
            _ => (given, value),
        };
        let Some((known, shape, fate)) = FLAGS.iter().find(|(known, _, _)| *known == given) else {
            migration.note(format!("--{given}: not known, not migrated"));
            continue;
        };
        let value = match (value, shape) {
            (Some(value), _) => value.to_owned(),
            (None, Switch) => "true".to_owned(),
            (None, Text) => words.next().copied().unwrap_or_default().to_owned(),
        };
        let shown = if known.contains("passwords") && !known.ends_with("file") {
            "…"
        } else {
            &value
        };
        match fate {
            Needless("") => {}
            Told(by) => migration.note(format!("--{known}={shown}: {by}")),
            Needless(why) => migration.note(format!("--{known}={shown}: not needed: {why}")),
            Missing(what) => migration.note(format!("--{known}={shown}: no equivalent: {what}")),
        }
        let entry = flags.0.entry(known).or_default();
        // A list may be given in parts; anything else counts as given last.
        if *shape == Text && !entry.is_empty() && known.ends_with('s') {
            entry.push(',');
            entry.push_str(&value);
        } else {
            *entry = value;
        }
    }
    flags
}

/// What kube-router does unless told not to, and Dunlin does not.
fn warn_of_defaults(flags: &Flags, migration: &mut Migration) {
    if flags.on("run-service-proxy", true) {
        migration.warn("kube-router is the service proxy here. Dunlin is none: install kube-proxy before kube-router goes.");
    }
    if flags.on("run-firewall", true) {
        migration.warn("kube-router enforces NetworkPolicy here. Dunlin does not: install something that does, if you have policies.");
    }
    if flags.on("enable-overlay", true) {
        migration.warn(
            "kube-router tunnels between nodes of different subnets. Dunlin does not: nodes share a network, or the routers between \
             them have to be peers and know the pod subnets.",
        );
    }
    if flags.on("enable-bfd", false) {
        migration.warn(
            "BFD is not built yet: a router that vanishes is noticed when the hold time is over.",
        );
    }
}

/// Go's durations, in whole seconds.
fn seconds(flag: &str, text: &str) -> Result<u64> {
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => bail!("--{flag} {text}: no duration (as 90s or 1m30s)"),
        };
        let Ok(number) = number.parse::<f64>() else {
            bail!("--{flag} {text}: no duration (as 90s or 1m30s)");
        };
        total += number * scale;
        rest = tail;
    }
    if !(1.0..=4_294_967_295.0).contains(&total) {
        bail!("--{flag} {text}: not a duration of seconds to hours");
    }
    Ok(total.round() as u64)
}

#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    FLAGS.iter().map(|(name, _, _)| *name).collect()
}
