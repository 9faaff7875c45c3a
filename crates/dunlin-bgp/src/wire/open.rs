use std::net::Ipv4Addr;

use dunlin_net::{Afi, Asn, PerFamily, RouterId};

use super::frame::{self, MessageType};
use super::{
    AddPathMode, AfiSafi, Capability, Fault, GracefulRestart, LlgrFamily, code, open_message,
};

/// The version we speak.
const VERSION: u8 = 4;

/// The optional parameter that holds capabilities (RFC 5492).
const CAPABILITIES: u8 = 2;

/// The parameter type, at the place of the first one, that says the extended format follows (RFC 9072).
const EXTENDED: u8 = 255;

/// An OPEN message (RFC 4271 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The version, 4.
    pub version: u8,
    /// The sender's AS number: from the four-octet capability if there is one, else the two-octet field.
    pub asn: Asn,
    /// The proposed hold time: 0 or at least 3.
    pub hold_time_secs: u16,
    /// The sender's BGP identifier, not zero (RFC 6286).
    pub router_id: RouterId,
    /// Capabilities in the order sent. A four-octet AS number needs [`Capability::FourOctetAs`] among them.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// An OPEN of version 4 without capabilities.
    pub fn new(asn: Asn, hold_time_secs: u16, router_id: RouterId) -> Open {
        Open {
            version: VERSION,
            asn,
            hold_time_secs,
            router_id,
            capabilities: Vec::new(),
        }
    }

    /// Reads and checks the body of an OPEN (RFC 4271 6.2). Which AS and router id the peer may have is for the
    /// session to check.
    pub fn parse(body: &[u8]) -> Result<Open, Fault> {
        let &[
            version,
            as_high,
            as_low,
            hold_high,
            hold_low,
            a,
            b,
            c,
            d,
            params_len,
            ref params @ ..,
        ] = body
        else {
            return Err(frame::short_body(body));
        };
        if version != VERSION {
            return Err(Fault::with_data(
                code::OPEN,
                open_message::UNSUPPORTED_VERSION,
                &u16::from(VERSION).to_be_bytes(),
                "the version is not 4",
            ));
        }
        let two_octet = Asn(u32::from(u16::from_be_bytes([as_high, as_low])));
        if two_octet.0 == 0 {
            return Err(bad_peer_as("the AS number is zero (RFC 7607)"));
        }
        let hold_time_secs = u16::from_be_bytes([hold_high, hold_low]);
        if matches!(hold_time_secs, 1 | 2) {
            return Err(Fault::new(
                code::OPEN,
                open_message::UNACCEPTABLE_HOLD_TIME,
                "the hold time is 1 or 2 seconds",
            ));
        }
        let router_id = Ipv4Addr::new(a, b, c, d);
        if router_id.is_unspecified() {
            return Err(Fault::new(
                code::OPEN,
                open_message::BAD_BGP_ID,
                "the BGP identifier is zero",
            ));
        }
        let capabilities = parse_parameters(params_len, params)?;
        let mut open = Open {
            version,
            asn: two_octet,
            hold_time_secs,
            router_id: RouterId(router_id),
            capabilities,
        };
        if let Some(asn) = open.four_octet_as() {
            if asn.0 == 0 {
                return Err(bad_peer_as("the four-octet AS number is zero (RFC 7607)"));
            }
            let expected = if asn.is_two_octet() { asn } else { Asn::TRANS };
            if two_octet != expected && two_octet != Asn::TRANS {
                return Err(bad_peer_as(
                    "the two-octet AS number is neither AS_TRANS nor that of the capability",
                ));
            }
            open.asn = asn;
        }
        Ok(open)
    }

    /// Appends the whole message. Parameters above 255 octets take the extended format (RFC 9072); capabilities that
    /// would make the message longer than 4,096 octets are left out.
    pub fn encode(&self, out: &mut Vec<u8>) {
        /// Header, fixed fields, and the heads of the extended format.
        const OVERHEAD: usize = frame::HEADER_LEN + 10 + 3 + 3;
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let before = capabilities.len();
            capability.encode(&mut capabilities);
            if capabilities.len() > 4096 - OVERHEAD {
                capabilities.truncate(before);
            }
        }
        let start = frame::begin(MessageType::Open, out);
        let two_octet = u16::try_from(self.asn.0).unwrap_or(Asn::TRANS.0 as u16);
        out.push(self.version);
        out.extend_from_slice(&two_octet.to_be_bytes());
        out.extend_from_slice(&self.hold_time_secs.to_be_bytes());
        out.extend_from_slice(&self.router_id.0.octets());
        match u8::try_from(capabilities.len()) {
            Ok(0) => out.push(0),
            Ok(len @ ..=253) => out.extend_from_slice(&[len + 2, CAPABILITIES, len]),
            _ => {
                let len = capabilities.len() as u16; // below 4,096
                out.extend_from_slice(&[EXTENDED, EXTENDED]);
                out.extend_from_slice(&(len + 3).to_be_bytes());
                out.push(CAPABILITIES);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
        out.extend_from_slice(&capabilities);
        frame::finish(start, out);
    }

    /// The AS number of the four-octet capability, if it is there.
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.capabilities.iter().find_map(|capability| {
            if let Capability::FourOctetAs(asn) = capability {
                Some(*asn)
            } else {
                None
            }
        })
    }

    /// The unicast families offered. Without any multiprotocol capability that is IPv4 (RFC 4760 8).
    pub fn families(&self) -> PerFamily<bool> {
        let mut families = PerFamily::default();
        let mut any = false;
        for capability in &self.capabilities {
            if let Capability::Multiprotocol(family) = capability {
                any = true;
                if let Some(afi) = family.as_unicast() {
                    *families.get_mut(afi) = true;
                }
            }
        }
        families.v4 |= !any;
        families
    }

    /// The graceful restart capability; the last, should there be several (RFC 4724 3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|capability| {
            if let Capability::GracefulRestart(restart) = capability {
                Some(restart)
            } else {
                None
            }
        })
    }

    /// What the sender can do with several paths for one prefix of a family (RFC 7911 4): its first word counts.
    pub fn add_path(&self, family: AfiSafi) -> Option<AddPathMode> {
        Capability::add_path(&self.capabilities, family)
    }

    /// The families of the long-lived graceful restart capability; of the last, should there be several (RFC 9494 3.1).
    pub fn long_lived_graceful_restart(&self) -> &[LlgrFamily] {
        let families = self.capabilities.iter().rev().find_map(|capability| {
            if let Capability::LongLivedGracefulRestart(families) = capability {
                Some(families.as_slice())
            } else {
                None
            }
        });
        families.unwrap_or_default()
    }

    /// Whether IPv6 next hops may come with prefixes of `afi` (RFC 8950).
    pub fn extended_next_hop(&self, afi: Afi) -> bool {
        self.capabilities.iter().any(|capability| {
            matches!(capability, Capability::ExtendedNextHop(families) if families.iter().any(
                |family| family.nlri == AfiSafi::unicast(afi)
                    && family.next_hop_afi == Afi::Ipv6.number()
            ))
        })
    }

    /// Whether exactly this capability is offered.
    pub fn offers(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }
}

