use std::collections::BTreeMap;

use dunlin_net::{Asn, RouterId};

use super::{Aggregator, Attrs, Origin, SegmentKind, as_path, code, flag, known_flags};
use crate::policy::{AttrEdits, CommunityValue};

/// The longest value an attribute can have.
const MAX_VALUE_LEN: usize = u16::MAX as usize;

/// Makes canonical attribute bytes. A value that would exceed 65,535 octets leaves the attribute as it was: no message
/// could carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttrBuilder {
    /// Flags and value by type code.
    attrs: BTreeMap<u8, (u8, Vec<u8>)>,
}

impl AttrBuilder {
    /// The attributes of a route this speaker originates: the origin and an empty AS path.
    pub fn originated(origin: Origin) -> AttrBuilder {
        AttrBuilder::default().origin(origin).as_path(&[])
    }

    /// Starts from existing canonical attributes.
    pub fn from_attrs(attrs: Attrs<'_>) -> AttrBuilder {
        AttrBuilder {
            attrs: attrs
                .iter()
                .map(|attr| (attr.code, (attr.flags, attr.value.to_vec())))
                .collect(),
        }
    }

    fn set(mut self, code: u8, value: Vec<u8>) -> AttrBuilder {
        if value.len() <= MAX_VALUE_LEN {
            let flags = known_flags(code).unwrap_or(flag::OPTIONAL | flag::TRANSITIVE);
            let kept = self
                .attrs
                .get(&code)
                .map_or(0, |(old, _)| old & flag::PARTIAL);
            self.attrs.insert(code, (flags | kept, value));
        }
        self
    }

    fn value(&self, code: u8) -> &[u8] {
        self.attrs.get(&code).map_or(&[], |(_, value)| value)
    }

    /// Adds those records of `N` octets to a list attribute that it does not hold yet.
    fn add<const N: usize>(self, code: u8, records: impl Iterator<Item = [u8; N]>) -> AttrBuilder {
        let mut value = self.value(code).to_vec();
        let before = value.len();
        for record in records {
            if value.len() + N <= MAX_VALUE_LEN && !value.as_chunks::<N>().0.contains(&record) {
                value.extend_from_slice(&record);
            }
        }
        if value.len() == before {
            return self;
        }
        self.set(code, value)
    }

    /// Sets ORIGIN.
    pub fn origin(self, origin: Origin) -> AttrBuilder {
        self.set(code::ORIGIN, vec![origin as u8])
    }

    /// Sets AS_PATH to one sequence, nearest first; empty for a route of the own AS.
    pub fn as_path(self, sequence: &[Asn]) -> AttrBuilder {
        self.as_path_segments(&[(SegmentKind::Sequence, sequence)])
    }

    /// Sets AS_PATH. Segments above 255 AS numbers are split.
    pub fn as_path_segments(self, segments: &[(SegmentKind, &[Asn])]) -> AttrBuilder {
        let mut value = Vec::new();
        for (kind, asns) in segments {
            for chunk in asns.chunks(usize::from(u8::MAX)) {
                value.extend_from_slice(&[*kind as u8, chunk.len() as u8]);
                value.extend(chunk.iter().flat_map(|asn| asn.0.to_be_bytes()));
            }
        }
        self.set(code::AS_PATH, value)
    }

    /// Prepends to AS_PATH.
    pub fn prepend(self, asn: Asn, count: u8) -> AttrBuilder {
        let mut value = Vec::new();
        as_path::prepend(self.value(code::AS_PATH), asn, count, &mut value);
        self.set(code::AS_PATH, value)
    }

    /// Sets MULTI_EXIT_DISC.
    pub fn med(self, med: u32) -> AttrBuilder {
        self.set(code::MED, med.to_be_bytes().to_vec())
    }

    /// Sets ONLY_TO_CUSTOMER.
    pub fn only_to_customer(self, asn: Asn) -> AttrBuilder {
        self.set(code::ONLY_TO_CUSTOMER, asn.0.to_be_bytes().to_vec())
    }

    /// Leaves ONLY_TO_CUSTOMER out.
    pub fn without_only_to_customer(mut self) -> AttrBuilder {
        self.attrs.remove(&code::ONLY_TO_CUSTOMER);
        self
    }

