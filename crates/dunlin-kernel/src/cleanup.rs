//! Removing what the agent made, and nothing else.

use std::path::Path;

use dunlin_dataplane::fib::{Batch, BatchId, DumpItem, NexthopContent, Op};
use dunlin_dataplane::mark;
use dunlin_net::Afi;

use crate::Error;
use crate::nft::{self, proxy::ProxyTables};
use crate::protocol_name;
use crate::rtnl::{Reader, Writer};

/// What [`cleanup`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Routes of our protocol, table and metrics.
    pub routes: usize,
    /// Nexthop objects of our protocol and ids.
    pub nexthops: usize,
    /// The nf_tables table of rules.
    pub nft_table: bool,
    /// The nf_tables tables of services.
    pub nft_service_tables: bool,
    /// The file that names our route protocol.
    pub protocol_name: bool,
    /// What could not be removed, and why.
    pub problems: Vec<String>,
}

/// Removes our routes, nexthops, nf_tables tables and protocol name (in `protocol_names`, usually
/// [`protocol_name::DEFAULT_DIR`]) from this network namespace. Goes on where something cannot be removed.
pub fn cleanup(protocol_names: &Path) -> Result<Removed, Error> {
    crate::check_net_admin()?;
    let mut removed = Removed::default();
    let mut reader = Reader::open()?;
    let mut writer = Writer::open()?;

    let mut ops = Vec::new();
    for afi in Afi::ALL {
        reader.our_routes(afi, |item| {
            if let DumpItem::Route {
                net,
                metric,
                protocol,
                ..
            } = item
                && protocol == mark::ROUTE_PROTOCOL
                && [mark::ROUTE_METRIC, mark::BLACKHOLE_METRIC].contains(&metric)
            {
                ops.push(Op::RouteDelete { net, metric });
            }
        })?;
    }
    removed.routes = run(&mut writer, ops, &mut removed.problems);

    // Groups before what they contain.
    let (mut groups, mut singles) = (Vec::new(), Vec::new());
    reader.nexthops(|item| {
        if let DumpItem::Nexthop {
            id,
            protocol,
            content,
        } = item
            && protocol == mark::ROUTE_PROTOCOL
            && mark::is_our_nexthop_id(id)
        {
            let group = matches!(content, NexthopContent::Group(_));
            let list = if group { &mut groups } else { &mut singles };
            list.push(Op::NexthopDelete { id });
        }
    })?;
    groups.append(&mut singles);
    removed.nexthops = run(&mut writer, groups, &mut removed.problems);

    match nft::delete_table(nft::RULES_TABLE) {
        Ok(found) => removed.nft_table = found,
        Err(error) => removed.problems.push(error.to_string()),
    }
    match ProxyTables::open().and_then(|mut tables| tables.remove()) {
        Ok(found) => removed.nft_service_tables = found,
        Err(error) => removed.problems.push(error.to_string()),
    }
    match protocol_name::remove(protocol_names) {
        Ok(found) => removed.protocol_name = found,
        Err(error) => {
            removed
                .problems
                .push(format!("{}: {error}", protocol_names.display()));
        }
    }
    Ok(removed)
}

/// Gives how many operations were done.
fn run(writer: &mut Writer, ops: Vec<Op>, problems: &mut Vec<String>) -> usize {
    const GONE: [i32; 2] = [libc::ENOENT, libc::ESRCH];
    let batch = Batch {
        id: BatchId(0),
        ops,
    };
    let done = writer.execute(&batch);
    if done.lost {
        problems.push("the kernel's answers were lost: run it again".to_owned());
    }
    for error in done
        .errors
        .iter()
        .filter(|error| !GONE.contains(&error.errno))
    {
        let cause = std::io::Error::from_raw_os_error(error.errno);
        let op = batch.ops.get(error.index as usize);
        problems.push(format!("{op:?}: {cause}"));
    }
    batch.ops.len() - done.errors.len().min(batch.ops.len())
}
