use dunlin_api::{AdvertisedTo, Advertisement, Path, Route, RouteState};

use super::width;
use crate::output::{Style, Tone};
use crate::table::{Cell, Table};
use crate::words::{age, list, or_dash};

/// A line a path; the prefix and the kernel's word stand on the first.
pub(crate) fn routes(routes: &[Route], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("PREFIX", 18)
        .left("")
        .cut("FROM", 8)
        .cut("NEXT HOP", 15)
        .cut("DEV", 5)
        .cut("AS PATH", 8);
    let several = routes.iter().flat_map(|route| &route.paths);
    let ids = wide && several.into_iter().any(|path| path.path_id.is_some());
    if ids {
        table = table.right("PATH ID");
    }
    if wide {
        table = table
            .left("ADDRESS")
            .left("ORIGIN")
            .right("LOCAL-PREF")
            .right("MED")
            .left("COMMUNITIES");
    }
    table = table.left("KERNEL").cut("NOTE", 12);
    for route in routes {
        let nothing = Path::default();
        let paths = if route.paths.is_empty() {
            std::slice::from_ref(&nothing)
        } else {
            &route.paths
        };
        for (at, path) in paths.iter().enumerate() {
            table.row(path_row(route, path, at == 0, (ids, wide)));
        }
    }
    table.render(width(wide), style)
}

fn path_row(route: &Route, path: &Path, first: bool, (ids, wide): (bool, bool)) -> Vec<Cell> {
    let marks: String = [
        (path.best, '*'),
        (path.multipath && !path.best, '='),
        (path.stale && !path.long_lived_stale, 's'),
        (path.long_lived_stale, 'S'),
    ]
    .iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, mark)| *mark)
    .collect();
    let (kernel, kernel_note) = if first {
        kernel(&route.kernel)
    } else {
        (Cell::from(""), None)
    };
    let mut cells = vec![
        if first {
            route.prefix.to_string().into()
        } else {
            Cell::from("")
        },
        marks.into(),
        path.from.as_str().into(),
        or_dash(path.next_hop).into(),
        or_dash(path.interface.as_deref()).into(),
        if path.as_path.is_empty() {
            "-".into()
        } else {
            path.as_path.as_str().into()
        },
    ];
    if ids {
        cells.push(or_dash(path.path_id).into());
    }
    if wide {
        cells.extend([
            or_dash(path.address).into(),
            path.origin.as_str().into(),
            or_dash(path.local_pref).into(),
            or_dash(path.med).into(),
            list(&path.communities).into(),
        ]);
    }
    cells.push(kernel);
    cells.push(match (kernel_note, &path.reason) {
        (Some(note), _) => Cell::new(Tone::Bad, note),
        (None, Some(reason)) => Cell::new(Tone::Faint, reason.as_str()),
        (None, None) => Cell::from(""),
    });
    cells
}

/// The kernel's word, and what is to be said about it.
fn kernel(state: &RouteState) -> (Cell, Option<String>) {
    match state {
        RouteState::NotWanted => (Cell::new(Tone::Faint, "-"), None),
        RouteState::Pending => (Cell::new(Tone::Warn, "pending"), None),
        RouteState::Installed => (Cell::new(Tone::Good, "installed"), None),
        RouteState::Failed { error, retry_secs } => (
            Cell::new(Tone::Bad, "failed"),
            Some(format!("{error}; again in {}", age(*retry_secs))),
        ),
        RouteState::Conflict => (
            Cell::new(Tone::Bad, "conflict"),
            Some("somebody else's route stands there".into()),
        ),
        RouteState::Stale => (
            Cell::new(Tone::Warn, "stale"),
            Some("kept until the restart is done".into()),
        ),
    }
}

/// A line a prefix; a line a neighbor where everything is asked for.
pub(crate) fn advertisements(advertisements: &[Advertisement], wide: bool, style: Style) -> String {
    let mut table = Table::new().cut("PREFIX", 18).cut("ORIGIN", 10);
    table = if wide {
        table
            .left("TO")
            .left("ADDRESS")
            .left("TOLD")
            .left("NEXT HOP")
            .left("WHY NOT")
            .left("BY")
    } else {
        table.right("TOLD").cut("WHY NOT", 12)
    };
    for advertisement in advertisements {
        let prefix = advertisement.prefix.to_string();
        let head = |first: bool| -> [Cell; 2] {
            if first {
                [prefix.as_str().into(), advertisement.origin.as_str().into()]
            } else {
                ["".into(), "".into()]
            }
        };
        if !wide {
            let mut cells = Vec::from(head(true));
            cells.extend(summary(&advertisement.to));
            table.row(cells);
            continue;
        }
        let nobody = AdvertisedTo {
            name: "nobody".into(),
            ..AdvertisedTo::default()
        };
        let to = if advertisement.to.is_empty() {
            std::slice::from_ref(&nobody)
        } else {
            &advertisement.to
        };
        for (at, to) in to.iter().enumerate() {
            let mut cells = Vec::from(head(at == 0));
            cells.extend(each(to));
            let by = if at == 0 {
                list(&advertisement.advertisements)
            } else {
                String::new()
            };
            cells.push(by.into());
            table.row(cells);
        }
    }
    table.render(width(wide), style)
}

/// How many of those it concerns were told, and why the first was not.
fn summary(to: &[AdvertisedTo]) -> [Cell; 2] {
    let told = to.iter().filter(|to| to.advertised).count();
    let why = to
        .iter()
        .find(|to| !to.advertised)
        .map_or_else(String::new, |first| {
            let reason = first.reason.as_deref().unwrap_or("not yet");
            let others = to.len() - told - 1;
            let more = if others > 0 {
                format!(" (and {others} more)")
            } else {
                String::new()
            };
            format!("{}: {reason}{more}", first.name)
        });
    [
        format!("{told} of {}", to.len()).into(),
        Cell::new(Tone::Warn, why),
    ]
}

/// The next hop told, or those of all paths with their identifiers.
fn hops(to: &AdvertisedTo) -> String {
    if to.paths.is_empty() {
        return or_dash(to.next_hop);
    }
    let paths = to.paths.iter();
    let each = paths.map(|path| format!("{} (path {})", or_dash(path.next_hop), path.id));
    each.collect::<Vec<_>>().join(", ")
}

fn each(to: &AdvertisedTo) -> [Cell; 5] {
    let told = if to.advertised {
        Cell::new(Tone::Good, "yes")
    } else {
        Cell::new(Tone::Warn, "no")
    };
    [
        to.name.as_str().into(),
        or_dash(to.address).into(),
        told,
        hops(to).into(),
        to.reason.as_deref().unwrap_or("").into(),
    ]
}
