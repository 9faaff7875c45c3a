//! Links of the node, and who is heard on them.

use std::net::Ipv6Addr;
use std::sync::Arc;

use dunlin_bgp::discovery::Neighbour;
use dunlin_bgp::session::PeerConfig;
use dunlin_core::{DiscoveryCommand, Input};
use dunlin_dataplane::KernelEvent;
use dunlin_dataplane::links::{Address, Link, LinkEvent};

use super::Bench;

/// The link-local address with this end.
pub(crate) fn local(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last)
}

impl Bench {
    pub(crate) fn feed(&mut self, input: Input) {
        self.core.on(self.now, input);
        self.settle();
    }

    pub(crate) fn link_event(&mut self, event: LinkEvent) {
        self.kernel(KernelEvent::Link(event));
        self.settle();
    }

    /// A link is there, or is otherwise now.
    pub(crate) fn link(&mut self, ifindex: u32, name: &str, up: bool) {
        self.link_event(LinkEvent::Link(Link {
            ifindex,
            name: name.into(),
            up,
            loopback: false,
            mtu: 1500,
        }));
    }

    /// A link has a link-local address.
    pub(crate) fn link_address(&mut self, ifindex: u32, last: u16) {
        self.link_event(LinkEvent::Address(Address {
            ifindex,
            local: local(last).into(),
            on_link: "fe80::/64".parse().unwrap(),
        }));
    }

    /// This router is at the other end of a link, and these are there too.
    pub(crate) fn hears_router(&mut self, interface: u32, router: u16, others: &[u16]) {
        self.feed(Input::Neighbour(Neighbour {
            interface,
            address: Some(local(router)),
            others: others.iter().copied().map(local).collect(),
        }));
    }

    /// What a peer was told to be, if it is tried.
    pub(crate) fn config_of(&self, name: &str) -> Option<Arc<PeerConfig>> {
        self.peers().remove(name)
    }

    /// What was told since, to whoever hears router advertisements.
    pub(crate) fn watched(&mut self) -> Vec<DiscoveryCommand> {
        std::mem::take(&mut self.discovery)
    }
}
