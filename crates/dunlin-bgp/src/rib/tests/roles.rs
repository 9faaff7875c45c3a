//! Only to Customer (RFC 9234 5).

use dunlin_net::{Afi, Asn, V4};

use super::fixture::Fixture;
use super::world::*;
use crate::attrs::{AttrBuilder, Attrs};
use crate::batch::RouteBatch;
use crate::policy::{PeerType, RejectReason, Role};
use crate::rib::{SourceId, SourceInfo};
use crate::wire::decode_update;

fn source(fixture: &mut Fixture, number: u8, role: Option<Role>) -> (SourceId, Asn) {
    let info = SourceInfo {
        role,
        ..peer(number, PeerType::External)
    };
    let asn = info.remote_asn;
    (fixture.register(info), asn)
}

/// Announces prefix 1, marked or not.
fn announces(fixture: &mut Fixture, source: SourceId, mark: Option<Asn>) {
    let mut builder = AttrBuilder::from_attrs(Attrs::new(&attrs(1)));
    if let Some(mark) = mark {
        builder = builder.only_to_customer(mark);
    }
    let mut batch = RouteBatch::default();
    let nets = [V4::test_net(1)];
    announce::<V4>(&mut batch, &builder.build(), V4::test_hop(1), &nets);
    fixture.rib.apply(&fixture.facts, source, &batch);
}

fn leaks(fixture: &Fixture, source: SourceId) -> bool {
    let rejected = fixture.rib.rejected(source, Afi::Ipv4);
    rejected
        .iter()
        .any(|(why, _)| *why == RejectReason::RouteLeak)
}

/// The mark that the prefix has in the Adj-RIB-In.
fn mark(fixture: &Fixture) -> Option<Asn> {
    let view = fixture
        .rib
        .lookup::<V4>(V4::test_net(1))
        .expect("it is known");
    view.paths[0].received.only_to_customer()
}

#[test]
fn what_a_peer_tells_is_marked_or_a_leak() {
    let other = Asn(4_200_000_001);
    for role in Role::ALL {
        let (below, across) = match role {
            Role::Provider | Role::RouteServer => (true, false),
            Role::Peer => (false, true),
            Role::Customer | Role::RouteServerClient => (false, false),
        };
        let mut fixture = Fixture::with(|config| config.resolve = false);
        let (source, own) = source(&mut fixture, 1, Some(role));
        announces(&mut fixture, source, None);
        assert!(!leaks(&fixture, source), "{role}");
        assert_eq!(mark(&fixture), (!below).then_some(own), "{role}");
        announces(&mut fixture, source, Some(own));
        assert_eq!(leaks(&fixture, source), below, "{role}");
        assert_eq!(mark(&fixture), Some(own));
        announces(&mut fixture, source, Some(other));
        assert_eq!(leaks(&fixture, source), below || across, "{role}");
        assert_eq!(mark(&fixture), Some(other), "it is never changed");
    }
}

#[test]
fn what_a_peer_is_told_is_marked_or_withheld() {
    let from = Asn(4_200_000_001);
    for role in Role::ALL {
        for marked in [None, Some(from)] {
            let mut fixture = Fixture::with(|config| config.resolve = false);
            let (source, _) = source(&mut fixture, 1, None);
            let mut key = key(0, PeerType::External, false);
            key.role = Some(role);
            fixture.rib.set_gate(false, false);
            fixture
                .rib
                .join(dunlin_net::PeerId(9), None, &key, usize::MAX);
            announces(&mut fixture, source, marked);
            let mut told = None;
            while let Some(output) = fixture.rib.poll_output(&fixture.facts, 4_000) {
                let mut rest = &*output.bytes;
                while let Some(&[high, low]) = rest.get(16..18) {
                    let len = usize::from(u16::from_be_bytes([high, low]));
                    let mut batch = RouteBatch::default();
                    let context = super::model::context((PeerType::External, Default::default()));
                    decode_update(&context, &rest[19..len], &mut batch).expect("a good UPDATE");
                    if !batch.nlri.v4.is_empty() {
                        told = Some(Attrs::new(&batch.attr_bytes).only_to_customer());
                    }
                    rest = &rest[len..];
                }
            }
            let up = matches!(role, Role::Customer | Role::RouteServerClient);
            let across = role == Role::Peer;
            let wanted = match marked {
                Some(_) if up || across => None,
                Some(mark) => Some(Some(mark)),
                None if up => Some(None),
                None => Some(Some(key.encoding.local_asn)),
            };
            assert_eq!(told, wanted, "{role}, {marked:?}");
        }
    }
}
