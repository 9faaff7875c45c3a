//! A `BGPPeer` by itself: what is wrong with it, and the session it asks for.

use std::net::IpAddr;
use std::time::Duration;

use dunlin_net::{Afi, Asn, InterfaceName, IpNet};

use crate::fact::{MaxPrefixesAction, MaxPrefixesFact, PeerAsn, PeerFact};
use crate::intent::{AddPath, Auth, MaxPrefixes, Remote, RemoteAsn, SessionIntent};
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::settings::{
    DEFAULT_PORT, Faults, LONG_LIVED_FIELD, Settings, asn_fault, graceful_restart, host_bits_fault,
    long_lived_secs, port_fault, restart_secs, timers,
};

/// From which share of `maxPrefixes` on the number is a problem.
const DEFAULT_WARNING_PERCENT: u8 = 75;

/// How long a session is held down that announced more than `maxPrefixes`: long enough for somebody to look.
const DEFAULT_RESTART_AFTER_SECS: u32 = 300;

/// A day.
const MAX_RESTART_AFTER_SECS: u32 = 86_400;

/// Where a `BGPPeer` is, without its port: sessions are told apart by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Address(IpAddr),
    Range(IpNet),
    Interface(InterfaceName),
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
    let local_asn = fact.local_asn.unwrap_or(settings.asn);
    let remote_asn = remote_asn(fact, settings, &mut faults);
    check_local_asn(fact, settings, remote_asn, &mut faults);
    check_ttl_security(fact, &mut faults);
    check_role(fact, settings, remote_asn, &mut faults);
    check_max_prefixes(fact.max_prefixes.as_ref(), &mut faults);
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
    let long_lived = long_lived_secs(settings.long_lived_secs, &fact.graceful_restart)
        .map_err(|message| faults.invalid(LONG_LIVED_FIELD, message))
        .unwrap_or_default();
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
                    Place::Interface(name) => {
                        Remote::Interface(name, fact.port.unwrap_or(DEFAULT_PORT))
                    }
                },
                local_address: fact.source_address,
                local_asn,
                remote_asn,
                families,
                timers,
                graceful_restart: graceful_restart(restart, long_lived, false),
                auth: Auth::None,
                ebgp_multihop: fact.ebgp_multihop,
                add_path: add_path(fact),
                ttl_security_hops: fact.ttl_security_hops,
                role: fact.role,
                strict_role: fact.strict_role.unwrap_or(false),
            },
        )),
        _ => None,
    };
    match session {
        Some(session) if faults.problems.is_empty() => Ok(session),
        _ => Err(faults.problems),
    }
}

/// A client is told all paths, and may tell all, unless said otherwise.
fn add_path(fact: &PeerFact) -> AddPath {
    let client = fact.reflector_client == Some(true);
    AddPath {
        send: fact.add_path.send.unwrap_or(client),
        receive: fact.add_path.receive.unwrap_or(client),
    }
}

