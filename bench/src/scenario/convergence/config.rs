//! How the routers and the node are configured: BFD at 50 ms × 3 everywhere.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::lines;
use crate::daemon::{Daemon, Kind, LOCAL_AS};
use crate::netns::Netns;
use crate::process::{Processes, Scratch};

/// One of the node's links and the router on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uplink {
    pub(super) link: &'static str,
    pub(super) node: &'static str,
    pub(super) router: &'static str,
    asn: u32,
}

pub(super) const FIRST: Uplink = Uplink {
    link: "first",
    node: "10.98.1.1",
    router: "10.98.1.2",
    asn: 65_101,
};

pub(super) const SECOND: Uplink = Uplink {
    link: "second",
    node: "10.98.2.1",
    router: "10.98.2.2",
    asn: 65_102,
};

const BIRD_BFD: &str = "protocol bfd { interface \"*\" { min rx interval 50 ms; \
     min tx interval 50 ms; idle tx interval 50 ms; multiplier 3; }; }\n";

/// A router that announces the prefixes. BIRD, whatever the node runs.
pub(super) fn router(uplink: Uplink, prefixes: u32, longer: bool) -> String {
    let Uplink {
        node, router, asn, ..
    } = uplink;
    let statics = lines(prefixes, |network| format!("route {network}/24 blackhole;"));
    let prepend = if longer {
        format!("bgp_path.prepend({asn}); bgp_path.prepend({asn});")
    } else {
        String::new()
    };
    format!(
        "router id {router};\nlog stderr {{ error, fatal, bug }};\nprotocol device {{}}\n{BIRD_BFD}\
         protocol static {{ ipv4; {statics} }}\n\
         protocol bgp node {{\n local {router} as {asn};\n neighbor {node} as {LOCAL_AS};\n bfd on;\n \
         connect delay time 1;\n error wait time 1, 2;\n \
         ipv4 {{ import none; next hop self; export filter {{ {prepend} accept; }}; }};\n}}\n"
    )
}

pub(super) fn start_bird(
    config: &str,
    namespace: &Netns,
    scratch: &Scratch,
    processes: &mut Processes,
) -> Result<()> {
    let config = scratch.write("bird.conf", config)?;
    let dir = scratch.path().display();
    let args = format!("/usr/sbin/bird -f -c {config} -s {dir}/bird.ctl -P {dir}/bird.pid");
    let socket = scratch.path().join("bird.ctl");
    processes.start(namespace, scratch, &words(&args), Some(&socket))
}

/// The daemon under test, with both routers as peers.
pub(super) fn start_node(
    daemon: &Daemon,
    namespace: &Netns,
    scratch: &Scratch,
    processes: &mut Processes,
) -> Result<()> {
    match daemon.kind {
        Kind::Bird => start_bird(&bird_node(), namespace, scratch, processes),
        Kind::Dunlin => start_dunlin(&daemon.program, namespace, scratch, processes),
        Kind::Frr => start_frr(namespace, scratch, processes),
        Kind::Openbgpd | Kind::Gobgp => bail!("has no BFD"),
    }
}

fn words(args: &str) -> Vec<String> {
    args.split_whitespace().map(str::to_owned).collect()
}

fn bird_node() -> String {
    let peer = |Uplink {
                    node,
                    router,
                    asn,
                    link,
                }: Uplink| {
        format!(
            "protocol bgp to_{link} {{\n local {node} as {LOCAL_AS};\n neighbor {router} as {asn};\n \
             bfd on;\n connect delay time 1;\n ipv4 {{ import all; export none; }};\n}}\n"
        )
    };
    format!(
        "router id {};\nlog stderr {{ error, fatal, bug }};\nprotocol device {{}}\n{BIRD_BFD}\
         protocol kernel {{ learn off; merge paths on; ipv4 {{ import none; export all; }}; }}\n{}{}",
        FIRST.node,
        peer(FIRST),
        peer(SECOND)
    )
}

fn dunlin_node() -> String {
    let peer = |Uplink {
                    router, asn, link, ..
                }: Uplink| {
        format!(
            "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {link}}}\n\
             spec: {{peerAddress: {router}, peerASN: {asn}, importFilter: accept-all, \
             bfdProfile: fast}}\n"
        )
    };
    format!(
        "apiVersion: v1
kind: Node
metadata: {{name: node}}
spec: {{}}
status:
  addresses:
  - {{type: InternalIP, address: {}}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPConfiguration
metadata: {{name: default}}
spec:
  asn: {LOCAL_AS}
  topology: {{mode: None}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BFDProfile
metadata: {{name: fast}}
spec: {{transmitIntervalMillis: 50, receiveIntervalMillis: 50, detectMultiplier: 3}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPFilter
metadata: {{name: accept-all}}
spec:
  rules:
  - {{action: Accept}}
{}{}",
        FIRST.node,
        peer(FIRST),
        peer(SECOND)
    )
}

fn start_dunlin(
    program: &Path,
    namespace: &Netns,
    scratch: &Scratch,
    processes: &mut Processes,
) -> Result<()> {
    for name in ["manifests", "state", "cni"] {
        let path = scratch.path().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    scratch.write("manifests/node.yaml", &dunlin_node())?;
    let dir = scratch.path().display();
    let args = format!(
        "{} agent --node-name node --cluster dir:{dir}/manifests --socket {dir}/agent.sock \
         --state-dir {dir}/state --cni-conf-dir {dir}/cni --metrics-addr 127.0.0.1:9179 \
         --service-proxy off --log warn",
        program.display()
    );
    processes.start(namespace, scratch, &words(&args), None)
}

fn start_frr(namespace: &Netns, scratch: &Scratch, processes: &mut Processes) -> Result<()> {
    let neighbor = |Uplink { router, asn, .. }: Uplink| {
        format!(
            " neighbor {router} remote-as {asn}\n neighbor {router} timers connect 1\n \
             neighbor {router} bfd profile fast\n"
        )
    };
    let bgpd = format!(
        "frr defaults traditional\nrouter bgp {LOCAL_AS}\n bgp router-id {}\n \
         no bgp ebgp-requires-policy\n bgp bestpath as-path multipath-relax\n{}{}",
        FIRST.node,
        neighbor(FIRST),
        neighbor(SECOND)
    );
    let bfdd = "bfd\n profile fast\n  transmit-interval 50\n  receive-interval 50\n  \
                detect-multiplier 3\n";
    scratch.write("bgpd.conf", &bgpd)?;
    scratch.write("bfdd.conf", bfdd)?;
    scratch.write("zebra.conf", "")?;
    let owned = Command::new("chown")
        .args(["-R", "frr:frr"])
        .arg(scratch.path())
        .status();
    ensure!(
        owned.context("cannot run chown")?.success(),
        "cannot give files to the user frr"
    );
    let dir = scratch.path().display();
    for (name, more, ready) in [
        ("zebra", String::new(), "zserv.api"),
        ("bfdd", format!("--bfdctl {dir}/bfdd.sock"), "bfdd.vty"),
        ("bgpd", String::new(), "bgpd.vty"),
    ] {
        let port = if name == "bgpd" { "-p 179" } else { "" };
        let args = format!(
            "/usr/lib/frr/{name} -P 0 --vty_socket {dir} -z {dir}/zserv.api \
             -f {dir}/{name}.conf -i {dir}/{name}.pid {more} {port}"
        );
        let ready = scratch.path().join(ready);
        processes.start(namespace, scratch, &words(&args), Some(&ready))?;
    }
    Ok(())
}
