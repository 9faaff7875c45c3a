//! `dunlin nft`.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;

use anyhow::{Result, bail};
use clap::Args;
use dunlin_agent::service_tables::{self, ServiceTables, TableFrontend};
use dunlin_api::{Answer, Client, ClientError, Frontend, FrontendOwner, Query, ServiceFilter};
use serde::Serialize;

use crate::args::OutputOptions;
use crate::output::{Style, print};
use crate::query::unexpected;
use crate::show;
use crate::words::count;

/// So many in one question: the agent takes no longer ones.
const ASKED_AT_ONCE: usize = 300;

#[derive(Debug, Args)]
#[command(
    after_help = "A frontend is an address, protocol and port that clients reach a service at. What is shown is what the kernel
holds in the tables ip and ip6 dunlin_services of this network namespace; no agent need run, but without one nobody says
which service a frontend is of. Exit code 1 if the tables are not as this version makes them, hold something that does not
fit together, or are missing though an agent with --service-proxy on runs.

Examples:
  dunlin nft
  dunlin nft --service shop/web -o wide    with every element, as nft get element takes them
  dunlin nft --address 10.96.0.10"
)]
pub(crate) struct NftOptions {
    #[command(flatten)]
    pub(crate) output: OutputOptions,
    /// Only this service's; the agent must run to say which these are.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = service_name, conflicts_with = "address")]
    pub(crate) service: Option<ServiceName>,
    /// Only those at this address.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<IpAddr>,
    /// At most so many frontends.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceName {
    namespace: String,
    name: String,
}

fn service_name(text: &str) -> Result<ServiceName, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => Ok(ServiceName {
            namespace: namespace.into(),
            name: name.into(),
        }),
        _ => Err("give it as namespace/name, as shop/web".into()),
    }
}

/// What is shown, and printed as JSON and YAML.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    #[serde(flatten)]
    pub(crate) tables: ServiceTables,
    /// How many frontends there are in the tables.
    pub(crate) total: usize,
    /// Those asked for; by service where these are known.
    pub(crate) frontends: Vec<ShownFrontend>,
    /// How many more were asked for.
    pub(crate) left_out: usize,
    /// Whether an agent was there to name the services.
    pub(crate) agent: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownFrontend {
    #[serde(flatten)]
    pub(crate) frontend: Frontend,
    /// What the agent says of it.
    pub(crate) owner: Option<FrontendOwner>,
    #[serde(flatten)]
    pub(crate) held: TableFrontend,
}

pub(crate) fn run(
    client: &Client,
    options: &NftOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let mut tables = service_tables::read()?;
    let total = tables.frontends.len();
    let mut wanted = std::mem::take(&mut tables.frontends);
    if let Some(service) = &options.service {
        let of_service = frontends_of(client, service)?;
        wanted.retain(|frontend, _| of_service.contains(&Frontend::from(*frontend)));
    }
    if let Some(address) = options.address {
        wanted.retain(|frontend, _| frontend.addr == address);
    }
    let limit = options.limit as usize;
    let left_out = wanted.len().saturating_sub(limit);
    let asked: Vec<Frontend> = wanted.keys().take(limit).map(|f| (*f).into()).collect();
    let owners = owners(client, asked)?;
    let frontends = wanted.into_iter().take(limit);
    let mut frontends: Vec<ShownFrontend> = frontends
        .map(|(frontend, held)| {
            let frontend = Frontend::from(frontend);
            let owner = owners.as_ref().and_then(|all| all.get(&frontend)).cloned();
            ShownFrontend {
                frontend,
                owner,
                held,
            }
        })
        .collect();
    // Those of nobody last; in order otherwise.
    frontends.sort_by_key(|shown| {
        let service = shown.owner.as_ref().and_then(|owner| owner.service.clone());
        (service.is_none(), service)
    });
    let faulty = frontends.iter().any(|shown| !shown.held.faults.is_empty());
    let shown = Shown {
        tables,
        total,
        frontends,
        left_out,
        agent: owners.is_some(),
    };
    print(out, options.output.output, &shown, |wide| {
        show::nft(&shown, wide, style)
    })?;
    if shown.left_out > 0 {
        writeln!(
            std::io::stderr(),
            "dunlin: {} shown, there are {} more: narrow it down with --service or --address, or give another --limit",
            count(shown.frontends.len() as u64, "frontend"),
            shown.left_out
        )?;
    }
    let missing = !shown.tables.present && proxy_is_on(client);
    Ok(!faulty && !missing && (shown.tables.intact || !shown.tables.present))
}

/// The frontends of a service, whether they are programmed or not.
fn frontends_of(client: &Client, service: &ServiceName) -> Result<Vec<Frontend>> {
    let ServiceName { namespace, name } = service.clone();
    let filter = ServiceFilter {
        namespace: Some(namespace.clone()),
        name: Some(name.clone()),
        frontends: true,
        ..ServiceFilter::default()
    };
    let view = match client.ask_blocking(&Query::Services(filter)) {
        Ok(Answer::Services(view)) => view,
        Ok(_) => return unexpected(),
        Err(error @ ClientError::Unreachable { .. }) => {
            bail!(
                "{error}; only an agent knows the services' addresses: give --address without one"
            )
        }
        Err(error) => return Err(error.into()),
    };
    let Some(service) = view.items.into_iter().next() else {
        bail!("no Service is called {namespace}/{name}");
    };
    let Some(frontends) = service.frontends else {
        bail!("the agent runs with --service-proxy off: it programs no services");
    };
    Ok(frontends.into_iter().map(|of| of.frontend).collect())
}

/// Whose frontends are; none if no agent answers.
fn owners(
    client: &Client,
    asked: Vec<Frontend>,
) -> Result<Option<BTreeMap<Frontend, FrontendOwner>>> {
    let mut all = BTreeMap::new();
    let chunks = asked.chunks(ASKED_AT_ONCE).map(<[Frontend]>::to_vec);
    // Asked though there is nothing: whether it answers is shown.
    for some in chunks.chain(asked.is_empty().then(Vec::new)) {
        match client.ask_blocking(&Query::Frontends(some)) {
            Ok(Answer::Frontends(owners)) => {
                all.extend(owners.into_iter().map(|one| (one.frontend.clone(), one)));
            }
            Ok(_) => return unexpected(),
            // It is the kernel that is asked first of all: an agent that fails us must not stand in the way.
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(all))
}

fn proxy_is_on(client: &Client) -> bool {
    match client.ask_blocking(&Query::Status) {
        Ok(Answer::Status(status)) => status.proxy.is_some(),
        _ => false,
    }
}
