//! A `BGPPeer` by itself: what is wrong with it, and the session it asks for.

use std::net::IpAddr;

use dunlin_net::{Afi, IpNet};

use crate::fact::{PeerAsn, PeerFact};
use crate::intent::{AddPath, Auth, Remote, RemoteAsn, SessionIntent};
use crate::problem::{ObjectKind, ObjectRef, Problem};
use crate::settings::{
    DEFAULT_PORT, Faults, Settings, asn_fault, graceful_restart, host_bits_fault, port_fault,
    restart_secs, timers,
};

/// Where a `BGPPeer` is, without its port: sessions are told apart by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Address(IpAddr),
    Range(IpNet),
}

/// The session that a `BGPPeer` asks for, with `Auth::None`, or why it is refused.
pub(crate) fn session(
    fact: &PeerFact,
    settings: &Settings,
) -> Result<(Place, SessionIntent), Vec<Problem>> {
    let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpPeer, &fact.name));
    faults.malformed(&fact.malformed);
    unsupported(fact, &mut faults);
    if let Some(fault) = fact.node_selector.as_ref().and_then(|s| s.fault()) {
        faults.invalid("spec.nodeSelector", fault);
    }
    let place = place(fact, &mut faults);
    let remote_asn = remote_asn(fact, settings, &mut faults);
    if let Some(port) = fact.port {
        faults.check("spec.port", port_fault(port));
        if fact.peer_range.is_some() {
            faults.invalid(
                "spec.port",
                "has no meaning with peerRange, whose peers are never dialled: remove it",
            );
        }
    }
    check_source(fact, place, &mut faults);
    let timers = timers(settings.timers, &fact.timers)
        .map_err(|(field, message)| faults.invalid(field, message));
    let restart = restart_secs(settings.restart_secs, &fact.graceful_restart)
        .map_err(|message| faults.invalid("spec.gracefulRestart.restartSeconds", message));
    let families = families(fact, &mut faults);
    let session = match (place, remote_asn, timers, restart) {
        (Some(place), Some(remote_asn), Ok(timers), Ok(restart)) => Some((
            place,
            SessionIntent {
                remote: match place {
                    Place::Address(addr) => {
                        Remote::Address(addr, fact.port.unwrap_or(DEFAULT_PORT))
                    }
                    Place::Range(net) => Remote::Range(net),
                },
                local_address: fact.source_address,
                local_asn: settings.asn,
                remote_asn,
                families,
                timers,
                graceful_restart: graceful_restart(restart, false),
                auth: Auth::None,
                ebgp_multihop: fact.ebgp_multihop,
                add_path: AddPath::default(),
            },
        )),
        _ => None,
    };
    match session {
        Some(session) if faults.problems.is_empty() => Ok(session),
        _ => Err(faults.problems),
    }
}

fn unsupported(fact: &PeerFact, faults: &mut Faults) {
    for (given, field) in [
        (fact.interface.is_some(), "spec.interface"),
        (fact.local_asn.is_some(), "spec.localASN"),
        (fact.ttl_security_hops.is_some(), "spec.ttlSecurity"),
        (
            fact.graceful_restart.long_lived_stale_secs.is_some(),
            "spec.gracefulRestart.longLivedStaleSeconds",
        ),
        (fact.max_prefixes.is_some(), "spec.maxPrefixes"),
    ] {
        if given {
            faults.unsupported(
                field,
                "is not built yet, so the peer is not used: remove it to have the peer without it",
            );
        }
    }
}

