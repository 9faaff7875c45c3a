use dunlin_api::{Service, ServiceAddress};

use super::width;
use crate::output::{Style, Tone};
use crate::table::{Cell, Table};
use crate::words::list;

/// A line an address.
pub(crate) fn services(services: &[Service], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NAMESPACE", 9)
        .cut("NAME", 10)
        .cut("TYPE", 8)
        .right("READY")
        .right("HERE")
        .cut("ADDRESS", 15);
    table = if wide {
        table
            .left("KIND")
            .left("POLICY")
            .left("ANNOUNCED")
            .left("BY")
            .left("SHARED BY")
            .left("WHY NOT")
    } else {
        table.cut("ANNOUNCED", 9).cut("WHY NOT", 14)
    };
    for service in services {
        if service.addresses.is_empty() {
            let mut cells = Vec::from(head(Some(service)));
            cells.push(Cell::new(Tone::Faint, "none"));
            let rest = if wide { 6 } else { 2 };
            cells.extend((0..rest).map(|_| Cell::from("")));
            table.row(cells);
        }
        for (at, address) in service.addresses.iter().enumerate() {
            let mut cells = Vec::from(head((at == 0).then_some(service)));
            cells.push(address.address.to_string().into());
            if wide {
                cells.extend(details(service, address));
            } else {
                cells.push(announced(address));
                let why = address.reason.as_deref().unwrap_or("");
                cells.push(Cell::new(Tone::Warn, why));
            }
            table.row(cells);
        }
    }
    table.render(width(wide), style)
}

fn head(service: Option<&Service>) -> [Cell; 5] {
    let Some(service) = service else {
        return ["", "", "", "", ""].map(Cell::from);
    };
    let counts = &service.endpoints;
    let ready = format!("{}/{}", counts.ready, counts.total);
    [
        service.namespace.as_str().into(),
        service.name.as_str().into(),
        service.service_type.as_str().into(),
        Cell::new(
            if counts.ready == 0 {
                Tone::Warn
            } else {
                Tone::Plain
            },
            ready,
        ),
        counts.local_ready.to_string().into(),
    ]
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

fn details(service: &Service, address: &ServiceAddress) -> [Cell; 6] {
    let policy = if address.kind == "ClusterIP" {
        &service.internal_traffic_policy
    } else {
        &service.external_traffic_policy
    };
    let by: std::collections::BTreeSet<&String> = address
        .announced
        .iter()
        .flat_map(|one| &one.advertisements)
        .collect();
    [
        address.kind.as_str().into(),
        policy.as_str().into(),
        announced(address),
        list(by).into(),
        list(&address.shared_by).into(),
        Cell::new(Tone::Warn, address.message.as_deref().unwrap_or("")),
    ]
}
