use std::collections::BTreeSet;
use std::net::SocketAddr;

use dunlin_api::{
    Action, FrontendState, FrontendTreatment, Service, ServiceAddress, ServiceEndpoint,
    ServiceFrontend,
};

use super::width;
use crate::output::{Style, Tone};
use crate::table::{Cell, Table};
use crate::words::{list, or_dash};

/// The most endpoints in a cell.
const ENDPOINTS_SHOWN: usize = 8;

/// Which columns there are.
#[derive(Clone, Copy)]
struct Shape {
    wide: bool,
    /// The service proxy is on.
    proxy: bool,
}

/// A line an address, and in the wide table a line a frontend.
pub(crate) fn services(services: &[Service], wide: bool, style: Style) -> String {
    let proxy = services.iter().any(|service| service.programmed.is_some());
    let shape = Shape { wide, proxy };
    let mut table = titles(shape);
    for service in services {
        for row in rows(service, shape) {
            table.row(row);
        }
    }
    table.render(width(wide), style)
}

fn titles(shape: Shape) -> Table {
    let mut table = Table::new()
        .cut("NAMESPACE", 9)
        .cut("NAME", 10)
        .cut("TYPE", 8)
        .right("READY")
        .right("HERE");
    if shape.proxy && !shape.wide {
        table = table.right("PROGRAMMED");
    }
    table = table.cut("ADDRESS", 15);
    if !shape.wide {
        return table.cut("ANNOUNCED", 9).cut("WHY NOT", 14);
    }
    table = table
        .left("KIND")
        .left("POLICY")
        .left("ANNOUNCED")
        .left("BY")
        .left("SHARED BY");
    if shape.proxy {
        table = table
            .left("PORT")
            .left("PROGRAMMED")
            .right("CONNECTIONS")
            .left("ENDPOINTS");
    }
    table.left("WHY NOT")
}

