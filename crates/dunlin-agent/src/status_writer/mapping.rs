//! From what the core says to what objects carry.

use dunlin_api::{NodeReport, ObjectProblem, Problem, SessionReport};
use dunlin_kube::api::{DRAINED, DRAINING};
use dunlin_kube::crd::status::{
    BgpNodeStatus, Condition, NodeRole, OriginationStatus, ProblemStatus, READY, RouteCounts,
    SessionCounts, SessionStatus,
};
use dunlin_kube::status::{KnownNode, Verdict, next_condition, time_text};

/// The condition of a `BGPNode` that says whether anything is wrong.
const PROBLEMS: &str = "Problems";

/// Problems of an object that its condition names; the others are counted.
const PROBLEMS_NAMED: usize = 8;

/// What a node says of itself. `wall_offset` is what makes the agent's clock the wall clock, microseconds; `known` is what
/// the object says already.
pub(super) fn node_status(
    report: &NodeReport,
    known: &KnownNode,
    wall_offset: u64,
    now: &str,
) -> BgpNodeStatus {
    let status = &report.status;
    let text = |micros: u64| time_text(wall_offset.saturating_add(micros));
    let problems: Vec<ProblemStatus> = status
        .problems
        .iter()
        // That it could not be written is over when it is.
        .filter(|problem| problem.object != own_object(&status.node))
        .map(problem_status)
        .collect();
    let problem_count = count(problems.len());
    let established = report.sessions.iter().filter(|s| s.established).count();
    let originations = report.originations.iter().map(|origination| {
        let reason = origination.reason.clone();
        OriginationStatus {
            prefix: origination.prefix.to_string(),
            object: clipped(&origination.object, 512),
            advertised: origination.advertised,
            wanted: origination.wanted,
            reason: reason.filter(|_| origination.advertised < origination.wanted.max(1)),
        }
    });
    let bounded = BgpNodeStatus {
        conditions: conditions(report, &problems, known, now),
        agent_version: status.version.clone(),
        agent_started: Some(text(report.started_micros)),
        role: match report.role.as_str() {
            "Mesh" => Some(NodeRole::Mesh),
            "Reflector" => Some(NodeRole::Reflector),
            "Client" => Some(NodeRole::Client),
            _ => Some(NodeRole::None),
        },
        asn: status.asn.map(|asn| asn.0),
        router_id: status.router_id.map(|id| id.to_string()),
        session_counts: SessionCounts {
            established: count(established),
            expected: count(report.sessions.len()),
        },
        route_counts: RouteCounts {
            learned: small(status.routes.received),
            installed: small(status.routes.installed),
            failed: small(status.routes.failed.saturating_add(status.routes.conflicts)),
            originated: small(status.routes.originated),
        },
        problem_count,
        sessions: report.sessions.iter().map(|s| session(s, &text)).collect(),
        originations: originations.collect(),
        problems,
        truncated: None,
    }
    .bounded();
    with_left_out(bounded, report)
}

/// Counts the originations that the report itself left out.
fn with_left_out(mut status: BgpNodeStatus, report: &NodeReport) -> BgpNodeStatus {
    let listed = count(status.originations.len());
    let left_out = small(report.status.routes.originated).saturating_sub(listed);
    if left_out > 0 {
        status.truncated.get_or_insert_default().originations = left_out;
    }
    status
}

/// How problems name the `BGPNode` of a node.
pub(super) fn own_object(node: &str) -> String {
    format!("BGPNode/{node}")
}

