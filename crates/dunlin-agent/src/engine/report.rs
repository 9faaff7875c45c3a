//! What only the adapters know, for answers.

use dunlin_api::Problem;
use dunlin_core::Outside;

use super::bfd::Bfd;
use super::discovery::Discovery;
use super::sessions::Sessions;

pub(super) fn outside(
    sessions: &Sessions,
    bfd: &Bfd,
    discovery: &Discovery,
    with_sessions: bool,
) -> Outside {
    let mut outside = Outside::default();
    if let Some(problem) = sessions.problem() {
        outside.problems.push(Problem {
            object: "BGPConfiguration/default".into(),
            reason: "ListenFailed".into(),
            message: problem.to_owned(),
        });
    }
    if !with_sessions {
        return outside;
    }
    let report = sessions.report();
    let refused = report.refused;
    for (reason, count) in [
        ("unknown-source", refused.unknown_source),
        ("stopped", refused.stopped),
        ("held-back", refused.held_back),
        ("too-many-connections", refused.too_many_connections),
        ("range-full", refused.range_full),
        ("accept-error", report.counters.accept_errors),
        // The kernel drops these before anybody sees a connection.
        ("md5-unsigned", report.md5.unsigned),
        ("md5-unexpected", report.md5.unexpected),
        ("md5-wrong", report.md5.wrong),
    ] {
        outside.refused_connections.insert(reason.into(), count);
    }
    outside.sessions = report.peers;
    outside.bfd = bfd.report();
    if let Some(report) = discovery.report() {
        let dropped = report.counts.dropped.iter();
        let dropped = dropped.map(|(reason, count)| (reason.to_string().replace(' ', "-"), *count));
        outside.router_discovery.extend(dropped);
        for (result, count) in [
            ("taken", report.counts.taken),
            ("overrun", report.overruns),
            ("send-error", report.send_errors),
        ] {
            outside.router_discovery.insert(result.into(), count);
        }
    }
    outside
}
