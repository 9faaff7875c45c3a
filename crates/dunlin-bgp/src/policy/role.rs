//! Who is what to whom, and which routes that keeps from going where (RFC 9234).

use std::fmt;

/// What we are to an external peer (RFC 9234 3). The numbers are those of the BGP Role capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// It buys transit of us.
    Provider = 0,
    /// We are the route server of an exchange that it is a client of.
    RouteServer = 1,
    /// It is the route server of an exchange that we are a client of.
    RouteServerClient = 2,
    /// We buy transit of it.
    Customer = 3,
    /// Each tells the other of its own routes and its customers', and of no others.
    Peer = 4,
}

impl Role {
    /// All, by their numbers.
    pub const ALL: [Role; 5] = [
        Role::Provider,
        Role::RouteServer,
        Role::RouteServerClient,
        Role::Customer,
        Role::Peer,
    ];

    /// The number in the capability.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The role with a number.
    pub fn from_number(number: u8) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.number() == number)
    }

    /// What the other side must be (RFC 9234 4.2, table 2).
    pub fn counterpart(self) -> Role {
        match self {
            Role::Provider => Role::Customer,
            Role::Customer => Role::Provider,
            Role::RouteServer => Role::RouteServerClient,
            Role::RouteServerClient => Role::RouteServer,
            Role::Peer => Role::Peer,
        }
    }

    /// Whether what the peer tells came down to it, or across: from a provider, a peer or a route server. It may go to our
    /// customers alone, and is marked so.
    pub fn marks_received(self) -> bool {
        matches!(self, Role::Customer | Role::Peer | Role::RouteServerClient)
    }

    /// Whether what the peer is told goes down, or across: to a customer, a peer or a client of our route server. It is marked so.
    pub fn marks_told(self) -> bool {
        matches!(self, Role::Provider | Role::Peer | Role::RouteServer)
    }

    /// Whether what bears the mark may be told to the peer: not to a provider, a peer or a route server (RFC 9234 5, egress 2).
    pub fn may_be_told_marked(self) -> bool {
        !self.marks_received()
    }

    /// Whether a mark of this AS on what the peer tells says that it leaked (RFC 9234 5, ingress 1 and 2).
    pub fn is_leak(self, mark: u32, remote_asn: u32) -> bool {
        match self {
            Role::Provider | Role::RouteServer => true,
            Role::Peer => mark != remote_asn,
            Role::Customer | Role::RouteServerClient => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Provider => "Provider",
            Role::RouteServer => "RouteServer",
            Role::RouteServerClient => "RouteServerClient",
            Role::Customer => "Customer",
            Role::Peer => "Peer",
        })
    }
}
