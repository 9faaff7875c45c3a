//! FRR: bgpd, which is started, ended and hung, and zebra, which stays.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dunlin_lab::plan::Plan;
use dunlin_lab::process::ProcessId;
use dunlin_lab::router::frr_user;
use dunlin_net::Afi;
use serde_json::Value;

use super::{Daemon, add, afi_of, difference, u32_of, word};
use crate::check::{Seen, Table, until_ok};
use crate::scenario::Announce;

pub(super) fn start(daemon: &mut Daemon) -> Result<ProcessId> {
    let bgpd_conf = daemon.write("bgpd.conf", &config(daemon))?;
    let zebra_conf = daemon.write("zebra.conf", "hostname peer\n")?;
    // The daemons give up root at once and read and write everything as their own user.
    let (user, group) = frr_user().context("there is no user `frr`")?;
    let bfdd_conf = daemon.write("bfdd.conf", &bfd_config(daemon))?;
    for path in [&daemon.directory, &bgpd_conf, &zebra_conf, &bfdd_conf] {
        chown(path, Some(user), Some(group))?;
    }
    let socket = daemon.path("zserv.api");
    if daemon.helpers.is_empty() {
        let zebra = daemon.launch(&mut program(daemon, "zebra", &zebra_conf))?;
        until_ok(|| {
            anyhow::ensure!(socket.exists(), "zebra makes no socket");
            Ok(())
        })?;
        daemon.helpers.push(zebra);
        if daemon.speaker.bfd_millis.is_some() {
            let mut bfdd = program(daemon, "bfdd", &bfdd_conf);
            bfdd.arg("--bfdctl").arg(daemon.path("bfdd.sock"));
            daemon.helpers.push(daemon.launch(&mut bfdd)?);
            until_ok(|| is_bfd_up(daemon).map(|_| ()))?;
        }
        let bgpd = daemon.launch(&mut program(daemon, "bgpd", &bgpd_conf))?;
        return Ok(bgpd);
    }
    daemon.launch(&mut program(daemon, "bgpd", &bgpd_conf))
}

fn program(daemon: &Daemon, name: &str, conf: &Path) -> Command {
    let mut command = daemon.netns.command(format!("/usr/lib/frr/{name}"));
    // Port 0: no TCP console.
    command.args(["-P", "0", "--log", "stdout"]);
    command.arg("--vty_socket").arg(&daemon.directory);
    command.arg("-z").arg(daemon.path("zserv.api"));
    command.arg("-f").arg(conf);
    command.arg("-i").arg(daemon.path(&format!("{name}.pid")));
    if name == "zebra" {
        // Else it deletes an IPv6 route before it writes it anew.
        command.arg("--v6-rr-semantics");
    }
    command
}

fn config(daemon: &Daemon) -> String {
    let speaker = &daemon.speaker;
    let peer = neighbor(daemon);
    let mut text = format!(
        "frr defaults traditional\nhostname peer\nrouter bgp {}\n bgp router-id {}\n \
         no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n",
        speaker.asn,
        daemon.router_id()
    );
    if let Some(secs) = speaker.graceful_restart_secs {
        let _ = write!(
            text,
            " bgp graceful-restart\n bgp graceful-restart restart-time {secs}\n \
             bgp graceful-restart preserve-fw-state\n"
        );
    }
    if let Some(secs) = speaker.long_lived_secs {
        let _ = writeln!(text, " bgp long-lived-graceful-restart stale-time {secs}");
    }
    let _ = write!(
        text,
        " neighbor {peer}{} remote-as {}\n neighbor {peer} timers {} {}\n neighbor {peer} timers connect 1\n \
         neighbor {peer} advertisement-interval 0\n",
        if speaker.unnumbered { " interface" } else { "" },
        speaker.peer_asn,
        (speaker.hold_secs / 3).max(1),
        speaker.hold_secs
    );
    if let Some(password) = &speaker.password {
        let _ = writeln!(text, " neighbor {peer} password {password}");
    }
    if let Some(role) = &speaker.role {
        let _ = writeln!(text, " neighbor {peer} local-role {role}");
    }
    if speaker.ttl_security {
        let _ = writeln!(text, " neighbor {peer} ttl-security hops 1");
    }
    if speaker.extended_next_hop {
        let _ = writeln!(text, " neighbor {peer} capability extended-nexthop");
    }
    if speaker.bfd_millis.is_some() {
        let _ = writeln!(text, " neighbor {peer} bfd profile fast");
    }
    if speaker.two_octet {
        // Without any capability, there is IPv4 alone.
        let _ = writeln!(text, " neighbor {peer} dont-capability-negotiate");
    }
    if speaker.passive {
        let _ = writeln!(text, " neighbor {peer} passive");
    }
    let others = |afi| -> Vec<(IpAddr, u32)> {
        let others = speaker.others.iter();
        let at = others.map(|other| (Plan::node_address(other.number, afi), other.asn));
        at.collect()
    };
    for (other, asn) in others(Afi::Ipv4) {
        let _ = write!(
            text,
            " neighbor {other} remote-as {asn}\n neighbor {other} passive\n neighbor {other} advertisement-interval 0\n"
        );
    }
    for afi in Afi::ALL {
        let _ = writeln!(text, " address-family {} unicast", word(afi));
        let _ = writeln!(text, "  neighbor {peer} activate");
        for (other, _) in others(Afi::Ipv4) {
            let _ = writeln!(text, "  neighbor {other} activate");
            if speaker.reflects {
                let _ = writeln!(text, "  neighbor {other} route-reflector-client");
            }
        }
        if speaker.reflects {
            let _ = writeln!(text, "  neighbor {peer} route-reflector-client");
        }
        if speaker.sends_paths {
            let _ = writeln!(text, "  neighbor {peer} addpath-tx-all-paths");
        }
        for route in speaker.announce.iter().filter(|r| afi_of(&r.prefix) == afi) {
            let _ = writeln!(text, "  {}", network(route));
        }
        text += " exit-address-family\n";
    }
    text += "exit\n";
    for route in speaker.announce.iter().filter(|route| route.is_special()) {
        text += &route_map(route);
    }
    text
}

