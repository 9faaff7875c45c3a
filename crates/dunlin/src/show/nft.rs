use std::net::SocketAddr;

use dunlin_agent::service_tables::{TableFrontend, TableTreatment};
use dunlin_api::FrontendState;

use super::width;
use crate::nft::{Shown, ShownFrontend};
use crate::output::{Style, Tone, clean};
use crate::table::{Cell, Table};
use crate::words::{age, count, list};

/// The most endpoints of a frontend that are shown if not all of it is.
const ENDPOINTS_SHOWN: usize = 8;

/// What the tables are, then a line for what each frontend does, then, where it may be wide, all elements.
pub(crate) fn nft(shown: &Shown, wide: bool, style: Style) -> String {
    let tables = &shown.tables;
    if !tables.present {
        return "nothing is programmed: there are no tables ip dunlin_services and ip6 dunlin_services in this network namespace
(an agent with --service-proxy on makes them)\n"
            .into();
    }
    if !tables.intact {
        let text = "the tables ip dunlin_services and ip6 dunlin_services are not as this version of dunlin makes them";
        return format!(
            "{}: another version made them, one is missing,
or somebody changed their rules. An agent with --service-proxy on makes them anew; nft list table ip dunlin_services shows what is there\n",
            style.paint(Tone::Bad, text)
        );
    }
    let mut text = format!(
        "tables ip dunlin_services and ip6 dunlin_services: {}, {}\ninside, that is this node and its pods: {}\n",
        count(shown.total as u64, "frontend"),
        count(tables.elements as u64, "element"),
        list(&tables.near)
    );
    if !shown.agent {
        let note = "no agent answers: whose frontends these are is not known";
        text.push_str(&format!("{}\n", style.paint(Tone::Warn, note)));
    }
    if shown.frontends.is_empty() {
        text.push_str("\nno frontend that was asked for is programmed\n");
        return text;
    }
    text.push('\n');
    text.push_str(&table(shown, wide).render(width(wide), style));
    for one in &shown.frontends {
        for fault in &one.held.faults {
            let line = format!("{}: {}", at(one), clean(fault));
            text.push_str(&format!("{}\n", style.paint(Tone::Bad, &line)));
        }
    }
    if wide {
        for one in &shown.frontends {
            text.push_str(&format!("\n{}\n", style.paint(Tone::Strong, &at(one))));
            for element in &one.held.elements {
                text.push_str(&format!("  nft get element {}\n", clean(element)));
            }
        }
    }
    text
}

fn at(shown: &ShownFrontend) -> String {
    let frontend = &shown.frontend;
    let socket = SocketAddr::new(frontend.address, frontend.port);
    format!("{socket}/{}", clean(&frontend.protocol))
}

fn table(shown: &Shown, wide: bool) -> Table {
    let mut table = Table::new();
    if shown.agent {
        table = table.cut("SERVICE", 12);
    }
    table = table
        .cut("FRONTEND", 22)
        .left("FROM")
        .cut("DOES", 12)
        .cut("ENDPOINTS", 22);
    let counted = shown
        .frontends
        .iter()
        .any(|one| one.held.connections.is_some());
    if counted {
        table = table.right("CONNECTIONS");
    }
    if shown.agent {
        table = table.left("WANTED");
    }
    let mut before: Option<&str> = None;
    for (index, one) in shown.frontends.iter().enumerate() {
        let service = one
            .owner
            .as_ref()
            .and_then(|owner| owner.service.as_deref());
        for (line, row) in rows(one, wide).into_iter().enumerate() {
            let mut cells = Vec::new();
            if shown.agent {
                let again = line > 0 || index > 0 && service == before;
                cells.push(match (service, again) {
                    (_, true) => "".into(),
                    (Some(service), _) => service.into(),
                    (None, _) => Cell::new(Tone::Warn, "nobody's"),
                });
            }
            cells.push(if line == 0 { at(one).into() } else { "".into() });
            cells.extend(row);
            if counted {
                let n = one.held.connections.filter(|_| line == 0);
                cells.push(n.map_or_else(String::new, |n| n.to_string()).into());
            }
            if shown.agent {
                cells.push(if line == 0 { wanted(one) } else { "".into() });
            }
            table.row(cells);
        }
        before = service;
    }
    table
}

