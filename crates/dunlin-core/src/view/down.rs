//! Why a session is down: who ended it, what to look at, and what comes next.

use dunlin_api::{Neighbor, NeighborDown, Step, Verdict};
use dunlin_bgp::session::{Attempt, DownReason, FsmState, PeerSnapshot, TransportError};
use dunlin_bgp::wire::Notification;
use dunlin_intent::{Auth, Remote, RemoteAsn, SessionIntent};
use dunlin_net::{Afi, Instant};

use super::age_secs;
use super::explain::step;
use crate::peers::Peer;

/// What is known of a session that is not up, and is to be.
pub(super) fn down(
    now: Instant,
    peer: &Peer,
    snapshot: Option<&PeerSnapshot>,
) -> Option<NeighborDown> {
    if peer.is_established() || peer.is_range() {
        return None;
    }
    let mut down = NeighborDown::default();
    let session = &peer.intent.session;
    let last = snapshot.and_then(|snapshot| snapshot.stats.last_error.as_ref());
    let reason = peer.reason.as_ref().or(last.map(|(_, reason)| reason));
    // What keeps us from trying at all says so itself.
    if peer.refused.is_none() && peer.announced.excess.is_none() {
        down.ended_by = reason.map(|reason| reason.ended_by().to_string());
        down.advice = reason.and_then(|reason| advice(reason, session));
    }
    let Some(snapshot) = snapshot else {
        return Some(down);
    };
    if let Some((at, last)) = &snapshot.stats.last_down
        && Some(last) != reason
    {
        down.last_session = Some(format!("{last} (ended by {})", last.ended_by()));
        down.last_session_secs = Some(age_secs(now, *at));
    }
    down.tcp = match &snapshot.attempts[..] {
        [] => vec!["no connection".to_owned()],
        attempts => attempts.iter().map(|one| attempt(now, one)).collect(),
    };
    down.held_secs = left(now, snapshot.held_until);
    down.retry_secs = left(now, snapshot.dial_at);
    down.passive = snapshot.passive;
    down.dials = snapshot.stats.dials;
    down.refused = snapshot.stats.refused;
    Some(down)
}

/// Seconds until then, a part of one as one.
fn left(now: Instant, at: Option<Instant>) -> Option<u64> {
    at.map(|at| at.since(now).as_millis().div_ceil(1000))
        .and_then(|secs| u64::try_from(secs).ok())
}

fn attempt(now: Instant, attempt: &Attempt) -> String {
    let whose = match attempt.incoming {
        true => "from the peer",
        false => "to the peer",
    };
    let how = match attempt.state {
        FsmState::Connect => "SYN sent, no answer yet",
        FsmState::OpenSent => "connected, OPEN sent, none has come",
        FsmState::OpenConfirm => "connected, OPENs exchanged, no KEEPALIVE has come",
        FsmState::Idle | FsmState::Active | FsmState::Established => "connected",
    };
    let secs = age_secs(now, attempt.since);
    format!("{whose}: {how} ({secs} s)")
}

/// What an operator looks at next, where the reason itself does not say.
fn advice(reason: &DownReason, session: &SessionIntent) -> Option<String> {
    let port = match session.remote {
        Remote::Address(_, port) | Remote::Interface(_, port) => port,
        Remote::Range(_) => 179,
    };
    Some(match reason {
        DownReason::Transport(error) => return transport(*error, session, port),
        DownReason::HoldTimerExpired { hold_time_secs } => format!(
            "the connection stood and {hold_time_secs} s went by without a message: the path is cut, or the peer hangs"
        ),
        DownReason::OpenTimedOut => format!(
            "something accepts connections on TCP port {port} there and does not speak BGP with us: see which program it is"
        ),
        DownReason::SendHoldTimerExpired => {
            "the peer's machine is there and its BGP daemon does not read: see its load".to_owned()
        }
        DownReason::BadPeerAs { got, .. } => {
            format!("give peerASN {} here, or correct the peer's own AS", got.0)
        }
        DownReason::NoCommonFamily { .. } => format!(
            "addressFamilies here: {}; activate one of them for us at the peer",
            families(session)
        ),
        DownReason::NotificationReceived(notification) => return told(notification, session),
        _ => return None,
    })
}

fn families(session: &SessionIntent) -> String {
    // As objects have them.
    let families = session.families.iter().map(|afi| match afi {
        Afi::Ipv4 => "IPv4",
        Afi::Ipv6 => "IPv6",
    });
    families.collect::<Vec<_>>().join(", ")
}

fn transport(error: TransportError, session: &SessionIntent, port: u16) -> Option<String> {
    let link = match session.remote {
        Remote::Interface(name, _) => Some(name),
        Remote::Address(..) | Remote::Range(_) => None,
    };
    Some(match (error, link) {
        (TransportError::Unreachable, Some(link)) => format!(
            "the router advertised itself and no longer answers on the link (neighbor discovery): `ip -6 neigh show dev {link}`"
        ),
        (TransportError::NoRoute, Some(link)) => format!(
            "the link is down, or its route to fe80::/64 is gone: `ip link show {link}`, `ip -6 route show dev {link}`"
        ),
        _ => return placed(error, session, port),
    })
}

