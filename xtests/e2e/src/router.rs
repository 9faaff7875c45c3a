//! FRR on the host [`ROUTER`]: the router that the cluster's nodes peer with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use dunlin_lab::netns::Netns;
use dunlin_lab::process::{self, ProcessId, start_daemon};
use dunlin_lab::router::frr_user;
use serde_json::Value;

use crate::network::{self, ROUTER};
use crate::{PATIENCE, wait_for};

/// The router's AS.
pub const ASN: u32 = 65000;
/// The nodes' AS.
pub const NODE_ASN: u32 = 64512;

const ZEBRA: &str = "/usr/lib/frr/zebra";
const BGPD: &str = "/usr/lib/frr/bgpd";
const VTYSH: &str = "/usr/bin/vtysh";

/// Prefixes and the next hops that each is reached by.
pub type Table = BTreeMap<String, BTreeSet<String>>;

/// What the router was told of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As FRR spells them.
    pub communities: BTreeSet<String>,
    /// When, by the router's clock.
    pub at_secs: u64,
}

/// How FRR spells the community GRACEFUL_SHUTDOWN, 65535:0 (RFC 8326).
pub const GRACEFUL_SHUTDOWN: &str = "gracefulShutdown";

/// FRR's zebra and bgpd; ended when dropped.
#[derive(Debug)]
pub struct Router {
    directory: PathBuf,
    netns: Netns,
    processes: Vec<ProcessId>,
}

/// Whether FRR is installed; else what is missing.
///
/// # Errors
/// If it is not.
pub fn installed() -> Result<(), String> {
    match [ZEBRA, BGPD, VTYSH].iter().find(|p| !Path::new(p).exists()) {
        Some(program) => Err(format!("needs {program} (package frr)")),
        None => Ok(()),
    }
}

impl Router {
    /// Starts it. It takes everything from whoever dials from the nodes' network, and puts it into the kernel.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(netns: Netns, home: &Path) -> Router {
        let directory = home.join(ROUTER);
        fs::create_dir_all(&directory).expect("a directory");
        let [address, _] = network::addresses(ROUTER);
        let bgpd = format!(
            "frr defaults datacenter\nhostname {ROUTER}\nrouter bgp {ASN}\n bgp router-id {address}\n \
             no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
             neighbor NODES peer-group\n neighbor NODES remote-as {NODE_ASN}\n \
             bgp listen range 192.0.2.0/24 peer-group NODES\n \
             address-family ipv4 unicast\n  neighbor NODES activate\n exit-address-family\n \
             address-family ipv6 unicast\n  neighbor NODES activate\n exit-address-family\nexit\n"
        );
        // The daemons give up root at once and read and write everything as their own user.
        let (user, group) = frr_user().expect("there is a user `frr`");
        chown(&directory, Some(user), Some(group)).expect("the directory is frr's");
        let mut router = Router {
            directory,
            netns,
            processes: Vec::new(),
        };
        router
            .netns
            .sysctls(&[
                ("net/ipv4/ip_forward", "1"),
                ("net/ipv6/conf/all/forwarding", "1"),
                // Of equal routes, choose by the whole flow.
                ("net/ipv4/fib_multipath_hash_policy", "1"),
            ])
            .expect("sysctls");
        router.launch(ZEBRA, "zebra", "hostname tor\n");
        let awaits = |directory: &Path, socket: &str| {
            let path = directory.join(socket);
            wait_for(socket, PATIENCE, || {
                path.exists().then_some(()).ok_or("there is none".into())
            });
        };
        awaits(&router.directory, "zserv.api");
        router.launch(BGPD, "bgpd", &bgpd);
        awaits(&router.directory, "bgpd.vty");
        router
    }

    fn launch(&mut self, program: &str, name: &str, config: &str) {
        let file = |suffix: &str| self.directory.join(format!("{name}.{suffix}"));
        fs::write(file("conf"), config).expect("a file");
        let mut command = self.netns.command(program);
        // Port 0: no TCP console.
        command.args(["-P", "0", "--log", "stdout"]);
        command.arg("--vty_socket").arg(&self.directory);
        command.arg("-z").arg(self.directory.join("zserv.api"));
        command.arg("-f").arg(file("conf"));
        command.arg("-i").arg(file("pid"));
        let process = start_daemon(&mut command, &file("log"), true).expect("FRR starts");
        self.processes.push(process);
    }

    /// What `vtysh` prints as JSON.
    ///
    /// # Errors
    /// If bgpd does not answer.
    pub fn show(&self, what: &str) -> Result<Value, String> {
        let output = Command::new(VTYSH)
            .arg("--vty_socket")
            .arg(&self.directory)
            .args(["-d", "bgpd", "-c", what])
            .output()
            .map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }

    /// Changes its configuration, as at its console.
    ///
    /// # Panics
    /// If bgpd does not take it.
    #[track_caller]
    pub fn configure(&self, lines: &[&str]) {
        let mut command = Command::new(VTYSH);
        command.arg("--vty_socket").arg(&self.directory);
        command.args(["-d", "bgpd", "-c", "configure terminal"]);
        for line in lines {
            command.args(["-c", line]);
        }
        let output = command.output().expect("vtysh runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !said.contains('%'), "{output:?}");
    }

    /// A connection to bgpd, for one question after another, without a process for each.
    ///
    /// # Panics
    /// If bgpd does not answer.
    pub fn vty(&self) -> Vty {
        let stream = UnixStream::connect(self.directory.join("bgpd.vty")).expect("bgpd listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut vty = Vty(stream);
        vty.ask("enable");
        vty
    }

    /// All it has learned, both families.
    ///
    /// # Errors
    /// If bgpd does not answer.
    pub fn table(&self) -> Result<Table, String> {
        let mut table = Table::new();
        for family in ["ipv4", "ipv6"] {
            let said = self.show(&format!("show bgp {family} unicast json"))?;
            for (prefix, paths) in said["routes"].as_object().into_iter().flatten() {
                let hops = paths.as_array().into_iter().flatten().flat_map(hops);
                table.entry(prefix.clone()).or_default().extend(hops);
            }
        }
        Ok(table)
    }

    /// Waits until it has a prefix through just these nodes.
    ///
    /// # Panics
    /// If that does not come.
    #[track_caller]
    pub fn await_route(&self, prefix: &str, nodes: &[&str]) {
        let family = usize::from(prefix.contains(':'));
        let wanted: BTreeSet<String> = nodes
            .iter()
            .map(|node| network::addresses(node)[family].to_string())
            .collect();
        let what = format!("{prefix} through {nodes:?} on the router");
        wait_for(&what, PATIENCE, || {
            let table = self.table()?;
            let found = table.get(prefix).cloned().unwrap_or_default();
            if found == wanted {
                Ok(())
            } else {
                Err(format!("{table:?}"))
            }
        });
    }

    /// The paths of one prefix, by the next hop.
    ///
    /// # Errors
    /// If bgpd does not answer, or there is none.
    pub fn paths(&self, prefix: &str) -> Result<BTreeMap<String, Told>, String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let said = self.show(&format!("show bgp {family} unicast {prefix} json"))?;
        let paths = said["paths"].as_array().ok_or(said.to_string())?;
        let told = |path: &Value| Told {
            communities: path["community"]["list"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|community| community.as_str().map(str::to_owned))
                .collect(),
            at_secs: path["lastUpdate"]["epoch"].as_u64().unwrap_or_default(),
        };
        let by_hop = |path| hops(path).into_iter().map(move |hop| (hop, told(path)));
        Ok(paths.iter().flat_map(by_hop).collect())
    }

    /// Waits until it has a prefix through just these nodes, of which just the last ones are its last choice: their paths
    /// carry GRACEFUL_SHUTDOWN.
    ///
    /// # Panics
    /// If that does not come.
    #[track_caller]
    pub fn await_last_choice(&self, prefix: &str, nodes: &[&str], last: &[&str]) {
        let family = usize::from(prefix.contains(':'));
        let address = |node: &&str| network::addresses(node)[family].to_string();
        let wanted: BTreeMap<String, bool> = nodes
            .iter()
            .map(|node| (address(node), last.contains(node)))
            .collect();
        let what = format!("{prefix} through {nodes:?}, last through {last:?}, on the router");
        wait_for(&what, PATIENCE, || {
            let paths = self.paths(prefix)?;
            let found: BTreeMap<String, bool> = paths
                .iter()
                .map(|(hop, path)| (hop.clone(), path.communities.contains(GRACEFUL_SHUTDOWN)))
                .collect();
            (found == wanted).then_some(()).ok_or(format!("{paths:?}"))
        });
    }

    /// Waits until it does not have a prefix.
    ///
    /// # Panics
    /// If it keeps it.
    #[track_caller]
    pub fn await_no_route(&self, prefix: &str) {
        self.await_route(prefix, &[]);
    }
}

