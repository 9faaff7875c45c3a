//! What the RIB is told of a session that is Established.

use std::net::IpAddr;

use dunlin_bgp::batch::NextHop;
use dunlin_bgp::policy::{PeerType, Role};
use dunlin_bgp::rib::{GroupKey, SourceInfo};
use dunlin_bgp::session::Negotiated;
use dunlin_bgp::wire::ExportEncoding;
use dunlin_intent::{PeerIntent, PeerKey};
use dunlin_net::{Afi, PerFamily};

use crate::peer_config::offers_extended_next_hop;
use crate::peers::Peer;

pub(crate) fn source_info(peer: &Peer, negotiated: &Negotiated) -> SourceInfo {
    SourceInfo {
        peer: Some(peer.id),
        peer_type: negotiated.peer_type,
        router_id: negotiated.remote_router_id,
        remote_addr: negotiated.remote.ip(),
        remote_asn: negotiated.remote_asn,
        local_asn: negotiated.local_asn,
        allow_own_as: peer.policy().allow_own_as,
        reflector_client: peer.client,
        role: external_role(negotiated.peer_type, &peer.intent),
    }
}

/// What we are to a peer by a session of this kind. It holds whether or not the peer has said its own role (RFC 9234 4.2).
pub(crate) fn external_role(peer_type: PeerType, intent: &PeerIntent) -> Option<Role> {
    let external = peer_type == PeerType::External;
    intent.session.role.filter(|_| external)
}

/// Toward nodes our next hops are the Node's addresses; toward a router outside, the address that it speaks with comes
/// first, since that is one it can reach: for IPv4 prefixes too, where RFC 8950 is agreed on.
pub(crate) fn own_next_hops(
    negotiated: &Negotiated,
    key: &PeerKey,
    next_hops: PerFamily<Option<IpAddr>>,
) -> PerFamily<Option<IpAddr>> {
    let mut own = next_hops;
    if !key.is_node() {
        let local = negotiated.local.ip().to_canonical();
        *own.get_mut(Afi::of(local)) = Some(local);
        if negotiated.extended_next_hop && local.is_ipv6() {
            own.v4 = Some(local);
        }
    }
    own
}

/// What a peer is told depends on. `client`: we reflect for it.
pub(crate) fn group_key(
    policy: u32,
    negotiated: &Negotiated,
    (intent, client): (&PeerIntent, bool),
    next_hops: PerFamily<Option<IpAddr>>,
) -> GroupKey {
    GroupKey {
        policy,
        encoding: ExportEncoding {
            peer_type: negotiated.peer_type,
            local_asn: negotiated.local_asn,
            prepend_local_asn: negotiated.peer_type == PeerType::External,
            four_octet_as: negotiated.four_octet_as,
            extended_message: negotiated.extended_message,
            add_path: negotiated.sends_paths(),
            extended_next_hop: negotiated.extended_next_hop,
        },
        reflector_client: client,
        role: external_role(negotiated.peer_type, intent),
        families: negotiated.families,
        long_lived: negotiated.takes_long_lived_stale(),
        own_next_hop: named(own_next_hops(negotiated, &intent.key, next_hops)),
    }
}

/// The same if the peer agrees to all that we offer.
pub(crate) fn offered_key(
    (intent, client): (&PeerIntent, bool),
    next_hops: PerFamily<Option<IpAddr>>,
) -> GroupKey {
    let session = &intent.session;
    let (peer_type, restart) = (session.peer_type(), session.graceful_restart);
    let offers = |afi| session.families.contains(&afi);
    let families = PerFamily {
        v4: offers(Afi::Ipv4),
        v6: offers(Afi::Ipv6),
    };
    let several = |offered| offered && session.add_path.send;
    GroupKey {
        policy: 0,
        encoding: ExportEncoding {
            peer_type,
            local_asn: session.local_asn,
            prepend_local_asn: peer_type == PeerType::External,
            four_octet_as: true,
            extended_message: true,
            add_path: PerFamily {
                v4: several(families.v4),
                v6: several(families.v6),
            },
            extended_next_hop: offers_extended_next_hop(intent),
        },
        reflector_client: client,
        role: external_role(peer_type, intent),
        families,
        long_lived: restart.is_some_and(|restart| restart.long_lived_secs > 0),
        own_next_hop: named(next_hops),
    }
}

fn named(next_hops: PerFamily<Option<IpAddr>>) -> PerFamily<Option<NextHop>> {
    PerFamily {
        v4: next_hops.v4.map(NextHop::new),
        v6: next_hops.v6.map(NextHop::new),
    }
}
