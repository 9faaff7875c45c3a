use std::fmt;

use dunlin_net::{Afi, Asn};

/// Address family and subsequent address family, by their IANA numbers (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AfiSafi {
    /// Address family.
    pub afi: u16,
    /// Subsequent address family.
    pub safi: u8,
}

impl AfiSafi {
    /// Unicast in `afi`.
    pub const fn unicast(afi: Afi) -> AfiSafi {
        AfiSafi {
            afi: match afi {
                Afi::Ipv4 => 1,
                Afi::Ipv6 => 2,
            },
            safi: 1,
        }
    }

    /// The family, if it is unicast in one we know.
    pub fn as_unicast(self) -> Option<Afi> {
        match (self.afi, self.safi) {
            (1, 1) => Some(Afi::Ipv4),
            (2, 1) => Some(Afi::Ipv6),
            _ => None,
        }
    }
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_unicast() {
            Some(afi) => write!(f, "{afi} unicast"),
            None => write!(f, "afi {} safi {}", self.afi, self.safi),
        }
    }
}

/// A capability of an OPEN (RFC 5492). Families in them may be any, also ones we do not speak.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Multiprotocol Extensions (RFC 4760), code 1.
    Multiprotocol(AfiSafi),
    /// Route Refresh (RFC 2918), code 2.
    RouteRefresh,
    /// Extended Next Hop Encoding (RFC 8950), code 5.
    ExtendedNextHop(Vec<ExtendedNextHopFamily>),
    /// BGP Extended Message (RFC 8654), code 6.
    ExtendedMessage,
    /// BGP Role (RFC 9234), code 9: 0 provider, 1 route server, 2 its client, 3 customer, 4 peer.
    Role(u8),
    /// Graceful Restart (RFC 4724, RFC 8538), code 64.
    GracefulRestart(GracefulRestart),
    /// Four-octet AS (RFC 6793), code 65.
    FourOctetAs(Asn),
    /// ADD-PATH (RFC 7911), code 69.
    AddPath(Vec<AddPathFamily>),
    /// Enhanced Route Refresh (RFC 7313), code 70.
    EnhancedRouteRefresh,
    /// Long-Lived Graceful Restart (RFC 9494), code 71.
    LongLivedGracefulRestart(Vec<LlgrFamily>),
    /// Any other, as it came.
    Unknown {
        /// Its code.
        code: u8,
        /// Its value.
        value: Vec<u8>,
    },
}

/// A family of the Extended Next Hop capability (RFC 8950 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExtendedNextHopFamily {
    /// The family of the prefixes.
    pub nlri: AfiSafi,
    /// The address family their next hop may be of.
    pub next_hop_afi: u16,
}

/// The Graceful Restart capability (RFC 4724 3, RFC 8538 2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// The R bit: the sender has restarted; do not wait for it to send End-of-RIB first.
    pub restarting: bool,
    /// The N bit: NOTIFICATIONs and hold expiry keep the routes too (RFC 8538).
    pub notification: bool,
    /// How long the receiver is to keep routes as stale; 12 bits, larger values are cut to 4,095 when sent.
    pub restart_time_secs: u16,
    /// The families.
    pub families: Vec<RestartFamily>,
}

/// A family of the Graceful Restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RestartFamily {
    /// The family.
    pub family: AfiSafi,
    /// The F bit: the sender's forwarding state survived its restart.
    pub forwarding: bool,
}

/// A family of the ADD-PATH capability (RFC 7911 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddPathFamily {
    /// The family.
    pub family: AfiSafi,
    /// What the sender of the OPEN can do.
    pub mode: AddPathMode,
}

/// What a speaker can do with several paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AddPathMode {
    /// Receive them.
    Receive = 1,
    /// Send them.
    Send = 2,
    /// Both.
    Both = 3,
}

impl AddPathMode {
    fn from_octet(octet: u8) -> Option<AddPathMode> {
        match octet {
            1 => Some(AddPathMode::Receive),
            2 => Some(AddPathMode::Send),
            3 => Some(AddPathMode::Both),
            _ => None,
        }
    }

    /// The mode of who can send, receive, or both; none for who can do neither.
    pub fn new(send: bool, receive: bool) -> Option<AddPathMode> {
        match (send, receive) {
            (true, true) => Some(AddPathMode::Both),
            (true, false) => Some(AddPathMode::Send),
            (false, true) => Some(AddPathMode::Receive),
            (false, false) => None,
        }
    }

