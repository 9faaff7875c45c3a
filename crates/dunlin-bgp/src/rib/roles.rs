//! What roles make of routes on their way in (RFC 9234 5).

use std::borrow::Cow;

use super::source::SourceInfo;
use crate::attrs::{self, AttrBuilder, Attrs};
use crate::batch::NextHop;
use crate::policy::Role;

/// The attributes, with the mark that a route from above gets if it has none (ingress 3), and their hash.
pub(super) fn marked<'b>(
    info: &SourceInfo,
    (bytes, hash): (&'b [u8], u64),
    next_hop: &NextHop,
    seed: u64,
) -> (Cow<'b, [u8]>, u64) {
    let attrs = Attrs::new(bytes);
    let marks = info.role.is_some_and(Role::marks_received);
    if !marks || attrs.only_to_customer().is_some() {
        return (Cow::Borrowed(bytes), hash);
    }
    let builder = AttrBuilder::from_attrs(attrs);
    let marked = builder.only_to_customer(info.remote_asn).build();
    let hash = attrs::hash(seed, &marked, next_hop);
    (Cow::Owned(marked), hash)
}
