//! What is worth an Event, from how the node stood when it was last looked at to how it stands now. So there is nothing to
//! queue, what came and went in between is told once, and no more is told than there are slots to look in.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_api::NodeReport;
use dunlin_kube::events::{EventReason, Notice, NoticeObject};

/// Peers named in one Event; the others are counted.
const NAMED: usize = 10;

/// Events of `BGPPeer`s in one look; beyond, they are told together.
const SINGLE: usize = 8;

/// How a session stood.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stood {
    established: bool,
    since_micros: u64,
}

/// How the node stood when it was last looked at. Bounded by its sessions.
#[derive(Debug, Default)]
pub(super) struct News {
    sessions: Option<BTreeMap<(bool, String), Stood>>,
    route_failures: bool,
    /// Whose peers were near a limit, in the words of the problem.
    near: Option<BTreeSet<String>>,
}

/// What happened to sessions, by peer.
#[derive(Default)]
struct Happened {
    up: Vec<String>,
    down: Vec<String>,
}

impl News {
    /// What to say. The first time nothing of sessions: an agent that starts is no news.
    pub(super) fn of(&mut self, report: &NodeReport) -> Vec<Notice> {
        let node = node_object(report);
        let mut notices = Vec::new();
        let now: BTreeMap<(bool, String), Stood> = report
            .sessions
            .iter()
            .map(|session| {
                let stands = Stood {
                    established: session.established,
                    since_micros: session.since_micros,
                };
                ((session.is_node, session.peer.clone()), stands)
            })
            .collect();
        if let Some(before) = &self.sessions {
            let nodes = happened(before, &now, report, true);
            tell("nodes", &node, &nodes, &mut notices);
            let peers = happened(before, &now, report, false);
            if peers.up.len() + peers.down.len() > SINGLE {
                tell("BGPPeers", &node, &peers, &mut notices);
            } else {
                for peer in peers.up {
                    let up = vec![peer];
                    tell(
                        "BGPPeer",
                        &node,
                        &Happened {
                            up,
                            ..Happened::default()
                        },
                        &mut notices,
                    );
                }
                for peer in peers.down {
                    let down = vec![peer];
                    tell(
                        "BGPPeer",
                        &node,
                        &Happened {
                            down,
                            ..Happened::default()
                        },
                        &mut notices,
                    );
                }
            }
        }
        self.sessions = Some(now);
        self.limits(report, &node, &mut notices);
        self.routes(report, &node, &mut notices);
        notices
    }

    /// What came near a limit since the last look, the first time all that is.
    fn limits(&mut self, report: &NodeReport, node: &NoticeObject, notices: &mut Vec<Notice>) {
        let reason = EventReason::NearMaxPrefixes;
        let problems = report.status.problems.iter();
        let near: BTreeSet<String> = problems
            .filter(|problem| problem.reason == reason.as_str())
            .map(|problem| problem.message.clone())
            .collect();
        let before = self.near.replace(near.clone()).unwrap_or_default();
        let new: Vec<String> = near.difference(&before).cloned().collect();
        if let Some(message) = named(&new) {
            notices.push(notice(node.clone(), reason, "Peer", message));
        }
    }

    fn routes(&mut self, report: &NodeReport, node: &NoticeObject, notices: &mut Vec<Notice>) {
        let routes = &report.status.routes;
        let failed = routes.failed.saturating_add(routes.conflicts);
        if failed > 0 && !self.route_failures {
            let of_route = |p: &&dunlin_api::Problem| p.object.starts_with("Route/");
            let first = report.status.problems.iter().find(of_route);
            let first = first.map_or_else(String::new, |problem| {
                format!("; the first: {}: {}", problem.object, problem.message)
            });
            let message = format!("{failed} routes are not in the kernel{first}");
            notices.push(notice(
                node.clone(),
                EventReason::RouteInstallFailed,
                "Install",
                message,
            ));
        }
        self.route_failures = failed > 0;
    }
}

/// The sessions of a kind that turned.
fn happened(
    before: &BTreeMap<(bool, String), Stood>,
    now: &BTreeMap<(bool, String), Stood>,
    report: &NodeReport,
    is_node: bool,
) -> Happened {
    let mut happened = Happened::default();
    for session in report.sessions.iter().filter(|s| s.is_node == is_node) {
        let key = (is_node, session.peer.clone());
        let was = before.get(&key);
        let was_up = was.is_some_and(|was| was.established);
        let why = session.last_error.as_deref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        match (was_up, session.established) {
            (true, true) if was.is_some_and(|was| was.since_micros != session.since_micros) => {
                happened
                    .down
                    .push(format!("{}{why}, and is up again", session.peer));
            }
            (false, true) => happened.up.push(session.peer.clone()),
            (true, false) => happened.down.push(format!("{}{why}", session.peer)),
            _ => {}
        }
    }
    let gone = before
        .iter()
        .filter(|(key, was)| key.0 == is_node && was.established && !now.contains_key(*key));
    let gone = gone.map(|((_, peer), _)| format!("{peer} (no longer wanted)"));
    happened.down.extend(gone);
    happened
}

fn tell(kind: &str, node: &NoticeObject, happened: &Happened, notices: &mut Vec<Notice>) {
    for (peers, reason, words) in [
        (&happened.up, EventReason::SessionEstablished, "established"),
        (&happened.down, EventReason::SessionLost, "lost"),
    ] {
        let Some(named) = named(peers) else { continue };
        let message = format!("BGP session with {kind} {words}: {named}");
        notices.push(notice(node.clone(), reason, "Peer", message));
    }
}

/// The first few, and how many more.
fn named(peers: &[String]) -> Option<String> {
    if peers.is_empty() {
        return None;
    }
    let first: Vec<&str> = peers.iter().take(NAMED).map(String::as_str).collect();
    let more = match peers.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("{}{more}", first.join(", ")))
}

fn node_object(report: &NodeReport) -> NoticeObject {
    node_of(&report.status.node, report.node_uid.clone())
}

/// A Node as Events name it.
pub(super) fn node_of(name: &str, uid: Option<String>) -> NoticeObject {
    NoticeObject {
        api_version: "v1".into(),
        kind: "Node".into(),
        namespace: String::new(),
        name: name.into(),
        uid,
    }
}

pub(super) fn notice(
    object: NoticeObject,
    reason: EventReason,
    action: &'static str,
    message: String,
) -> Notice {
    Notice {
        object,
        reason: reason.as_str(),
        action,
        message,
        warning: reason.is_warning(),
    }
}

#[cfg(test)]
mod tests;