/// What `vtysh` speaks with bgpd.
#[derive(Debug)]
pub struct Vty(UnixStream);

impl Vty {
    /// What bgpd says to a command.
    ///
    /// # Panics
    /// If it says nothing.
    pub fn ask(&mut self, command: &str) -> String {
        let request = [command.as_bytes(), b"\0"].concat();
        self.0.write_all(&request).expect("bgpd reads");
        let mut said = Vec::new();
        let mut part = [0; 4096];
        loop {
            let count = self.0.read(&mut part).expect("bgpd answers");
            assert!(count > 0, "bgpd has ended");
            said.extend_from_slice(&part[..count]);
            // The answer ends with three zeros and a result.
            if let [text @ .., 0, 0, 0, _] = said.as_slice() {
                return String::from_utf8_lossy(text).into_owned();
            }
        }
    }

    /// How a prefix stands.
    ///
    /// # Panics
    /// If bgpd says what is not JSON.
    pub fn standing(&mut self, prefix: &str) -> Standing {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let said = self.ask(&format!("show bgp {family} unicast json"));
        let table: Value = serde_json::from_str(&said).expect("JSON");
        let paths = || table["routes"][prefix].as_array().into_iter().flatten();
        Standing {
            heard: paths().any(|path| path["removed"] != true),
            chosen: paths().any(|path| path["bestpath"] == true),
        }
    }
}

/// How a prefix stands with bgpd, which acts on what it hears up to 50 ms later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// A peer has announced it and not withdrawn it.
    pub heard: bool,
    /// There is a best path, which goes to zebra.
    pub chosen: bool,
}

fn hops(path: &Value) -> Vec<String> {
    let hops = path["nexthops"].as_array().into_iter().flatten();
    hops.filter(|hop| hop["scope"] != "link-local")
        .filter_map(|hop| hop["ip"].as_str().map(str::to_owned))
        .collect()
}

impl Drop for Router {
    fn drop(&mut self) {
        for process in self.processes.drain(..).rev() {
            process::kill(process);
        }
    }
}
