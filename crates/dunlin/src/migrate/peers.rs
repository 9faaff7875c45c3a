//! Routers outside the cluster, and what is taken from them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use dunlin_net::IpNet;
use serde_json::{Value, json};

use super::Migration;
use super::flags::Flags;
use super::nodes::{Lists, NodeSaid, PeerSaid, grouped};
use super::objects::{hostnames, object};

/// Whose hold time, graceful restart time and AS number are what Dunlin's are anyway.
const HOLD_TIME_SECS: u64 = 90;
const KUBE_ROUTER_RESTART_SECS: u64 = 90;

/// `BGPPeer`s and the `BGPFilter`s they import by.
pub(super) fn peers(flags: &Flags, nodes: &[NodeSaid], migration: &mut Migration) -> Result<()> {
    let wanted = wanted(flags, nodes, migration)?;
    if wanted.is_empty() {
        migration.note("no router outside the cluster is named: nothing is announced to any");
        return Ok(());
    }
    let rejects: BTreeSet<Vec<IpNet>> = wanted.keys().map(|(_, reject)| reject.clone()).collect();
    for (at, reject) in rejects.iter().enumerate() {
        migration.objects.push(filter(&filter_name(at), reject));
    }
    migration.note(
        "routes from routers: kube-router installs all of them but a default route; the BGPFilter says the same. Dunlin by itself \
         takes none: let in only what you need",
    );
    let mut names: BTreeMap<String, u32> = BTreeMap::new();
    for ((peer, reject), selector) in &wanted {
        let filter = filter_name(rejects.iter().position(|r| r == reject).unwrap_or(0));
        let base = format!(
            "router-{}",
            peer.address.to_string().replace(['.', ':'], "-")
        );
        let base = base.trim_end_matches('-').to_owned();
        let count = names.entry(base.clone()).or_default();
        *count += 1;
        let name = if *count == 1 {
            base
        } else {
            format!("{base}-{count}")
        };
        let object = peer_object(&name, peer, selector.as_ref(), &filter, flags, migration)?;
        migration.objects.push(object);
    }
    Ok(())
}

/// Each router with the prefixes that are not taken from it, and the nodes that peer with it; without a selector: all.
type Wanted = BTreeMap<(PeerSaid, Vec<IpNet>), Option<Value>>;

fn wanted(flags: &Flags, nodes: &[NodeSaid], migration: &mut Migration) -> Result<Wanted> {
    let everywhere = Lists {
        ips: flags.list("peer-router-ips"),
        asns: flags.list("peer-router-asns"),
        ports: flags.list("peer-router-ports"),
        passwords: flags.list("peer-router-passwords"),
        locals: Vec::new(),
    };
    let mut wanted = Wanted::new();
    if everywhere.ips.is_empty() {
        let mut by_peer: BTreeMap<(PeerSaid, Vec<IpNet>), Vec<String>> = BTreeMap::new();
        for node in nodes {
            for peer in &node.peers {
                let names = by_peer
                    .entry((peer.clone(), node.reject.clone()))
                    .or_default();
                names.push(node.hostname.clone());
            }
        }
        for (key, mut names) in by_peer {
            names.sort();
            wanted.insert(key, Some(hostnames("In", &names)));
        }
        return Ok(wanted);
    }
    if nodes.iter().any(|node| !node.peers.is_empty()) {
        migration.note("the Nodes' peers: not migrated: kube-router passes over them while --peer-router-ips is given");
    }
    let peers = match everywhere.peers() {
        Ok(peers) => peers,
        Err(why) => bail!("--peer-router-ips and the like: {why}"),
    };
    let groups = grouped(nodes, |node| node.reject.clone());
    for peer in peers {
        if groups.len() < 2 {
            let reject = groups.keys().next().cloned().unwrap_or_default();
            wanted.insert((peer, reject), None);
            continue;
        }
        for (reject, names) in &groups {
            wanted.insert((peer.clone(), reject.clone()), Some(hostnames("In", names)));
        }
    }
    Ok(wanted)
}

fn filter_name(at: usize) -> String {
    match at {
        0 => "from-routers".to_owned(),
        at => format!("from-routers-{}", at + 1),
    }
}

/// First match wins: what was rejected, then the default routes, then everything.
fn filter(name: &str, reject: &[IpNet]) -> Value {
    let mut rules: Vec<Value> = reject
        .iter()
        .map(|net| json!({ "match": { "cidr": net.to_string() }, "action": "Reject" }))
        .collect();
    for default in ["0.0.0.0/0", "::/0"] {
        rules.push(json!({ "match": { "cidr": default, "lengthMax": 0 }, "action": "Reject" }));
    }
    rules.push(json!({ "action": "Accept" }));
    object("BGPFilter", name, json!({ "rules": rules }))
}

fn peer_object(
    name: &str,
    peer: &PeerSaid,
    selector: Option<&Value>,
    filter: &str,
    flags: &Flags,
    migration: &mut Migration,
) -> Result<Value> {
    let mut spec = json!({
        "peerAddress": peer.address.to_string(),
        "peerASN": peer.asn,
        "importFilter": filter,
    });
    if let Some(selector) = selector {
        spec["nodeSelector"] = selector.clone();
    }
    if let Some(port) = peer.port.filter(|port| *port != 179) {
        spec["port"] = json!(port);
    }
    if let Some(local) = peer.local {
        // A selector of one node is the only one with that address.
        spec["sourceAddress"] = json!(local.to_string());
    }
    if let Some(ttl) = flags
        .text("peer-router-multihop-ttl")
        .and_then(|text| text.parse::<u8>().ok())
    {
        // Below two it has no effect there.
        if ttl > 1 {
            spec["ebgpMultihop"] = json!(ttl);
        }
    }
    if let Some(hold) = flags
        .seconds("bgp-holdtime")?
        .filter(|secs| *secs != HOLD_TIME_SECS)
    {
        spec["timers"] = json!({ "holdTimeSeconds": hold });
    }
    if flags.on("bgp-graceful-restart", false) {
        let secs = flags.seconds("bgp-graceful-restart-time")?;
        spec["gracefulRestart"] =
            json!({ "restartSeconds": secs.unwrap_or(KUBE_ROUTER_RESTART_SECS) });
    } else {
        spec["gracefulRestart"] = json!({ "enabled": false });
        migration.note(
            "gracefulRestart.enabled=false on BGPPeers is what kube-router had; without that line a router keeps the routes while an \
             agent is upgraded",
        );
    }
    if let Some(password) = &peer.password {
        let secret = format!("bgp-{name}");
        migration.secrets.insert(secret.clone(), password.clone());
        spec["passwordSecretRef"] = json!({ "name": secret });
    }
    Ok(object("BGPPeer", name, spec))
}
