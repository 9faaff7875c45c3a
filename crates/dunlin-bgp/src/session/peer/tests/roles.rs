//! Who is what to whom (RFC 9234 4).

use dunlin_net::Asn;

use super::bench::*;
use crate::policy::Role;
use crate::session::*;
use crate::wire::{Capability, KEEPALIVE};

/// Whether a session comes up between us in this role and an external peer that says these; if not, it was told Role Mismatch.
fn comes_up(role: Role, strict: bool, said: &[u8]) -> bool {
    let mut config = config();
    config.remote_asn = RemoteAsn::External;
    config.role = Some(role);
    config.strict_role = strict;
    let (mut bench, conn) = Bench::accepted(config);
    let mut theirs = open();
    theirs.asn = Asn(65001);
    for it in &mut theirs.capabilities {
        if let Capability::FourOctetAs(asn) = it {
            *asn = Asn(65001);
        }
    }
    let said = said.iter().map(|role| Capability::Role(*role));
    theirs.capabilities.extend(said);
    bench.did();
    bench.bytes(conn, &encoded(&theirs));
    bench.bytes(conn, &KEEPALIVE);
    let up = bench.peer.state().0 == FsmState::Established;
    let told = bench.did().into_iter().find_map(|did| match did {
        Did::Closed(_, notification) => notification,
        _ => None,
    });
    let told = told.map(|told| (told.code, told.subcode, told.data));
    let mismatch = (2, 11, Vec::new());
    assert_eq!(
        told,
        (!up).then_some(mismatch),
        "{role} {said:?}",
        said = theirs.capabilities
    );
    up
}

#[test]
fn each_pair_of_roles_is_judged_as_the_rfc_says() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let fit = [
        (Provider, Customer),
        (Customer, Provider),
        (RouteServer, RouteServerClient),
        (RouteServerClient, RouteServer),
        (Peer, Peer),
    ];
    for ours in Role::ALL {
        assert_eq!(Role::from_number(ours.number()), Some(ours));
        for theirs in Role::ALL {
            let fits = fit.contains(&(ours, theirs));
            assert_eq!(comes_up(ours, false, &[theirs.number()]), fits);
            assert_eq!(comes_up(ours, true, &[theirs.number()]), fits);
        }
        // One that nobody has defined.
        assert!(!comes_up(ours, false, &[5]));
    }
}

#[test]
fn a_peer_without_a_role_comes_up_unless_one_is_asked_for() {
    for ours in Role::ALL {
        assert!(comes_up(ours, false, &[]));
        assert!(!comes_up(ours, true, &[]));
    }
}

#[test]
fn two_roles_are_a_mismatch_and_the_same_twice_is_none() {
    assert!(!comes_up(Role::Customer, false, &[0, 4]));
    assert!(!comes_up(Role::Customer, false, &[4, 0]));
    assert!(comes_up(Role::Customer, true, &[0, 0]));
}

#[test]
fn within_an_as_no_role_is_told_or_asked_for() {
    let mut config = config();
    config.role = Some(Role::Customer);
    config.strict_role = true;
    let (bench, _) = Bench::established(config);
    let (_, negotiated) = bench.peer.established().expect("it is up");
    assert_eq!(negotiated.remote_asn, US);
}
