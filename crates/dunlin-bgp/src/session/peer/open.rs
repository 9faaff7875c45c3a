//! Our OPEN, the check of the peer's, and what both agree on.

use std::net::SocketAddr;

use dunlin_net::{Afi, PerFamily};

use super::conn::Ends;
use crate::policy::{PeerType, Role};
use crate::session::{AddPath, DownReason, Negotiated, Opens, PeerConfig, PeerRestart};
use crate::wire::{
    self, AddPathFamily, AddPathMode, AfiSafi, Capability, ExtendedNextHopFamily, LlgrFamily, Open,
    RestartFamily,
};

/// IPv4 prefixes with IPv6 next hops (RFC 8950 4).
const V4_BY_V6: ExtendedNextHopFamily = ExtendedNextHopFamily {
    nlri: AfiSafi::unicast(Afi::Ipv4),
    next_hop_afi: AfiSafi::unicast(Afi::Ipv6).afi,
};

/// The OPEN that the configuration asks for.
pub(super) fn our_open(config: &PeerConfig) -> Open {
    let mut open = Open::new(
        config.local_asn,
        config.timers.hold_time_secs,
        config.router_id,
    );
    let offer = config.capabilities;
    let families = offered_families(config);
    let add = &mut open.capabilities;
    if offer.multiprotocol {
        add.extend(each(families).map(|afi| Capability::Multiprotocol(AfiSafi::unicast(afi))));
    }
    if offer.route_refresh {
        add.push(Capability::RouteRefresh);
        if offer.enhanced_route_refresh {
            add.push(Capability::EnhancedRouteRefresh);
        }
    }
    if offer.extended_next_hop && offer.multiprotocol && families.v4 {
        add.push(Capability::ExtendedNextHop(vec![V4_BY_V6]));
    }
    if offer.extended_message {
        add.push(Capability::ExtendedMessage);
    }
    if offer.four_octet_as {
        add.push(Capability::FourOctetAs(config.local_asn));
    }
    let several: Vec<AddPathFamily> = each(families)
        .filter_map(|afi| {
            let wanted = config.add_path.get(afi);
            Some(AddPathFamily {
                family: AfiSafi::unicast(afi),
                mode: AddPathMode::new(wanted.send, wanted.receive)?,
            })
        })
        .collect();
    if !several.is_empty() {
        add.push(Capability::AddPath(several));
    }
    if let Some(role) = external_role(config) {
        add.push(Capability::Role(role.number()));
    }
    if let Some(restart) = config.graceful_restart {
        add.push(Capability::GracefulRestart(wire::GracefulRestart {
            restarting: restart.restarting,
            notification: restart.notification,
            restart_time_secs: restart.restart_time_secs,
            families: each(families)
                .map(|afi| RestartFamily {
                    family: AfiSafi::unicast(afi),
                    forwarding: *restart.forwarding.get(afi),
                })
                .collect(),
        }));
        if restart.long_lived_stale_secs > 0 {
            let offered = each(families).map(|afi| LlgrFamily {
                family: AfiSafi::unicast(afi),
                forwarding: *restart.forwarding.get(afi),
                stale_time_secs: restart.long_lived_stale_secs,
            });
            add.push(Capability::LongLivedGracefulRestart(offered.collect()));
        }
    }
    open
}

/// A role is for external peers alone (RFC 9234 4.1).
fn external_role(config: &PeerConfig) -> Option<Role> {
    let external = config.remote_asn.peer_type(config.local_asn) == PeerType::External;
    config.role.filter(|_| external)
}

/// Both sides have to agree on what they are to each other, if both say so (RFC 9234 4.2).
fn check_role(ours: Role, strict: bool, theirs: &Open) -> Result<(), DownReason> {
    let mut said = theirs.capabilities.iter().filter_map(|it| match it {
        Capability::Role(role) => Some(*role),
        _ => None,
    });
    let Some(first) = said.next() else {
        return match strict {
            true => Err(DownReason::RoleMissing { ours }),
            false => Ok(()),
        };
    };
    let wrong = (first != ours.counterpart().number()).then_some(first);
    match wrong.or_else(|| said.find(|other| *other != first)) {
        None => Ok(()),
        Some(got) => Err(DownReason::RoleMismatch { ours, got }),
    }
}

/// Without the multiprotocol capability only IPv4 can be spoken (RFC 4760 8).
fn offered_families(config: &PeerConfig) -> PerFamily<bool> {
    if config.capabilities.multiprotocol {
        config.families
    } else {
        PerFamily {
            v4: config.families.v4,
            v6: false,
        }
    }
}

fn each(families: PerFamily<bool>) -> impl Iterator<Item = Afi> {
    Afi::ALL.into_iter().filter(move |afi| *families.get(*afi))
}

fn both(a: PerFamily<bool>, b: PerFamily<bool>) -> PerFamily<bool> {
    PerFamily {
        v4: a.v4 && b.v4,
        v6: a.v6 && b.v6,
    }
}

