//! BFD sessions in the words of the admin API.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_api::{BfdFigures, NeighborBfd, Problem, Step, Verdict};
use dunlin_bfd::{DropReason, Drops, Hops, SessionId, SessionSnapshot, State, StateChange};
use dunlin_net::Instant;

use super::explain::step;
use super::{Seen, age_secs};
use crate::core::Core;
use crate::peers::Peer;

/// So long after the BGP session a BFD session is no longer only on its way: a second between packets while down, three to
/// come up, and some that are lost.
const COMES_UP_SECS: u64 = 10;

/// The most problems of BFD sessions in a status.
const PROBLEMS_SHOWN: usize = 100;

/// A BFD session with what its sockets know.
#[derive(Clone, Debug)]
pub struct BfdSeen {
    /// The session.
    pub snapshot: SessionSnapshot,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The last such error, as the system numbers it.
    pub last_send_error: Option<i32>,
}

/// What the BFD thread knows, and answers need.
#[derive(Clone, Debug, Default)]
pub struct BfdOutside {
    /// All sessions, by id.
    pub sessions: Vec<BfdSeen>,
    /// Packets dropped.
    pub dropped: Drops,
    /// Packets received.
    pub received: u64,
    /// Packets that the kernel dropped because they were not read in time.
    pub overruns: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// The longest that the thread was late for a deadline.
    pub most_late: Duration,
}

impl BfdOutside {
    fn of(&self, id: SessionId) -> Option<&BfdSeen> {
        let at = |seen: &BfdSeen| seen.snapshot.session;
        let found = self.sessions.binary_search_by_key(&id, at).ok()?;
        self.sessions.get(found)
    }
}

impl Core {
    pub(super) fn neighbor_bfd(&self, seen: &Seen<'_>, peer: &Peer) -> Option<NeighborBfd> {
        let watched = self.bfd.of(peer.id)?;
        let config = &watched.config;
        let link = config.interface.and_then(|index| self.links.get(index));
        let mut bfd = NeighborBfd {
            state: watched.state().to_string(),
            since_secs: age_secs(
                seen.now,
                watched.last.map_or(peer.turned, |change| change.at),
            ),
            multihop: config.hops == Hops::Multi,
            interface: link.map(|link| link.name.clone()),
            local_address: config.local,
            problem: watched.refused.as_ref().map(|(why, _)| why.clone()),
            failures: watched.last.map_or(0, |change| change.failures),
            ..NeighborBfd::default()
        };
        if let Some(change) = watched.last.filter(went_down) {
            bfd.last_down = Some(why(&change));
            bfd.last_down_secs = Some(age_secs(seen.now, change.at));
        }
        let outside = seen.outside.bfd.as_ref();
        if let Some(of_thread) = outside.and_then(|outside| outside.of(watched.id)) {
            counted(&mut bfd, seen.now, of_thread);
        }
        Some(bfd)
    }

    /// BFD that is asked for and does not watch over a session is worth knowing of before the peer dies.
    pub(super) fn bfd_problems(&self, now: Instant, problems: &mut Vec<Problem>) {
        let mut shown = 0;
        for peer in self.peers.sorted() {
            let Some(watched) = self.bfd.of(peer.id) else {
                continue;
            };
            let object = peer.key().to_string();
            let (reason, message) = match &watched.refused {
                Some((why, _)) => ("BFDRefused", format!("{why}; tried again every 30 s")),
                None if watched.is_up() || !peer.is_established() => continue,
                None if age_secs(now, peer.turned) < COMES_UP_SECS => continue,
                None => {
                    let since = watched.last.map_or(peer.turned, |change| change.at);
                    if age_secs(now, since) < COMES_UP_SECS {
                        continue;
                    }
                    let message = format!(
                        "the BGP session is up and its BFD session is {}: {}; `dunlin explain neighbor {}` says more",
                        watched.state(),
                        unheard(watched.last.as_ref(), watched.config.hops),
                        peer.name()
                    );
                    ("BFDDown", message)
                }
            };
            if shown == PROBLEMS_SHOWN {
                return;
            }
            shown += 1;
            problems.push(Problem {
                object,
                reason: reason.into(),
                message,
            });
        }
    }
}

fn went_down(change: &StateChange) -> bool {
    change.from == State::Up || change.failures > 0 && change.to != State::Up
}

fn why(change: &StateChange) -> String {
    let mut text = change.cause.to_string();
    if change.remote_diagnostic != Default::default() {
        text = format!("{text} (it says: {})", change.remote_diagnostic);
    }
    text
}

