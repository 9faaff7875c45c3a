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

/// Attributes as they came in from a source when the first was known of it, as they will when the second is. A mark with the
/// source's own AS is the source's where it `marks_itself`, and else ours if our role made us set it.
pub(super) fn marked_anew<'b>(
    bytes: &'b [u8],
    [now, then]: [&SourceInfo; 2],
    marks_itself: bool,
) -> Cow<'b, [u8]> {
    if (now.role, now.remote_asn) == (then.role, then.remote_asn) {
        return Cow::Borrowed(bytes);
    }
    let marks = |info: &SourceInfo| info.role.is_some_and(Role::marks_received);
    let attrs = Attrs::new(bytes);
    let mark = attrs.only_to_customer();
    let of_source = mark == Some(now.remote_asn);
    let sent = mark.filter(|_| marks_itself || !marks(now) || !of_source);
    let then = match sent {
        Some(_) if of_source => Some(then.remote_asn),
        Some(mark) => Some(mark),
        None => marks(then).then_some(then.remote_asn),
    };
    if mark == then {
        return Cow::Borrowed(bytes);
    }
    let builder = AttrBuilder::from_attrs(attrs);
    let marked = match then {
        Some(mark) => builder.only_to_customer(mark),
        None => builder.without_only_to_customer(),
    };
    Cow::Owned(marked.build())
}