/// What it calls the agent.
fn neighbor(daemon: &Daemon) -> String {
    match daemon.speaker.unnumbered {
        true => "eth0".to_owned(),
        false => daemon.peer().to_string(),
    }
}

fn bfd_config(daemon: &Daemon) -> String {
    let millis = daemon.speaker.bfd_millis.unwrap_or(300);
    format!(
        "hostname peer\nbfd\n profile fast\n  detect-multiplier 3\n  transmit-interval {millis}\n  \
         receive-interval {millis}\n exit\nexit\n"
    )
}

/// The route map of a prefix with attributes.
fn map_name(route: &Announce) -> String {
    format!(
        "M{}",
        route.prefix.to_string().replace([':', '/', '.'], "-")
    )
}

fn network(route: &Announce) -> String {
    let map = route
        .is_special()
        .then(|| format!(" route-map {}", map_name(route)));
    format!("network {}{}", route.prefix, map.unwrap_or_default())
}

fn route_map(route: &Announce) -> String {
    let mut text = format!("route-map {} permit 10\n", map_name(route));
    if let Some(hop) = route.next_hop {
        let verb = match afi_of(&route.prefix) {
            Afi::Ipv4 => "ip next-hop",
            Afi::Ipv6 => "ipv6 next-hop global",
        };
        let _ = writeln!(text, " set {verb} {hop}");
    }
    if let Some(asn) = route.prepend {
        let _ = writeln!(text, " set as-path prepend {asn}");
    }
    if let Some(med) = route.med {
        let _ = writeln!(text, " set metric {med}");
    }
    let names = ["community", "large-community"];
    for (name, all) in names.into_iter().zip(route.communities()) {
        if !all.is_empty() {
            let _ = writeln!(text, " set {name} {}", all.join(" "));
        }
    }
    text + "exit\n"
}

fn vtysh(daemon: &Daemon) -> Command {
    let mut command = Command::new("/usr/bin/vtysh");
    command.arg("--vty_socket").arg(&daemon.directory);
    command.args(["-d", "bgpd"]);
    command
}

fn show(daemon: &Daemon, what: &str) -> Result<Value> {
    daemon.json(vtysh(daemon).args(["-c", what]))
}

pub(super) fn change(daemon: &Daemon, old: &[Announce]) -> Result<()> {
    let (gone, come) = difference(old, &daemon.speaker.announce);
    let mut text = String::new();
    for route in come.iter().filter(|route| route.is_special()) {
        text += &route_map(route);
    }
    let _ = writeln!(text, "router bgp {}", daemon.speaker.asn);
    for afi in Afi::ALL {
        let _ = writeln!(text, "address-family {} unicast", word(afi));
        for (no, routes) in [("no ", &gone), ("", &come)] {
            for route in routes.iter().filter(|r| afi_of(&r.prefix) == afi) {
                let _ = writeln!(text, "{no}{}", network(route));
            }
        }
        text += "exit-address-family\n";
    }
    text += "exit\n";
    for route in gone.iter().filter(|route| route.is_special()) {
        let _ = writeln!(text, "no route-map {}", map_name(route));
    }
    let file = daemon.write("change.conf", &text)?;
    let said = daemon.text(vtysh(daemon).arg("-f").arg(file))?;
    anyhow::ensure!(!said.contains('%'), "{said}");
    Ok(())
}

