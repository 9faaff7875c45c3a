//! GoBGP. Its own routes come by its API, so it starts with the session held back until they are in.

mod mrt;

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result};
use dunlin_lab::plan::Plan;
use dunlin_lab::process::ProcessId;
use dunlin_net::Afi;
use serde_json::Value;

use super::{Daemon, add, afi_of, difference, u32_of, word};
use crate::check::{Seen, Table};
use crate::scenario::{Announce, Speaker};

/// More routes than this are not given to it one process each.
const MANY: usize = 50;
/// Inside its namespace.
const API: &str = "127.0.0.1:50051";

pub(super) fn start(daemon: &Daemon, again: bool) -> Result<ProcessId> {
    let file = daemon.write("gobgpd.toml", &config(daemon))?;
    let mut command = daemon.netns.command("/usr/bin/gobgpd");
    command.arg("-f").arg(file);
    command.args(["--api-hosts", API, "--pprof-disable"]);
    if again && daemon.speaker.graceful_restart_secs.is_some() {
        command.arg("--graceful-restart");
    }
    daemon.launch(&mut command)
}

fn config(daemon: &Daemon) -> String {
    let speaker = &daemon.speaker;
    let own = daemon.local();
    // In the family that is not the session's it would name no address of its own.
    let other = match speaker.over {
        Afi::Ipv4 => Afi::Ipv6,
        Afi::Ipv6 => Afi::Ipv4,
    };
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\n",
        speaker.asn,
        daemon.router_id(),
    );
    // What it reflects keeps its next hop.
    if !speaker.reflects {
        let _ = write!(
            text,
            "[global.apply-policy.config]\nexport-policy-list = [\"hop\"]\ndefault-export-policy = \"accept-route\"\n\
             [[policy-definitions]]\nname = \"hop\"\n  [[policy-definitions.statements]]\n  name = \"hop\"\n    \
             [policy-definitions.statements.conditions.bgp-conditions]\n    afi-safi-in-list = [\"{}-unicast\"]\n    \
             [policy-definitions.statements.actions.bgp-actions]\n    set-next-hop = \"{}\"\n    \
             [policy-definitions.statements.actions]\n    route-disposition = \"accept-route\"\n",
            word(other),
            Daemon::own(if speaker.extended_next_hop {
                speaker.over
            } else {
                other
            }),
        );
    }
    let _ = write!(
        text,
        "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\nadmin-down = true\n",
        daemon.peer(),
        speaker.peer_asn,
    );
    if let Some(password) = &speaker.password {
        let _ = writeln!(text, "auth-password = \"{password}\"");
    }
    let _ = write!(
        text,
        "[neighbors.timers.config]\nhold-time = {}\nkeepalive-interval = {}\nconnect-retry = 2\n\
         idle-hold-time-after-reset = 2\n\
         [neighbors.transport.config]\nlocal-address = \"{own}\"\npassive-mode = {}\n",
        speaker.hold_secs,
        (speaker.hold_secs / 3).max(1),
        speaker.passive,
    );
    if speaker.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    text += &reflector(daemon);
    if let Some(secs) = speaker.graceful_restart_secs {
        let _ = write!(
            text,
            "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {secs}\n\
             long-lived-enabled = {}\n",
            speaker.long_lived_secs.is_some()
        );
    }
    for afi in Afi::ALL {
        let _ = write!(
            text,
            "[[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n  afi-safi-name = \"{}-unicast\"\n",
            word(afi)
        );
        text += &paths(speaker);
        if speaker.graceful_restart_secs.is_some() {
            text += "  [neighbors.afi-safis.mp-graceful-restart.config]\n  enabled = true\n";
        }
        if let Some(secs) = speaker.long_lived_secs {
            let _ = write!(
                text,
                "  [neighbors.afi-safis.long-lived-graceful-restart.config]\n  enabled = true\n  \
                 restart-time = {secs}\n"
            );
        }
    }
    for other in &speaker.others {
        let _ = write!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             [neighbors.transport.config]\nlocal-address = \"{own}\"\npassive-mode = true\n{}",
            Plan::node_address(other.number, Afi::Ipv4),
            other.asn,
            reflector(daemon),
        );
        for afi in Afi::ALL {
            let _ = write!(
                text,
                "[[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n  afi-safi-name = \"{}-unicast\"\n",
                word(afi)
            );
        }
    }
    text
}

/// Toward a client.
fn reflector(daemon: &Daemon) -> String {
    if !daemon.speaker.reflects {
        return String::new();
    }
    format!(
        "[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"{}\"\n",
        daemon.router_id()
    )
}

fn paths(speaker: &Speaker) -> String {
    let (takes, sends) = (speaker.takes_paths, speaker.sends_paths);
    if !takes && !sends {
        return String::new();
    }
    let most = if sends { 8 } else { 0 };
    format!("  [neighbors.afi-safis.add-paths.config]\n  receive = {takes}\n  send-max = {most}\n")
}

fn gobgp(daemon: &Daemon) -> Command {
    daemon.netns.command("/usr/bin/gobgp")
}

