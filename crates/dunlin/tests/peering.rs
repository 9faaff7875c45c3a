//! The configurations of docs/peering.md, run as they stand there: a node with the agent beside a router with FRR or BIRD.
#![allow(clippy::print_stderr)]

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dunlin_lab::iproute;
use dunlin_lab::netns::{self, Netns};

const PATIENCE: Duration = Duration::from_secs(120);

/// A node and a router, each a namespace, and what runs there.
struct Bed {
    node: Netns,
    router: Netns,
    names: [String; 2],
    dir: PathBuf,
    running: Vec<Child>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        for child in self.running.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.names {
            let _ = netns::delete(name);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Bed {
    fn new(daemon: &str) -> Bed {
        let id = std::process::id();
        let names = ["n", "r"].map(|end| format!("dunlin-doc-{id}-{daemon}-{end}"));
        netns::create(&names).unwrap();
        let [node, router] = names.each_ref().map(|name| Netns::open(name).unwrap());
        let dir = std::env::temp_dir().join(format!("dunlin-doc-{id}-{daemon}"));
        fs::create_dir_all(&dir).unwrap();
        let bed = Bed {
            node,
            router,
            names,
            dir,
            running: Vec::new(),
        };
        let link = format!(
            "link add eth0 type veth peer name eth0 netns {}",
            bed.names[1]
        );
        bed.ip(
            &bed.node,
            &[
                "link set lo up",
                &link,
                "link set eth0 up",
                "addr add 192.0.2.11/24 dev eth0",
            ],
        );
        bed.ip(
            &bed.router,
            &[
                "link set lo up",
                "link set eth0 up",
                "addr add 192.0.2.254/24 dev eth0",
                // The rest of the world.
                "link add up0 type veth peer name up1",
                "link set up1 up",
                "link set up0 up",
                "addr add 203.0.113.2/24 dev up0",
            ],
        );
        bed
    }

    fn ip(&self, place: &Netns, lines: &[&str]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            iproute::output(place, &words).unwrap();
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn start(&mut self, mut command: Command) {
        let log = || {
            File::options()
                .create(true)
                .append(true)
                .open(self.dir.join("log"))
                .unwrap()
        };
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        self.running.push(command.spawn().unwrap());
    }

    fn start_agent(&mut self, objects: &str) {
        self.write("cluster/objects.yaml", objects);
        let mut command = self.node.command(env!("CARGO_BIN_EXE_dunlin"));
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"DUNLIN_") {
                command.env_remove(key);
            }
        }
        command.args(["agent", "--node-name=n1", "--metrics-addr=off"]);
        for (flag, name) in [
            ("--cluster=dir:", "cluster"),
            ("--socket=", "agent.sock"),
            ("--state-dir=", "state"),
            ("--cni-conf-dir=", "cni"),
            ("--protocol-names=", "protocols"),
        ] {
            command.arg(format!("{flag}{}", self.dir.join(name).display()));
        }
        self.start(command);
    }

    /// Waits until a namespace has a route that contains `wanted`.
    fn until_route(&self, place: &Netns, net: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let routes = iproute::output(place, &["-N", "route", "show", net]).unwrap();
            if routes.contains(wanted) {
                return;
            }
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                panic!(
                    "no `{wanted}` for {net} in {}: {routes:?}; the logs:\n{log}",
                    place.name()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/peering.md");
    fs::read_to_string(path).unwrap()
}

/// The indented blocks below a heading, up to the next.
fn blocks(page: &str, heading: &str) -> Vec<String> {
    let (_, rest) = page.split_once(&format!("{heading}\n")).unwrap();
    let mut blocks = vec![String::new()];
    for line in rest.lines().take_while(|line| !line.starts_with('#')) {
        let last = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(line) => last.push_str(&format!("{line}\n")),
            None if line.is_empty() && !last.is_empty() => last.push('\n'),
            None if !last.is_empty() => blocks.push(String::new()),
            None => {}
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The page's objects, and a Node that they select.
fn objects(page: &str) -> String {
    let yaml = blocks(page, "# Peer with a router");
    let [peer, filter] = yaml.as_slice() else {
        panic!("{yaml:?}")
    };
    let peer = peer.replace(
        "peerASN: 65010\n",
        "peerASN: 65010\n  importFilter: default-route\n",
    );
    format!(
        "{peer}---\n{filter}---\napiVersion: v1\nkind: Node\nmetadata: {{name: n1, labels: {{rack: r1}}}}\n\
         spec: {{podCIDRs: [10.244.1.0/24]}}\nstatus: {{addresses: [{{type: InternalIP, address: 192.0.2.11}}]}}\n"
    )
}

/// Both ends have in their kernels what the page says they will.
fn routes_come(bed: &Bed) {
    bed.until_route(&bed.router, "10.244.1.0/24", "via 192.0.2.11");
    bed.until_route(&bed.node, "default", "via 192.0.2.254 dev eth0 proto 68");
}

fn can_run(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to make network namespaces");
        return false;
    }
    for program in programs {
        if !Path::new(program).exists() {
            eprintln!("skipped: needs {program}");
            return false;
        }
    }
    true
}

#[test]
fn the_configuration_of_frr_works_as_it_stands() {
    if !can_run(&["/usr/lib/frr/bgpd", "/usr/lib/frr/zebra"]) {
        return;
    }
    let page = page();
    let mut bed = Bed::new("frr");
    let conf = bed.write("frr/bgpd.conf", &blocks(&page, "### FRR")[0]);
    let zebra_conf = bed.write("frr/zebra.conf", "hostname router\n");
    let dir = bed.dir.join("frr");
    let (user, group) = dunlin_lab::router::frr_user().expect("the package makes a user frr");
    for path in [&dir, &conf, &zebra_conf] {
        chown(path, Some(user), Some(group)).unwrap();
    }
    let socket = dir.join("zserv.api");
    for (name, conf) in [("zebra", &zebra_conf), ("bgpd", &conf)] {
        let mut command = bed.router.command(format!("/usr/lib/frr/{name}"));
        command
            .args(["-P", "0", "--log", "stdout", "--vty_socket"])
            .arg(&dir);
        command.arg("-z").arg(&socket).arg("-f").arg(conf);
        command.arg("-i").arg(dir.join(format!("{name}.pid")));
        bed.start(command);
        let deadline = Instant::now() + PATIENCE;
        while !socket.exists() {
            assert!(Instant::now() < deadline, "zebra makes no socket");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    bed.start_agent(&objects(&page));
    routes_come(&bed);
    let log = fs::read_to_string(bed.log()).unwrap();
    assert!(
        !log.contains("Unknown command") && !log.contains("line: Failure"),
        "{log}"
    );
}

#[test]
fn the_configuration_of_bird_works_as_it_stands() {
    if !can_run(&["/usr/sbin/bird"]) {
        return;
    }
    let page = page();
    let mut bed = Bed::new("bird");
    // What every configuration of BIRD has anyway.
    let text = format!(
        "log stderr all;\nprotocol device {{}}\n{}",
        blocks(&page, "### BIRD 2")[0]
    );
    let conf = bed.write("bird.conf", &text);
    let mut command = bed.router.command("/usr/sbin/bird");
    command
        .arg("-f")
        .arg("-c")
        .arg(conf)
        .arg("-s")
        .arg(bed.dir.join("bird.ctl"));
    command.arg("-P").arg(bed.dir.join("bird.pid"));
    bed.start(command);
    bed.start_agent(&objects(&page));
    routes_come(&bed);
}
