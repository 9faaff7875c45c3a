//! A path as a peer would be told it.

use dunlin_net::{Asn, PeerId};
use smallvec::SmallVec;

use super::export::{ExportPolicy, long_lived_mark};
use super::group::GroupKey;
use super::source::SourceInfo;
use super::table::RibFamily;
use super::telling::Tellable;
use crate::attrs::{self, AttrBuilder, Attrs};
use crate::batch::NextHop;
use crate::policy::AttrEdits;

/// A path as a peer is told it. Equal ones are told with the same attributes and next hop.
#[derive(Clone, Copy, Debug)]
pub struct Told<'s> {
    /// Which path it is: the same as long as it is there, and [`Told::OURS`] for what is not in the table yet.
    pub number: u32,
    /// Whom it was learned from; none for what is originated here.
    pub from: Option<PeerId>,
    /// What export policy changes.
    pub edits: Option<&'s AttrEdits>,
    /// The next hop.
    pub next_hop: NextHop,
    /// The AS in ONLY_TO_CUSTOMER that our role makes us add (RFC 9234 5).
    pub only_to_customer: Option<Asn>,
    /// LLGR_STALE is added (RFC 9494 4.3).
    marked: bool,
    /// Before export policy.
    attrs: &'s [u8],
}

/// What a peer is told of a prefix, the best path first: one path, or up to [`MAX_PATHS_TOLD`](super::MAX_PATHS_TOLD).
pub type Said<'s> = SmallVec<[Told<'s>; 4]>;

impl PartialEq for Told<'_> {
    fn eq(&self, other: &Told<'_>) -> bool {
        let said = |told: &Told<'_>| (told.next_hop, told.only_to_customer, told.marked);
        said(self) == said(other)
            && self.from.is_none() == other.from.is_none()
            && self.edits == other.edits
            && self.attrs == other.attrs
    }
}

impl<'s> Told<'s> {
    /// Of a path that would be originated here: not in the table yet.
    pub const OURS: u32 = u32::MAX;

    /// What peers with this key would be told of a prefix that would be originated here with these attributes.
    pub fn ours<F: RibFamily, P: ExportPolicy>(
        net: F::Net,
        (attrs, info): (&'s [u8], &'s SourceInfo),
        key: &GroupKey,
        policy: &'s P,
    ) -> Option<Told<'s>> {
        let tellable = Tellable {
            attrs: Attrs::new(attrs),
            flags: 0,
            source: info,
            stale: false,
            is_not_to_linger: false,
        };
        let next_hop = NextHop::new(info.remote_addr);
        Told::of::<F, P>((net, Told::OURS), &tellable, next_hop, key, policy)
    }

    pub(super) fn of<F: RibFamily, P: ExportPolicy>(
        (net, number): (F::Net, u32),
        path: &Tellable<'s>,
        learned: NextHop,
        key: &GroupKey,
        policy: &'s P,
    ) -> Option<Told<'s>> {
        let telling = key.tell::<F, P>(policy, net, path).ok()?;
        let next_hop = key.next_hop(F::AFI, telling.flag, || learned)?;
        let adds = key.adds_only_to_customer(path.flags);
        Some(Told {
            number,
            from: path.source.peer,
            edits: telling.edits,
            next_hop,
            only_to_customer: adds.then_some(key.encoding.local_asn),
            marked: telling.marked,
            attrs: path.attrs.as_bytes(),
        })
    }

    /// The attributes as told, but for what the kind of session asks (own AS, LOCAL_PREF, MULTI_EXIT_DISC).
    pub fn attrs(&self) -> Vec<u8> {
        let mut bytes = match self.edits {
            Some(edits) => attrs::apply_edits(Attrs::new(self.attrs), edits),
            None => self.attrs.to_vec(),
        };
        if self.marked {
            bytes = attrs::apply_edits(Attrs::new(&bytes), &long_lived_mark());
        }
        if let Some(asn) = self.only_to_customer {
            let builder = AttrBuilder::from_attrs(Attrs::new(&bytes));
            bytes = builder.only_to_customer(asn).build();
        }
        bytes
    }
}
