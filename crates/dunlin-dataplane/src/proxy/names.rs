//! What the tables' sets and elements are called, as `nft` writes them.

use std::fmt;

use dunlin_net::service::{Frontend, Protocol, View};
use dunlin_net::{Afi, IpNet};

use super::element::{Element, FrontendSet};

/// The map of clients that come back to the endpoint they had.
pub const AFFINITY: &str = "affinity";
/// The set of [`Element::Allowed`].
pub const ALLOWED: &str = "allowed";
/// The set of [`Element::Hairpin`].
pub const HAIRPIN: &str = "hairpin";
/// The set of [`Element::Near`].
pub const NEAR: &str = "near";

/// The set of [`Element::Served`].
pub const SERVED: &str = "served";

/// A view, in the names of sets and chains.
pub const fn view_name(view: View) -> &'static str {
    match view {
        View::Inside => "inside",
        View::Outside => "outside",
    }
}

/// The map of the slots of a view.
pub const fn slots_map(view: View) -> &'static str {
    match view {
        View::Inside => "slots_inside",
        View::Outside => "slots_outside",
    }
}

/// A family of tables, as `nft` calls it.
pub const fn family(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "ip",
        Afi::Ipv6 => "ip6",
    }
}

impl fmt::Display for FrontendSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrontendSet::Random { view, slots } => write!(f, "random_{}_{slots}", view_name(view)),
            FrontendSet::Hashed { view, slots } => write!(f, "hashed_{}_{slots}", view_name(view)),
            FrontendSet::Sticky { secs } => write!(f, "sticky_{secs}"),
            FrontendSet::Refused => f.write_str("refused"),
            FrontendSet::Dropped { view } => write!(f, "dropped_{}", view_name(view)),
            FrontendSet::Guarded => f.write_str("guarded"),
            FrontendSet::Masqueraded => f.write_str("masqueraded"),
            FrontendSet::Counted => f.write_str("counted"),
        }
    }
}

impl Element {
    /// The set or map that it stands in.
    pub fn set_name(&self) -> String {
        match self {
            Element::Member { set, .. } => set.to_string(),
            Element::Slot { view, .. } => slots_map(*view).to_owned(),
            Element::Allowed { .. } => ALLOWED.to_owned(),
            Element::Hairpin(_) => HAIRPIN.to_owned(),
            Element::Near(_) => NEAR.to_owned(),
            Element::Served(_) => SERVED.to_owned(),
        }
    }
}

/// `SET { ELEMENT }`: what follows `nft get element FAMILY TABLE`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ ", self.set_name())?;
        match self {
            Element::Member { frontend, .. } => key(f, frontend)?,
            Element::Slot {
                frontend, slot, to, ..
            } => {
                key(f, frontend)?;
                write!(f, " . {slot} : {} . {}", to.ip(), to.port())?;
            }
            Element::Allowed { frontend, source } => {
                key(f, frontend)?;
                f.write_str(" . ")?;
                range(f, source)?;
            }
            Element::Hairpin(addr) => write!(f, "{addr} . {addr}")?,
            Element::Near(net) => range(f, net)?,
            Element::Served(net) => write!(f, "{}", net.addr())?,
        }
        f.write_str(" }")
    }
}

fn key(f: &mut fmt::Formatter<'_>, frontend: &Frontend) -> fmt::Result {
    let protocol = match frontend.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    write!(f, "{} . {protocol} . {}", frontend.addr, frontend.port)
}

fn range(f: &mut fmt::Formatter<'_>, net: &IpNet) -> fmt::Result {
    match net.prefix_len() == net.max_prefix_len() {
        true => write!(f, "{}", net.addr()),
        false => write!(f, "{net}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_read_as_nft_writes_them() {
        let frontend = |addr: &str| Frontend {
            addr: addr.parse().unwrap(),
            protocol: Protocol::Tcp,
            port: 80,
        };
        let service = frontend("10.96.0.10");
        let member = |set| Element::Member {
            set,
            frontend: service,
        };
        let view = View::Outside;
        let cases = [
            (
                member(FrontendSet::Refused),
                "refused { 10.96.0.10 . tcp . 80 }",
            ),
            (
                member(FrontendSet::Random { view, slots: 2 }),
                "random_outside_2 { 10.96.0.10 . tcp . 80 }",
            ),
            (
                Element::Slot {
                    view,
                    frontend: frontend("2001:db8::10"),
                    slot: 3,
                    to: "[2001:db8:1::4]:8080".parse().unwrap(),
                },
                "slots_outside { 2001:db8::10 . tcp . 80 . 3 : 2001:db8:1::4 . 8080 }",
            ),
            (
                Element::Allowed {
                    frontend: service,
                    source: "192.0.2.0/24".parse().unwrap(),
                },
                "allowed { 10.96.0.10 . tcp . 80 . 192.0.2.0/24 }",
            ),
            (
                Element::Near("192.0.2.7/32".parse().unwrap()),
                "near { 192.0.2.7 }",
            ),
        ];
        for (element, text) in cases {
            assert_eq!(element.to_string(), text);
        }
    }
}
