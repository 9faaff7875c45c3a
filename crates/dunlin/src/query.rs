//! Commands that ask the agent and show what it answers; each says whether all is well.

use std::io::Write;
use std::net::IpAddr;

use anyhow::{Result, bail};
use dunlin_api::{Answer, Client, Explanation, Neighbor, Query};
use dunlin_net::{Afi, IpNet};

use crate::all_nodes::{self, StatusOptions};
use crate::args::{
    ExplainOptions, Get, NeighborOptions, NodeOptions, PoolOptions, RouteOptions, ServiceOptions,
    Subject,
};
use crate::output::{Style, print};
use crate::show;

pub(crate) fn status(
    client: &Client,
    options: &StatusOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    if options.all.all_nodes {
        return all_nodes::status(&options.all, &options.output, style, out);
    }
    let Answer::Status(status) = client.ask_blocking(&Query::Status)? else {
        return unexpected();
    };
    print(out, options.output.output, &status, |_| {
        show::status(&status, style)
    })?;
    Ok(status.ready && status.problems.is_empty())
}

pub(crate) fn get(client: &Client, get: Get, style: Style, out: &mut dyn Write) -> Result<bool> {
    match get {
        Get::Neighbors(options) if options.all.all_nodes => {
            all_nodes::neighbors(&options, style, out)
        }
        Get::Nodes(options) if options.all.all_nodes => all_nodes::nodes(&options, style, out),
        Get::Neighbors(options) => neighbors(client, &options, style, out),
        Get::Routes(options) => routes(client, &options, style, out),
        Get::Advertisements(options) => advertisements(client, &options, style, out),
        Get::Services(options) => services(client, &options, style, out),
        Get::Pools(options) => pools(client, &options, style, out),
        Get::Nodes(options) => nodes(client, &options, style, out),
    }
}

fn neighbors(
    client: &Client,
    options: &NeighborOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Neighbors(mut neighbors) = client.ask_blocking(&Query::Neighbors)? else {
        return unexpected();
    };
    neighbors.retain(|neighbor| wanted(neighbor, options));
    print(out, options.output.output, &neighbors, |wide| {
        show::neighbors(&neighbors, wide, style)
    })?;
    Ok(true)
}

fn wanted(neighbor: &Neighbor, options: &NeighborOptions) -> bool {
    let peer = options.peer.as_ref().is_none_or(|wanted| {
        let address: Option<IpAddr> = wanted.parse().ok();
        neighbor.name == *wanted || (address.is_some() && neighbor.address == address)
    });
    let node = options
        .node
        .as_ref()
        .is_none_or(|wanted| neighbor.kind == "node" && neighbor.name == *wanted);
    let family = options
        .family
        .is_none_or(|wanted| neighbor.families.contains(&Afi::from(wanted)));
    peer && node && family
}

fn routes(
    client: &Client,
    options: &RouteOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Routes(view) = client.ask_blocking(&Query::Routes(options.filter()))? else {
        return unexpected();
    };
    print(out, options.output.output, &view.items, |wide| {
        show::routes(&view.items, wide, style)
    })?;
    truncated(view.truncated, view.items.len())
}

fn advertisements(
    client: &Client,
    options: &RouteOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Advertisements(view) =
        client.ask_blocking(&Query::Advertisements(options.filter()))?
    else {
        return unexpected();
    };
    print(out, options.output.output, &view.items, |wide| {
        show::advertisements(&view.items, wide, style)
    })?;
    truncated(view.truncated, view.items.len())
}

/// Says on standard error that there is more; what is on standard output is complete up to there.
fn truncated(truncated: bool, shown: usize) -> Result<bool> {
    if truncated {
        writeln!(
            std::io::stderr(),
            "dunlin: the first {shown} prefixes are shown, there are more: narrow it down with --prefix, --family, --peer or --node"
        )?;
    }
    Ok(true)
}

fn services(
    client: &Client,
    options: &ServiceOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Services(view) = client.ask_blocking(&Query::Services(options.filter()))? else {
        return unexpected();
    };
    print(out, options.output.output, &view.items, |wide| {
        show::services(&view.items, wide, style)
    })?;
    if view.truncated {
        writeln!(
            std::io::stderr(),
            "dunlin: the first {} Services are shown, there are more: narrow it down with NAME, --namespace or --announced",
            view.items.len()
        )?;
    }
    Ok(true)
}

fn pools(
    client: &Client,
    options: &PoolOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Pools(mut pools) = client.ask_blocking(&Query::Pools)? else {
        return unexpected();
    };
    let name = options.name.as_ref();
    pools.retain(|pool| name.is_none_or(|wanted| pool.name == *wanted));
    print(out, options.output.output, &pools, |wide| {
        show::pools(&pools, wide, style)
    })?;
    Ok(true)
}

fn nodes(
    client: &Client,
    options: &NodeOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let Answer::Nodes(mut nodes) = client.ask_blocking(&Query::Nodes)? else {
        return unexpected();
    };
    nodes.retain(|node| {
        options
            .node
            .as_ref()
            .is_none_or(|wanted| node.name == *wanted)
    });
    print(out, options.output.output, &nodes, |wide| {
        show::nodes(&nodes, wide, style)
    })?;
    Ok(true)
}

pub(crate) fn explain(
    client: &Client,
    options: &ExplainOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let explanation = match &options.subject {
        Subject::Prefix(prefix) => found(client, Query::ExplainPrefix(*prefix))?,
        Subject::Name(name) => found(client, Query::ExplainNeighbor(name.clone()))?,
        Subject::Service { namespace, name } => {
            let (namespace, name) = (namespace.clone(), name.clone());
            found(client, Query::ExplainService { namespace, name })?
        }
        Subject::Address(address) => {
            match client.ask_blocking(&Query::ExplainNeighbor(address.to_string()))? {
                Answer::Explanation(explanation) => explanation,
                // No neighbor has it: then the address itself is meant.
                Answer::NotFound(_) => found(client, Query::ExplainPrefix(IpNet::from(*address)))?,
                _ => return unexpected(),
            }
        }
    };
    print(out, options.output.output, &explanation, |_| {
        show::explanation(&explanation, style)
    })?;
    Ok(explanation.ok)
}

fn found(client: &Client, query: Query) -> Result<Explanation> {
    match client.ask_blocking(&query)? {
        Answer::Explanation(explanation) => Ok(explanation),
        Answer::NotFound(text) => bail!("{}", crate::output::clean(&text)),
        _ => unexpected(),
    }
}

pub(crate) fn unexpected<T>() -> Result<T> {
    bail!(
        "the agent gave another answer than the one asked for: is it of the same version as this command?"
    )
}