fn bad_peer_as(what: &'static str) -> Fault {
    Fault::new(code::OPEN, open_message::BAD_PEER_AS, what)
}

fn malformed(what: &'static str) -> Fault {
    Fault::new(code::OPEN, open_message::UNSPECIFIC, what)
}

/// The capabilities out of the optional parameters, in either format.
fn parse_parameters(len: u8, params: &[u8]) -> Result<Vec<Capability>, Fault> {
    const OVERRUN: &str = "the optional parameters do not fill their length";
    let (extended, mut rest) = match *params {
        [EXTENDED, high, low, ref rest @ ..] if len != 0 => {
            if rest.len() != usize::from(u16::from_be_bytes([high, low])) {
                return Err(malformed(OVERRUN));
            }
            (true, rest)
        }
        _ if params.len() == usize::from(len) => (false, params),
        _ => return Err(malformed(OVERRUN)),
    };
    let mut capabilities = Vec::new();
    while !rest.is_empty() {
        let (kind, len, tail) = match *rest {
            [kind, high, low, ref tail @ ..] if extended => {
                (kind, usize::from(u16::from_be_bytes([high, low])), tail)
            }
            [kind, len, ref tail @ ..] if !extended => (kind, usize::from(len), tail),
            _ => return Err(malformed(OVERRUN)),
        };
        let Some((value, tail)) = tail.split_at_checked(len) else {
            return Err(malformed(OVERRUN));
        };
        if kind != CAPABILITIES {
            return Err(Fault::new(
                code::OPEN,
                open_message::UNSUPPORTED_PARAMETER,
                "an optional parameter other than capabilities",
            ));
        }
        parse_capabilities(value, &mut capabilities)?;
        rest = tail;
    }
    Ok(capabilities)
}

fn parse_capabilities(mut rest: &[u8], into: &mut Vec<Capability>) -> Result<(), Fault> {
    while !rest.is_empty() {
        let &[code, len, ref tail @ ..] = rest else {
            return Err(malformed("a capability is cut off"));
        };
        let Some((value, tail)) = tail.split_at_checked(usize::from(len)) else {
            return Err(malformed("a capability is longer than its parameter"));
        };
        let capability = Capability::parse(code, value)
            .ok_or_else(|| malformed("a capability has a wrong length"))?;
        into.push(capability);
        rest = tail;
    }
    Ok(())
}
