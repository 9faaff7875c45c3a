//! ExaBGP. It keeps no table of what it is told: a helper process writes down its events, and what is left of them is made here.

use std::cell::RefMut;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use dunlin_lab::process::ProcessId;
use dunlin_net::Afi;
use ipnet::IpNet;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use super::{Daemon, add, afi_of, difference, u32_of, word};
use crate::check::{Seen, Table, until_ok};
use crate::scenario::Announce;

/// Prefixes of one command.
const AT_ONCE: usize = 1000;

/// What stands for a number of four octets (RFC 6793).
const AS_TRANS: u32 = 23456;

/// Only to Customer (RFC 9234), which it does not know by name: as it writes its key, and as it is told to send it.
const ONLY_TO_CUSTOMER: &str = "attribute-0x23-0xE0";
const SEND_ONLY_TO_CUSTOMER: &str = "0x23 0xc0";

/// What it has told since its last start.
#[derive(Default)]
pub(super) struct Heard {
    /// How much of the file was read.
    offset: u64,
    /// A line whose end was not there yet.
    partial: Vec<u8>,
    up: bool,
    /// By prefix and path identifier.
    routes: BTreeMap<(IpNet, String), Seen>,
    /// Commands done.
    done: usize,
    /// Commands that it did not take.
    refused: usize,
}

pub(super) fn start(daemon: &Daemon) -> Result<ProcessId> {
    let file = daemon.write("exabgp.conf", &config(daemon))?;
    daemon.write("helper.py", include_str!("exabgp/helper.py"))?;
    // The helper of the time before may still be there, with these open.
    for name in ["commands", "events"] {
        let _ = fs::remove_file(daemon.path(name));
    }
    let fifo = daemon.path("commands");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    *daemon.heard.borrow_mut() = Heard::default();
    let mut command = daemon.netns.command("/usr/sbin/exabgp");
    command.arg(file);
    command.args(["--env", "/dev/null"]);
    for (name, value) in [
        ("daemon.user", "root"),
        ("api.cli", "false"),
        ("log.level", "INFO"),
        ("tcp.bind", &daemon.local().to_string()),
    ] {
        command.env(format!("exabgp.{name}"), value);
    }
    daemon.launch(&mut command)
}

fn config(daemon: &Daemon) -> String {
    let speaker = &daemon.speaker;
    let path = |name: &str| daemon.path(name).display().to_string();
    // Without numbers of four octets it goes by what stands in the OPEN alone.
    let peer_asn = match u16::try_from(speaker.peer_asn) {
        Err(_) if speaker.two_octet => AS_TRANS,
        _ => speaker.peer_asn,
    };
    let mut text = format!(
        "process heard {{\n  run /usr/bin/python3 {} {} {};\n  encoder json;\n}}\n\
         neighbor {} {{\n  local-address {};\n  router-id {};\n  local-as {};\n  peer-as {};\n  hold-time {};\n  \
         passive {};\n",
        path("helper.py"),
        path("commands"),
        path("events"),
        daemon.peer(),
        daemon.local(),
        daemon.router_id(),
        speaker.asn,
        peer_asn,
        speaker.hold_secs,
        speaker.passive,
    );
    if let Some(password) = &speaker.password {
        let _ = writeln!(text, "  md5-password '{password}';");
    }
    if speaker.ttl_security {
        // Who listens by `tcp.bind` alone takes anything.
        text += "  outgoing-ttl 255;\n  incoming-ttl 255;\n  listen 179;\n";
    }
    text += "  family { ipv4 unicast; ipv6 unicast; }\n";
    if speaker.extended_next_hop {
        text += "  nexthop { ipv4 unicast ipv6; }\n";
    }
    text += "  capability {\n    route-refresh enable;\n";
    let _ = writeln!(
        text,
        "    asn4 {};",
        if speaker.two_octet {
            "disable"
        } else {
            "enable"
        }
    );
    if let Some(secs) = speaker.graceful_restart_secs {
        let _ = writeln!(text, "    graceful-restart {secs};");
    }
    match (speaker.sends_paths, speaker.takes_paths) {
        (true, true) => text += "    add-path send/receive;\n",
        (true, false) => text += "    add-path send;\n",
        (false, true) => text += "    add-path receive;\n",
        (false, false) => {}
    }
    text += "  }\n  api { processes [ heard ]; neighbor-changes; receive { parsed; update; } }\n  static {\n";
    for (at, route) in speaker.announce.iter().enumerate() {
        let attributes = attributes(daemon, route);
        // Several of one prefix differ in this.
        let path = speaker
            .sends_paths
            .then(|| format!(" path-information 0.0.0.{}", at + 1));
        let path = path.unwrap_or_default();
        let _ = writeln!(text, "    route {}{path} {attributes};", route.prefix);
    }
    text + "  }\n}\n"
}

/// All that it says of a prefix.
fn attributes(daemon: &Daemon, route: &Announce) -> String {
    let speaker = &daemon.speaker;
    let afi = afi_of(&route.prefix);
    let own = if speaker.extended_next_hop {
        speaker.over
    } else {
        afi
    };
    let hop = route.next_hop.unwrap_or(Daemon::own(own));
    let mut text = format!("next-hop {hop}");
    if let Some(asn) = route.prepend {
        // The whole path: it puts nothing before one that it is given.
        let _ = write!(text, " as-path [ {} {asn} ]", speaker.asn);
    }
    if let Some(med) = route.med {
        let _ = write!(text, " med {med}");
    }
    let names = ["community", "large-community"];
    for (name, all) in names.into_iter().zip(route.communities()) {
        if !all.is_empty() {
            let _ = write!(text, " {name} [ {} ]", all.join(" "));
        }
    }
    if let Some(asn) = route.only_to_customer {
        let _ = write!(text, " attribute [ {SEND_ONLY_TO_CUSTOMER} 0x{asn:08x} ]");
    }
    text
}

