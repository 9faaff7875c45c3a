//! Elements of services, as the machine of the data plane makes them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dunlin_dataplane::proxy::{Batch, Element, Forget, FrontendSet, Op, block, random_slots};
use dunlin_kernel::nft::proxy::ProxyTables;
use dunlin_net::service::{Frontend, Protocol, View};

use super::world::near;

pub fn frontend(addr: &str, protocol: Protocol, port: u16) -> Frontend {
    Frontend {
        addr: addr.parse().unwrap(),
        protocol,
        port,
    }
}

pub fn add(elements: &[Element]) -> Vec<Op> {
    elements.iter().copied().map(Op::Add).collect()
}

pub fn remove(elements: &[Element]) -> Vec<Op> {
    elements.iter().copied().map(Op::Remove).collect()
}

/// A frontend and its endpoints for one view.
#[derive(Clone, Debug)]
pub struct Balanced {
    frontend: Frontend,
    view: View,
    endpoints: Vec<SocketAddr>,
    slots: Option<u32>,
    secs: Option<u32>,
}

impl Balanced {
    pub fn new(frontend: Frontend, endpoints: &[impl ToString]) -> Balanced {
        let parse = |endpoint: &dyn ToString| endpoint.to_string().parse().unwrap();
        Balanced {
            frontend,
            view: View::Inside,
            endpoints: endpoints.iter().map(|one| parse(one)).collect(),
            slots: None,
            secs: None,
        }
    }

    pub fn view(self, view: View) -> Balanced {
        Balanced { view, ..self }
    }

    /// By hash, with the endpoints in turn in so many slots.
    pub fn hashed(self, slots: u32) -> Balanced {
        Balanced {
            slots: Some(slots),
            ..self
        }
    }

    pub fn sticky(self, secs: u32) -> Balanced {
        Balanced {
            secs: Some(secs),
            ..self
        }
    }

    pub fn elements(&self) -> Vec<Element> {
        let (frontend, view) = (self.frontend, self.view);
        let count = u32::try_from(self.endpoints.len()).unwrap();
        let (set, slots) = match self.slots {
            Some(slots) => (FrontendSet::Hashed { view, slots }, slots),
            None => {
                let slots = random_slots(self.endpoints.len());
                (FrontendSet::Random { view, slots }, count)
            }
        };
        let mut sets = vec![set];
        sets.extend(self.secs.map(|secs| FrontendSet::Sticky { secs }));
        let member = |set| Element::Member { set, frontend };
        let endpoints = self.endpoints.iter().cycle();
        let slot = |(slot, to): (u32, &SocketAddr)| Element::Slot {
            view,
            frontend,
            slot,
            to: *to,
        };
        sets.into_iter()
            .map(member)
            .chain((0..slots).zip(endpoints).map(slot))
            .collect()
    }
}

pub fn at(addr: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr.parse().unwrap(), port)
}

/// The blocks of addresses that the elements' frontends are in.
pub fn blocks(elements: &[Element]) -> Vec<Element> {
    let of = |element: &Element| match element {
        Element::Member { frontend, .. }
        | Element::Slot { frontend, .. }
        | Element::Allowed { frontend, .. } => Some(Element::Served(block(frontend.addr))),
        Element::Hairpin(_) | Element::Near(_) | Element::Served(_) => None,
    };
    let blocks: BTreeSet<Element> = elements.iter().filter_map(of).collect();
    blocks.into_iter().collect()
}

/// Tables that know what is near, and these elements.
pub fn tables(elements: &[Element]) -> ProxyTables {
    let mut tables = ProxyTables::open().unwrap();
    let mut ops = add(&near());
    ops.extend(add(&blocks(elements)));
    ops.extend(add(elements));
    change(&mut tables, true, ops, &[]);
    tables
}

pub fn change(tables: &mut ProxyTables, rebuild: bool, ops: Vec<Op>, forget: &[Forget]) {
    let done = tables.apply(&Batch {
        number: 1,
        rebuild,
        ops,
        forget: forget.to_vec(),
    });
    assert_eq!(done.result, Ok(()));
    assert_eq!(done.forgotten, Ok(()));
}

/// The operations that lead from some elements to others.
pub fn difference(from: &[Element], to: &[Element]) -> Vec<Op> {
    let only = |these: &[Element], those: &[Element]| -> Vec<Element> {
        let these = these.iter().filter(|element| !those.contains(element));
        these.copied().collect()
    };
    let mut ops = remove(&only(from, to));
    ops.extend(add(&only(to, from)));
    ops
}
