use dunlin_api::Node;

use super::width;
use crate::output::{Style, Tone};
use crate::table::{Cell, Table};
use crate::words::{age, list};

pub(crate) fn nodes(nodes: &[Node], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NAME", 8)
        .cut("ADDRESSES", 15)
        .cut("POD SUBNETS", 18)
        .left("ROLE")
        .left("SESSION")
        .right("FOR")
        .right("ROUTES")
        .cut("PROBLEM", 12);
    for node in nodes {
        let session = match node.session.as_deref() {
            _ if node.local => Cell::new(Tone::Faint, "this node"),
            Some("Established") => Cell::new(Tone::Good, "Established"),
            Some(state) => Cell::new(Tone::Bad, state),
            None => Cell::new(Tone::Faint, "none"),
        };
        // Our own subnets are not installed: they are local.
        let (since, routes) = if node.local {
            ("-".into(), "-".into())
        } else {
            (
                age(node.since_secs),
                format!("{}/{}", node.installed, node.pod_cidrs.len()),
            )
        };
        let complete = node.local || node.installed as usize >= node.pod_cidrs.len();
        table.row(vec![
            node.name.as_str().into(),
            list(&node.addresses).into(),
            list(&node.pod_cidrs).into(),
            match node.role.as_str() {
                "" => "-".into(),
                role => role.into(),
            },
            session,
            since.into(),
            Cell::new(if complete { Tone::Plain } else { Tone::Warn }, routes),
            match node.problems.is_empty() && node.draining {
                true => Cell::new(Tone::Warn, "none; draining"),
                false => Cell::new(Tone::Bad, node.problems.join("; ")),
            },
        ]);
    }
    table.render(width(wide), style)
}
