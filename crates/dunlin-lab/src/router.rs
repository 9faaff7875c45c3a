//! The router outside the cluster, and BIRD as a stand-in for a node: configurations and how each daemon is started.

pub mod gobgp;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use dunlin_net::Afi;

use crate::config::LabConfig;
use crate::manifests::session_family;
use crate::netns::Netns;
use crate::plan::{NODE_ASN, Plan, ROUTER_ASN};

/// Where Debian keeps FRR's daemons, and where they keep their sockets.
const FRR_DIR: &str = "/usr/lib/frr";
const FRR_RUN_DIR: &str = "/run/frr";

fn channel(afi: Afi) -> &'static str {
    match afi {
        Afi::Ipv4 => "ipv4",
        Afi::Ipv6 => "ipv6",
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Where a program is, or which package has it.
fn find(names: &[&str], package: &str) -> Result<PathBuf> {
    match names.iter().map(PathBuf::from).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!(
            "{} is not installed: install the package {package}",
            names[0]
        ),
    }
}

/// BIRD as the router: accepts the pods' prefixes from whoever dials from the underlay.
///
/// # Errors
/// If BIRD is not installed or a file cannot be written.
pub fn bird_router(netns: &Netns, directory: &Path, config: &LabConfig) -> Result<Command> {
    let plan = &config.plan;
    let session = session_family(plan);
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n",
        Plan::router_address(Afi::Ipv4)
    );
    let mut channels = String::new();
    for &afi in plan.families() {
        let family = channel(afi);
        let taken = Plan::announced(afi).map(|(net, len)| format!("{net}{{{len},{len}}}"));
        let _ = writeln!(
            text,
            "protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; merge paths on; }}"
        );
        let _ = writeln!(
            channels,
            "  {family} {{ import where net ~ [ {} ]; export none; }};",
            taken.join(", ")
        );
    }
    let _ = write!(
        text,
        "protocol bgp nodes {{\n  local {} as {ROUTER_ASN};\n  neighbor range {} as {NODE_ASN};\n  \
         dynamic name \"node\";\n  direct;\n{channels}}}\n",
        Plan::router_address(session),
        Plan::underlay(session)
    );
    bird(netns, directory, &text)
}

/// BIRD as a node of the mesh: its own pod subnets, every other node, and the router.
///
/// # Errors
/// If BIRD is not installed or a file cannot be written.
pub fn bird_node(
    netns: &Netns,
    directory: &Path,
    config: &LabConfig,
    node: u16,
) -> Result<Command> {
    let plan = &config.plan;
    let session = session_family(plan);
    let own = Plan::node_address(node, session);
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n",
        Plan::node_address(node, Afi::Ipv4)
    );
    let (mut inner, mut outer) = (String::new(), String::new());
    for &afi in plan.families() {
        let family = channel(afi);
        let cidr = Plan::pod_cidr(node, afi);
        let own = Plan::node_address(node, afi);
        let _ = write!(
            text,
            "protocol static {{ {family}; route {cidr} blackhole; }}\n\
             protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; }}\n"
        );
        let export = "export where source = RTS_STATIC";
        let _ = writeln!(
            inner,
            "  {family} {{ import all; {export}; next hop address {own}; }};"
        );
        let _ = writeln!(
            outer,
            "  {family} {{ import none; {export}; next hop address {own}; }};"
        );
    }
    let hold = config.hold_time_secs.unwrap_or(90);
    for peer in plan.node_numbers().filter(|peer| *peer != node) {
        let address = Plan::node_address(peer, session);
        let _ = write!(
            text,
            "protocol bgp n{peer} {{\n  local {own} as {NODE_ASN};\n  neighbor {address} as {NODE_ASN};\n  \
             direct; hold time {hold}; connect delay time 1; connect retry time 2; error wait time 1, 2;\n{inner}}}\n"
        );
    }
    let address = Plan::router_address(session);
    let _ = write!(
        text,
        "protocol bgp outside {{\n  local {own} as {NODE_ASN};\n  neighbor {address} as {ROUTER_ASN};\n  \
         direct; hold time {hold}; connect delay time 1; connect retry time 2; error wait time 1, 2;\n{outer}}}\n"
    );
    bird(netns, directory, &text)
}