/// Has it read its configuration anew.
pub(super) fn reload(daemon: &Daemon) -> Result<()> {
    daemon.write("exabgp.conf", &config(daemon))?;
    let process = daemon.process().context("it was not started")?;
    ensure!(process.signal(Signal::USR1), "it does not run");
    Ok(())
}

pub(super) fn change(daemon: &Daemon, old: &[Announce], new: &[Announce]) -> Result<()> {
    let (gone, come) = difference(old, new);
    let mut commands = Vec::new();
    for (verb, routes) in [("withdraw", gone), ("announce", come)] {
        let mut alike: BTreeMap<(Afi, String), Vec<String>> = BTreeMap::new();
        for route in routes {
            let key = (afi_of(&route.prefix), attributes(daemon, route));
            alike.entry(key).or_default().push(route.prefix.to_string());
        }
        for ((_, attributes), prefixes) in alike {
            let parts = prefixes.chunks(AT_ONCE);
            commands.extend(parts.map(|part| {
                let part = part.join(" ");
                format!("{verb} attributes {attributes} nlri {part}")
            }));
        }
    }
    command(daemon, &commands)
}

pub(super) fn refresh(daemon: &Daemon) -> Result<()> {
    command(
        daemon,
        &Afi::ALL.map(|afi| format!("announce route-refresh {} unicast", word(afi))),
    )
}

/// Gives it commands, and waits until it has done them all.
fn command(daemon: &Daemon, commands: &[String]) -> Result<()> {
    let (done, refused) = {
        let heard = hear(daemon)?;
        (heard.done + commands.len(), heard.refused)
    };
    // Read and write: to open it waits for nobody then.
    let mut options = OpenOptions::new();
    let mut fifo = (options.read(true).write(true)).open(daemon.path("commands"))?;
    for command in commands {
        writeln!(fifo, "{command}")?;
    }
    until_ok(|| {
        let heard = hear(daemon)?;
        ensure!(heard.done >= done, "{} of {done} are done", heard.done);
        Ok(())
    })
    .and_then(|()| {
        ensure!(hear(daemon)?.refused == refused, "it refuses a command");
        Ok(())
    })
}

pub(super) fn is_up(daemon: &Daemon) -> Result<bool> {
    Ok(hear(daemon)?.up)
}

pub(super) fn table(daemon: &Daemon) -> Result<Table> {
    let mut table = Table::new();
    for ((prefix, _), seen) in &hear(daemon)?.routes {
        add(&mut table, *prefix, std::iter::once(seen.clone()));
    }
    Ok(table)
}

/// All it has told up to now.
fn hear(daemon: &Daemon) -> Result<RefMut<'_, Heard>> {
    // The helper makes the file when it begins.
    let mut file = File::open(daemon.path("events")).context("no helper yet")?;
    let mut heard = daemon.heard.borrow_mut();
    file.seek(SeekFrom::Start(heard.offset))?;
    let mut octets = std::mem::take(&mut heard.partial);
    heard.offset += file.read_to_end(&mut octets)? as u64;
    let mut lines = octets.split(|octet| *octet == b'\n');
    heard.partial = lines.next_back().unwrap_or_default().to_owned();
    for line in lines {
        let line = str::from_utf8(line)?;
        heard
            .line(line)
            .with_context(|| format!("it told {line:.300}"))?;
    }
    Ok(heard)
}

impl Heard {
    fn line(&mut self, line: &str) -> Result<()> {
        match line {
            "done" => self.done += 1,
            "error" => (self.done, self.refused) = (self.done + 1, self.refused + 1),
            event => {
                let event: Value = serde_json::from_str(event)?;
                let neighbor = &event["neighbor"];
                match event["type"].as_str() {
                    Some("state") => {
                        self.up = neighbor["state"] == "up";
                        self.routes.clear();
                    }
                    Some("update") => self.update(&neighbor["message"]["update"])?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, update: &Value) -> Result<()> {
        for (_, prefixes) in fields(&update["withdraw"]) {
            for key in keys(prefixes) {
                self.routes.remove(&key?);
            }
        }
        for (_, by_hop) in fields(&update["announce"]) {
            let several = fields(by_hop).count() > 1;
            for (hop, prefixes) in fields(by_hop) {
                // It counts a link-local address that stands beside another for one more next hop.
                if several && hop.starts_with("fe80:") {
                    continue;
                }
                let seen = seen(&update["attribute"], hop.parse().ok());
                for key in keys(prefixes) {
                    self.routes.insert(key?, seen.clone());
                }
            }
        }
        Ok(())
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn keys(prefixes: &Value) -> impl Iterator<Item = Result<(IpNet, String)>> {
    elements(prefixes).map(|one| {
        let prefix = one["nlri"].as_str().context("a prefix")?.parse()?;
        let path = one["path-information"].as_str().unwrap_or_default();
        Ok((prefix, path.to_owned()))
    })
}

fn seen(attributes: &Value, next_hop: Option<IpAddr>) -> Seen {
    let joined = |value: &Value, by: &str| {
        let all: Vec<String> = elements(value).map(Value::to_string).collect();
        all.join(by)
    };
    let communities = ["community", "large-community"].map(|name| &attributes[name]);
    let mark = attributes[ONLY_TO_CUSTOMER].as_str();
    Seen {
        next_hop,
        as_path: joined(&attributes["as-path"], " "),
        med: u32_of(&attributes["med"]),
        local_pref: u32_of(&attributes["local-preference"]),
        communities: (communities.into_iter().flat_map(elements))
            .map(|one| joined(one, ":"))
            .collect(),
        only_to_customer: mark
            .and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()),
        ..Seen::default()
    }
}
