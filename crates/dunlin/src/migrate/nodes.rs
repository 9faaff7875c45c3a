//! kube-router's annotations of Nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dunlin_kube::crd::WELL_KNOWN_COMMUNITIES;
use dunlin_net::IpNet;
use serde::Deserialize;
use serde_json::Value;

use super::{Migration, annotation, annotations, name};

/// What the annotations of one Node say.
#[derive(Debug, Default)]
pub(super) struct NodeSaid {
    /// The value of its label kubernetes.io/hostname.
    pub(super) hostname: String,
    pub(super) asn: Option<u32>,
    pub(super) attributes: Attributes,
    pub(super) reject: Vec<IpNet>,
    pub(super) peers: Vec<PeerSaid>,
}

/// What is put on what a node announces to routers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Attributes {
    /// In the form `a:b`.
    pub(super) standard: Vec<String>,
    pub(super) well_known: Vec<String>,
    pub(super) prepend: Option<(u32, u32)>,
}

/// A router, as an annotation or the flags name it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PeerSaid {
    pub(super) address: IpAddr,
    pub(super) asn: u32,
    pub(super) port: Option<u16>,
    pub(super) password: Option<String>,
    pub(super) local: Option<IpAddr>,
}

impl std::fmt::Debug for PeerSaid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} AS {}", self.address, self.asn)
    }
}

/// An element of the annotation `peers`.
#[derive(Deserialize)]
struct Element {
    remoteip: IpAddr,
    remoteasn: u32,
    localip: Option<IpAddr>,
    password: Option<String>,
    port: Option<u16>,
    bfd: Option<Value>,
}

pub(super) fn read(objects: &[Value], migration: &mut Migration) -> Vec<NodeSaid> {
    let nodes = objects.iter().filter(|object| object["kind"] == "Node");
    let said: Vec<NodeSaid> = nodes.map(|node| read_one(node, migration)).collect();
    if said.is_empty() {
        migration.warn("no Nodes were given: what their annotations say is not in here");
    }
    said
}

fn read_one(node: &Value, migration: &mut Migration) -> NodeSaid {
    let who = format!("Node {}", name(node));
    let label = node["metadata"]["labels"]["kubernetes.io/hostname"].as_str();
    let mut said = NodeSaid {
        hostname: label.unwrap_or(name(node)).to_owned(),
        ..NodeSaid::default()
    };
    for (key, value) in annotations(node) {
        let text = match key {
            "node.asn" => {
                said.asn = value.trim().parse().ok();
                match said.asn {
                    Some(_) => continue,
                    None => format!("{key}: {value:?} is no AS number"),
                }
            }
            "node.bgp.communities" => {
                let (attributes, bad) = communities(value);
                said.attributes.standard = attributes.0;
                said.attributes.well_known = attributes.1;
                if bad.is_empty() {
                    "node.bgp.communities: BGPAdvertisement attributes.communities".to_owned()
                } else {
                    format!("{key}: not known, not migrated: {}", bad.join(", "))
                }
            }
            "node.bgp.customimportreject" => {
                let parts: Vec<Result<IpNet, _>> =
                    value.split(',').map(|part| part.trim().parse()).collect();
                if parts.iter().any(Result::is_err) {
                    format!(
                        "{key}: {value:?} is no list of prefixes; kube-router passes over all of it, too"
                    )
                } else {
                    said.reject = parts
                        .into_iter()
                        .flatten()
                        .map(|net: IpNet| net.trunc())
                        .collect();
                    format!("{key}: BGPFilter")
                }
            }
            "path-prepend.as" | "path-prepend.repeat-n" => continue,
            "peers" | "peer.ips" | "peer.asns" | "peer.ports" | "peer.passwords"
            | "peer.localips" => continue,
            "rr.server" | "rr.client" => format!(
                "{key}: no equivalent per node: label the nodes and give topology.reflectors.nodeSelector, or leave the choice to topology.mode Auto"
            ),
            "bgp-local-addresses" => {
                format!(
                    "{key}={value}: no equivalent: the agent listens on all addresses of the node"
                )
            }
            "pod-cidr" | "pod-cidrs" => pod_cidrs(node, key, value),
            _ => format!("{key}: not known, not migrated"),
        };
        migration.note(format!("{who}, {text}"));
    }
    prepend(node, &who, &mut said, migration);
    peers(node, &who, &mut said, migration);
    said
}

fn pod_cidrs(node: &Value, key: &str, value: &str) -> String {
    let given: BTreeSet<&str> = value.split(',').map(str::trim).collect();
    let own = node["spec"]["podCIDRs"].as_array().into_iter().flatten();
    let own: BTreeSet<&str> = own.filter_map(Value::as_str).collect();
    if given == own {
        format!("{key}: not needed: it is what spec.podCIDRs says")
    } else {
        format!("{key}={value}: no equivalent: spec.podCIDRs counts, and says something else")
    }
}

fn prepend(node: &Value, who: &str, said: &mut NodeSaid, migration: &mut Migration) {
    let (asn, count) = (
        annotation(node, "path-prepend.as"),
        annotation(node, "path-prepend.repeat-n"),
    );
    if asn.is_none() && count.is_none() {
        return;
    }
    let asn = asn.and_then(|text| text.trim().parse::<u32>().ok());
    let count = count.and_then(|text| text.trim().parse::<u8>().ok());
    match (asn, count) {
        (Some(asn), Some(count @ 1..)) => {
            if count > 32 {
                migration.note(format!(
                    "{who}, path-prepend.repeat-n={count}: 32 is the most here"
                ));
            }
            said.attributes.prepend = Some((asn, u32::from(count.min(32))));
            migration.note(format!(
                "{who}, path-prepend: BGPAdvertisement attributes.prepend"
            ));
        }
        _ => migration.note(format!(
            "{who}, path-prepend: not migrated: it takes both .as and .repeat-n, as numbers above 0"
        )),
    }
}

