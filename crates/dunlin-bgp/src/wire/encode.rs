use std::net::IpAddr;

use dunlin_net::{Afi, Asn, Family, PerFamily, RouterId};

use super::as_path::{narrow, narrow_asn};
use crate::attrs::{self, Attrs, SegmentKind, code, flag, known_flags, put_attr, put_head};
use crate::batch::NextHop;
use crate::policy::PeerType;

/// The LOCAL_PREF told to internal peers where a route has none.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// How an export group's UPDATEs are written: the same for all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportEncoding {
    /// The kind of peers.
    pub peer_type: PeerType,
    /// Our AS.
    pub local_asn: Asn,
    /// Prepend our AS (RFC 4271 5.1.2): toward external peers, unless we are a route server to them.
    pub prepend_local_asn: bool,
    /// AS numbers have four octets: both sides offered RFC 6793.
    pub four_octet_as: bool,
    /// Messages may have up to 65,535 octets: the peer offered RFC 8654.
    pub extended_message: bool,
    /// Families whose prefixes go out with path identifiers (RFC 7911).
    pub add_path: PerFamily<bool>,
    /// IPv4 prefixes may have IPv6 next hops: both sides offered RFC 8950.
    pub extended_next_hop: bool,
}

impl ExportEncoding {
    /// As routes stand in the table, for those who watch it: nothing prepended, AS numbers of four octets, and of internal
    /// sessions all that only these tell.
    pub(crate) fn as_held(peer_type: PeerType) -> ExportEncoding {
        ExportEncoding {
            peer_type,
            local_asn: Asn(0),
            prepend_local_asn: false,
            four_octet_as: true,
            extended_message: true,
            add_path: PerFamily::default(),
            extended_next_hop: true,
        }
    }
}

/// A route as it is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its canonical attributes, export policy applied.
    pub attrs: Attrs<'a>,
    /// The next hop to tell.
    pub next_hop: NextHop,
    /// Tell MULTI_EXIT_DISC to external peers too: it was set here, not learned from another AS (RFC 4271 5.1.4).
    pub keep_med: bool,
    /// It is reflected: learned from an internal peer and told to another.
    pub reflection: Option<Reflection>,
}

/// What a route reflector adds (RFC 4456 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reflection {
    /// The router that originated the route in this AS; used if it has no ORIGINATOR_ID yet.
    pub originator_id: RouterId,
    /// Our cluster.
    pub cluster_id: RouterId,
}

/// Whether prefixes of the family with this next hop go into the UPDATE's own fields, next hop in NEXT_HOP.
pub(crate) fn is_classic<F: Family>(next_hop: &NextHop) -> bool {
    F::AFI == Afi::Ipv4 && next_hop.addr.is_ipv4()
}

/// Appends a route's attributes as an export group is told them, for [`super::UpdateWriter::announce`] with the same
/// family and next hop. NEXT_HOP is among them where it applies; MP_REACH_NLRI is left to the writer.
pub fn encode_attrs<F: Family>(route: &Outgoing<'_>, encoding: &ExportEncoding, out: &mut Vec<u8>) {
    let mut made = Made {
        route,
        encoding,
        classic: is_classic::<F>(&route.next_hop),
        next: 0,
        as4_path: None,
    };
    let internal = encoding.peer_type == PeerType::Internal;
    for attr in route.attrs.iter() {
        made.up_to(attr.code, out);
        if Made::CODES.contains(&attr.code) {
            continue;
        }
        match attr.code {
            code::MED if !internal && !route.keep_med => {}
            code::AGGREGATOR if !encoding.four_octet_as => aggregator(attr.flags, attr.value, out),
            known if known_flags(known).is_some() => {
                put_attr(attr.flags, attr.code, attr.value, out);
            }
            _ if attr.flags & flag::TRANSITIVE != 0 => {
                put_attr(attr.flags | flag::PARTIAL, attr.code, attr.value, out);
            }
            _ => {}
        }
    }
    made.up_to(u8::MAX, out);
}

fn aggregator(flags: u8, value: &[u8], out: &mut Vec<u8>) {
    if let &[a, b, c, d, ref id @ ..] = value {
        let mut narrow = narrow_asn(Asn(u32::from_be_bytes([a, b, c, d]))).to_vec();
        narrow.extend_from_slice(id);
        put_attr(flags, code::AGGREGATOR, &narrow, out);
    }
}

