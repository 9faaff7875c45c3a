//! GoBGP as the router. Without zebra it installs no routes, so the lab copies its table into the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use dunlin_net::Afi;
use ipnet::IpNet;
use serde_json::Value;

use crate::config::LabConfig;
use crate::iproute::{Batch, text_of};
use crate::manifests::session_family;
use crate::netns::Netns;
use crate::plan::{NODE_ASN, Plan, ROUTER_ASN};

/// Where gobgpd's API listens, inside the router's namespace.
const API: &str = "127.0.0.1:50051";
/// `proto bgp`: the copies are found again by it.
const PROTOCOL: &str = "bgp";

/// gobgpd, accepting the pods' prefixes from whoever dials from the underlay.
///
/// # Errors
/// If GoBGP is not installed or a file cannot be written.
pub fn router(netns: &Netns, directory: &Path, config: &LabConfig) -> Result<Command> {
    let plan = &config.plan;
    let program = super::find(&["/usr/bin/gobgpd", "/usr/local/bin/gobgpd"], "gobgpd")?;
    let session = session_family(plan);
    let (mut families, mut sets, mut statements) = (String::new(), String::new(), String::new());
    for &afi in plan.families() {
        let name = super::channel(afi);
        let _ = write!(
            families,
            "  [[peer-groups.afi-safis]]\n    [peer-groups.afi-safis.config]\n    afi-safi-name = \"{name}-unicast\"\n"
        );
        let _ = write!(
            sets,
            "[[defined-sets.prefix-sets]]\nprefix-set-name = \"pods-{name}\"\n"
        );
        for (net, len) in Plan::announced(afi) {
            let _ = write!(
                sets,
                "  [[defined-sets.prefix-sets.prefix-list]]\n  ip-prefix = \"{net}\"\n  \
                 masklength-range = \"{len}..{len}\"\n"
            );
        }
        let _ = write!(
            statements,
            "  [[policy-definitions.statements]]\n  name = \"{name}\"\n    \
             [policy-definitions.statements.conditions.match-prefix-set]\n    prefix-set = \"pods-{name}\"\n    \
             [policy-definitions.statements.actions]\n    route-disposition = \"accept-route\"\n"
        );
    }
    let text = format!(
        "[global.config]\nas = {ROUTER_ASN}\nrouter-id = \"{}\"\n\
         [global.apply-policy.config]\nimport-policy-list = [\"pods\"]\ndefault-import-policy = \"reject-route\"\n\
         default-export-policy = \"reject-route\"\n\
         {sets}[[policy-definitions]]\nname = \"pods\"\n{statements}\
         [[peer-groups]]\n  [peer-groups.config]\n  peer-group-name = \"nodes\"\n  peer-as = {NODE_ASN}\n{families}\
         [[dynamic-neighbors]]\n  [dynamic-neighbors.config]\n  prefix = \"{}\"\n  peer-group = \"nodes\"\n",
        Plan::router_address(Afi::Ipv4),
        Plan::underlay(session)
    );
    let file = directory.join("gobgpd.toml");
    super::write(&file, &text)?;
    let mut command = netns.command(program);
    command.arg("-f").arg(file).args(["--api-hosts", API]);
    Ok(command)
}

/// The process that copies the table: this program again, in the router's namespace.
pub fn follower(netns: &Netns, program: &Path, lab: &str) -> Command {
    let mut command = netns.command(program);
    command.args(["lab", "follow-gobgp", "--name", lab]);
    command
}

/// Copies gobgpd's best paths into the kernel of the namespace `router`, until gobgpd ends. A change in its table is
/// only the signal to read the whole table anew.
///
/// # Errors
/// If `gobgp` or `ip` fails.
pub fn follow(router: &Netns, plan: &Plan) -> Result<()> {
    let gobgp = super::find(&["/usr/bin/gobgp", "/usr/local/bin/gobgp"], "gobgpd")?;
    let mut installed = BTreeMap::new();
    let mut monitor = wait_for_api(router, &gobgp)?;
    let lines = monitor.stdout.take().context("no output of gobgp")?;
    for line in BufReader::new(lines).lines() {
        line.context("cannot read from gobgp")?;
        copy(router, &gobgp, plan, &mut installed)?;
    }
    let _ = monitor.kill();
    let _ = monitor.wait();
    Ok(())
}

/// gobgpd answers a moment after it was started; `gobgp` gives up at once.
fn wait_for_api(router: &Netns, gobgp: &Path) -> Result<std::process::Child> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let address = API.parse().context("API address")?;
    loop {
        let patience = std::time::Duration::from_secs(1);
        let tried = router.run(|| Ok(std::net::TcpStream::connect_timeout(&address, patience)?));
        match tried {
            Ok(_) => break,
            Err(error) if std::time::Instant::now() > deadline => {
                return Err(error).context("gobgpd does not answer");
            }
            // A refused connection comes back at once, and nothing tells when the port opens.
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
    router
        .command(gobgp)
        // What is there already comes first, as a change: nothing falls between looking and listening.
        .args(["monitor", "global", "rib", "-j", "--current"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gobgp")
}

type Table = BTreeMap<IpNet, BTreeSet<IpAddr>>;

fn copy(router: &Netns, gobgp: &PathBuf, plan: &Plan, installed: &mut Table) -> Result<()> {
    let mut wanted = Table::new();
    for &afi in plan.families() {
        let mut command = router.command(gobgp);
        command.args(["-j", "global", "rib", "-a", super::channel(afi)]);
        let text = text_of(&mut command)?;
        if !text.trim().is_empty() {
            read_table(&text, &mut wanted)?;
        }
    }
    let mut batch = Batch::new();
    for (prefix, gateways) in &wanted {
        if installed.get(prefix) != Some(gateways) {
            let hops: String = gateways.iter().fold(String::new(), |mut hops, gateway| {
                let _ = write!(hops, " nexthop via {gateway}");
                hops
            });
            batch.push(format_args!(
                "route replace {prefix} proto {PROTOCOL}{hops}"
            ));
        }
    }
    for prefix in installed.keys().filter(|p| !wanted.contains_key(p)) {
        batch.push(format_args!("route del {prefix} proto {PROTOCOL}"));
    }
    batch.run(router)?;
    *installed = wanted;
    Ok(())
}

/// `{"10.244.1.0/24": [{"best": true, "attrs": [{"type": 3, "nexthop": "…"}]}]}`; MP_REACH_NLRI (14) names the next hop too.
fn read_table(text: &str, table: &mut Table) -> Result<()> {
    let rib: BTreeMap<String, Vec<Value>> =
        serde_json::from_str(text).context("cannot understand the table of gobgp")?;
    for (prefix, paths) in rib {
        let prefix: IpNet = prefix.parse().context("a prefix of gobgp")?;
        let best = paths
            .iter()
            .find(|path| path.get("best") == Some(&Value::Bool(true)));
        let attributes = best.and_then(|path| path.get("attrs")?.as_array());
        let next_hop = attributes.into_iter().flatten().find_map(|attribute| {
            let text = attribute.get("nexthop")?.as_str()?;
            text.parse::<IpAddr>().ok()
        });
        match next_hop {
            Some(next_hop) => {
                table.entry(prefix).or_default().insert(next_hop);
            }
            None if best.is_some() => bail!("gobgp names no next hop for {prefix}"),
            None => {}
        }
    }
    Ok(())
}