/// Whether it is what the agent wants.
fn wanted(shown: &ShownFrontend) -> Cell {
    let Some(owner) = &shown.owner else {
        return Cell::new(Tone::Warn, "no");
    };
    let message = owner.message.as_deref();
    let failed = format!("FAILED: {}", message.unwrap_or("no reason known"));
    match owner.state {
        FrontendState::Programmed => Cell::new(Tone::Good, "yes"),
        FrontendState::Changing => Cell::new(Tone::Warn, "changing"),
        FrontendState::Failed => Cell::new(Tone::Bad, failed),
        FrontendState::Stale => Cell::new(Tone::Warn, "going"),
        FrontendState::Pending | FrontendState::Conflict | FrontendState::Unfit => {
            Cell::new(Tone::Warn, "not yet")
        }
    }
}

/// From where, what is done, and the endpoints.
fn rows(shown: &ShownFrontend, wide: bool) -> Vec<[Cell; 3]> {
    let held = &shown.held;
    let mut rows = Vec::new();
    let mut treated = |from: &str, treatment: Option<&TableTreatment>, extras: Vec<String>| {
        let (tone, does, endpoints) = described(treatment, wide);
        let does: Vec<Cell> = std::iter::once(Cell::new(tone, does))
            .chain(extras.into_iter().map(Cell::from))
            .collect();
        for line in 0..does.len().max(endpoints.len()) {
            let from = if line == 0 { from } else { "" };
            let does = does.get(line).cloned().unwrap_or_else(|| "".into());
            let endpoint = endpoints.get(line).map_or("", String::as_str);
            rows.push([from.into(), does, endpoint.into()]);
        }
    };
    let (mut inside, outside) = extras(held);
    match &held.outside {
        None => {
            inside.extend(outside.iter().map(|only| format!("outside {only}")));
            treated("all", held.inside.as_ref(), inside);
        }
        Some(other) => {
            treated("inside", held.inside.as_ref(), inside);
            treated("outside", Some(other), outside);
        }
    }
    if !held.faults.is_empty() {
        rows.push(["".into(), Cell::new(Tone::Bad, "see below"), "".into()]);
    }
    rows
}

/// What holds besides, for all, and for those from elsewhere.
fn extras(held: &TableFrontend) -> (Vec<String>, Vec<String>) {
    let back = held.affinity_secs.map(|secs| {
        let age = age(secs.into());
        format!("sticky for {age}")
    });
    let only = held.sources.iter().flat_map(|sources| {
        let none = sources.is_empty().then(|| "only nobody".to_owned());
        let some = sources.iter().map(|source| format!("only {source}"));
        none.into_iter().chain(some)
    });
    (back.into_iter().collect(), only.collect())
}

fn described(treatment: Option<&TableTreatment>, wide: bool) -> (Tone, String, Vec<String>) {
    match treatment {
        None => (Tone::Bad, "nothing".into(), Vec::new()),
        Some(TableTreatment::Reject) => (Tone::Warn, "refused".into(), Vec::new()),
        Some(TableTreatment::Drop) => (Tone::Warn, "dropped".into(), Vec::new()),
        Some(TableTreatment::Balance {
            slots,
            hashed,
            endpoints,
            ..
        }) => {
            let does = match hashed {
                true => format!("hash, {slots} slots"),
                false => "random".into(),
            };
            let most = if wide { usize::MAX } else { ENDPOINTS_SHOWN };
            let mut items: Vec<String> = endpoints
                .iter()
                .take(most)
                .map(|one| match hashed {
                    true => format!("{} ({:.1}%)", one.endpoint, share(one.slots, *slots)),
                    false => one.endpoint.to_string(),
                })
                .collect();
            if let more @ 1.. = endpoints.len().saturating_sub(most) {
                items.push(format!("and {more} more"));
            }
            (Tone::Plain, does, items)
        }
    }
}

fn share(slots: u32, of: u32) -> f64 {
    f64::from(slots) * 100.0 / f64::from(of.max(1))
}

#[cfg(test)]
mod tests;
