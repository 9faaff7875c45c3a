//! Links and addresses as the kernel tells them, and which link leads to a next hop.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use dunlin_net::{IpNet, ScopedAddr};

#[cfg(test)]
mod tests;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index; never 0.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Administratively up and with carrier: packets can leave.
    pub up: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Largest packet, in octets.
    pub mtu: u32,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The link that holds it.
    pub ifindex: u32,
    /// The node's own address.
    pub local: IpAddr,
    /// The network that is on-link through it: the address' subnet, or the far end of a point-to-point link.
    pub on_link: IpNet,
}

/// A link or an address came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A link is there, with these properties.
    Link(Link),
    /// A link is gone, and its addresses with it.
    LinkGone {
        /// Its index.
        ifindex: u32,
    },
    /// An address is there.
    Address(Address),
    /// An address is gone.
    AddressGone(Address),
}

impl LinkEvent {
    /// The link the event is about.
    pub fn ifindex(&self) -> u32 {
        match self {
            LinkEvent::Link(link) => link.ifindex,
            LinkEvent::LinkGone { ifindex } => *ifindex,
            LinkEvent::Address(address) | LinkEvent::AddressGone(address) => address.ifindex,
        }
    }
}

/// What a [`LinkEvent`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Nothing that was not known.
    Nothing,
    /// A name or an MTU: no next hop resolves differently.
    Property,
    /// What next hops resolve to, or whether the kernel kept the routes on the link: tell [`crate::fib::Fib::on_link`]
    /// and resolve next hops again.
    Reachability,
}

/// Why a next hop leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unresolved {
    /// No link of the node has a subnet that contains the address.
    NotOnLink,
    /// The link that leads there is down.
    LinkDown {
        /// Its index.
        ifindex: u32,
    },
    /// The address is one of the node's own.
    OwnAddress,
    /// A link-local, multicast, loopback or unspecified address says nothing without an interface.
    NotAGateway,
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unresolved::NotOnLink => f.write_str("no link has a subnet that contains the next hop"),
            Unresolved::LinkDown { ifindex } => {
                write!(f, "the link to the next hop (index {ifindex}) is down")
            }
            Unresolved::OwnAddress => f.write_str("the next hop is an address of this node"),
            Unresolved::NotAGateway => f.write_str("the next hop is not a usable unicast address"),
        }
    }
}

/// All links and addresses of the node. Bounded by what the kernel holds.
#[derive(Clone, Debug, Default)]
pub struct Links {
    links: BTreeMap<u32, Entry>,
    /// The read-back under way; it replaces `links` when it is complete.
    reading: Option<BTreeMap<u32, Entry>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    link: Link,
    /// Sorted.
    addresses: Vec<Address>,
}

impl Links {
    /// Knows nothing yet.
    pub fn new() -> Links {
        Links::default()
    }

    /// Takes a notification.
    pub fn on_event(&mut self, event: &LinkEvent) -> LinkChange {
        match event {
            LinkEvent::Link(link) => self.on_link(link),
            LinkEvent::LinkGone { ifindex } => match self.links.remove(ifindex) {
                Some(_) => LinkChange::Reachability,
                None => LinkChange::Nothing,
            },
            LinkEvent::Address(address) => {
                let Some(entry) = self.links.get_mut(&address.ifindex) else {
                    return LinkChange::Nothing;
                };
                insert(&mut entry.addresses, address)
            }
            LinkEvent::AddressGone(address) => {
                let Some(entry) = self.links.get_mut(&address.ifindex) else {
                    return LinkChange::Nothing;
                };
                match entry.addresses.binary_search(address) {
                    Ok(at) => {
                        entry.addresses.remove(at);
                        LinkChange::Reachability
                    }
                    Err(_) => LinkChange::Nothing,
                }
            }
        }
    }

    fn on_link(&mut self, link: &Link) -> LinkChange {
        let Some(entry) = self.links.get_mut(&link.ifindex) else {
            let entry = Entry {
                link: link.clone(),
                addresses: Vec::new(),
            };
            self.links.insert(link.ifindex, entry);
            return LinkChange::Reachability;
        };
        if entry.link == *link {
            return LinkChange::Nothing;
        }
        let reachability = entry.link.up != link.up || entry.link.loopback != link.loopback;
        entry.link = link.clone();
        if reachability {
            LinkChange::Reachability
        } else {
            LinkChange::Property
        }
    }

    /// A read-back starts.
    pub fn on_dump_begin(&mut self) {
        self.reading = Some(BTreeMap::new());
    }

    /// A link of the read-back.
    pub fn on_dump_link(&mut self, link: Link) {
        if let Some(reading) = &mut self.reading {
            reading.insert(
                link.ifindex,
                Entry {
                    link,
                    addresses: Vec::new(),
                },
            );
        }
    }

