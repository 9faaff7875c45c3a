//! OpenBGPD. It cannot put a number of another AS before a path.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dunlin_lab::plan::Plan;
use dunlin_lab::process::ProcessId;
use dunlin_net::Afi;

use super::{Daemon, add, afi_of, u32_of};
use crate::check::{Seen, Table, until_ok};

/// Its processes shut themselves in there. Who starts it makes it: `/run` is empty after a boot.
const HOME: &str = "/run/openbgpd";

pub(super) fn start(daemon: &Daemon) -> Result<ProcessId> {
    std::fs::create_dir_all(HOME).with_context(|| format!("cannot make {HOME}"))?;
    let file = daemon.write("bgpd.conf", &config(daemon))?;
    let mut command = daemon.netns.command("/usr/sbin/bgpd");
    command.arg("-d").arg("-f").arg(file);
    daemon.launch(&mut command)
}

fn config(daemon: &Daemon) -> String {
    let speaker = &daemon.speaker;
    let own = daemon.local();
    let mut text = format!(
        "AS {}\nrouter-id {}\nlisten on {own}\nsocket \"{}\"\nfib-update no\nholdtime {}\n",
        speaker.asn,
        daemon.router_id(),
        daemon.path("bgpd.sock").display(),
        speaker.hold_secs,
    );
    for route in &speaker.announce {
        let afi = afi_of(&route.prefix);
        let hop = route.next_hop.unwrap_or(Daemon::own(afi));
        let mut set = format!("nexthop {hop}");
        if let Some(med) = route.med {
            let _ = write!(set, " metric {med}");
        }
        let names = ["community", "large-community"];
        for (name, all) in names.into_iter().zip(route.communities()) {
            for one in all {
                let _ = write!(set, " {name} {one}");
            }
        }
        let _ = writeln!(text, "network {} set {{ {set} }}", route.prefix);
    }
    let _ = write!(
        text,
        "neighbor {} {{\n  remote-as {}\n  local-address {own}\n  announce IPv4 unicast\n  announce IPv6 unicast\n",
        daemon.peer(),
        speaker.peer_asn,
    );
    if speaker.asn != speaker.peer_asn {
        // Else it puts its own address of the family, which it does not know, in the place of the next hop.
        text += "  set nexthop no-modify\n";
        // It has the one or the other.
        text += if speaker.ttl_security {
            "  ttl-security yes\n"
        } else {
            "  multihop 2\n"
        };
    }
    if let Some(role) = &speaker.role {
        let _ = writeln!(text, "  announce policy {role}");
    }
    if speaker.enhanced_refresh {
        text += "  announce enhanced refresh yes\n";
    }
    if speaker.two_octet {
        text += "  announce as-4byte no\n";
    }
    if speaker.passive {
        text += "  passive\n";
    }
    if speaker.reflects {
        text += "  route-reflector\n";
    }
    if speaker.sends_paths {
        text += "  announce add-path send all\n";
    }
    if speaker.takes_paths {
        text += "  announce add-path recv yes\n";
    }
    if let Some(password) = &speaker.password {
        let _ = writeln!(text, "  tcp md5sig password {password}");
    }
    text += "}\n";
    for other in &speaker.others {
        let _ = write!(
            text,
            "neighbor {} {{\n  remote-as {}\n  local-address {own}\n  passive\n  announce IPv4 unicast\n  announce IPv6 unicast\n{}}}\n",
            Plan::node_address(other.number, Afi::Ipv4),
            other.asn,
            if speaker.reflects {
                "  route-reflector\n"
            } else {
                ""
            },
        );
    }
    text + "allow from any\nallow to any\n"
}

fn bgpctl(daemon: &Daemon) -> Command {
    let mut command = daemon.netns.command("/usr/sbin/bgpctl");
    command.arg("-s").arg(daemon.path("bgpd.sock"));
    command
}

pub(super) fn reload(daemon: &Daemon) -> Result<()> {
    daemon.write("bgpd.conf", &config(daemon))?;
    // It refuses one while it is still busy with the last.
    until_ok(|| {
        // It says so, and calls it no failure.
        let said = daemon.text(bgpctl(daemon).arg("reload"))?;
        ensure!(said.contains("request processed"), "{said}");
        Ok(())
    })
}

pub(super) fn refresh(daemon: &Daemon) -> Result<()> {
    let peer = daemon.peer().to_string();
    let mut command = bgpctl(daemon);
    daemon
        .text(command.args(["neighbor", &peer, "refresh"]))
        .map(|_| ())
}

pub(super) fn shutdown(daemon: &Daemon, words: &str) -> Command {
    let peer = daemon.peer().to_string();
    let mut command = bgpctl(daemon);
    command.args(["neighbor", &peer, "down", words]);
    command
}

pub(super) fn is_up(daemon: &Daemon) -> Result<bool> {
    let said = daemon.json(bgpctl(daemon).args(["-j", "show", "neighbor"]))?;
    let peer = said["neighbors"].get(0).context("no neighbor")?;
    Ok(peer["state"] == "Established")
}

pub(super) fn table(daemon: &Daemon) -> Result<Table> {
    let peer = daemon.peer().to_string();
    let show = ["-j", "show", "rib", "neighbor", &peer, "in", "detail"];
    let said = daemon.json(bgpctl(daemon).args(show))?;
    let mut table = Table::new();
    for route in said["rib"].as_array().into_iter().flatten() {
        let prefix = route["prefix"].as_str().context("a prefix")?.parse()?;
        let mut seen = Seen {
            next_hop: route["exit_nexthop"]
                .as_str()
                .and_then(|hop| hop.parse().ok()),
            as_path: route["aspath"]
                .as_str()
                .unwrap_or_default()
                .trim()
                .to_owned(),
            med: u32_of(&route["metric"]),
            local_pref: u32_of(&route["localpref"]),
            ..Seen::default()
        };
        // In detail they stand among the attributes.
        let attributes = route["attributes"].as_array().into_iter().flatten();
        for holder in attributes.chain([route]) {
            if holder["type"] == "OTC" {
                seen.only_to_customer = u32_of(&holder["as"]);
            }
            for name in ["communities", "large_communities"] {
                let all = holder[name].as_array().into_iter().flatten();
                let number = |word: &str| match word {
                    "GRACEFUL_SHUTDOWN" => "65535:0".to_owned(),
                    _ => word.to_owned(),
                };
                let texts = all.filter_map(|value| value.as_str().map(number));
                seen.communities.extend(texts);
            }
        }
        add(&mut table, prefix, std::iter::once(seen));
    }
    Ok(table)
}