/// Why a session that is wanted is not up, as far as can be told.
fn unheard(last: Option<&StateChange>, hops: Hops) -> String {
    match last {
        Some(change) => why(change),
        None => format!(
            "the peer has not been heard: it must run BFD with this node, {}, and UDP port {} must be open both ways",
            match hops {
                Hops::Single => "single-hop",
                Hops::Multi => "multihop",
            },
            hops.port()
        ),
    }
}

fn counted(bfd: &mut NeighborBfd, now: Instant, seen: &BfdSeen) {
    let snapshot = &seen.snapshot;
    bfd.state = snapshot.state.to_string();
    bfd.since_secs = age_secs(now, snapshot.since);
    bfd.remote_state =
        (snapshot.remote_discriminator != 0).then(|| snapshot.remote_state.to_string());
    bfd.transmit_interval_millis = millis(snapshot.transmit_interval);
    bfd.detection_time_millis = snapshot.detection_time.map(millis);
    bfd.failures = snapshot.stats.failures;
    if let Some((at, cause)) = snapshot.last_down {
        let told = snapshot.last_down_diagnostics.1;
        bfd.last_down = Some(match told == Default::default() {
            true => cause.to_string(),
            false => format!("{cause} (it says: {told})"),
        });
        bfd.last_down_secs = Some(age_secs(now, at));
    }
    bfd.sent = snapshot.stats.sent;
    bfd.received = snapshot.stats.received;
    bfd.dropped = dropped(&snapshot.stats.dropped);
    bfd.send_errors = seen.send_errors;
    bfd.last_send_error = seen.last_send_error;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Those that there are.
fn dropped(drops: &Drops) -> BTreeMap<String, u64> {
    let all = DropReason::ALL.into_iter();
    all.map(|reason| (reason.label().to_owned(), drops.of(reason)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// Of the whole thread; every reason, so that a metric does not come into being with the first.
pub(super) fn figures(outside: &BfdOutside) -> BfdFigures {
    let all = DropReason::ALL.into_iter();
    BfdFigures {
        received: outside.received,
        dropped: all
            .map(|reason| (reason.label().to_owned(), outside.dropped.of(reason)))
            .collect(),
        overruns: outside.overruns,
        send_errors: outside.send_errors,
        most_late_micros: u64::try_from(outside.most_late.as_micros()).unwrap_or(u64::MAX),
    }
}

/// `up` is whether the BGP session is.
pub(super) fn explained(bfd: &NeighborBfd, up: bool) -> Step {
    let verdict = match (bfd.state.as_str(), &bfd.problem) {
        (_, Some(_)) => Verdict::Stop,
        ("Up", None) => Verdict::Pass,
        // It takes no part in whether there is a session.
        _ if up => Verdict::Wait,
        _ => Verdict::Info,
    };
    let how = match (bfd.multihop, &bfd.interface) {
        (true, _) => "multihop".to_owned(),
        (false, Some(interface)) => format!("single hop by {interface}"),
        (false, None) => "single hop".to_owned(),
    };
    let mut text = format!("BFD {how}: {} for {} s", bfd.state, bfd.since_secs);
    if let Some(problem) = &bfd.problem {
        text = format!("BFD {how}: {problem}");
    } else if bfd.state != "Up" && bfd.received == 0 {
        let hops = match bfd.multihop {
            true => Hops::Multi,
            false => Hops::Single,
        };
        text = format!("{text}: {}", unheard(None, hops));
    }
    let mut step = step("bfd", verdict, text);
    if let (Some(detection), Some(remote)) = (bfd.detection_time_millis, &bfd.remote_state) {
        step.lines.push(format!(
            "we send each {} ms, and the peer is dead after {detection} ms without a packet; it says {remote}",
            bfd.transmit_interval_millis
        ));
    }
    if let (Some(why), Some(age)) = (&bfd.last_down, bfd.last_down_secs) {
        let times = bfd.failures;
        let what = format!("last down {age} s ago: {why}; found dead {times} times");
        step.lines.push(what);
    }
    let mut packets = format!("{} packets sent, {} received", bfd.sent, bfd.received);
    for (reason, count) in &bfd.dropped {
        packets.push_str(&format!(", {count} dropped ({reason})"));
    }
    if bfd.send_errors > 0 {
        let number = bfd.last_send_error.unwrap_or_default();
        packets.push_str(&format!(
            ", {} not sent (last system error {number})",
            bfd.send_errors
        ));
    }
    step.lines.push(packets);
    step
}