    /// Whether its owner can send several paths.
    pub fn sends(self) -> bool {
        self != AddPathMode::Receive
    }

    /// Whether its owner can receive several paths.
    pub fn receives(self) -> bool {
        self != AddPathMode::Send
    }
}

/// A family of the Long-Lived Graceful Restart capability (RFC 9494 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LlgrFamily {
    /// The family.
    pub family: AfiSafi,
    /// The F bit.
    pub forwarding: bool,
    /// How long stale routes may be kept; 24 bits, larger values are cut when sent.
    pub stale_time_secs: u32,
}

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;

const RESTART_TIME_MASK: u16 = 0x0fff;
const RESTARTING: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const FORWARDING: u8 = 0x80;
const STALE_TIME_MASK: u32 = 0x00ff_ffff;

impl Capability {
    /// What who offers these can do with several paths for one prefix of a family (RFC 7911 4): the first word counts.
    pub fn add_path(offered: &[Capability], family: AfiSafi) -> Option<AddPathMode> {
        let families = offered.iter().filter_map(|one| match one {
            Capability::AddPath(families) => Some(families),
            _ => None,
        });
        let mut of_family = families.flatten().filter(|one| one.family == family);
        Some(of_family.next()?.mode)
    }

    /// The code it goes by.
    pub fn code(&self) -> u8 {
        match self {
            Capability::Multiprotocol(_) => MULTIPROTOCOL,
            Capability::RouteRefresh => ROUTE_REFRESH,
            Capability::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Capability::ExtendedMessage => EXTENDED_MESSAGE,
            Capability::Role(_) => ROLE,
            Capability::GracefulRestart(_) => GRACEFUL_RESTART,
            Capability::FourOctetAs(_) => FOUR_OCTET_AS,
            Capability::AddPath(_) => ADD_PATH,
            Capability::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Capability::LongLivedGracefulRestart(_) => LONG_LIVED_GRACEFUL_RESTART,
            Capability::Unknown { code, .. } => *code,
        }
    }

    /// Reads the value of one capability; `None` if its length is wrong for its code.
    pub(super) fn parse(code: u8, value: &[u8]) -> Option<Capability> {
        Some(match (code, value) {
            (MULTIPROTOCOL, &[a, b, _, safi]) => Capability::Multiprotocol(AfiSafi {
                afi: u16::from_be_bytes([a, b]),
                safi,
            }),
            (ROUTE_REFRESH, []) => Capability::RouteRefresh,
            (EXTENDED_NEXT_HOP, _) => Capability::ExtendedNextHop(records(value, |r: [u8; 6]| {
                Some(ExtendedNextHopFamily {
                    nlri: AfiSafi {
                        afi: u16::from_be_bytes([r[0], r[1]]),
                        safi: r[3],
                    },
                    next_hop_afi: u16::from_be_bytes([r[4], r[5]]),
                })
            })?),
            (EXTENDED_MESSAGE, []) => Capability::ExtendedMessage,
            (ROLE, &[role]) => Capability::Role(role),
            (GRACEFUL_RESTART, _) => Capability::GracefulRestart(GracefulRestart::parse(value)?),
            (FOUR_OCTET_AS, &[a, b, c, d]) => {
                Capability::FourOctetAs(Asn(u32::from_be_bytes([a, b, c, d])))
            }
            (ADD_PATH, _) => {
                let families = records(value, |r: [u8; 4]| Some((family(&r), r[3])))?;
                let known = |&(family, mode): &(AfiSafi, u8)| {
                    let mode = AddPathMode::from_octet(mode)?;
                    Some(AddPathFamily { family, mode })
                };
                match families.iter().map(known).collect() {
                    Some(families) => Capability::AddPath(families),
                    // With any other mode the capability is as good as not understood (RFC 7911 4).
                    None => Capability::Unknown {
                        code,
                        value: value.to_vec(),
                    },
                }
            }
            (ENHANCED_ROUTE_REFRESH, []) => Capability::EnhancedRouteRefresh,
            (LONG_LIVED_GRACEFUL_RESTART, _) => {
                Capability::LongLivedGracefulRestart(records(value, |r: [u8; 7]| {
                    Some(LlgrFamily {
                        family: family(&r),
                        forwarding: r[3] & FORWARDING != 0,
                        stale_time_secs: u32::from_be_bytes([0, r[4], r[5], r[6]]),
                    })
                })?)
            }
            (
                MULTIPROTOCOL
                | ROUTE_REFRESH
                | EXTENDED_MESSAGE
                | ROLE
                | FOUR_OCTET_AS
                | ENHANCED_ROUTE_REFRESH,
                _,
            ) => return None,
            (code, value) => Capability::Unknown {
                code,
                value: value.to_vec(),
            },
        })
    }

