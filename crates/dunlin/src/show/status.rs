use dunlin_api::{
    BmpStation, CniState, DataplaneStatus, DrainStatus, GateStatus, ProxyStatus, RouteCounts,
    ServiceCounts, SessionCounts, Status, TopologyStatus,
};

use crate::output::{Style, Tone, clean};
use crate::table::WIDTH;
use crate::words::{age, count, list, or_dash};

/// For so long after it a repair is conspicuous.
const REPAIR_SHOWN_SECS: u64 = 3600;

/// One screen: the node, then what is wrong, then the figures.
pub(crate) fn status(status: &Status, style: Style) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(headline(status, style));
    line(format!(
        "  AS {}, router id {}, addresses {}",
        or_dash(status.asn),
        or_dash(status.router_id),
        list(&status.addresses)
    ));
    line(format!("  pod subnets {}", list(&status.pod_cidrs)));
    if !status.problems.is_empty() {
        line(String::new());
        let title = count(status.problems.len() as u64, "problem").to_uppercase();
        line(style.paint(Tone::Bad, &title));
        for problem in &status.problems {
            let head = format!("{} {}", clean(&problem.object), clean(&problem.reason));
            line(format!("  {}", style.paint(Tone::Bad, &head)));
            for part in wrap(&clean(&problem.message), WIDTH - 4) {
                line(format!("    {part}"));
            }
        }
    }
    line(String::new());
    let mut row = |name: &str, (tone, value): (Tone, String)| {
        line(format!("{name:<11} {}", style.paint(tone, &value)));
    };
    if let Some(drain) = &status.drain {
        row("Drain", draining(drain));
    }
    if let Some(topology) = &status.topology {
        row("Topology", self::topology(topology));
    }
    row("Sessions", sessions(&status.sessions));
    let (tone, learned, kernel) = routes(&status.routes, &status.dataplane, status.asn.is_some());
    row("Routes", (Tone::Plain, learned));
    row("", (tone, kernel));
    row("Services", (Tone::Plain, services(&status.services)));
    if let Some(proxy) = &status.proxy {
        row("", programmed(proxy));
    }
    for (at, station) in status.bmp.iter().enumerate() {
        row(if at == 0 { "BMP" } else { "" }, monitored(station));
    }
    row("Kernel", kernel_side(&status.dataplane));
    row("Restart", gate(&status.gate));
    row("Objects", objects(status));
    row("CNI", cni(status));
    text
}

fn headline(status: &Status, style: Style) -> String {
    let (tone, state) = if status.ready {
        (Tone::Good, "ready to carry pods".to_owned())
    } else if status.not_ready.is_empty() {
        (Tone::Bad, "not ready".to_owned())
    } else {
        let waiting: Vec<String> = status.not_ready.iter().map(|w| clean(w)).collect();
        (Tone::Bad, format!("not ready: {}", waiting.join("; ")))
    };
    format!(
        "{} (dunlin {}), up {}: {}",
        style.paint(Tone::Strong, &format!("Node {}", clean(&status.node))),
        clean(&status.version),
        age(status.uptime_secs),
        style.paint(tone, &state)
    )
}

fn draining(drain: &DrainStatus) -> (Tone, String) {
    let services = match drain.remaining_secs {
        Some(secs) => format!("service addresses go in {}", age(secs)),
        None => "service addresses are withdrawn".to_owned(),
    };
    let text = format!(
        "routes are the last choice, {services} ({})",
        clean(&drain.cause)
    );
    (Tone::Warn, text)
}

/// What the node is to the others, who reflects, and why.
fn topology(t: &TopologyStatus) -> (Tone, String) {
    let names = || {
        let shown = t.reflectors.iter().take(5).map(|name| clean(name));
        let more = match t.reflectors.len().saturating_sub(5) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}", list(shown))
    };
    let mut text = match t.role.as_str() {
        "Reflector" => format!(
            "reflector for {}, with {}",
            count(t.clients.into(), "session"),
            names()
        ),
        "Client" => format!("client of {}", names()),
        "Mesh" if t.reflectors.is_empty() => "mesh".to_owned(),
        "Mesh" => format!("mesh; {} reflect too", names()),
        _ => "no sessions between nodes".to_owned(),
    };
    if t.role != "Reflector" && t.clients > 0 {
        let still = count(t.clients.into(), "session");
        text.push_str(&format!("; still reflects for {still}"));
    }
    text.push_str(&format!(" ({})", clean(&t.reason)));
    if t.leaving > 0 {
        let leaving = count(t.leaving.into(), "session");
        text.push_str(&format!("; {leaving} to go"));
    }
    (Tone::Plain, text)
}

fn sessions(s: &SessionCounts) -> (Tone, String) {
    let all_up = s.nodes_up >= s.nodes_expected
        && s.external_up >= s.external_expected
        && s.bfd_up >= s.bfd_expected;
    let mut text = format!(
        "nodes {} of {} up, external {} of {} up",
        s.nodes_up, s.nodes_expected, s.external_up, s.external_expected
    );
    if s.bfd_expected > 0 {
        text.push_str(&format!(", BFD {} of {} up", s.bfd_up, s.bfd_expected));
    }
    (if all_up { Tone::Plain } else { Tone::Warn }, text)
}

