//! A running cluster under observation: pings, route changes, sessions.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dunlin_api::Status;
use dunlin_lab::check;
use dunlin_lab::lab::Lab;
use dunlin_lab::plan::Plan;
use dunlin_lab::probe::pinger::{PingReport, Pinger};
use dunlin_lab::process::{self, ProcessId};
use dunlin_lab::routes::{Change, RouteEvent, RouteWatch};
use dunlin_lab::topology::{ROUTER, UNDERLAY};
use dunlin_net::Afi;

use super::TestLab;

/// Asks again and again until there is an answer; panics with what is missing when the time is over.
pub fn wait_until<T>(
    what: &str,
    patience: Duration,
    mut found: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match found() {
            Ok(value) => return value,
            Err(missing) if Instant::now() > deadline => panic!("{what}: {missing}"),
            Err(_) => std::thread::sleep(Duration::from_millis(25)),
        }
    }
}

/// Whether an agent has nothing left to do.
pub fn is_settled(status: &Status) -> bool {
    let (s, r) = (&status.sessions, &status.routes);
    status.ready
        && status.gate.open
        && s.nodes_up == s.nodes_expected
        && s.external_up == s.external_expected
        && r.stale == 0
        && r.installed == r.wanted
        && r.failed == 0
}

/// Waits until the routes are there and all agents of `nodes` are at rest.
pub fn settle(lab: &Lab, nodes: &[u16]) {
    for node in nodes {
        let host = Plan::node_name(*node);
        wait_until(
            &format!("{host} at rest"),
            Duration::from_secs(60),
            || match lab.agent_status(&host) {
                Ok(status) if is_settled(&status) => Ok(()),
                Ok(status) => Err(format!("{status:?}")),
                Err(error) => Err(format!("{error:#}")),
            },
        );
    }
}

/// Brings a lab up and waits until everything is at rest.
pub fn up_and_settled(config: dunlin_lab::LabConfig) -> TestLab {
    let nodes: Vec<u16> = config.plan.node_numbers().collect();
    let lab = TestLab::up(config);
    check::await_routes(&lab, Instant::now() + Duration::from_secs(60)).expect("routes");
    settle(&lab, &nodes);
    lab
}

/// Streams of echoes between pods.
pub struct Pings(Vec<(String, Pinger)>);

impl Pings {
    /// 100 echoes a second between each two of these nodes' first pods, both ways, both families.
    pub fn between(lab: &Lab, nodes: &[u16]) -> Pings {
        let mut pings = Vec::new();
        for from in nodes {
            for to in nodes.iter().filter(|to| *to != from) {
                pings.extend(Self::streams(lab, &format!("n{from}p1"), *to));
            }
        }
        Pings(pings)
    }

    /// The same, and from the host outside.
    pub fn with_outside(lab: &Lab, nodes: &[u16]) -> Pings {
        let Pings(mut pings) = Pings::between(lab, nodes);
        for to in nodes {
            pings.extend(Self::streams(lab, "client", *to));
        }
        Pings(pings)
    }

    fn streams(lab: &Lab, from: &str, to: u16) -> Vec<(String, Pinger)> {
        let netns = lab.netns(from).expect("a host");
        let pod = lab
            .state()
            .pods
            .iter()
            .find(|pod| pod.node == Plan::node_name(to));
        let addresses: Vec<IpAddr> = pod.expect("a pod").addresses.clone();
        let start = |address: &IpAddr| {
            let pinger = Pinger::start(&netns, *address, 100).expect("a pinger");
            (format!("{from} to {address}"), pinger)
        };
        addresses.iter().map(start).collect()
    }

    pub fn stop(self) -> Vec<(String, PingReport)> {
        // All at once: each waits for replies that may be lost.
        std::thread::scope(|scope| {
            let stop = |(name, pinger): (String, Pinger)| {
                scope.spawn(move || (name, pinger.stop().expect("a report")))
            };
            let stopping: Vec<_> = self.0.into_iter().map(stop).collect();
            let report = stopping.into_iter().map(|one| one.join());
            report.map(|one| one.expect("a report")).collect()
        })
    }

    /// Stops, and panics unless every echo was answered.
    pub fn assert_no_loss(self) {
        let mut lossy = Vec::new();
        let mut sent = 0;
        for (name, report) in self.stop() {
            sent += report.sent;
            if report.lost() > 0 || report.refused > 0 {
                lossy.push(format!("{name}: {report}"));
            }
        }
        assert!(sent > 0, "nothing was sent");
        assert!(lossy.is_empty(), "{}", lossy.join("\n"));
    }
}