/// The same wherever the peer is.
fn placed(error: TransportError, session: &SessionIntent, port: u16) -> Option<String> {
    Some(match error {
        TransportError::TimedOut => unanswered(session, port),
        TransportError::Refused => format!(
            "the machine answers, and nothing takes connections on TCP port {port}: the daemon does not run, listens \
             elsewhere, or does not know our address"
        ),
        TransportError::Unreachable => {
            "no machine answers for the address on its link (ARP, neighbor discovery), or a router on the way says that it \
             cannot be reached, as where it is further away than ebgpMultihop allows: `ip neigh`, `traceroute`"
                .to_owned()
        }
        TransportError::NoRoute => "see `ip route get` with the peer's address".to_owned(),
        TransportError::SourceAddress => {
            "correct sourceAddress, or give the machine that address".to_owned()
        }
        TransportError::Eof | TransportError::Reset => {
            "its log says why: mostly it does not know our address or does not expect us, or its daemon ended"
                .to_owned()
        }
        TransportError::Settings(_) | TransportError::TooFar { .. } => return None,
        TransportError::DistanceUnknown | TransportError::Os(_) => return None,
        // It says so itself.
        TransportError::NoRoomForKey => return None,
    })
}

/// What is suspected where SYNs stay unanswered: the kernels at both ends drop what is not secured as they want it, and say nothing.
fn unanswered(session: &SessionIntent, port: u16) -> String {
    let mut suspects = Vec::new();
    if matches!(session.auth, Auth::Password(_)) {
        suspects.push(
            "a password is set here: a peer with another one, or none, does not answer at all (TCP MD5)".to_owned(),
        );
    }
    if let Some(hops) = session.ttl_security_hops {
        suspects.push(format!(
            "ttlSecurity is set here: what the peer does not send with TTL 255, or from more than {hops} links away, is \
             dropped unseen (GTSM)"
        ));
    }
    let mut rest = format!("a firewall may drop TCP port {port}, or the peer is down");
    match session.auth {
        Auth::None => rest.push_str(", or wants a password (TCP MD5)"),
        Auth::Password(_) | Auth::Missing => {}
    }
    if session.ttl_security_hops.is_none() {
        rest.push_str(", or takes nothing but TTL 255 (GTSM)");
    }
    suspects.push(rest);
    suspects.join("; ")
}

/// What a NOTIFICATION of the peer means here (RFC 4271 6, RFC 4486, RFC 9384).
fn told(notification: &Notification, session: &SessionIntent) -> Option<String> {
    let inner = notification.inner();
    let notification = inner.as_ref().unwrap_or(notification);
    let own = session.local_asn;
    Some(match (notification.code, notification.subcode) {
        (1 | 3 | 5, _) => "the peer found a message of ours wrong: keep both logs, and report it".to_owned(),
        (2, 2) => {
            let expects = match session.remote_asn {
                RemoteAsn::Exactly(asn) if asn == own => "as internal",
                _ => "as external",
            };
            format!("the peer expects another AS of us: we are AS {} to it, {expects}", own.0)
        }
        (2, 3) => "the peer refuses our router id: it has the same one, or has seen it elsewhere".to_owned(),
        (2, 6) => format!(
            "the peer refuses our hold time of {} s: see the least it takes",
            session.timers.hold_time_secs
        ),
        (2, 7) => format!(
            "the peer wants a capability that we do not offer, mostly an address family; ours: {}",
            families(session)
        ),
        (2, 11) => {
            let ours = session.role.map_or("without a role".to_owned(), |role| role.to_string());
            format!("the peer's role does not fit ours (RFC 9234): we are {ours} to it")
        }
        (2, _) => "the peer refuses our OPEN: its log says what it wants".to_owned(),
        (4, _) => "the peer's hold timer ended: what we sent did not reach it, or this node had no time to send".to_owned(),
        (6, 1) => "we tell the peer more prefixes than it takes from us: see its limit, and `dunlin get advertisements`".to_owned(),
        (6, 2) => "somebody shut the session down at the peer".to_owned(),
        (6, 3) => "the peer has removed us from its configuration".to_owned(),
        (6, 5) => "the peer does not take our connections: it does not know our address, or holds us back".to_owned(),
        (6, 8) => "the peer is out of resources".to_owned(),
        (6, 10) => "BFD at the peer says that the path is dead".to_owned(),
        (8, _) => "we did not read for too long: see this node's load".to_owned(),
        _ => return None,
    })
}

/// The same for `dunlin explain`, after the summary.
pub(super) fn explained(neighbor: &Neighbor, down: &NeighborDown) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut info = |text: String| steps.push(step("session", Verdict::Info, text));
    if let Some(by) = &down.ended_by {
        info(format!("ended by {by}"));
    }
    if let Some(advice) = &down.advice {
        info(advice.clone());
    }
    if let (Some(last), Some(secs)) = (&down.last_session, down.last_session_secs) {
        info(format!("it was up until {secs} s ago: {last}"));
    }
    if !down.tcp.is_empty() {
        info(format!("TCP: {}", down.tcp.join("; ")));
    }
    if let Some(next) = next(neighbor, down) {
        info(next);
    }
    if down.refused > 0 {
        let refused = down.refused;
        info(format!("{refused} connections of the peer were refused"));
    }
    steps
}

fn next(neighbor: &Neighbor, down: &NeighborDown) -> Option<String> {
    let tries = match down.dials {
        1 => "1 attempt so far".to_owned(),
        dials => format!("{dials} attempts so far"),
    };
    Some(match (down.held_secs, down.retry_secs) {
        (Some(secs), _) => format!(
            "held back after failures: no connection is made or taken for {secs} s more; {tries}"
        ),
        (None, Some(secs)) => format!("next attempt in {secs} s; {tries}"),
        (None, None) if down.passive => {
            let who = neighbor
                .address
                .map_or_else(String::new, |addr| format!(" ({addr})"));
            format!("passive: the peer{who} has to make the connection")
        }
        (None, None) => return None,
    })
}