    /// Appends code, length and value. A value above 255 octets does not fit the length and is cut at a whole record.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.code(), 0]);
        match self {
            Capability::Multiprotocol(family) => {
                let [a, b] = family.afi.to_be_bytes();
                out.extend_from_slice(&[a, b, 0, family.safi]);
            }
            Capability::RouteRefresh
            | Capability::ExtendedMessage
            | Capability::EnhancedRouteRefresh => {}
            Capability::ExtendedNextHop(families) => put(families, 6, out, |family, out| {
                let [a, b] = family.nlri.afi.to_be_bytes();
                let [c, d] = family.next_hop_afi.to_be_bytes();
                out.extend_from_slice(&[a, b, 0, family.nlri.safi, c, d]);
            }),
            Capability::Role(role) => out.push(*role),
            Capability::GracefulRestart(restart) => restart.encode(out),
            Capability::FourOctetAs(asn) => out.extend_from_slice(&asn.0.to_be_bytes()),
            Capability::AddPath(families) => put(families, 4, out, |family, out| {
                put_family(family.family, out);
                out.push(family.mode as u8);
            }),
            Capability::LongLivedGracefulRestart(families) => {
                put(families, 7, out, |family, out| {
                    put_family(family.family, out);
                    out.push(if family.forwarding { FORWARDING } else { 0 });
                    let time = family.stale_time_secs.min(STALE_TIME_MASK);
                    out.extend_from_slice(&time.to_be_bytes()[1..]);
                });
            }
            Capability::Unknown { value, .. } => {
                out.extend_from_slice(&value[..value.len().min(MAX_VALUE_LEN)]);
            }
        }
        let len = out.len() - start - 2;
        out[start + 1] = u8::try_from(len).unwrap_or(u8::MAX);
    }
}

impl GracefulRestart {
    fn parse(value: &[u8]) -> Option<GracefulRestart> {
        let (head, families) = value.split_first_chunk()?;
        let head = u16::from_be_bytes(*head);
        Some(GracefulRestart {
            restarting: head & RESTARTING != 0,
            notification: head & NOTIFICATION != 0,
            restart_time_secs: head & RESTART_TIME_MASK,
            families: records(families, |r: [u8; 4]| {
                Some(RestartFamily {
                    family: family(&r),
                    forwarding: r[3] & FORWARDING != 0,
                })
            })?,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut head = self.restart_time_secs.min(RESTART_TIME_MASK);
        if self.restarting {
            head |= RESTARTING;
        }
        if self.notification {
            head |= NOTIFICATION;
        }
        out.extend_from_slice(&head.to_be_bytes());
        let fitting = self.families.len().min((MAX_VALUE_LEN - 2) / 4);
        put(&self.families[..fitting], 4, out, |family, out| {
            put_family(family.family, out);
            out.push(if family.forwarding { FORWARDING } else { 0 });
        });
    }
}

/// The longest value of a capability: its length is one octet.
const MAX_VALUE_LEN: usize = 255;

fn family(record: &[u8]) -> AfiSafi {
    match record {
        &[a, b, safi, ..] => AfiSafi {
            afi: u16::from_be_bytes([a, b]),
            safi,
        },
        _ => AfiSafi { afi: 0, safi: 0 },
    }
}

fn put_family(family: AfiSafi, out: &mut Vec<u8>) {
    let [a, b] = family.afi.to_be_bytes();
    out.extend_from_slice(&[a, b, family.safi]);
}

/// The records of `N` octets that `value` consists of, without those `read` skips; `None` if some octets are left.
fn records<const N: usize, T>(value: &[u8], read: impl Fn([u8; N]) -> Option<T>) -> Option<Vec<T>> {
    let (chunks, rest) = value.as_chunks::<N>();
    rest.is_empty()
        .then(|| chunks.iter().filter_map(|chunk| read(*chunk)).collect())
}

/// Appends as many of the records of `size` octets as fit a capability.
fn put<T>(records: &[T], size: usize, out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    for record in records.iter().take(MAX_VALUE_LEN / size) {
        write(record, out);
    }
}