fn place(fact: &PeerFact, faults: &mut Faults) -> Option<Place> {
    let given = usize::from(fact.peer_address.is_some())
        + usize::from(fact.peer_range.is_some())
        + usize::from(fact.interface.is_some());
    // A malformed address was given too, and is reported as such.
    let malformed = fact.malformed.iter().any(|fault| {
        matches!(
            fault.field.as_str(),
            "spec.peerAddress" | "spec.peerRange" | "spec.interface"
        )
    });
    if given > 1 {
        faults.invalid(
            "spec",
            "has more than one of peerAddress, peerRange and interface: give one",
        );
        return None;
    }
    match (fact.peer_address, fact.peer_range) {
        (Some(addr), _) => match unicast_fault(addr) {
            Some(fault) => {
                faults.invalid("spec.peerAddress", fault);
                None
            }
            None => Some(Place::Address(addr)),
        },
        (None, Some(net)) => faults
            .check("spec.peerRange", host_bits_fault(net))
            .then_some(Place::Range(net)),
        (None, None) => {
            if given == 0 && !malformed {
                faults.invalid(
                    "spec",
                    "has none of peerAddress, peerRange and interface: give one",
                );
            }
            None
        }
    }
}

fn remote_asn(fact: &PeerFact, settings: &Settings, faults: &mut Faults) -> Option<RemoteAsn> {
    let remote_asn = match fact.peer_asn {
        Some(PeerAsn::Number(asn)) => faults
            .check("spec.peerASN", asn_fault(asn))
            .then_some(RemoteAsn::Exactly(asn)),
        Some(PeerAsn::Internal) => Some(RemoteAsn::Exactly(settings.asn)),
        Some(PeerAsn::External) => Some(RemoteAsn::External),
        None => {
            if !fact.malformed.iter().any(|m| m.field == "spec.peerASN") {
                faults.invalid(
                    "spec.peerASN",
                    "is missing: give the peer's AS number, internal or external",
                );
            }
            None
        }
    };
    if let Some(ttl) = fact.ebgp_multihop {
        if ttl == 0 {
            faults.invalid("spec.ebgpMultihop", "0 is no TTL: give 1 to 255");
        }
        if remote_asn == Some(RemoteAsn::Exactly(settings.asn)) {
            faults.invalid(
                "spec.ebgpMultihop",
                "has no meaning within our own AS: remove it",
            );
        }
    }
    remote_asn
}

fn check_source(fact: &PeerFact, place: Option<Place>, faults: &mut Faults) {
    let Some(source) = fact.source_address else {
        return;
    };
    if let Some(fault) = unicast_fault(source) {
        faults.invalid("spec.sourceAddress", fault);
    }
    let (peer, afi) = match place {
        Some(Place::Address(addr)) => (addr.to_string(), Afi::of(addr)),
        Some(Place::Range(net)) => (net.to_string(), Afi::of_net(net)),
        None => return,
    };
    if Afi::of(source) != afi {
        faults.invalid(
            "spec.sourceAddress",
            format!("{source} is not of the family of {peer}: give an {afi} address"),
        );
    }
}

fn families(fact: &PeerFact, faults: &mut Faults) -> Vec<Afi> {
    let Some(given) = &fact.address_families else {
        return Afi::ALL.to_vec();
    };
    if given.is_empty() {
        faults.invalid(
            "spec.addressFamilies",
            "is empty: give ipv4, ipv6 or both, or leave it out for both",
        );
    }
    Afi::ALL
        .into_iter()
        .filter(|afi| given.contains(afi))
        .collect()
}

/// What keeps an address from being that of a node or a peer.
pub(crate) fn unicast_fault(addr: IpAddr) -> Option<String> {
    let what = match addr {
        _ if addr.is_unspecified() => "the unspecified address",
        _ if addr.is_loopback() => "a loopback address",
        _ if addr.is_multicast() => "a multicast address",
        IpAddr::V4(addr) if addr.is_broadcast() => "the broadcast address",
        IpAddr::V6(addr) if addr.is_unicast_link_local() => {
            "a link-local address, which says nothing without its interface"
        }
        IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some() => "an IPv4-mapped address",
        _ => return None,
    };
    Some(format!("{addr} is {what}: give a unicast address"))
}

#[cfg(test)]
mod tests;
