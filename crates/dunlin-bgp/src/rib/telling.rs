//! Whether and how one path is told: what the RIB does, and what is foreseen of it.

use dunlin_net::Afi;
use smallvec::SmallVec;

use super::attrset::DecisionKey;
use super::export::{ExportNextHop, ExportPolicy, MAX_PATHS_TOLD};
use super::group::{GroupKey, KEEP_MED, OWN_NEXT_HOP};
use super::source::SourceInfo;
use super::table::RibFamily;
use crate::attrs::Attrs;
use crate::batch::NextHop;
use crate::policy::{AttrEdits, RejectReason, Role};

/// A path, as far as telling depends on it.
#[derive(Clone, Copy)]
pub(super) struct Tellable<'a> {
    /// After import policy.
    pub(super) attrs: Attrs<'a>,
    /// Of its [`DecisionKey`].
    pub(super) flags: u16,
    pub(super) source: &'a SourceInfo,
    /// It is long-lived stale here.
    pub(super) stale: bool,
    /// And says that it must not be.
    pub(super) is_not_to_linger: bool,
}

/// How a path is told.
#[derive(Clone, Copy)]
pub(super) struct Telling<'p> {
    pub(super) edits: Option<&'p AttrEdits>,
    /// [`OWN_NEXT_HOP`] and [`KEEP_MED`].
    pub(super) flag: u32,
    /// LLGR_STALE is added.
    pub(super) marked: bool,
}

impl GroupKey {
    /// What the rules of BGP and the core's policy make of a path toward these peers. Which next hop they are told is asked
    /// apart.
    pub(super) fn tell<'p, F: RibFamily, P: ExportPolicy>(
        &self,
        policy: &'p P,
        net: F::Net,
        path: &Tellable<'_>,
    ) -> Result<Telling<'p>, RejectReason> {
        let to = self.toward();
        to.may_be_told(F::AFI, path.flags, path.source)?;
        to.may_be_told_long_lived(path.flags, path.stale)?;
        if path.is_not_to_linger {
            return Err(RejectReason::LongLivedStale);
        }
        let action = policy.export::<F>(self, net, path.attrs, path.source)?;
        let mut flag = 0;
        if action.next_hop == ExportNextHop::Own || path.source.is_local() {
            flag |= OWN_NEXT_HOP;
        }
        // RFC 4271 5.1.4: a neighbour's MULTI_EXIT_DISC is not passed on, one set here is.
        if path.source.is_local() || action.edits.is_some_and(|edits| edits.med.is_some()) {
            flag |= KEEP_MED;
        }
        Ok(Telling {
            edits: action.edits.filter(|edits| !edits.is_empty()),
            flag,
            marked: path.stale && path.flags & DecisionKey::LLGR_STALE == 0,
        })
    }

    /// The next hop told, or none if the peers could not use it.
    #[inline]
    pub(super) fn next_hop(
        &self,
        afi: Afi,
        flag: u32,
        learned: impl FnOnce() -> NextHop,
    ) -> Option<NextHop> {
        if flag & OWN_NEXT_HOP != 0 {
            return *self.own_next_hop.get(afi);
        }
        let next_hop = learned();
        let usable = match Afi::of(next_hop.addr) {
            // It says nothing to anybody on another link (RFC 2545 2).
            _ if next_hop.interface != 0 => false,
            Afi::Ipv6 if afi == Afi::Ipv4 => self.encoding.extended_next_hop,
            of => of == afi,
        };
        usable.then_some(next_hop)
    }

    /// Whether our role makes us add ONLY_TO_CUSTOMER to a path with these flags (RFC 9234 5).
    #[inline]
    pub(super) fn adds_only_to_customer(&self, flags: u16) -> bool {
        self.role.is_some_and(Role::marks_told) && flags & DecisionKey::ONLY_TO_CUSTOMER == 0
    }
}

/// Which paths of a prefix a peer is told that takes several, of those in order of preference: at most
/// [`MAX_PATHS_TOLD`], and of those that go the same way, by their [way](super::decide::Candidate::way), only the first.
pub(super) fn several<C, T>(
    ranked: impl Iterator<Item = C>,
    way: impl Fn(&C) -> (u32, u32),
    mut tell: impl FnMut(C) -> Option<T>,
) -> SmallVec<[T; 4]> {
    let mut told: SmallVec<[T; 4]> = SmallVec::new();
    let mut ways: SmallVec<[(u32, u32); 4]> = SmallVec::new();
    for candidate in ranked {
        if told.len() == MAX_PATHS_TOLD {
            break;
        }
        let way = way(&candidate);
        if ways.contains(&way) {
            continue;
        }
        if let Some(one) = tell(candidate) {
            told.push(one);
            ways.push(way);
        }
    }
    told
}
