//! All nodes of the cluster, a line each.

use dunlin_kube::api::{ClusterNode, DRAINING};
use dunlin_kube::crd::status::{BgpNodeStatus, ConditionStatus, READY};

use super::width;
use crate::all_nodes::{NodeSession, is_fine};
use crate::output::{Style, Tone, clean};
use crate::table::{Cell, Table};
use crate::words::{count, or_dash};

/// Sessions, routes and what is wrong; the nodes with problems come first, as they are given.
pub(crate) fn cluster_status(nodes: &[ClusterNode], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NODE", 8)
        .left("READY")
        .left("SESSIONS")
        .right("LEARNED")
        .right("INSTALLED")
        .right("FAILED")
        .right("ANNOUNCED")
        .cut("PROBLEM", 16);
    for node in nodes {
        let mut row: Vec<Cell> = vec![clean(&node.node).into()];
        match &node.status {
            None => row.extend((0..6).map(|_| Cell::new(Tone::Faint, "-"))),
            Some(status) => row.extend(figures(status)),
        }
        row.push(problem(node));
        table.row(row);
    }
    let fine = nodes.iter().filter(|node| is_fine(node)).count();
    let all = count(nodes.len() as u64, "node");
    format!(
        "{}\n{all}, {fine} without problems\n",
        table.render(width(wide), style).trim_end()
    )
}

fn figures(status: &BgpNodeStatus) -> [Cell; 6] {
    let ready = match condition(status, READY) {
        Some(ConditionStatus::True) => Cell::new(Tone::Good, "yes"),
        Some(ConditionStatus::False) => Cell::new(Tone::Bad, "no"),
        Some(ConditionStatus::Unknown) | None => Cell::new(Tone::Warn, "?"),
    };
    let (sessions, routes) = (&status.session_counts, &status.route_counts);
    let all_up = sessions.established >= sessions.expected;
    let tone = |fine| if fine { Tone::Plain } else { Tone::Bad };
    let up = format!("{}/{} up", sessions.established, sessions.expected);
    [
        ready,
        Cell::new(tone(all_up), up),
        routes.learned.to_string().into(),
        routes.installed.to_string().into(),
        Cell::new(tone(routes.failed == 0), routes.failed.to_string()),
        routes.originated.to_string().into(),
    ]
}

fn condition(status: &BgpNodeStatus, kind: &str) -> Option<ConditionStatus> {
    let found = status.conditions.iter().find(|c| c.kind == kind);
    found.map(|condition| condition.status)
}

/// What is wrong with a node, the first thing first; or that it is being drained, which somebody wants.
fn problem(node: &ClusterNode) -> Cell {
    if let Some(note) = &node.note {
        return Cell::new(Tone::Bad, clean(note));
    }
    let Some(status) = &node.status else {
        return Cell::new(Tone::Plain, "");
    };
    if let Some(first) = status.problems.first() {
        let more = match status.problem_count.saturating_sub(1) {
            0 => String::new(),
            more => format!("+{more}: "),
        };
        let text = format!("{more}{} {}: {}", first.object, first.reason, first.message);
        return Cell::new(Tone::Bad, clean(&text));
    }
    match condition(status, DRAINING) {
        Some(ConditionStatus::True) => Cell::new(Tone::Warn, "none; draining"),
        _ => Cell::new(Tone::Plain, ""),
    }
}

/// Who they are.
pub(crate) fn cluster_nodes(nodes: &[ClusterNode], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NODE", 8)
        .left("ROLE")
        .right("AS")
        .left("ROUTER ID")
        .left("AGENT")
        .left("SINCE")
        .cut("PROBLEM", 16);
    for node in nodes {
        let status = node.status.as_ref();
        let role = status.and_then(|status| status.role);
        let version = status.map(|status| status.agent_version.as_str());
        table.row(vec![
            clean(&node.node).into(),
            or_dash(role.map(|role| format!("{role:?}"))).into(),
            or_dash(status.and_then(|status| status.asn)).into(),
            or_dash(status.and_then(|status| status.router_id.as_deref())).into(),
            or_dash(version.filter(|version| !version.is_empty())).into(),
            or_dash(status.and_then(|status| status.agent_started.as_deref())).into(),
            problem(node),
        ]);
    }
    table.render(width(wide), style)
}

/// Sessions of all nodes.
pub(crate) fn cluster_neighbors(sessions: &[NodeSession], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NODE", 8)
        .cut("NEIGHBOR", 8)
        .cut("ADDRESS", 15)
        .right("AS")
        .left("STATE")
        .right("RECEIVED")
        .right("TOLD")
        .cut("LAST ERROR", 10);
    for NodeSession { node, session } in sessions {
        let up = session.state == "Established";
        let error = session.last_error.as_deref().filter(|_| !up);
        table.row(vec![
            clean(node).into(),
            clean(&session.peer).into(),
            or_dash(session.address.as_deref()).into(),
            or_dash(session.asn).into(),
            Cell::new(
                if up { Tone::Good } else { Tone::Bad },
                clean(&session.state),
            ),
            format!("{}/{}", session.accepted, session.received).into(),
            session.advertised.to_string().into(),
            Cell::new(Tone::Bad, clean(error.unwrap_or_default())),
        ]);
    }
    table.render(width(wide), style)
}
