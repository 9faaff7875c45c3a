//! FRR as a switch of the fabric: zebra and bgpd.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dunlin_lab::netns::Netns;
use dunlin_lab::process::{ProcessId, start_daemon};
use dunlin_lab::router::frr_user;
use dunlin_net::Afi;
use rustix::process::Signal;

use super::said;
use crate::bed::end;
use crate::check::until_ok;

/// One switch.
pub(super) struct Router {
    netns: Netns,
    directory: PathBuf,
    running: Vec<ProcessId>,
}

/// What is said of neighbors and routes of a family, and its list of pod subnets.
fn of_family(afi: Afi) -> (&'static str, &'static str, &'static str) {
    match afi {
        Afi::Ipv4 => ("ipv4", "ip", "10.244.0.0/16 le 26"),
        Afi::Ipv6 => ("ipv6", "ipv6", "fd44::/32 le 64"),
    }
}

/// A router id: there may be no address to take it from.
fn router_id(asn: u32) -> String {
    format!(" bgp router-id 192.0.2.{}\n", asn - 64_999)
}

/// A top-of-rack switch: one node, one spine.
pub(super) fn tor(afi: Afi, asn: u32, node: IpAddr, spine: IpAddr) -> String {
    let (family, list, pods) = of_family(afi);
    let router_id = router_id(asn);
    format!(
        "frr defaults datacenter\nhostname tor\n{list} prefix-list PODS seq 10 permit {pods}\n\
         route-map PODS permit 10\n match {list} address prefix-list PODS\nexit\n\
         router bgp {asn}\n{router_id} neighbor {node} remote-as 64512\n neighbor {spine} remote-as 65000\n \
         bgp bestpath as-path multipath-relax\n address-family {family} unicast\n  redistribute connected\n  \
         neighbor {node} activate\n  neighbor {spine} activate\n  \
         neighbor {node} route-map PODS in\n  neighbor {node} route-map PODS out\n \
         exit-address-family\nexit\n"
    )
}

/// The spine: all top-of-rack switches, and node 2, which is two hops away.
pub(super) fn spine(afi: Afi, node: IpAddr, tors: &[(IpAddr, u32)]) -> String {
    let (family, ..) = of_family(afi);
    let mut text = format!(
        "frr defaults datacenter\nhostname spine\nroute-map NOTHING deny 10\nexit\nrouter bgp 65000\n{} \
         neighbor {node} remote-as 64512\n neighbor {node} ebgp-multihop 2\n",
        router_id(65000)
    );
    let mut activate = format!("  neighbor {node} activate\n");
    for (tor, asn) in tors {
        text += &format!(" neighbor {tor} remote-as {asn}\n");
        activate += &format!("  neighbor {tor} activate\n");
    }
    text + &format!(
        " bgp bestpath as-path multipath-relax\n address-family {family} unicast\n  redistribute connected\n{activate}  \
         neighbor {node} route-map NOTHING in\n  neighbor {node} route-map NOTHING out\n \
         exit-address-family\nexit\n"
    )
}

impl Router {
    /// Writes its configuration. What it says of policy, FRR's profile `datacenter` does not ask for.
    pub(super) fn new(netns: &Netns, directory: &Path, bgpd: &str) -> Result<Router> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("bgpd.conf"), bgpd)?;
        fs::write(directory.join("zebra.conf"), "hostname switch\n")?;
        // The daemons give up root at once and read and write everything as their own user.
        let (user, group) = frr_user().context("there is no user `frr`")?;
        for name in ["", "bgpd.conf", "zebra.conf"] {
            chown(directory.join(name), Some(user), Some(group))?;
        }
        Ok(Router {
            netns: netns.clone(),
            directory: directory.to_owned(),
            running: Vec::new(),
        })
    }

    /// Starts both daemons.
    pub(super) fn start(&mut self) -> Result<()> {
        self.running = vec![self.launch("zebra")?];
        let socket = self.directory.join("zserv.api");
        until_ok(|| {
            ensure!(socket.exists(), "zebra makes no socket");
            Ok(())
        })?;
        self.running.push(self.launch("bgpd")?);
        until_ok(|| {
            let mut command = Command::new("/usr/bin/vtysh");
            command.arg("--vty_socket").arg(&self.directory);
            said(command.args(["-d", "bgpd", "-c", "show bgp summary"])).map(|_| ())
        })
    }

    fn launch(&self, name: &str) -> Result<ProcessId> {
        let mut command = self.netns.command(format!("/usr/lib/frr/{name}"));
        // Port 0: no TCP console.
        command.args(["-P", "0", "--log", "stdout"]);
        if name == "zebra" {
            // Else it deletes an IPv6 route before it writes it anew.
            command.arg("--v6-rr-semantics");
        }
        command.arg("--vty_socket").arg(&self.directory);
        command.arg("-z").arg(self.directory.join("zserv.api"));
        command
            .arg("-f")
            .arg(self.directory.join(format!("{name}.conf")));
        command
            .arg("-i")
            .arg(self.directory.join(format!("{name}.pid")));
        start_daemon(&mut command, &self.directory.join("log"), true)
    }

    /// Ends both daemons at once, as if the power went.
    pub(super) fn kill(&mut self) -> Result<()> {
        for process in std::mem::take(&mut self.running) {
            end(process, Signal::KILL)?;
        }
        let _ = fs::remove_file(self.directory.join("zserv.api"));
        Ok(())
    }

    /// Where its console is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its processes.
    pub(super) fn processes(&self) -> Vec<ProcessId> {
        self.running.clone()
    }
}
