use dunlin_api::{FamilyCounts, Neighbor, NeighborDown, NotificationSeen};

use super::width;
use crate::output::{Style, Tone, clean};
use crate::table::{Cell, Table};
use crate::words::{age, list, or_dash};

pub(crate) fn neighbors(neighbors: &[Neighbor], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NAME", 8)
        .left("KIND")
        .cut("ADDRESS", 15)
        .right("AS")
        .left("STATE")
        .right("FOR")
        .right("RECV")
        .right("USED")
        .right("TOLD");
    if wide {
        table = table
            .left("TOPOLOGY")
            .left("LOCAL")
            .right("LOCAL-AS")
            .right("PORT")
            .left("ROUTER-ID")
            .left("FAMILIES")
            .right("HOLD")
            .right("KEEPALIVE")
            .right("FLAPS")
            .right("UPDATES-IN")
            .right("UPDATES-OUT")
            .right("QUEUED")
            .left("BFD")
            .left("CAPABILITIES")
            .left("ENDED-BY")
            .left("TCP")
            .left("NEXT")
            .left("SENT")
            .left("RECEIVED");
    }
    table = table.cut("NOTE", 12);
    for neighbor in neighbors {
        table.row(row(neighbor, wide));
    }
    table.render(width(wide), style)
}

fn row(n: &Neighbor, wide: bool) -> Vec<Cell> {
    let up = n.state == "Established";
    let state = if up { Tone::Good } else { Tone::Bad };
    let sum = |count: fn(&FamilyCounts) -> u64| n.routes.iter().map(count).sum::<u64>().to_string();
    let mut cells = vec![
        n.name.as_str().into(),
        n.kind.as_str().into(),
        place(n).into(),
        or_dash(n.asn).into(),
        Cell::new(state, n.state.as_str()),
        age(n.since_secs).into(),
        sum(|c| c.received).into(),
        sum(|c| c.accepted).into(),
        sum(|c| c.advertised).into(),
    ];
    if wide {
        cells.extend([
            or_dash(n.topology.as_deref()).into(),
            or_dash(n.local_address).into(),
            or_dash(n.local_asn).into(),
            n.port.unwrap_or(179).to_string().into(),
            or_dash(n.router_id).into(),
            list(&n.families).into(),
            format!("{}s", n.hold_time_secs).into(),
            format!("{}s", n.keepalive_secs).into(),
            n.flaps.to_string().into(),
            n.counters.updates_received.to_string().into(),
            n.counters.updates_sent.to_string().into(),
            n.output_queue_bytes.to_string().into(),
            bfd(n),
            list(&n.capabilities).into(),
            or_dash(n.down.as_ref().and_then(|down| down.ended_by.as_deref())).into(),
            tcp(n).into(),
            or_dash(n.down.as_ref().and_then(next)).into(),
            notification(n.notification_sent.as_ref()).into(),
            notification(n.notification_received.as_ref()).into(),
        ]);
    }
    cells.push(note(n, up));
    cells
}

/// Where it is: for an unnumbered peer the interface, and who was found there.
fn place(n: &Neighbor) -> String {
    match (&n.interface, n.address) {
        (Some(interface), Some(address)) => format!("{} ({address})", clean(interface)),
        (Some(interface), None) => clean(interface),
        (None, address) => or_dash(address),
    }
}

/// The state, and for one that is up how fast it notices a failure.
fn bfd(n: &Neighbor) -> Cell {
    let Some(bfd) = &n.bfd else {
        return Cell::from("-");
    };
    match (bfd.state.as_str(), bfd.detection_time_millis) {
        ("Up", Some(millis)) => Cell::new(Tone::Good, format!("Up {millis}ms")),
        ("Up", None) => Cell::new(Tone::Good, "Up"),
        (state, _) => Cell::new(Tone::Bad, state),
    }
}

fn tcp(n: &Neighbor) -> String {
    let connections = n.down.as_ref().map(|down| down.tcp.join("; "));
    connections
        .filter(|tcp| !tcp.is_empty())
        .unwrap_or_else(|| "-".into())
}

/// What comes next while it is down.
fn next(down: &NeighborDown) -> Option<String> {
    Some(match (down.held_secs, down.retry_secs) {
        (Some(secs), _) => format!("held for {}", age(secs)),
        (None, Some(secs)) => format!("dialled in {}", age(secs)),
        (None, None) if down.passive => "it dials".to_owned(),
        (None, None) => return None,
    })
}

fn notification(seen: Option<&NotificationSeen>) -> String {
    match seen {
        Some(n) => format!(
            "{}/{} {}, {} ago",
            n.code,
            n.subcode,
            n.text,
            age(n.age_secs)
        ),
        None => "-".into(),
    }
}

/// What is worth knowing in a few words: the reason while it is down, staleness, faults.
fn note(n: &Neighbor, up: bool) -> Cell {
    if n.topology.as_deref() == Some("leaving") {
        return Cell::new(
            Tone::Faint,
            "not wanted here, goes once its routes have come elsewhere",
        );
    }
    if n.stale && !up {
        let what = match n.long_lived_stale {
            true => "gone, routes long-lived stale",
            false => "restarting, routes kept",
        };
        let left = n.stale_ends_secs.map(|secs| format!(" for {}", age(secs)));
        let why = n.last_error.as_ref().map(|why| format!(": {why}"));
        let (left, why) = (left.unwrap_or_default(), why.unwrap_or_default());
        return Cell::new(Tone::Warn, format!("{what}{left}{why}"));
    }
    if n.stale {
        return Cell::new(
            Tone::Warn,
            "back, its old routes kept until it has told all",
        );
    }
    if !up {
        return Cell::new(Tone::Bad, n.last_error.as_deref().unwrap_or(""));
    }
    if let Some(bfd) = n.bfd.as_ref().filter(|bfd| bfd.state != "Up") {
        let why = bfd.problem.as_deref().or(bfd.last_down.as_deref());
        let why = why.unwrap_or("the peer has not been heard");
        return Cell::new(Tone::Warn, format!("BFD {}: {why}", bfd.state));
    }
    if let Some(limit) = n
        .max_prefixes
        .as_ref()
        .filter(|limit| !limit.near.is_empty())
    {
        let near: Vec<String> = n
            .routes
            .iter()
            .filter(|counts| limit.near.contains(&counts.family))
            .map(|counts| {
                format!(
                    "{} of {} {} prefixes",
                    counts.received, limit.limit, counts.family
                )
            })
            .collect();
        return Cell::new(Tone::Warn, format!("{} (maxPrefixes)", near.join(", ")));
    }
    let faults = n.counters.treated_as_withdraw + n.counters.attributes_discarded;
    if faults > 0 {
        return Cell::new(Tone::Warn, format!("{faults} faulty UPDATEs (RFC 7606)"));
    }
    Cell::from("")
}
