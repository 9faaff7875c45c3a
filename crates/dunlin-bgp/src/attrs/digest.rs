use std::net::Ipv4Addr;

use dunlin_net::{Asn, RouterId};

use super::{AsPath, Attrs, Origin, code};

/// Which communities with a meaning of their own a route carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WellKnown(u8);

impl WellKnown {
    /// NO_EXPORT (RFC 1997): not to other ASes.
    pub const NO_EXPORT: WellKnown = WellKnown(1);
    /// NO_ADVERTISE (RFC 1997): to nobody.
    pub const NO_ADVERTISE: WellKnown = WellKnown(2);
    /// NO_EXPORT_SUBCONFED (RFC 1997): not to external peers, confederation members included.
    pub const NO_EXPORT_SUBCONFED: WellKnown = WellKnown(4);
    /// GRACEFUL_SHUTDOWN (RFC 8326): to be preferred least.
    pub const GRACEFUL_SHUTDOWN: WellKnown = WellKnown(8);
    /// LLGR_STALE (RFC 9494).
    pub const LLGR_STALE: WellKnown = WellKnown(16);
    /// NO_LLGR (RFC 9494).
    pub const NO_LLGR: WellKnown = WellKnown(32);
    /// BLACKHOLE (RFC 7999).
    pub const BLACKHOLE: WellKnown = WellKnown(64);

    /// Whether all of `other` are in it.
    pub fn contains(self, other: WellKnown) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The community's value and the one it stands for here.
    fn of(community: u32) -> WellKnown {
        match community {
            0xffff_ff01 => WellKnown::NO_EXPORT,
            0xffff_ff02 => WellKnown::NO_ADVERTISE,
            0xffff_ff03 => WellKnown::NO_EXPORT_SUBCONFED,
            0xffff_0000 => WellKnown::GRACEFUL_SHUTDOWN,
            0xffff_0006 => WellKnown::LLGR_STALE,
            0xffff_0007 => WellKnown::NO_LLGR,
            0xffff_029a => WellKnown::BLACKHOLE,
            _ => WellKnown(0),
        }
    }
}

impl std::ops::BitOr for WellKnown {
    type Output = WellKnown;

    fn bitor(self, other: WellKnown) -> WellKnown {
        WellKnown(self.0 | other.0)
    }
}

/// What the decision process and export need of a route's attributes, worked out once per attribute set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// LOCAL_PREF, if it is there.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC, if it is there.
    pub med: Option<u32>,
    /// The neighbouring AS ([`AsPath::neighbour`]).
    pub neighbour_as: Option<Asn>,
    /// ORIGINATOR_ID, if it is there.
    pub originator_id: Option<RouterId>,
    /// The length of the AS path ([`AsPath::path_len`]).
    pub as_path_len: u16,
    /// The number of clusters in CLUSTER_LIST.
    pub cluster_list_len: u16,
    /// ORIGIN; INCOMPLETE if absent.
    pub origin: Origin,
    /// Communities with a meaning of their own.
    pub well_known: WellKnown,
}

impl Digest {
    /// Reads it off canonical attributes in one pass.
    pub fn of(attrs: Attrs<'_>) -> Digest {
        let mut digest = Digest::default();
        for attr in attrs.iter() {
            let octets = || <[u8; 4]>::try_from(attr.value).ok();
            match attr.code {
                code::ORIGIN => {
                    digest.origin = attr
                        .value
                        .first()
                        .and_then(|octet| Origin::from_octet(*octet))
                        .unwrap_or_default();
                }
                code::AS_PATH => {
                    let path = AsPath::new(attr.value);
                    digest.as_path_len = path.path_len();
                    digest.neighbour_as = path.neighbour();
                }
                code::MED => digest.med = octets().map(u32::from_be_bytes),
                code::LOCAL_PREF => digest.local_pref = octets().map(u32::from_be_bytes),
                code::COMMUNITIES => {
                    for community in attr.value.as_chunks().0 {
                        digest.well_known =
                            digest.well_known | WellKnown::of(u32::from_be_bytes(*community));
                    }
                }
                code::ORIGINATOR_ID => {
                    digest.originator_id = octets().map(|id| RouterId(Ipv4Addr::from(id)));
                }
                code::CLUSTER_LIST => {
                    digest.cluster_list_len = (attr.value.len() / 4) as u16; // value at most 65,535 octets
                }
                _ => {}
            }
        }
        digest
    }
}