fn bird(netns: &Netns, directory: &Path, text: &str) -> Result<Command> {
    let program = find(&["/usr/sbin/bird", "/usr/local/sbin/bird"], "bird2")?;
    let file = directory.join("bird.conf");
    write(&file, text)?;
    let mut command = netns.command(program);
    command.arg("-f").arg("-c").arg(&file);
    command.arg("-s").arg(directory.join("bird.ctl"));
    command.arg("-P").arg(directory.join("bird.pid"));
    Ok(command)
}

/// FRR's two daemons, in the order in which they must be started: bgpd looks for zebra's socket once, then every ten
/// seconds; so wait for the file that comes with zebra before starting bgpd.
#[derive(Debug)]
pub struct Frr {
    /// The routing manager.
    pub zebra: Command,
    /// Appears when zebra is ready.
    pub zebra_socket: PathBuf,
    /// The BGP daemon.
    pub bgpd: Command,
    /// Its private directory outside of the lab's own, to be removed with the lab.
    pub run_dir: PathBuf,
}

/// The directory FRR uses for the daemons of a lab, outside of the lab's own directory.
pub fn frr_run_dir(lab: &str) -> PathBuf {
    Path::new(FRR_RUN_DIR).join(format!("dunlin-lab-{lab}"))
}

/// FRR as the router.
///
/// # Errors
/// If FRR is not installed or a file cannot be written.
pub fn frr_router(netns: &Netns, directory: &Path, config: &LabConfig) -> Result<Frr> {
    if crate::unprivileged::is_inside() {
        bail!(
            "FRR's daemons change to the user `frr`, which needs root: take --router dunlin, bird or gobgp"
        );
    }
    let plan = &config.plan;
    let session = session_family(plan);
    let mut families = String::new();
    let mut lists = String::new();
    for &afi in plan.families() {
        let ip = match afi {
            Afi::Ipv4 => "ip",
            Afi::Ipv6 => "ipv6",
        };
        for (net, len) in Plan::announced(afi) {
            let range = format!("{net} ge {len} le {len}");
            let _ = writeln!(lists, "{ip} prefix-list PODS permit {range}");
        }
        let _ = write!(
            families,
            " address-family {} unicast\n  neighbor NODES activate\n  neighbor NODES prefix-list PODS in\n  \
             neighbor NODES prefix-list NONE out\n exit-address-family\n",
            channel(afi)
        );
        let _ = writeln!(lists, "{ip} prefix-list NONE seq 5 deny any");
    }
    let text = format!(
        "frr defaults datacenter\nhostname router\n{lists}\
         router bgp {ROUTER_ASN}\n bgp router-id {}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n neighbor NODES peer-group\n neighbor NODES remote-as {NODE_ASN}\n \
         bgp listen limit 5000\n bgp listen range {} peer-group NODES\n{families}exit\n",
        Plan::router_address(Afi::Ipv4),
        Plan::underlay(session)
    );
    let zebra = find(&[&format!("{FRR_DIR}/zebra")], "frr")?;
    let bgpd = find(&[&format!("{FRR_DIR}/bgpd")], "frr")?;
    let run_dir = frr_run_dir(&config.name);
    fs::create_dir_all(&run_dir).with_context(|| format!("cannot create {}", run_dir.display()))?;
    fs::create_dir_all(directory.join("frr"))?;
    let (user, group) = frr_user().context("there is no user `frr` on this machine")?;
    for path in [&run_dir, &directory.join("frr")] {
        std::os::unix::fs::chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} to frr", path.display()))?;
    }
    let (zebra_conf, bgpd_conf) = (directory.join("zebra.conf"), directory.join("bgpd.conf"));
    write(&zebra_conf, "frr defaults datacenter\nhostname router\n")?;
    write(&bgpd_conf, &text)?;
    let pathspace = format!("dunlin-lab-{}", config.name);
    let command = |program: PathBuf, conf: PathBuf, name: &str| {
        let mut command = netns.command(program);
        // Port 0: no TCP console.
        command
            .args(["-P", "0", "-N", &pathspace])
            .arg("-f")
            .arg(conf);
        command
            .arg("-i")
            .arg(directory.join("frr").join(format!("{name}.pid")));
        command.args(["--log", "stdout"]);
        command
    };
    Ok(Frr {
        zebra: command(zebra, zebra_conf, "zebra"),
        zebra_socket: run_dir.join("zserv.api"),
        bgpd: command(bgpd, bgpd_conf, "bgpd"),
        run_dir,
    })
}

/// The numbers of the user that FRR changes to.
pub fn frr_user() -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let line = passwd.lines().find(|line| line.starts_with("frr:"))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