fn rows(service: &Service, shape: Shape) -> Vec<Vec<Cell>> {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    let mut begin = |at_address: Vec<Cell>, frontend: Option<&ServiceFrontend>, why: &str| {
        let mut row = head((rows.is_empty()).then_some(service), shape);
        row.extend(at_address);
        if shape.wide && shape.proxy {
            row.extend(frontend.map_or_else(|| empty(4), delivered));
        }
        let undelivered = frontend.and_then(|frontend| frontend.message.as_deref());
        let why: Vec<&str> = [why, undelivered.unwrap_or("")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        row.push(Cell::new(Tone::Warn, why.join("; ")));
        rows.push(row);
    };
    let between = if shape.wide { 6 } else { 2 };
    let frontends = service.frontends.as_deref().unwrap_or_default();
    for address in &service.addresses {
        let here = |f: &&ServiceFrontend| {
            shape.wide && f.frontend.address == address.address && f.kind == address.kind
        };
        let mut here = frontends.iter().filter(here);
        let why = match shape.wide {
            true => &address.message,
            false => &address.reason,
        };
        let cells = match shape.wide {
            true => details(service, address),
            false => vec![address.address.to_string().into(), announced(address)],
        };
        begin(cells, here.next(), why.as_deref().unwrap_or(""));
        here.for_each(|frontend| begin(empty(between), Some(frontend), ""));
    }
    if shape.wide {
        // Node ports, and what has no line of its own.
        let has_line = |f: &&ServiceFrontend| {
            let of = |a: &ServiceAddress| a.address == f.frontend.address && a.kind == f.kind;
            service.addresses.iter().any(of)
        };
        for frontend in frontends.iter().filter(|f| !has_line(f)) {
            let mut cells = vec![
                frontend.frontend.address.to_string().into(),
                frontend.kind.as_str().into(),
                frontend.policy.as_str().into(),
            ];
            cells.extend(empty(3));
            begin(cells, Some(frontend), "");
        }
    }
    if rows.is_empty() {
        let mut row = head(Some(service), shape);
        row.push(Cell::new(Tone::Faint, "none"));
        let columns = match (shape.wide, shape.proxy) {
            (false, _) => 2,
            (true, false) => 6,
            (true, true) => 10,
        };
        row.extend(empty(columns));
        rows.push(row);
    }
    rows
}

fn empty(columns: usize) -> Vec<Cell> {
    (0..columns).map(|_| Cell::from("")).collect()
}

fn head(service: Option<&Service>, shape: Shape) -> Vec<Cell> {
    let narrow_proxy = shape.proxy && !shape.wide;
    let Some(service) = service else {
        return empty(5 + usize::from(narrow_proxy));
    };
    let counts = &service.endpoints;
    let ready = format!("{}/{}", counts.ready, counts.total);
    let tone = match counts.ready {
        0 => Tone::Warn,
        _ => Tone::Plain,
    };
    let mut cells = vec![
        service.namespace.as_str().into(),
        service.name.as_str().into(),
        service.service_type.as_str().into(),
        Cell::new(tone, ready),
        counts.local_ready.to_string().into(),
    ];
    if narrow_proxy {
        cells.push(match &service.programmed {
            Some(counts) if counts.frontends == 0 => Cell::new(Tone::Faint, "-"),
            Some(counts) => {
                let text = format!("{}/{}", counts.programmed, counts.frontends);
                match counts.programmed == counts.frontends {
                    true => text.into(),
                    false => Cell::new(Tone::Bad, text),
                }
            }
            None => "".into(),
        });
    }
    cells
}

/// `yes`, or the aggregates that stand for it.
fn announced(address: &ServiceAddress) -> Cell {
    if address.reason.is_some() {
        return Cell::new(Tone::Faint, "no");
    }
    let own = |net: &dunlin_net::IpNet| {
        net.addr() == address.address && net.prefix_len() == net.max_prefix_len()
    };
    let prefixes = address.announced.iter().map(|one| one.prefix);
    let aggregates: Vec<_> = prefixes.filter(|net| !own(net)).collect();
    let text = match aggregates.len() {
        0 => "yes".to_owned(),
        _ => format!("in {}", list(&aggregates)),
    };
    Cell::new(Tone::Good, text)
}

fn details(service: &Service, address: &ServiceAddress) -> Vec<Cell> {
    let policy = if address.kind == "ClusterIP" {
        &service.internal_traffic_policy
    } else {
        &service.external_traffic_policy
    };
    let by: BTreeSet<&String> = address
        .announced
        .iter()
        .flat_map(|one| &one.advertisements)
        .collect();
    vec![
        address.address.to_string().into(),
        address.kind.as_str().into(),
        policy.as_str().into(),
        announced(address),
        list(by).into(),
        list(&address.shared_by).into(),
    ]
}

fn delivered(frontend: &ServiceFrontend) -> Vec<Cell> {
    let port = format!("{}/{}", frontend.frontend.port, frontend.frontend.protocol);
    let (tone, state) = match frontend.state {
        FrontendState::Programmed => (Tone::Good, "yes"),
        FrontendState::Changing => (Tone::Warn, "changing"),
        FrontendState::Pending => (Tone::Warn, "waits"),
        FrontendState::Failed => (Tone::Bad, "FAILED"),
        FrontendState::Conflict | FrontendState::Unfit => (Tone::Bad, "no"),
        FrontendState::Stale => (Tone::Warn, "going"),
    };
    vec![
        port.into(),
        Cell::new(tone, state),
        or_dash(frontend.connections).into(),
        endpoints(frontend).into(),
    ]
}

/// What becomes of connections where they do not just go to the endpoints, and these.
fn endpoints(frontend: &ServiceFrontend) -> String {
    let action = |treatment: &Option<FrontendTreatment>| treatment.as_ref().map(|t| t.action);
    let word = |action| match action {
        Action::Reject => Some("refused"),
        Action::Drop => Some("dropped"),
        Action::Balance => None,
    };
    let (inside, outside) = (action(&frontend.inside), action(&frontend.outside));
    let mut parts = Vec::new();
    match (inside.and_then(word), outside.and_then(word)) {
        (Some(one), Some(other)) if one == other => parts.push(one.to_owned()),
        (inside, outside) => {
            parts.extend(inside.map(|word| format!("from inside {word}")));
            parts.extend(outside.map(|word| format!("from outside {word}")));
        }
    }
    let shown = frontend.endpoints.iter().take(ENDPOINTS_SHOWN);
    let mut items: Vec<String> = shown.map(|e| endpoint(e, inside == outside)).collect();
    if let more @ 1.. = frontend.endpoints.len().saturating_sub(ENDPOINTS_SHOWN) {
        items.push(format!("and {more} more"));
    }
    if !items.is_empty() {
        parts.push(items.join(", "));
    }
    parts.join("; ")
}

fn endpoint(endpoint: &ServiceEndpoint, same: bool) -> String {
    let at = SocketAddr::new(endpoint.address, endpoint.port);
    let mut notes: Vec<&str> = endpoint.node.as_deref().into_iter().collect();
    match endpoint.state.as_str() {
        "Ready" => {}
        "Terminating" => notes.push("terminating"),
        _ => notes.push("not ready"),
    }
    match (endpoint.inside, endpoint.outside) {
        (true, false) if same => notes.push("inside only"),
        (false, true) => notes.push("outside only"),
        (false, false) if endpoint.state != "NotReady" => notes.push("unused"),
        _ => {}
    }
    match notes.is_empty() {
        true => at.to_string(),
        false => format!("{at} ({})", notes.join(", ")),
    }
}

#[cfg(test)]
mod tests;
