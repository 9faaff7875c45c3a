//! What the kernel holds of services on this machine, read from it: an agent need not run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use dunlin_dataplane::mark::NFT_PROXY_TABLE;
use dunlin_dataplane::proxy::{Element, Found, FrontendSet, block, names};
use dunlin_kernel::nft::proxy::ProxyTables;
use dunlin_net::IpNet;
use dunlin_net::service::{Frontend, View};
use serde::Serialize;

use crate::connections::FRONTENDS_MAX;

/// The tables of services of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTables {
    /// There is a table with our name.
    pub present: bool,
    /// Both are there, with exactly the chains, rules and sets that this version makes; else nothing of what is in them is
    /// told.
    pub intact: bool,
    /// How many elements they hold, without those that packets add.
    pub elements: usize,
    /// Where what is inside comes from: this node and its pods.
    pub near: Vec<IpNet>,
    /// The blocks of addresses in which there are frontends; destinations elsewhere are looked at no further.
    pub served: BTreeSet<IpNet>,
    /// How many pods of this node are endpoints, and may reach themselves.
    pub hairpins: usize,
    /// By address, protocol and port.
    #[serde(skip)]
    pub frontends: BTreeMap<Frontend, TableFrontend>,
}

/// What the tables hold of one frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableFrontend {
    /// For connections from this node and its pods, and from elsewhere where `outside` is not there.
    pub inside: Option<TableTreatment>,
    /// For connections from elsewhere.
    pub outside: Option<TableTreatment>,
    /// For so long clients come back to their endpoint, seconds.
    pub affinity_secs: Option<u32>,
    /// The only sources from elsewhere.
    pub sources: Option<Vec<IpNet>>,
    /// How many connections to it have begun, where the kernel counts them.
    pub connections: Option<u64>,
    /// What does not fit together.
    pub faults: Vec<String>,
    /// As `nft get element` takes them, with the family and the table before.
    pub elements: Vec<String>,
}

/// What becomes of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "PascalCase")]
pub enum TableTreatment {
    /// They go to one of these.
    #[serde(rename_all = "camelCase")]
    Balance {
        /// The set that has the frontend.
        set: String,
        /// How many slots it chooses out of.
        slots: u32,
        /// By a hash of the client's address and port, not at random.
        hashed: bool,
        /// The endpoints, ascending.
        endpoints: Vec<TableEndpoint>,
    },
    /// They are refused.
    Reject,
    /// They are dropped.
    Drop,
}

/// An endpoint that connections may go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableEndpoint {
    /// Where it is reached.
    pub endpoint: SocketAddr,
    /// How many slots it has.
    pub slots: u32,
}

/// Reads the tables of this network namespace.
///
/// # Errors
/// If the kernel does not let us read.
pub fn read() -> Result<ServiceTables> {
    const WHAT: &str = "cannot read the nf_tables tables of services (root, or CAP_NET_ADMIN in this network namespace, can)";
    let mut tables = ProxyTables::open().context(WHAT)?;
    let mut read = grouped(tables.read().context(WHAT)?);
    if read.intact
        && let Some(counted) = tables.connections(FRONTENDS_MAX).context(WHAT)?
    {
        for (frontend, n) in counted {
            if let Some(of) = read.frontends.get_mut(&frontend) {
                of.connections = Some(n);
            }
        }
    }
    Ok(read)
}

#[derive(Default)]
struct Parts {
    sets: Vec<FrontendSet>,
    inside: BTreeMap<SocketAddr, u32>,
    outside: BTreeMap<SocketAddr, u32>,
    sources: Vec<IpNet>,
    elements: Vec<String>,
}

fn grouped(found: Found) -> ServiceTables {
    let mut tables = ServiceTables {
        present: found.present,
        intact: found.intact,
        elements: found.elements.len(),
        ..ServiceTables::default()
    };
    let mut elements = found.elements;
    elements.sort_unstable();
    let mut parts: BTreeMap<Frontend, Parts> = BTreeMap::new();
    for element in elements {
        let (family, table) = (names::family(element.afi()), NFT_PROXY_TABLE);
        let text = format!("{family} {table} {element}");
        let frontend = match element {
            Element::Near(net) => {
                tables.near.push(net);
                continue;
            }
            Element::Served(block) => {
                tables.served.insert(block);
                continue;
            }
            Element::Hairpin(_) => {
                tables.hairpins += 1;
                continue;
            }
            Element::Member { frontend, .. }
            | Element::Slot { frontend, .. }
            | Element::Allowed { frontend, .. } => frontend,
        };
        let of = parts.entry(frontend).or_default();
        match element {
            Element::Member { set, .. } => of.sets.push(set),
            Element::Allowed { source, .. } => of.sources.push(source),
            Element::Slot { view, to, .. } => {
                let slots = match view {
                    View::Inside => &mut of.inside,
                    View::Outside => &mut of.outside,
                };
                *slots.entry(to).or_default() += 1;
            }
            Element::Near(_) | Element::Served(_) | Element::Hairpin(_) => {}
        }
        of.elements.push(text);
    }
    for (at, mut of) in parts {
        let block = block(at.addr);
        let served = tables.served.contains(&block);
        if served {
            let family = names::family(at.afi());
            let text = format!("{family} {NFT_PROXY_TABLE} {}", Element::Served(block));
            of.elements.insert(0, text);
        }
        tables.frontends.insert(at, of.summed_up(served));
    }
    tables
}

impl Parts {
    fn has(&self, set: FrontendSet) -> bool {
        self.sets.contains(&set)
    }

    fn summed_up(self, served: bool) -> TableFrontend {
        let mut faults = Vec::new();
        if !served {
            let fault = "its block of addresses is not among the served: it is not looked up";
            faults.push(fault.to_owned());
        }
        let refused = self.has(FrontendSet::Refused);
        let inside = self.treatment(View::Inside, &mut faults);
        let inside = inside.or(refused.then_some(TableTreatment::Reject));
        if inside.is_none() {
            faults.push("in no set that says what becomes of its connections".to_owned());
        }
        let affinity_secs = self.sets.iter().find_map(|set| match set {
            FrontendSet::Sticky { secs } => Some(*secs),
            _ => None,
        });
        TableFrontend {
            inside,
            outside: self.treatment(View::Outside, &mut faults),
            affinity_secs,
            sources: match self.has(FrontendSet::Guarded) {
                true => Some(self.sources),
                false => None,
            },
            connections: None,
            faults,
            elements: self.elements,
        }
    }

    /// What the sets of a view say by themselves.
    fn treatment(&self, view: View, faults: &mut Vec<String>) -> Option<TableTreatment> {
        if self.has(FrontendSet::Dropped { view }) {
            return Some(TableTreatment::Drop);
        }
        let (set, slots, hashed) = self.sets.iter().find_map(|set| match *set {
            FrontendSet::Random { view: of, slots } if of == view => {
                Some((set.to_string(), slots, false))
            }
            FrontendSet::Hashed { view: of, slots } if of == view => {
                Some((set.to_string(), slots, true))
            }
            _ => None,
        })?;
        let endpoints = match view {
            View::Inside => &self.inside,
            View::Outside => &self.outside,
        };
        if endpoints.is_empty() {
            faults.push(format!(
                "in {set}, and {} has no slot of it: its connections go nowhere",
                names::slots_map(view)
            ));
        }
        Some(TableTreatment::Balance {
            set,
            slots,
            hashed,
            endpoints: endpoints
                .iter()
                .map(|(to, n)| TableEndpoint {
                    endpoint: *to,
                    slots: *n,
                })
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests;
