use dunlin_api::Pool;
use dunlin_net::Afi;

use super::width;
use crate::output::{Style, Tone};
use crate::table::{Cell, Table};
use crate::words::list;

/// Beyond so many free addresses nobody counts.
const MANY: u64 = 10_000_000;

pub(crate) fn pools(pools: &[Pool], wide: bool, style: Style) -> String {
    let mut table = Table::new()
        .cut("NAME", 10)
        .cut("ADDRESSES", 18)
        .right("IPV4 USED")
        .right("FREE")
        .right("IPV6 USED")
        .right("FREE")
        .cut("ALLOCATOR", 9);
    if wide {
        table = table.left("AUTO");
    }
    table = table.cut("PROBLEM", 12);
    for pool in pools {
        let mut cells = vec![Cell::from(pool.name.as_str()), list(&pool.addresses).into()];
        cells.extend(Afi::ALL.into_iter().flat_map(|afi| counts(pool, afi)));
        cells.push(match pool.allocator.as_deref() {
            Some(node) => node.into(),
            None => Cell::new(Tone::Warn, "nobody"),
        });
        if wide {
            cells.push(if pool.auto_assign { "yes" } else { "no" }.into());
        }
        cells.push(Cell::new(Tone::Bad, pool.problems.join("; ")));
        table.row(cells);
    }
    table.render(width(wide), style)
}

/// Used and free of a family, if the pool has any of it.
fn counts(pool: &Pool, afi: Afi) -> [Cell; 2] {
    let Some(counts) = pool.families.iter().find(|counts| counts.family == afi) else {
        return ["-", "-"].map(|none| Cell::new(Tone::Faint, none));
    };
    let free = match counts.free {
        0 => Cell::new(Tone::Warn, "0"),
        MANY.. => "many".into(),
        free => free.to_string().into(),
    };
    [counts.used.to_string().into(), free]
}