    /// Sets LOCAL_PREF.
    pub fn local_pref(self, local_pref: u32) -> AttrBuilder {
        self.set(code::LOCAL_PREF, local_pref.to_be_bytes().to_vec())
    }

    /// Sets ATOMIC_AGGREGATE.
    pub fn atomic_aggregate(self) -> AttrBuilder {
        self.set(code::ATOMIC_AGGREGATE, Vec::new())
    }

    /// Sets AGGREGATOR.
    pub fn aggregator(self, aggregator: Aggregator) -> AttrBuilder {
        let mut value = aggregator.asn.0.to_be_bytes().to_vec();
        value.extend_from_slice(&aggregator.router_id.0.octets());
        self.set(code::AGGREGATOR, value)
    }

    /// Adds communities that are not there yet.
    pub fn communities(self, communities: &[u32]) -> AttrBuilder {
        self.add(
            code::COMMUNITIES,
            communities.iter().map(|it| it.to_be_bytes()),
        )
    }

    /// Adds extended communities that are not there yet.
    pub fn extended_communities(self, communities: &[[u8; 8]]) -> AttrBuilder {
        self.add(code::EXTENDED_COMMUNITIES, communities.iter().copied())
    }

    /// Adds large communities that are not there yet.
    pub fn large_communities(self, communities: &[[u32; 3]]) -> AttrBuilder {
        let records = communities.iter().map(|parts| {
            let mut octets = [0; 12];
            for (octets, part) in octets.as_chunks_mut().0.iter_mut().zip(parts) {
                *octets = part.to_be_bytes();
            }
            octets
        });
        self.add(code::LARGE_COMMUNITIES, records)
    }

    /// Sets ORIGINATOR_ID.
    pub fn originator_id(self, id: RouterId) -> AttrBuilder {
        self.set(code::ORIGINATOR_ID, id.0.octets().to_vec())
    }

    /// Sets CLUSTER_LIST, nearest first.
    pub fn cluster_list(self, clusters: &[RouterId]) -> AttrBuilder {
        let value = clusters.iter().flat_map(|id| id.0.octets()).collect();
        self.set(code::CLUSTER_LIST, value)
    }

    /// Sets an optional transitive attribute this speaker does not know; a known type code is left alone.
    pub fn unknown(self, code: u8, value: &[u8]) -> AttrBuilder {
        if known_flags(code).is_some() {
            return self;
        }
        self.set(code, value.to_vec())
    }

    /// The canonical bytes.
    pub fn build(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (code, (flags, value)) in &self.attrs {
            put_attr(*flags, *code, value, &mut out);
        }
        out
    }
}

/// Canonical attributes with a policy's changes made to them, in the order: LOCAL_PREF, MULTI_EXIT_DISC, prepend,
/// communities.
pub fn apply_edits(attrs: Attrs<'_>, edits: &AttrEdits) -> Vec<u8> {
    if *edits == AttrEdits::default() {
        return attrs.as_bytes().to_vec();
    }
    let mut builder = AttrBuilder::from_attrs(attrs);
    if let Some(local_pref) = edits.local_pref {
        builder = builder.local_pref(local_pref);
    }
    if let Some(med) = edits.med {
        builder = builder.med(med);
    }
    if let Some((asn, count)) = edits.prepend {
        builder = builder.prepend(asn, count);
    }
    for community in &edits.add_communities {
        builder = match *community {
            CommunityValue::Standard(value) => builder.communities(&[value]),
            CommunityValue::Large(a, b, c) => builder.large_communities(&[[a, b, c]]),
        };
    }
    builder.build()
}

/// Appends one attribute with the length encoding its size calls for. `value` has at most 65,535 octets; the flags'
/// extended length bit is set or cleared here.
#[inline]
pub(crate) fn put_attr(flags: u8, code: u8, value: &[u8], out: &mut Vec<u8>) {
    put_head(flags, code, value.len(), out);
    out.extend_from_slice(value);
}

/// Appends the head of an attribute whose value of `len` octets follows.
#[inline]
pub(crate) fn put_head(flags: u8, code: u8, len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(len) => out.extend_from_slice(&[flags & !flag::EXTENDED_LENGTH, code, len]),
        Err(_) => {
            let [high, low] = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            out.extend_from_slice(&[flags | flag::EXTENDED_LENGTH, code, high, low]);
        }
    }
}
