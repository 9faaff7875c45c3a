use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The name of a network interface, as Linux allows it: 1 to 15 octets, no `/`, no `:`, no white space, and neither `.` nor
/// `..`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceName {
    octets: [u8; InterfaceName::MAX_LEN],
    len: u8,
}

impl InterfaceName {
    /// The longest name (`IFNAMSIZ` less its end).
    pub const MAX_LEN: usize = 15;

    /// The name.
    pub fn as_str(&self) -> &str {
        let name = self.octets.get(..usize::from(self.len));
        // Made of a `str`, whole.
        name.and_then(|name| std::str::from_utf8(name).ok())
            .unwrap_or_default()
    }
}

impl FromStr for InterfaceName {
    type Err = BadInterfaceName;

    fn from_str(name: &str) -> Result<InterfaceName, BadInterfaceName> {
        let bad = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
        let mut octets = [0; InterfaceName::MAX_LEN];
        match (octets.get_mut(..name.len()), name) {
            (None, _) | (_, "" | "." | "..") => Err(BadInterfaceName),
            _ if name.contains(bad) => Err(BadInterfaceName),
            (Some(room), _) => {
                room.copy_from_slice(name.as_bytes());
                let len = name.len() as u8; // at most 15
                Ok(InterfaceName { octets, len })
            }
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What no interface can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadInterfaceName;

impl fmt::Display for BadInterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interface's name has 1 to 15 octets, without / and : and white space")
    }
}

impl std::error::Error for BadInterfaceName {}

/// An address with the interface it is on, where it says nothing without: two links may have a neighbour of the same
/// link-local address (RFC 4007).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopedAddr {
    /// The address, never IPv4-mapped.
    pub addr: IpAddr,
    /// The index of the interface of a link-local IPv6 address; 0 for every other.
    pub interface: u32,
}

impl From<SocketAddr> for ScopedAddr {
    fn from(addr: SocketAddr) -> ScopedAddr {
        let interface = match addr {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
            _ => 0,
        };
        ScopedAddr {
            addr: addr.ip().to_canonical(),
            interface,
        }
    }
}

impl fmt::Display for ScopedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interface {
            0 => self.addr.fmt(f),
            interface => write!(f, "{}%{interface}", self.addr),
        }
    }
}

impl From<IpAddr> for ScopedAddr {
    fn from(addr: IpAddr) -> ScopedAddr {
        ScopedAddr {
            addr: addr.to_canonical(),
            interface: 0,
        }
    }
}