/// Hears the route changes of the nodes and the router.
pub struct Watches(Vec<(String, u8, RouteWatch)>);

impl Watches {
    pub fn open(lab: &Lab, nodes: &[u16]) -> Watches {
        let hosts = nodes
            .iter()
            .map(|node| (Plan::node_name(*node), lab.node_protocol()));
        let router = lab
            .router_protocol()
            .map(|protocol| (ROUTER.to_owned(), protocol));
        let open = |(host, protocol): (String, u8)| {
            let watch = RouteWatch::open(&lab.netns(&host).expect("a host")).expect("a watch");
            (host, protocol, watch)
        };
        Watches(hosts.chain(router).map(open).collect())
    }

    /// What happened to routes of the agents since the last call.
    pub fn events(&mut self) -> Vec<(String, RouteEvent)> {
        let mut events = Vec::new();
        for (host, protocol, watch) in &mut self.0 {
            let heard = watch.events().expect("no event is lost").into_iter();
            let ours = heard.filter(|event| event.route.protocol == *protocol);
            events.extend(ours.map(|event| (host.clone(), event)));
        }
        events
    }

    pub fn deletions(&mut self) -> Vec<String> {
        let events = self.events().into_iter();
        let deleted = events.filter(|(_, event)| event.change == Change::Deleted);
        deleted
            .map(|(host, event)| format!("{host}: {}", event.route.prefix))
            .collect()
    }
}

/// A node's pod subnets, as text.
pub fn subnets(node: u16) -> Vec<String> {
    Afi::ALL
        .iter()
        .map(|afi| Plan::pod_cidr(node, *afi).to_string())
        .collect()
}

/// Lets the bridge drop, without a word, what comes from and goes to a node; or pass it again.
pub fn cut(lab: &Lab, node: u16, is_cut: bool) {
    // Off the bridge nothing passes, and the carrier at the node's end stays.
    let port = if is_cut { "nomaster" } else { "master br0" };
    let mut batch = dunlin_lab::iproute::Batch::new();
    batch.push(format_args!("link set n{node} {port}"));
    batch
        .run(&lab.netns(UNDERLAY).expect("the underlay"))
        .expect("bridge port");
}

/// A child that is ended with the value, however the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = ProcessId::of(self.0.id().cast_signed()) {
            process::stop_all(&[process], Duration::from_secs(5));
        }
        let _ = self.0.wait();
    }
}

/// Records the BGP messages on the underlay.
pub struct Capture {
    tcpdump: Running,
    file: PathBuf,
}

impl Capture {
    /// `None`, and says why, where the tools are missing.
    pub fn start(lab: &Lab) -> Option<Capture> {
        for (program, package) in [
            ("/usr/bin/tcpdump", "tcpdump"),
            ("/usr/bin/tshark", "tshark"),
        ] {
            if !super::installed(program, package) {
                return None;
            }
        }
        let file = lab.host_dir("capture.pcap");
        let netns = lab.netns(UNDERLAY).expect("the underlay");
        let mut command = netns.command("/usr/bin/tcpdump");
        command
            .args(["-i", "br0", "-U", "-s", "0", "-Z", "root", "-w"])
            .arg(&file);
        command.args(["tcp", "port", "179"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let tcpdump = Running(command.spawn().expect("tcpdump"));
        wait_until("capture", Duration::from_secs(30), || {
            // The file's header is written once packets are being taken.
            std::fs::metadata(&file)
                .ok()
                .filter(|m| m.len() >= 24)
                .ok_or("no file".to_owned())
        });
        Some(Capture { tcpdump, file })
    }

    /// Ends the capture: every withdrawal in it, a line each.
    pub fn withdrawals(self) -> Vec<String> {
        drop(self.tcpdump);
        let fields = [
            "bgp.withdrawn_prefix",
            "bgp.mp_unreach_nlri_ipv4_prefix",
            "bgp.mp_unreach_nlri_ipv6_prefix",
        ];
        let mut command = Command::new("/usr/bin/tshark");
        command
            .arg("-r")
            .arg(&self.file)
            .args(["-Y", &fields.join(" or "), "-T", "fields"]);
        for field in ["frame.time_relative", "ip.src", "ip.dst"]
            .iter()
            .chain(&fields)
        {
            command.args(["-e", field]);
        }
        let output = command.output().expect("tshark");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let all = Command::new("/usr/bin/tshark")
            .arg("-r")
            .arg(&self.file)
            .args(["-Y", "bgp.type", "-T", "fields", "-e", "frame.number"])
            .output()
            .expect("tshark");
        assert!(
            !all.stdout.is_empty(),
            "the capture holds no BGP message at all"
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }
}