pub(super) fn refresh(daemon: &Daemon) -> Result<()> {
    for afi in Afi::ALL {
        let clear = format!(
            "clear bgp {} unicast {} soft in",
            word(afi),
            neighbor(daemon)
        );
        daemon.text(vtysh(daemon).args(["-c", &clear]))?;
    }
    Ok(())
}

pub(super) fn change_password(daemon: &Daemon, password: &str) -> Result<()> {
    let mut command = vtysh(daemon);
    command.args(["-c", "configure terminal"]);
    command.args(["-c", &format!("router bgp {}", daemon.speaker.asn)]);
    let change = format!("neighbor {} password {password}", daemon.peer());
    command.args(["-c", &change]);
    daemon.text(&mut command).map(|_| ())
}

pub(super) fn shutdown(daemon: &Daemon, words: &str) -> Command {
    let mut command = vtysh(daemon);
    command.args(["-c", "configure terminal"]);
    command.args(["-c", &format!("router bgp {}", daemon.speaker.asn)]);
    let shutdown = format!("neighbor {} shutdown message {words}", neighbor(daemon));
    command.args(["-c", &shutdown]);
    command
}

pub(super) fn is_up(daemon: &Daemon) -> Result<bool> {
    let peer = neighbor(daemon);
    let said = show(daemon, &format!("show bgp neighbors {peer} json"))?;
    Ok(said[&peer]["bgpState"] == "Established")
}

fn learned(daemon: &Daemon, afi: Afi) -> Result<Vec<String>> {
    let said = show(daemon, &format!("show bgp {} unicast json", word(afi)))?;
    let from_peer = |paths: &Value| {
        let peer = daemon.peer().to_string();
        let mut paths = paths.as_array().into_iter().flatten();
        paths.any(|path| path["peerId"] == peer.as_str())
    };
    let routes = said["routes"].as_object().into_iter().flatten();
    let ours = routes.filter(|(_, paths)| from_peer(paths));
    Ok(ours.map(|(prefix, _)| prefix.clone()).collect())
}

pub(super) fn count(daemon: &Daemon) -> Result<usize> {
    Ok(learned(daemon, Afi::Ipv4)?.len() + learned(daemon, Afi::Ipv6)?.len())
}

pub(super) fn is_bfd_up(daemon: &Daemon) -> Result<bool> {
    let mut command = Command::new("/usr/bin/vtysh");
    command.arg("--vty_socket").arg(&daemon.directory);
    let said = daemon.json(command.args(["-d", "bfdd", "-c", "show bfd peers json"]))?;
    let mut all = said.as_array().into_iter().flatten();
    Ok(all.any(|session| session["status"] == "up"))
}

pub(super) fn table(daemon: &Daemon) -> Result<Table> {
    let peer = daemon.peer().to_string();
    let mut table = Table::new();
    for afi in Afi::ALL {
        for prefix in learned(daemon, afi)? {
            let said = show(
                daemon,
                &format!("show bgp {} unicast {prefix} json", word(afi)),
            )?;
            let paths = said["paths"].as_array().into_iter().flatten();
            let ours = paths.filter(|path| path["peer"]["peerId"] == peer.as_str());
            add(&mut table, prefix.parse()?, ours.map(seen));
        }
    }
    Ok(table)
}

fn seen(path: &Value) -> Seen {
    let words = |value: &Value| {
        let text = value["string"].as_str().unwrap_or_default();
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let hops = path["nexthops"].as_array().into_iter().flatten();
    let mut seen = Seen {
        next_hop: hops
            .filter(|hop| hop["scope"] != "link-local")
            .find_map(|hop| hop["ip"].as_str()?.parse().ok()),
        as_path: path["aspath"]["string"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        med: u32_of(&path["metric"]).or_else(|| u32_of(&path["med"])),
        local_pref: u32_of(&path["locPrf"]),
        only_to_customer: u32_of(&path["otc"]),
        ..Seen::default()
    };
    if seen.as_path == "Local" {
        seen.as_path.clear();
    }
    let number = |word: String| match word.as_str() {
        "graceful-shutdown" => "65535:0".to_owned(),
        "llgr-stale" => "65535:6".to_owned(),
        _ => word,
    };
    let communities = words(&path["community"]);
    seen.communities.extend(communities.into_iter().map(number));
    seen.communities.extend(words(&path["largeCommunity"]));
    seen
}