fn conditions(
    report: &NodeReport,
    problems: &[ProblemStatus],
    known: &KnownNode,
    now: &str,
) -> Vec<Condition> {
    let ready = match report.status.ready {
        true => verdict(true, "Ready", "the node routes and can carry pods"),
        false => verdict(false, "NotReady", &report.status.not_ready.join("; ")),
    };
    let wrong = match problems {
        [] => verdict(false, "NoProblems", "nothing is wrong"),
        [first, more @ ..] => {
            let more = match more.len() {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            let message = format!("{}: {}{more}", first.object, first.message);
            verdict(true, &word(&first.reason), &message)
        }
    };
    let each = [
        (READY, ready),
        (PROBLEMS, wrong),
        (DRAINING, draining(report)),
    ];
    let each = each.map(|(kind, verdict)| {
        let before = known.conditions.iter().find(|c| c.kind == kind);
        next_condition(before, kind, &verdict, known.generation, now).or_else(|| before.cloned())
    });
    each.into_iter().flatten().collect()
}

/// Said of a node that is not drained, too: whoever drains it waits for this.
fn draining(report: &NodeReport) -> Verdict {
    match &report.status.drain {
        None => verdict(false, "InUse", "the node is not drained"),
        Some(drain) if drain.drained => {
            let message = format!("service addresses are withdrawn ({})", drain.cause);
            verdict(true, DRAINED, &message)
        }
        Some(drain) => {
            let message = format!("peers are given time to move ({})", drain.cause);
            verdict(true, "Lingering", &message)
        }
    }
}

fn verdict(holds: bool, reason: &str, message: &str) -> Verdict {
    Verdict {
        holds,
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn session(session: &SessionReport, text: &impl Fn(u64) -> String) -> SessionStatus {
    SessionStatus {
        peer: clipped(&session.peer, 253),
        kind: if session.is_node { "Node" } else { "BGPPeer" }.to_owned(),
        address: session.address.map(|address| address.to_string()),
        asn: session.asn.map(|asn| asn.0),
        state: session.state.clone(),
        since: Some(text(session.since_micros)),
        last_error: session.last_error.clone(),
        hold_time_seconds: Some(session.hold_time_secs),
        keepalive_seconds: Some(session.keepalive_secs),
        received: small(session.received),
        accepted: small(session.accepted),
        advertised: small(session.advertised),
    }
}

fn problem_status(problem: &Problem) -> ProblemStatus {
    // In which state a session that is down is just now says nothing by the time it is read.
    let message = match problem.message.split_once(": ") {
        Some((_, why)) if problem.reason == "SessionDown" => {
            format!("the BGP session is down: {why}")
        }
        _ => problem.message.clone(),
    };
    ProblemStatus {
        object: clipped(&problem.object, 512),
        reason: clipped(&problem.reason, 63),
        field: None,
        message,
    }
}

/// What of a status is worth telling at once: all but figures, words and the states that a session without a peer goes round
/// in.
pub(super) fn news(status: &BgpNodeStatus) -> BgpNodeStatus {
    let mut news = status.clone();
    for condition in &mut news.conditions {
        condition.message.clear();
    }
    news.route_counts = RouteCounts {
        originated: status.route_counts.originated,
        ..RouteCounts::default()
    };
    for session in &mut news.sessions {
        if session.state != "Established" {
            session.state.clear();
        }
        session.last_error = None;
        (session.received, session.accepted, session.advertised) = (0, 0, 0);
    }
    for origination in &mut news.originations {
        (origination.advertised, origination.wanted) = (0, 0);
        origination.reason = None;
    }
    for problem in &mut news.problems {
        problem.message.clear();
    }
    news
}

/// The same status with what a session without a peer goes round in as it was last told: that alone is never worth a write.
pub(super) fn settled(mut status: BgpNodeStatus, last: &BgpNodeStatus) -> BgpNodeStatus {
    let down = |session: &&mut SessionStatus| session.state != "Established";
    for session in status.sessions.iter_mut().filter(down) {
        let same = |other: &&SessionStatus| {
            (&other.peer, &other.kind, &other.since)
                == (&session.peer, &session.kind, &session.since)
        };
        if let Some(before) = last.sessions.iter().find(same) {
            session.state.clone_from(&before.state);
        }
    }
    status
}

/// Whether an object is in force, by what is wrong with it.
pub(super) fn accepted<'a>(problems: impl Iterator<Item = &'a ObjectProblem>) -> Verdict {
    let problems: Vec<&ObjectProblem> = problems.collect();
    let Some(first) = problems.first() else {
        return verdict(true, "Accepted", "");
    };
    let text = |problem: &&ObjectProblem| match &problem.field {
        Some(field) => format!("{field}: {}", problem.message),
        None => problem.message.clone(),
    };
    let mut texts: Vec<String> = problems.iter().take(PROBLEMS_NAMED).map(text).collect();
    if problems.len() > PROBLEMS_NAMED {
        texts.push(format!("and {} more", problems.len() - PROBLEMS_NAMED));
    }
    verdict(false, &word(&first.reason), &texts.join("; "))
}

/// A reason as the API server takes it: letters, digits and `_`, a letter first.
fn word(reason: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let word: String = reason.chars().filter(fits).take(63).collect();
    let word = word.trim_matches('_');
    match word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        true => word.to_owned(),
        false => "Problem".to_owned(),
    }
}

/// What the API server takes of a text, in characters.
fn clipped(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

fn small(of: u64) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(super) mod tests;