/// `known` is whether the node's own settings are.
fn routes(r: &RouteCounts, dataplane: &DataplaneStatus, known: bool) -> (Tone, String, String) {
    let learned = format!(
        "{} received, {} rejected, {} best, {} originated here",
        r.received, r.rejected, r.best, r.originated
    );
    if !dataplane.route_installation {
        let why = match known {
            true => "routeInstallation is None",
            false => "the node's own settings are not known yet",
        };
        return (Tone::Plain, learned, format!("none installed: {why}"));
    }
    let kernel = format!(
        "{} of {} installed, {} failed, {}, {} stale",
        r.installed,
        r.wanted,
        r.failed,
        count(r.conflicts, "conflict"),
        r.stale
    );
    let tone = if r.failed > 0 || r.conflicts > 0 {
        Tone::Bad
    } else if r.installed < r.wanted {
        Tone::Warn
    } else {
        Tone::Plain
    };
    (tone, learned, kernel)
}

fn monitored(s: &BmpStation) -> (Tone, String) {
    let mut text = format!("station {} ", s.address);
    if s.connected {
        text.push_str(&format!(
            "connected for {}, {} sent",
            age(s.since_secs),
            count(s.sent_bytes, "octet")
        ));
        if s.queued_bytes > 0 {
            text.push_str(&format!(", {} on the way", s.queued_bytes));
        }
        if s.behind > 0 {
            let prefixes = if s.behind == 1 { "prefix" } else { "prefixes" };
            text.push_str(&format!(", {} {prefixes} wait", s.behind));
        }
        if let Some(before) = &s.last_error {
            text.push_str(&format!("; before: {}", clean(before)));
        }
    } else {
        let why = clean(s.last_error.as_deref().unwrap_or("no answer yet"));
        text.push_str(&format!("not connected for {}: {why}", age(s.since_secs)));
    }
    if s.overruns > 0 {
        text.push_str(&format!("; cut off as too slow {}", times(s.overruns)));
    }
    let good = s.connected && s.overruns == 0;
    (if good { Tone::Plain } else { Tone::Warn }, text)
}

fn services(s: &ServiceCounts) -> String {
    let withheld: u64 = s.withheld.values().sum();
    let addresses = s.announced.saturating_add(withheld);
    format!(
        "{} known; of their addresses {} of {addresses} announced here",
        s.known, s.announced
    )
}

fn programmed(p: &ProxyStatus) -> (Tone, String) {
    let missing = p.pending.saturating_add(p.failed);
    let done = p.frontends.saturating_sub(missing);
    let mut text = format!(
        "programmed: {done} of {} frontends of {}, in {}",
        p.frontends,
        count(p.services, "service"),
        count(p.elements, "element")
    );
    let parts = [(p.failed, "failed"), (p.conflicts, "of older services")];
    for (n, what) in parts.into_iter().filter(|(n, _)| *n > 0) {
        text.push_str(&format!(", {n} {what}"));
    }
    if p.first_sync_millis.is_none() {
        text.push_str("; not all of what was wanted at the start is there yet");
    }
    if let Some(secs) = p.repair_age_secs {
        text.push_str(&format!(
            "; changed by somebody else and repaired {}, last {} ago",
            times(p.repairs),
            age(secs)
        ));
    }
    let lately = p
        .repair_age_secs
        .is_some_and(|secs| secs < REPAIR_SHOWN_SECS);
    let tone = if p.failed > 0 {
        Tone::Bad
    } else if missing > 0 || lately || p.first_sync_millis.is_none() {
        Tone::Warn
    } else {
        Tone::Plain
    };
    (tone, text)
}

fn times(n: u64) -> String {
    match n {
        1 => "once".into(),
        n => format!("{n} times"),
    }
}

fn kernel_side(d: &DataplaneStatus) -> (Tone, String) {
    let sync = match d.synced_age_secs {
        Some(secs) => format!("in sync {} ago", age(secs)),
        None if !d.read_back => "reading back what is there".into(),
        None => "not in sync yet".into(),
    };
    let masquerade = match d.masquerade {
        Some(true) => "masquerade on",
        Some(false) => "masquerade not programmed",
        None => "no masquerade",
    };
    let text = format!(
        "{sync}; {}, {}, {}, {}; {masquerade}",
        count(d.operations, "operation"),
        count(d.failures, "failure"),
        count(d.repairs, "repair"),
        count(d.overruns, "overrun")
    );
    let bad = d.masquerade == Some(false) || d.synced_age_secs.is_none();
    (if bad { Tone::Warn } else { Tone::Plain }, text)
}

fn gate(gate: &GateStatus) -> (Tone, String) {
    if gate.open {
        return (Tone::Plain, "done: deletes and withdrawals may go".into());
    }
    let deadline = match gate.deadline_secs {
        Some(secs) => format!(", at most {} more", age(secs)),
        None => String::new(),
    };
    let shown = gate.waiting_for.iter().take(5);
    let mut waiting = list(shown);
    if gate.waiting_for.len() > 5 {
        waiting.push_str(&format!(" and {} more", gate.waiting_for.len() - 5));
    }
    (
        Tone::Warn,
        format!("nothing is deleted or withdrawn yet: waiting for {waiting}{deadline}"),
    )
}

fn objects(status: &Status) -> (Tone, String) {
    let heard = match status.source_age_secs {
        Some(secs) => format!("last heard {} ago", age(secs)),
        None => "nothing heard yet".into(),
    };
    if status.source_synced {
        (Tone::Plain, format!("synced, {heard}"))
    } else {
        (Tone::Warn, format!("not synced, {heard}"))
    }
}

fn cni(status: &Status) -> (Tone, String) {
    let path = clean(status.cni.path.as_deref().unwrap_or("-"));
    match status.cni.state {
        CniState::Written => (Tone::Plain, format!("{path} written")),
        CniState::Waiting => (
            Tone::Warn,
            format!("not written to {path} before the node is ready"),
        ),
        CniState::Failed => (Tone::Bad, format!("{path} cannot be written")),
    }
}

/// Words in lines of at most `width` characters; a longer word gets a line of its own.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests;