pub(super) fn enable(daemon: &Daemon) -> Result<()> {
    let peer = daemon.peer().to_string();
    let mut command = gobgp(daemon);
    daemon
        .text(command.args(["neighbor", &peer, "enable"]))
        .map(|_| ())
}

pub(super) fn change(daemon: &Daemon, old: &[Announce], new: &[Announce]) -> Result<()> {
    let (gone, come) = difference(old, new);
    if come.len() > MANY {
        let file = daemon.path("routes.mrt");
        // `gobgp` leaves before the last thousand are read from it, so everything is said twice.
        std::fs::write(&file, mrt::dump(&[come.clone(), come].concat())?)?;
        let mut command = gobgp(daemon);
        command.args(["mrt", "inject", "global"]).arg(file);
        return daemon.text(&mut command).map(|_| ());
    }
    if gone.len() > MANY && new.is_empty() {
        let mut command = gobgp(daemon);
        command.args(["global", "rib", "del", "all", "-a", "ipv4"]);
        return daemon.text(&mut command).map(|_| ());
    }
    for (verb, routes) in [("del", gone), ("add", come)] {
        for route in routes {
            let afi = afi_of(&route.prefix);
            let hop = route.next_hop.unwrap_or(Daemon::own(afi));
            let mut command = gobgp(daemon);
            command.args(["global", "rib", verb, "-a", word(afi)]);
            command.arg(route.prefix.to_string());
            command.args(["nexthop", &hop.to_string()]);
            if let Some(asn) = route.prepend {
                command.args(["aspath", &asn.to_string()]);
            }
            if let Some(med) = route.med {
                command.args(["med", &med.to_string()]);
            }
            let names = ["community", "large-community"];
            for (name, all) in names.into_iter().zip(route.communities()) {
                if !all.is_empty() {
                    command.args([name, &all.join(",")]);
                }
            }
            daemon.text(&mut command)?;
        }
    }
    Ok(())
}

pub(super) fn refresh(daemon: &Daemon) -> Result<()> {
    let peer = daemon.peer().to_string();
    let mut command = gobgp(daemon);
    daemon
        .text(command.args(["neighbor", &peer, "softresetin"]))
        .map(|_| ())
}

pub(super) fn shutdown(daemon: &Daemon, words: &str) -> Command {
    let peer = daemon.peer().to_string();
    let mut command = gobgp(daemon);
    command.args(["neighbor", &peer, "shutdown", "--reason", words]);
    command
}

pub(super) fn is_up(daemon: &Daemon) -> Result<bool> {
    let said = daemon.json(gobgp(daemon).args(["-j", "neighbor"]))?;
    let peer = said.get(0).context("no neighbor")?;
    // ESTABLISHED of its API's states.
    Ok(peer["state"]["session_state"] == 6)
}

pub(super) fn table(daemon: &Daemon) -> Result<Table> {
    let peer = daemon.peer().to_string();
    let mut table = Table::new();
    for afi in Afi::ALL {
        let mut command = gobgp(daemon);
        let text = daemon.text(command.args(["-j", "global", "rib", "-a", word(afi)]))?;
        // Of nothing it says nothing, or a sentence.
        let Ok(Value::Object(said)) = serde_json::from_str(&text) else {
            continue;
        };
        for (prefix, paths) in said {
            let paths = paths.as_array().into_iter().flatten();
            let ours = paths.filter(|path| path["neighbor-ip"] == peer.as_str());
            add(&mut table, prefix.parse()?, ours.map(seen));
        }
    }
    Ok(table)
}

fn seen(path: &Value) -> Seen {
    let mut seen = Seen::default();
    for attribute in path["attrs"].as_array().into_iter().flatten() {
        let all = |name: &str| attribute[name].as_array().cloned().unwrap_or_default();
        match attribute["type"].as_u64() {
            Some(2) => {
                let numbers: Vec<String> = all("as_paths")
                    .iter()
                    .flat_map(|segment| segment["asns"].as_array().cloned().unwrap_or_default())
                    .map(|asn| asn.to_string())
                    .collect();
                seen.as_path = numbers.join(" ");
            }
            Some(3 | 14) => {
                let hop = attribute["nexthop"].as_str();
                seen.next_hop = hop.and_then(|hop| hop.parse().ok());
            }
            Some(4) => seen.med = u32_of(&attribute["metric"]),
            Some(5) => seen.local_pref = u32_of(&attribute["value"]),
            Some(8) => {
                let pair = |value: &Value| {
                    let number = value.as_u64().unwrap_or_default();
                    format!("{}:{}", number >> 16, number & 0xffff)
                };
                seen.communities.extend(all("communities").iter().map(pair));
            }
            Some(32) => {
                let triple = |value: &Value| {
                    let names = ["ASN", "LocalData1", "LocalData2"];
                    names.map(|name| value[name].to_string()).join(":")
                };
                seen.communities.extend(all("value").iter().map(triple));
            }
            _ => {}
        }
    }
    seen
}
