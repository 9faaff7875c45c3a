//! Rules of the older `iptables`, which nf_tables does not show. Whether a chain is there is asked of the kernel itself;
//! what its rules are, and changes, are left to the program that owns the format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use dunlin_net::Afi;

use super::chains::{Chain, Id, Plan, Rule, Rules};
use super::{FIRST_CHAIN, Means, tools};
use crate::Error;

/// `struct ipt_getinfo`, the same in both families: a name of 32 octets, 12 numbers, the size of the entries.
const INFO_LEN: usize = 84;
const INFO_SIZE: usize = 80;
/// `struct ipt_get_entries` without the entries: the name, their size, and what aligns them.
const ENTRIES_LEN: usize = 40;
const NAME_LEN: usize = 32;
/// `IPT_SO_GET_INFO`, `IP6T_SO_GET_INFO`.
const GET_INFO: libc::c_int = 64;
/// `IPT_SO_GET_ENTRIES`, `IP6T_SO_GET_ENTRIES`.
const GET_ENTRIES: libc::c_int = 65;
/// How often a table that changes while it is read is read again.
const ATTEMPTS: usize = 5;

pub(super) fn program(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "iptables-legacy",
        Afi::Ipv6 => "ip6tables-legacy",
    }
}

/// Whether a table is in use. Asking for one that is not would make it.
fn in_use(afi: Afi, table: &str) -> bool {
    let names = match afi {
        Afi::Ipv4 => "/proc/thread-self/net/ip_tables_names",
        Afi::Ipv6 => "/proc/thread-self/net/ip6_tables_names",
    };
    std::fs::read_to_string(names).is_ok_and(|names| names.lines().any(|name| name == table))
}

/// Whether there is such a chain: it begins with an entry that names it.
pub(super) fn has_chain(afi: Afi, table: &str, chain: &str) -> Result<bool, Error> {
    if !in_use(afi, table) {
        return Ok(false);
    }
    let entries = entries(afi, table).map_err(|source| Error::Socket {
        what: "reading the rules of iptables-legacy",
        source,
    })?;
    let name = [chain.as_bytes(), &[0]].concat();
    Ok(entries.windows(name.len()).any(|octets| octets == name))
}

fn entries(afi: Afi, table: &str) -> io::Result<Vec<u8>> {
    let (any, level): (SocketAddr, _) = match afi {
        Afi::Ipv4 => ((Ipv4Addr::UNSPECIFIED, 0).into(), libc::IPPROTO_IP),
        Afi::Ipv6 => ((Ipv6Addr::UNSPECIFIED, 0).into(), libc::IPPROTO_IPV6),
    };
    let socket = UdpSocket::bind(any)?;
    let mut last = io::Error::from(io::ErrorKind::Interrupted);
    for _ in 0..ATTEMPTS {
        let mut info = vec![0; INFO_LEN];
        name_into(&mut info, table);
        get(&socket, level, GET_INFO, &mut info)?;
        let size: [u8; 4] = info[INFO_SIZE..].try_into().unwrap_or_default();
        let len = usize::try_from(u32::from_ne_bytes(size)).unwrap_or(0);
        let mut entries = vec![0; ENTRIES_LEN + len];
        name_into(&mut entries, table);
        entries[NAME_LEN..NAME_LEN + 4].copy_from_slice(&size);
        match get(&socket, level, GET_ENTRIES, &mut entries) {
            Ok(()) => return Ok(entries.split_off(ENTRIES_LEN)),
            // It has changed between the two.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn name_into(request: &mut [u8], table: &str) {
    let name = table.as_bytes();
    let name = name.get(..NAME_LEN - 1).unwrap_or(name);
    request[..name.len()].copy_from_slice(name);
}

fn get(
    socket: &UdpSocket,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<()> {
    let mut len = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer and length are those of a live buffer, which the kernel fills no further.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The names of the older programs: `-legacy`, or plain where there is no other.
fn programs(afi: Afi, what: &str) -> [String; 2] {
    let plain = match afi {
        Afi::Ipv4 => "iptables",
        Afi::Ipv6 => "ip6tables",
    };
    [format!("{plain}-legacy{what}"), format!("{plain}{what}")]
}

/// The tables' rules. `Err` says, for people, why they could not be read though they are of a service proxy.
pub(super) fn read(afi: Afi, means: Means, tables: &[&'static str]) -> Result<Vec<Rules>, String> {
    let mut used = tables.iter().filter(|table| in_use(afi, table)).peekable();
    if used.peek().is_none() {
        return Ok(Vec::new());
    }
    let saw = |table: &str| has_chain(afi, table, FIRST_CHAIN).unwrap_or(true);
    let save = programs(afi, "-save");
    let save = match means {
        Means::Netlink => None,
        Means::Programs => tools::first(&save.each_ref().map(String::as_str)),
    };
    let Some(save) = save else {
        if !saw("nat") && !saw("filter") {
            return Ok(Vec::new());
        }
        return Err(format!(
            "the chains of {program}: they can be changed by that program only: run `dunlin cleanup --kube-proxy --yes` \
             where it is installed, or `kube-proxy --cleanup`",
            program = program(afi)
        ));
    };
    used.map(|table| {
        let text = tools::run(save, &["-t", table], "");
        let text = text.map_err(|error| format!("the rules of {}: {error}", program(afi)))?;
        Ok(parse(table, &text))
    })
    .collect()
}

/// What `iptables-save` prints of a table.
fn parse(table: &'static str, text: &str) -> Rules {
    let mut chains: BTreeMap<String, Chain> = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split(' ');
            if let (Some(name), Some(policy)) = (words.next(), words.next()) {
                chains.entry(name.to_owned()).or_default().base = policy != "-";
            }
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|r| r.split_once(' '))
        {
            let words = words(rule);
            let after = |flag: &str| {
                let at = words.iter().position(|word| *word == flag)?;
                words.get(at + 1).map(|word| (*word).to_owned())
            };
            let rule = Rule {
                id: Id::Text(rule.to_owned()),
                to: after("-j").or_else(|| after("-g")),
                ipvs: after("-m").is_some() && words.windows(2).any(|w| w == ["-m", "ipvs"]),
            };
            chains.entry(chain.to_owned()).or_default().rules.push(rule);
        }
    }
    Rules { table, chains }
}

/// The words of a rule; what is in quotes is one.
fn words(rule: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, octet) in rule.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b' ' if !quoted => {
                words.push(&rule[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    words.push(&rule[start..]);
    words
}

/// Takes away what is planned, each table at once.
pub(super) fn remove(afi: Afi, plans: &[Plan]) -> Result<(), String> {
    let restore = programs(afi, "-restore");
    let restore = tools::first(&restore.each_ref().map(String::as_str))
        .ok_or_else(|| format!("{}-restore is not installed", program(afi)))?;
    let text = script(plans);
    tools::run(restore, &["-w", "5", "--noflush"], &text)
        .map(drop)
        .map_err(|error| error.to_string())
}

fn script(plans: &[Plan]) -> String {
    let mut text = String::new();
    for plan in plans {
        // To declare a chain empties it.
        let _ = writeln!(text, "*{}", plan.table);
        for chain in &plan.chains {
            let _ = writeln!(text, ":{chain} - [0:0]");
        }
        for (chain, id) in &plan.rules {
            if let Id::Text(rule) = id {
                let _ = writeln!(text, "-D {chain} {rule}");
            }
        }
        for chain in &plan.chains {
            let _ = writeln!(text, "-X {chain}");
        }
        let _ = writeln!(text, "COMMIT");
    }
    text
}

#[cfg(test)]
mod tests;