/// Attributes that are not copied but made, each at its place in the order.
struct Made<'r, 'a> {
    route: &'r Outgoing<'a>,
    encoding: &'r ExportEncoding,
    classic: bool,
    /// The next of [`Made::CODES`].
    next: usize,
    /// The AS4_PATH that the narrowed AS_PATH calls for.
    as4_path: Option<Vec<u8>>,
}

impl Made<'_, '_> {
    const CODES: [u8; 7] = [
        code::AS_PATH,
        code::NEXT_HOP,
        code::LOCAL_PREF,
        code::ORIGINATOR_ID,
        code::CLUSTER_LIST,
        code::AS4_PATH,
        code::AS4_AGGREGATOR,
    ];

    /// Appends those whose turn comes up to `code`.
    #[inline]
    fn up_to(&mut self, code: u8, out: &mut Vec<u8>) {
        while let Some(next) = Self::CODES.get(self.next).filter(|next| **next <= code) {
            self.next += 1;
            self.make(*next, out);
        }
    }

    fn make(&mut self, code: u8, out: &mut Vec<u8>) {
        let internal = self.encoding.peer_type == PeerType::Internal;
        match code {
            code::AS_PATH => self.as_path(out),
            code::NEXT_HOP => {
                if let (true, IpAddr::V4(addr)) = (self.classic, self.route.next_hop.addr) {
                    put_attr(flag::TRANSITIVE, code, &addr.octets(), out);
                }
            }
            code::LOCAL_PREF if internal => {
                let local_pref = self.route.attrs.local_pref().unwrap_or(DEFAULT_LOCAL_PREF);
                put_attr(flag::TRANSITIVE, code, &local_pref.to_be_bytes(), out);
            }
            code::ORIGINATOR_ID if internal => {
                let made = self.route.reflection.map(|it| it.originator_id);
                if let Some(id) = self.route.attrs.originator_id().or(made) {
                    put_attr(flag::OPTIONAL, code, &id.0.octets(), out);
                }
            }
            code::CLUSTER_LIST if internal => self.cluster_list(out),
            code::AS4_PATH => {
                if let Some(path) = self.as4_path.take() {
                    put_attr(flag::OPTIONAL | flag::TRANSITIVE, code, &path, out);
                }
            }
            code::AS4_AGGREGATOR if !self.encoding.four_octet_as => {
                if let Some(attr) = self.route.attrs.get(code::AGGREGATOR)
                    && self
                        .route
                        .attrs
                        .aggregator()
                        .is_some_and(|it| !it.asn.is_two_octet())
                {
                    put_attr(attr.flags, code, attr.value, out);
                }
            }
            _ => {}
        }
    }

    fn as_path(&mut self, out: &mut Vec<u8>) {
        let path = self.route.attrs.as_path();
        let encoding = self.encoding;
        if encoding.four_octet_as {
            if encoding.prepend_local_asn {
                let grown = match *path.as_bytes() {
                    [SEQUENCE, ..=254, ..] => 4,
                    _ => 6,
                };
                let len = path.as_bytes().len() + grown;
                put_head(flag::TRANSITIVE, code::AS_PATH, len, out);
                attrs::prepend(path.as_bytes(), encoding.local_asn, 1, out);
            } else {
                put_attr(flag::TRANSITIVE, code::AS_PATH, path.as_bytes(), out);
            }
            return;
        }
        let mut exact = Vec::new();
        if encoding.prepend_local_asn {
            attrs::prepend(path.as_bytes(), encoding.local_asn, 1, &mut exact);
        } else {
            exact.extend_from_slice(path.as_bytes());
        }
        let (narrowed, lossy) = narrow(attrs::AsPath::new(&exact));
        put_attr(flag::TRANSITIVE, code::AS_PATH, &narrowed, out);
        self.as4_path = Some(exact).filter(|_| lossy);
    }

    fn cluster_list(&self, out: &mut Vec<u8>) {
        let held = self
            .route
            .attrs
            .get(code::CLUSTER_LIST)
            .map_or(&[][..], |attr| attr.value);
        let cluster = self.route.reflection.map(|it| it.cluster_id.0.octets());
        let added = cluster.as_ref().map_or(&[][..], |octets| octets);
        if !held.is_empty() || !added.is_empty() {
            put_head(
                flag::OPTIONAL,
                code::CLUSTER_LIST,
                added.len() + held.len(),
                out,
            );
            out.extend_from_slice(added);
            out.extend_from_slice(held);
        }
    }
}

const SEQUENCE: u8 = SegmentKind::Sequence as u8;
