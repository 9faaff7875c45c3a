//! From what is intended of a peer to what its session is told to be.

use std::net::SocketAddr;

use dunlin_bgp::policy::{PeerType, Role};
use dunlin_bgp::session;
use dunlin_intent::{Auth, Initiative, PeerIntent, Remote, RemoteAsn};
use dunlin_net::{Afi, PerFamily, RouterId};

/// The most peers that a range takes at a time.
const RANGE_PEERS_MAX: u32 = 16_384;

/// What the agent's own start says to peers (RFC 4724 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// The R bit: this process has not come up as its node's first, so peers need not wait for our End-of-RIB.
    pub restarting: bool,
    /// The F bit: what the last process put into the kernel is still there.
    pub forwarding_preserved: bool,
}

/// Why a peer is not even tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTried {
    /// Its password is asked for and not there.
    PasswordMissing,
    /// Its password is longer than TCP MD5 can use.
    PasswordUnusable,
    /// There is no interface of its name.
    InterfaceMissing,
    /// The interface has no link-local IPv6 address.
    NoLinkLocal,
    /// No router has advertised itself on the interface.
    NobodyHeard,
    /// Router advertisements cannot be heard at all.
    CannotHear,
}

impl NotTried {
    pub(crate) fn text(self) -> &'static str {
        match self {
            NotTried::PasswordMissing => {
                "not tried: the Secret with its password is missing or holds none"
            }
            NotTried::PasswordUnusable => {
                "not tried: its password is not of 1 to 80 octets, which is all TCP MD5 can use"
            }
            NotTried::InterfaceMissing => "not tried: this node has no interface of that name",
            NotTried::NoLinkLocal => {
                "not tried: the interface has no link-local IPv6 address: enable IPv6 on it"
            }
            NotTried::NobodyHeard => {
                "not tried: no router has advertised itself on the interface yet: have it send router advertisements there"
            }
            NotTried::CannotHear => "not tried: router advertisements cannot be heard",
        }
    }
}

/// The session's configuration of an intended peer. `place` is where it is if it is at the other end of a link.
pub(crate) fn peer_config(
    intent: &PeerIntent,
    place: Result<Option<SocketAddr>, NotTried>,
    router_id: RouterId,
    restart: Restart,
) -> Result<session::PeerConfig, NotTried> {
    let wanted = &intent.session;
    let remote = match wanted.remote {
        Remote::Address(addr, port) => session::Remote::Address(SocketAddr::new(addr, port)),
        Remote::Interface(..) => {
            let place = place?.ok_or(NotTried::NobodyHeard)?;
            session::Remote::Address(place)
        }
        Remote::Range(prefix) => session::Remote::Range {
            prefix,
            max_peers: RANGE_PEERS_MAX,
        },
    };
    let mut config =
        session::PeerConfig::new(intent.key.name(), remote, wanted.local_asn, router_id);
    config.local_address = wanted.local_address;
    config.passive = intent.initiative == Initiative::Theirs;
    config.remote_asn = match wanted.remote_asn {
        RemoteAsn::Exactly(asn) => session::RemoteAsn::Exact(asn),
        RemoteAsn::External => session::RemoteAsn::External,
    };
    config.timers = session::Timers {
        hold_time_secs: wanted.timers.hold_time_secs,
        keepalive_time_secs: wanted.timers.keepalive_secs,
        connect_retry_secs: wanted.timers.connect_retry_secs,
    };
    config.families = PerFamily {
        v4: wanted.families.contains(&Afi::Ipv4),
        v6: wanted.families.contains(&Afi::Ipv6),
    };
    let add_path = session::AddPath {
        send: wanted.add_path.send,
        receive: wanted.add_path.receive,
    };
    config.add_path = PerFamily {
        v4: add_path,
        v6: add_path,
    };
    config.graceful_restart = wanted.graceful_restart.map(|gr| session::GracefulRestart {
        restart_time_secs: gr.restart_secs,
        notification: gr.notification,
        long_lived_stale_secs: gr.long_lived_secs,
        restarting: restart.restarting,
        forwarding: PerFamily {
            v4: restart.forwarding_preserved,
            v6: restart.forwarding_preserved,
        },
        ..session::GracefulRestart::default()
    });
    config.capabilities.extended_next_hop = offers_extended_next_hop(intent);
    config.role = wanted.role;
    config.strict_role = wanted.strict_role;
    // A route server does not put its own AS before what it passes on.
    config.enforce_first_as = wanted.role != Some(Role::RouteServerClient);
    config.transport = session::Transport {
        ttl: ttl(intent),
        password: password(&wanted.auth)?,
    };
    Ok(config)
}

/// Who asks for it on the other side wants IPv4 without IPv4 addresses between us. Nodes know each other's.
pub(crate) fn offers_extended_next_hop(intent: &PeerIntent) -> bool {
    !intent.key.is_node() && is_over_ipv6(&intent.session.remote)
}

fn is_over_ipv6(remote: &Remote) -> bool {
    match remote {
        Remote::Address(addr, _) => addr.is_ipv6(),
        Remote::Range(net) => Afi::of_net(*net) == Afi::Ipv6,
        Remote::Interface(..) => true,
    }
}

fn ttl(intent: &PeerIntent) -> session::Ttl {
    if let Some(hops) = intent.session.ttl_security_hops {
        return session::Ttl::Security { hops };
    }
    match (intent.session.peer_type(), intent.session.ebgp_multihop) {
        (PeerType::External, None) => session::Ttl::Hops(1),
        (PeerType::External, Some(hops)) => session::Ttl::Hops(hops),
        (PeerType::Internal, _) => session::Ttl::System,
    }
}

fn password(auth: &Auth) -> Result<Option<session::Password>, NotTried> {
    match auth {
        Auth::None => Ok(None),
        Auth::Missing => Err(NotTried::PasswordMissing),
        Auth::Password(secret) => session::Password::new(secret.expose())
            .map(Some)
            .ok_or(NotTried::PasswordUnusable),
    }
}