fn unsupported(fact: &PeerFact, faults: &mut Faults) {
    // A connection on which security could not be applied is never used.
    if fact.tcp_ao {
        faults.add(
            Reason::Unsupported,
            "spec.tcpAO",
            "TCP-AO (RFC 5925) is not built: it needs a kernel with CONFIG_TCP_AO (Linux 6.7 or later, off in most), \
             so the peer is not used: give passwordSecretRef (TCP MD5), with ttlSecurity where the peer is near",
        );
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
    if let Some(name) = &fact.interface {
        return interface(name, fact, faults);
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

fn interface(name: &str, fact: &PeerFact, faults: &mut Faults) -> Option<Place> {
    if fact.ebgp_multihop.is_some() {
        faults.invalid(
            "spec.ebgpMultihop",
            "has no meaning with interface, whose peer is on that link: remove it",
        );
    }
    if fact.ttl_security_hops.is_some_and(|hops| hops > 1) {
        faults.invalid(
            "spec.ttlSecurity.hops",
            "the peer of an interface is on that link: give 1",
        );
    }
    match name.parse() {
        Ok(name) => Some(Place::Interface(name)),
        Err(error) => {
            faults.invalid("spec.interface", format!("{name:?}: {error}"));
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
    if fact.reflector_client == Some(true)
        && remote_asn.is_some_and(|asn| asn != RemoteAsn::Exactly(settings.asn))
    {
        faults.invalid(
            "spec.reflectorClient",
            "has no meaning with a router of another AS: remove it",
        );
    }
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

/// The AS that this peer takes us for has to make it an external one, of neither of our two numbers.
fn check_local_asn(
    fact: &PeerFact,
    settings: &Settings,
    remote_asn: Option<RemoteAsn>,
    faults: &mut Faults,
) {
    let Some(local) = fact.local_asn else {
        return;
    };
    if !faults.check("spec.localASN", asn_fault(local)) || local == settings.asn {
        return;
    }
    match remote_asn {
        Some(RemoteAsn::Exactly(Asn(remote))) if remote == local.0 => faults.invalid(
            "spec.localASN",
            format!("{local} is the peer's own AS: what it tells would be told as from within; give another number"),
        ),
        Some(RemoteAsn::Exactly(remote)) if remote == settings.asn => faults.invalid(
            "spec.localASN",
            format!("is for peers outside AS {remote}, which is that of the cluster and of this peer: remove it"),
        ),
        _ => {}
    }
}

fn check_ttl_security(fact: &PeerFact, faults: &mut Faults) {
    let Some(hops) = fact.ttl_security_hops else {
        return;
    };
    if !(1..=254).contains(&hops) {
        faults.invalid(
            "spec.ttlSecurity.hops",
            format!("{hops} is no number of links: give 1 to 254"),
        );
    }
    if fact.ebgp_multihop.is_some() {
        faults.invalid(
            "spec.ttlSecurity",
            "its packets leave with TTL 255, and ebgpMultihop asks for another: give one of the two",
        );
    }
}

/// Who is what to whom is asked between ASes only (RFC 9234 4.1).
fn check_role(
    fact: &PeerFact,
    settings: &Settings,
    remote_asn: Option<RemoteAsn>,
    faults: &mut Faults,
) {
    if fact.role.is_some() && remote_asn == Some(RemoteAsn::Exactly(settings.asn)) {
        faults.invalid(
            "spec.role",
            "has no meaning within our own AS: remove it (RFC 9234 section 4.1)",
        );
    }
    if fact.role.is_none() && fact.strict_role == Some(true) {
        faults.invalid(
            "spec.strictRole",
            "asks for a role of the peer's that fits ours: give role too",
        );
    }
}

fn check_max_prefixes(fact: Option<&MaxPrefixesFact>, faults: &mut Faults) {
    let Some(fact) = fact else { return };
    match fact.limit {
        None => faults.invalid(
            "spec.maxPrefixes.limit",
            "is missing: give how many prefixes of each family the router may announce",
        ),
        Some(0) => faults.invalid(
            "spec.maxPrefixes.limit",
            "0 would end every session that announces anything: give at least 1, or an importFilter that accepts nothing",
        ),
        Some(_) => {}
    }
    if let Some(percent) = fact.warning_percent
        && !(1..=100).contains(&percent)
    {
        faults.invalid(
            "spec.maxPrefixes.warningPercent",
            format!("{percent} is no share of the limit: give 1 to 100"),
        );
    }
    let Some(secs) = fact.restart_after_secs else {
        return;
    };
    if !(1..=MAX_RESTART_AFTER_SECS).contains(&secs) {
        faults.invalid(
            "spec.maxPrefixes.restartAfterSeconds",
            format!("{secs} s: give 1 to {MAX_RESTART_AFTER_SECS}"),
        );
    }
    if fact.action == Some(MaxPrefixesAction::Warn) {
        faults.invalid(
            "spec.maxPrefixes.restartAfterSeconds",
            "has no meaning with action Warn, which ends no session: remove it",
        );
    }
}

/// What a fact that [`session`] has found no fault with asks for.
pub(crate) fn max_prefixes(fact: &MaxPrefixesFact) -> Option<MaxPrefixes> {
    let limit = fact.limit?;
    let percent = fact.warning_percent.unwrap_or(DEFAULT_WARNING_PERCENT);
    // At most the limit, as the share is at most all of it.
    let warning = u64::from(limit) * u64::from(percent.min(100)) / 100;
    let secs = fact
        .restart_after_secs
        .unwrap_or(DEFAULT_RESTART_AFTER_SECS);
    Some(MaxPrefixes {
        limit,
        warning: u32::try_from(warning).unwrap_or(limit).max(1),
        restart_after: match fact.action.unwrap_or_default() {
            MaxPrefixesAction::Reset => Some(Duration::from_secs(secs.into())),
            MaxPrefixesAction::Warn => None,
        },
    })
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
        Some(Place::Interface(_)) => {
            return faults.invalid(
                "spec.sourceAddress",
                "has no meaning with interface, where both sides have link-local addresses: remove it",
            );
        }
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
