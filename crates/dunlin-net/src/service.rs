//! How connections to a service's addresses are treated on a node: said by intent, done by the data plane.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::Afi;

/// A transport protocol of Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// Its IP protocol number (IANA).
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The protocol with a number.
    pub fn of_number(number: u8) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|p| p.number() == number)
    }

    /// As Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where clients reach a service: one address, protocol and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frontend {
    /// The destination address.
    pub addr: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The destination port.
    pub port: u16,
}

impl Frontend {
    /// The family of its address.
    pub fn afi(&self) -> Afi {
        Afi::of(self.addr)
    }
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SocketAddr::new(self.addr, self.port);
        write!(f, "{at}/{}", self.protocol)
    }
}

/// From where a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// From this node or one of its pods.
    Inside,
    /// From anywhere else.
    Outside,
}

impl View {
    /// Both of them.
    pub const ALL: [View; 2] = [View::Inside, View::Outside];
}

/// How an endpoint is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Choice {
    /// Each with the same chance.
    #[default]
    Random,
    /// By a hash of the client's address and port, into a table that is the same on every node.
    Maglev {
        /// The size of the table: a prime.
        slots: u32,
    },
}

/// Endpoints that share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Balance {
    /// Ascending, each once; at least one.
    pub endpoints: Arc<[SocketAddr]>,
    /// How one is chosen.
    pub choice: Choice,
    /// For so many seconds after its last new connection, a client's address comes to the same endpoint.
    pub affinity_secs: Option<u32>,
}

/// What becomes of a new connection to a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// It goes to one of these.
    Balance(Arc<Balance>),
    /// It is refused at once: the service has no endpoint anywhere.
    Reject,
    /// It is dropped: the service has endpoints, and its policy allows none of them here.
    Drop,
}

/// At which of a node's addresses its node ports are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePorts {
    /// All InternalIPs of its Node.
    #[default]
    Internal,
    /// The first InternalIP of each family.
    Primary,
    /// All addresses that the machine has within these, but those of the loopback networks.
    Within(Vec<IpNet>),
}

/// What is the same for all services of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyOptions {
    /// The source of every connection is rewritten to the node's, unless a Local policy keeps it.
    pub masquerade_all: bool,
    /// The kernel counts the connections to each frontend.
    pub count_connections: bool,
    /// Where node ports are.
    pub node_ports: NodePorts,
}

/// One frontend and its treatment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrontendRule {
    /// Where clients come to.
    pub frontend: Frontend,
    /// From this node and its pods.
    pub inside: Treatment,
    /// From elsewhere; none given means the same.
    pub outside: Option<Treatment>,
    /// The source is rewritten to the node's, wherever it comes from.
    pub masquerade: bool,
    /// The only sources that may come from elsewhere (`loadBalancerSourceRanges`); none given means all.
    pub sources: Option<Arc<[IpNet]>>,
    /// Of UDP: all endpoints that serve, where new connections go to some of them only (others terminate, or are not what a
    /// policy or a hint allows here): flows that go to one of them go on. Ascending, each once. None given means no others.
    pub serving: Option<Arc<[SocketAddr]>>,
}

impl FrontendRule {
    /// What a view gets.
    pub fn treatment(&self, view: View) -> &Treatment {
        match (view, &self.outside) {
            (View::Outside, Some(outside)) => outside,
            _ => &self.inside,
        }
    }
}