    /// An address of the read-back.
    pub fn on_dump_address(&mut self, address: Address) {
        if let Some(reading) = &mut self.reading
            && let Some(entry) = reading.get_mut(&address.ifindex)
        {
            insert(&mut entry.addresses, &address);
        }
    }

    /// The read-back is over; an incomplete one is forgotten. Says whether anything differs from before.
    pub fn on_dump_end(&mut self, complete: bool) -> LinkChange {
        match self.reading.take() {
            Some(reading) if complete && reading != self.links => {
                self.links = reading;
                LinkChange::Reachability
            }
            _ => LinkChange::Nothing,
        }
    }

    /// The link that leads directly to `gateway`: the one with the longest subnet that contains it, among links that are up
    /// before those that are down; then the lowest index.
    pub fn resolve(&self, gateway: IpAddr) -> Result<u32, Unresolved> {
        if !is_gateway(gateway) {
            return Err(Unresolved::NotAGateway);
        }
        if self.link_of(gateway).is_some() {
            return Err(Unresolved::OwnAddress);
        }
        let best = self
            .links
            .values()
            .filter(|entry| !entry.link.loopback)
            .flat_map(|entry| {
                entry
                    .addresses
                    .iter()
                    .map(move |address| (&entry.link, address))
            })
            .filter(|(_, address)| address.on_link.contains(&gateway))
            .min_by_key(|(link, address)| {
                (
                    !link.up,
                    u8::MAX - address.on_link.prefix_len(),
                    link.ifindex,
                )
            });
        match best {
            None => Err(Unresolved::NotOnLink),
            Some((_, address)) if is_broadcast_of(address.on_link, gateway) => {
                Err(Unresolved::NotAGateway)
            }
            Some((link, _)) if !link.up => Err(Unresolved::LinkDown {
                ifindex: link.ifindex,
            }),
            Some((link, _)) => Ok(link.ifindex),
        }
    }

    /// The link that leads to a next hop which may be link-local: then it is the one that the next hop names.
    ///
    /// # Errors
    /// As [`Links::resolve`].
    pub fn resolve_scoped(&self, gateway: ScopedAddr) -> Result<u32, Unresolved> {
        let ifindex = gateway.interface;
        if ifindex == 0 {
            return self.resolve(gateway.addr);
        }
        let entry = self.links.get(&ifindex).ok_or(Unresolved::NotOnLink)?;
        if !is_link_local(gateway.addr) {
            return Err(Unresolved::NotAGateway);
        }
        let mut own = entry.addresses.iter();
        if own.any(|address| address.local == gateway.addr) {
            return Err(Unresolved::OwnAddress);
        }
        match entry.link.up {
            true => Ok(ifindex),
            false => Err(Unresolved::LinkDown { ifindex }),
        }
    }

    /// Our own link-local address on a link, the lowest of several.
    pub fn link_local(&self, ifindex: u32) -> Option<Ipv6Addr> {
        let addresses = &self.links.get(&ifindex)?.addresses;
        addresses.iter().find_map(|address| match address.local {
            IpAddr::V6(local) if local.is_unicast_link_local() => Some(local),
            _ => None,
        })
    }

    /// The link that holds `local`.
    pub fn link_of(&self, local: IpAddr) -> Option<&Link> {
        self.links
            .values()
            .find(|entry| entry.addresses.iter().any(|address| address.local == local))
            .map(|entry| &entry.link)
    }

    /// The link with this index.
    pub fn get(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex).map(|entry| &entry.link)
    }

    /// The link with this name.
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.iter().find(|link| link.name == name)
    }

    /// All links, by index.
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values().map(|entry| &entry.link)
    }

    /// All addresses, by link index, then address.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.links.values().flat_map(|entry| &entry.addresses)
    }
}

fn insert(addresses: &mut Vec<Address>, address: &Address) -> LinkChange {
    match addresses.binary_search(address) {
        Ok(_) => LinkChange::Nothing,
        Err(at) => {
            addresses.insert(at, address.clone());
            LinkChange::Reachability
        }
    }
}

/// The last address of an IPv4 subnet is nobody's; the kernel refuses it as a gateway.
fn is_broadcast_of(subnet: IpNet, addr: IpAddr) -> bool {
    match (subnet, addr) {
        (IpNet::V4(net), IpAddr::V4(addr)) => net.prefix_len() < 31 && net.broadcast() == addr,
        _ => false,
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

fn is_gateway(addr: IpAddr) -> bool {
    if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() {
        return false;
    }
    match addr {
        IpAddr::V4(addr) => !addr.is_link_local() && !addr.is_broadcast(),
        IpAddr::V6(v6) => !is_link_local(addr) && v6.to_ipv4_mapped().is_none(),
    }
}
