//! Service proxies by IPVS: an interface that holds the services' addresses, virtual servers, and IP sets.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use dunlin_dataplane::links::Link;

use super::{Means, Removed, tools};
use crate::Error;
use crate::netlink::{ACK, Header, MessageBuf, REQUEST, Socket};
use crate::rtnl::Reader;

/// kube-proxy's and kube-router's.
const LINKS: [&str; 2] = ["kube-ipvs0", "kube-dummy-if"];
/// The beginnings of the names of IP sets; `inet6:` and `KUBE-6-` are those of IPv6.
const SETS: [&str; 8] = [
    "KUBE-LOOP-BACK",
    "KUBE-CLUSTER-IP",
    "KUBE-EXTERNAL-IP",
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT-",
    "KUBE-HEALTH-CHECK-NODE-PORT",
    "KUBE-IPVS-IPS",
    "kube-router-svip",
];
/// Where Kubernetes gives out node ports unless told otherwise.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;
const RTM_DELLINK: u16 = 17;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Ipvs {
    links: Vec<Link>,
    /// `-t`, `-u` or `--sctp-service`, and address with port.
    servers: Vec<(String, String)>,
    sets: Vec<String>,
    left: Vec<String>,
}

/// The interface of such a proxy.
pub(super) fn link() -> Result<Option<Link>, Error> {
    Ok(links()?.into_iter().next())
}

fn links() -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    Reader::open()?.links(|link| {
        if LINKS.contains(&link.name.as_str()) {
            links.push(link);
        }
    })?;
    Ok(links)
}

impl Ipvs {
    pub(super) fn find(means: Means) -> Result<Ipvs, Error> {
        let links = links()?;
        let mut found = Ipvs {
            links,
            ..Ipvs::default()
        };
        if found.links.is_empty() {
            return Ok(found);
        }
        let (mut theirs, mut own) = (BTreeSet::new(), BTreeSet::new());
        Reader::open()?.addresses(|address| {
            let of_theirs = found
                .links
                .iter()
                .any(|link| link.ifindex == address.ifindex);
            let set = if of_theirs { &mut theirs } else { &mut own };
            set.insert(address.local);
        })?;
        let program = |program: &str, args: &[&str]| match means {
            Means::Netlink => None,
            Means::Programs => tools::run(program, args, "").ok(),
        };
        let in_kernel = std::fs::read_to_string("/proc/thread-self/net/ip_vs");
        let in_kernel = in_kernel.is_ok_and(|text| has_servers(&text));
        match program("ipvsadm", &["-S", "-n"]) {
            Some(text) => {
                let (servers, others) = servers(&text, &theirs, &own);
                found.servers = servers;
                found.left.extend(others);
            }
            None if in_kernel => found.left.push(
                "virtual servers of IPVS: `ipvsadm -C` removes all there are, or `kube-proxy --cleanup`, \
                 `kube-router --cleanup-config`"
                    .to_owned(),
            ),
            None => {}
        }
        match program("ipset", &["list", "-n"]) {
            Some(text) => found.sets = text.lines().filter(|n| is_set(n)).map(Into::into).collect(),
            None => found.left.push(
                "IP sets, if there are any: they do no harm; `ipset destroy` removes them, where it is installed"
                    .to_owned(),
            ),
        }
        Ok(found)
    }

    pub(super) fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.servers.is_empty() {
            lines.push(format!(
                "{} virtual servers of IPVS; connections through them break",
                self.servers.len()
            ));
        }
        let links = self.links.iter();
        lines.extend(links.map(|link| format!("the interface {} with its addresses", link.name)));
        if !self.sets.is_empty() {
            lines.push(format!("{} IP sets", self.sets.len()));
        }
        lines
    }

    pub(super) fn left(&self) -> Vec<String> {
        self.left.clone()
    }

    /// The interface last: by its addresses the virtual servers are known.
    pub(super) fn remove(&self, done: &mut Removed) {
        let mut failed = Vec::new();
        for (kind, at) in &self.servers {
            if let Err(error) = tools::run("ipvsadm", &["-D", kind, at], "") {
                failed.push(format!("the virtual server {at} of IPVS: {error}"));
            }
        }
        for set in &self.sets {
            if let Err(error) = tools::run("ipset", &["destroy", set], "") {
                failed.push(format!("the IP set {set}: {error}"));
            }
        }
        for link in &self.links {
            if let Err(error) = delete_link(link.ifindex) {
                failed.push(format!("the interface {}: {error}", link.name));
            }
        }
        if failed.is_empty() {
            done.removed.extend(self.describe());
        } else {
            done.problems.extend(failed);
        }
    }
}

/// Lines of `/proc/net/ip_vs` that name a server begin with its protocol.
fn has_servers(text: &str) -> bool {
    let kinds = ["TCP ", "UDP ", "SCTP ", "FWM "];
    text.lines()
        .any(|line| kinds.iter().any(|kind| line.starts_with(kind)))
}

/// The servers at addresses of theirs or at node ports, and what else there is, for people.
fn servers(
    text: &str,
    theirs: &BTreeSet<IpAddr>,
    own: &BTreeSet<IpAddr>,
) -> (Vec<(String, String)>, Vec<String>) {
    let (mut servers, mut others) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("-A ") else {
            continue;
        };
        let mut words = rest.split(' ');
        let (Some(kind), Some(at)) = (words.next(), words.next()) else {
            continue;
        };
        let is_theirs = at.parse().is_ok_and(|at: SocketAddr| {
            theirs.contains(&at.ip()) || own.contains(&at.ip()) && NODE_PORTS.contains(&at.port())
        });
        if is_theirs {
            servers.push((kind.to_owned(), at.to_owned()));
        } else {
            others.push(format!(
                "the virtual server {kind} {at} of IPVS: it is at no address of a service or node port"
            ));
        }
    }
    (servers, others)
}

fn is_set(name: &str) -> bool {
    let name = name.strip_prefix("inet6:").unwrap_or(name);
    let plain = name.replacen("KUBE-6-", "KUBE-", 1);
    SETS.iter().any(|set| plain.starts_with(set)) || name == "kube-router-local-ips"
}

fn delete_link(ifindex: u32) -> Result<(), Error> {
    let mut socket = Socket::open(libc::NETLINK_ROUTE)?;
    let seq = socket.take_seqs(1);
    let mut request = MessageBuf::new();
    let header = Header {
        kind: RTM_DELLINK,
        flags: REQUEST | ACK,
        seq,
    };
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    request.message(header, &fixed, |_| {});
    socket.request("deleting the interface", &request, seq)
}

#[cfg(test)]
mod tests;