/// Judges the peer's OPEN (RFC 4271 6.2, RFC 6286 2.2) and says what both agree on.
pub(super) fn negotiate(
    config: &PeerConfig,
    ends: Ends,
    theirs: Open,
) -> Result<Negotiated, DownReason> {
    if !config.remote_asn.accepts(config.local_asn, theirs.asn) {
        return Err(DownReason::BadPeerAs {
            expected: config.remote_asn,
            got: theirs.asn,
        });
    }
    let internal = theirs.asn == config.local_asn;
    if internal && theirs.router_id == config.router_id {
        return Err(DownReason::SameRouterId {
            got: theirs.router_id,
        });
    }
    if let Some(ours) = config.role.filter(|_| !internal) {
        check_role(ours, config.strict_role, &theirs)?;
    }
    let ours = offered_families(config);
    let families = both(ours, theirs.families());
    if each(families).next().is_none() {
        let wanted = if ours.v4 { Afi::Ipv4 } else { Afi::Ipv6 };
        return Err(DownReason::NoCommonFamily { wanted });
    }
    let offer = config.capabilities;
    let hold_time_secs = config.timers.hold_time_secs.min(theirs.hold_time_secs);
    let route_refresh = offer.route_refresh && theirs.offers(&Capability::RouteRefresh);
    Ok(Negotiated {
        remote_asn: theirs.asn,
        local_asn: config.local_asn,
        remote_router_id: theirs.router_id,
        local_router_id: config.router_id,
        peer_type: if internal {
            PeerType::Internal
        } else {
            PeerType::External
        },
        local: canonical(ends.local),
        remote: canonical(ends.remote),
        families,
        four_octet_as: offer.four_octet_as && theirs.four_octet_as().is_some(),
        extended_message: offer.extended_message && theirs.offers(&Capability::ExtendedMessage),
        extended_next_hop: offer.extended_next_hop
            && families.v4
            && theirs.capabilities.iter().any(|offered| {
                matches!(offered, Capability::ExtendedNextHop(named) if named.contains(&V4_BY_V6))
            }),
        route_refresh,
        enhanced_route_refresh: route_refresh
            && offer.enhanced_route_refresh
            && theirs.offers(&Capability::EnhancedRouteRefresh),
        add_path: negotiate_add_path(config, families, &theirs),
        hold_time_secs,
        keepalive_time_secs: keepalive_time_secs(config, hold_time_secs),
        graceful_restart: negotiate_restart(config, families, &theirs),
        capabilities: theirs.capabilities,
        opens: Opens::default(),
    })
}

/// A third of the hold time at most (RFC 4271 4.4); none without a hold time.
pub(super) fn keepalive_time_secs(config: &PeerConfig, hold_time_secs: u16) -> u16 {
    let third = hold_time_secs / 3;
    match config.timers.keepalive_time_secs {
        0 => third,
        configured => configured.min(third),
    }
}

/// A direction is in use if one side can send and the other receive (RFC 7911 5). The first word on a family counts.
fn negotiate_add_path(
    config: &PeerConfig,
    families: PerFamily<bool>,
    theirs: &Open,
) -> PerFamily<AddPath> {
    let mut agreed = PerFamily::default();
    for afi in each(families) {
        let family = AfiSafi::unicast(afi);
        let offer = theirs.add_path(family);
        let ours = config.add_path.get(afi);
        *agreed.get_mut(afi) = AddPath {
            send: ours.send && offer.is_some_and(AddPathMode::receives),
            receive: ours.receive && offer.is_some_and(AddPathMode::sends),
        };
    }
    agreed
}

fn negotiate_restart(
    config: &PeerConfig,
    families: PerFamily<bool>,
    theirs: &Open,
) -> Option<PeerRestart> {
    let ours = config.graceful_restart?;
    let long_lived = theirs.long_lived_graceful_restart();
    let theirs = theirs.graceful_restart()?;
    let mut restart = PeerRestart {
        restart_time_secs: theirs.restart_time_secs,
        restarting: theirs.restarting,
        notification: ours.notification && theirs.notification,
        families: PerFamily::default(),
        forwarding: PerFamily::default(),
        long_lived_stale_secs: PerFamily::default(),
        long_lived_forwarding: PerFamily::default(),
    };
    for named in &theirs.families {
        if let Some(afi) = named.family.as_unicast().filter(|afi| *families.get(*afi)) {
            *restart.families.get_mut(afi) = true;
            *restart.forwarding.get_mut(afi) = named.forwarding;
        }
    }
    for named in long_lived {
        if let Some(afi) = named.family.as_unicast().filter(|afi| *families.get(*afi)) {
            let secs = named.stale_time_secs.min(ours.long_lived_stale_secs);
            *restart.long_lived_stale_secs.get_mut(afi) = secs;
            *restart.long_lived_forwarding.get_mut(afi) = named.forwarding;
        }
    }
    Some(restart)
}

/// An IPv4 address that a dual-stack socket shows as IPv6 is IPv4.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip == addr.ip() => addr,
        ip => SocketAddr::new(ip, addr.port()),
    }
}