fn peers(node: &Value, who: &str, said: &mut NodeSaid, migration: &mut Migration) {
    if let Some(text) = annotation(node, "peers") {
        match serde_saphyr::from_str::<Vec<Element>>(text) {
            Ok(elements) => {
                for element in elements {
                    if element.bfd.is_some_and(|bfd| bfd["enabled"] == true) {
                        migration.note(format!(
                            "{who}, peers, {}, bfd: no equivalent: BFD is not built yet; the hold time decides",
                            element.remoteip
                        ));
                    }
                    said.peers.push(PeerSaid {
                        address: element.remoteip,
                        asn: element.remoteasn,
                        port: element.port,
                        password: element.password.filter(|password| !password.is_empty()),
                        local: element.localip,
                    });
                }
                migration.note(format!("{who}, peers: BGPPeer"));
            }
            // The text may hold passwords: an error that quotes it does not get out.
            Err(_) => migration.note(format!(
                "{who}, peers: not migrated: it is no list of remoteip, remoteasn, localip, password, port and bfd"
            )),
        }
        return;
    }
    let list = |key: &str| -> Vec<&str> {
        let text = annotation(node, key).unwrap_or_default();
        if text.is_empty() {
            Vec::new()
        } else {
            text.split(',').map(str::trim).collect()
        }
    };
    let ips = list("peer.ips");
    if ips.is_empty() {
        return;
    }
    let lists = Lists {
        ips,
        asns: list("peer.asns"),
        ports: list("peer.ports"),
        passwords: list("peer.passwords"),
        locals: list("peer.localips"),
    };
    match lists.peers() {
        Ok(found) => {
            said.peers = found;
            migration.note(format!("{who}, peer.ips and the like: BGPPeer"));
        }
        Err(why) => migration.note(format!("{who}, peer.ips and the like: not migrated: {why}")),
    }
}

/// Routers as lists of equal length, in flags and in deprecated annotations.
pub(super) struct Lists<'a> {
    pub(super) ips: Vec<&'a str>,
    pub(super) asns: Vec<&'a str>,
    pub(super) ports: Vec<&'a str>,
    pub(super) passwords: Vec<&'a str>,
    pub(super) locals: Vec<&'a str>,
}

impl Lists<'_> {
    /// The routers they name, or why they name none.
    pub(super) fn peers(&self) -> Result<Vec<PeerSaid>, String> {
        let count = self.ips.len();
        for (what, list, needed) in [
            ("AS numbers", &self.asns, true),
            ("ports", &self.ports, false),
            ("passwords", &self.passwords, false),
            ("local addresses", &self.locals, false),
        ] {
            if list.len() != count && (needed || !list.is_empty()) {
                return Err(format!("{count} addresses and {} {what}", list.len()));
            }
        }
        let at = |list: &[&str], index: usize| -> Option<String> {
            list.get(index)
                .filter(|text| !text.is_empty())
                .map(|text| (*text).to_owned())
        };
        let mut peers = Vec::new();
        for (index, ip) in self.ips.iter().enumerate() {
            let wrong = |what: &str| format!("{what} of {ip} cannot be read");
            let number = |list: &[&str], what: &str| -> Result<Option<u32>, String> {
                at(list, index)
                    .map(|t| t.parse().map_err(|_| wrong(what)))
                    .transpose()
            };
            let port = number(&self.ports, "the port")?.map(u16::try_from);
            let local = at(&self.locals, index).map(|text| text.parse());
            peers.push(PeerSaid {
                address: ip.parse().map_err(|_| format!("{ip} is no address"))?,
                asn: number(&self.asns, "the AS number")?.ok_or_else(|| wrong("the AS number"))?,
                port: port.transpose().map_err(|_| wrong("the port"))?,
                password: at(&self.passwords, index),
                local: local.transpose().map_err(|_| wrong("the local address"))?,
            });
        }
        Ok(peers)
    }
}

/// Standard ones as `a:b`, well-known ones by their names here, and what is neither.
fn communities(text: &str) -> ((Vec<String>, Vec<String>), Vec<&str>) {
    let (mut standard, mut well_known, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let pair = part.split_once(':');
        let pair = pair.and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
        if let Some((a, b)) = pair {
            standard.push(format!("{a}:{b}"));
        } else if let Ok(value) = part.parse::<u32>() {
            standard.push(format!("{}:{}", value >> 16, value & 0xFFFF));
        } else if WELL_KNOWN_COMMUNITIES.iter().any(|(name, _)| *name == part) {
            well_known.push(part.to_owned());
        } else {
            bad.push(part);
        }
    }
    standard.sort();
    standard.dedup();
    well_known.sort();
    well_known.dedup();
    ((standard, well_known), bad)
}

/// Nodes, by what is to be told of them alike.
pub(super) fn grouped<K: Ord + Clone>(
    nodes: &[NodeSaid],
    key: impl Fn(&NodeSaid) -> K,
) -> BTreeMap<K, Vec<String>> {
    let mut groups: BTreeMap<K, Vec<String>> = BTreeMap::new();
    for node in nodes {
        groups
            .entry(key(node))
            .or_default()
            .push(node.hostname.clone());
    }
    for names in groups.values_mut() {
        names.sort();
    }
    groups
}
