//! A network namespace of its own for each test, and the machines of the data plane wired to the kernel thread in it.
// Each test program uses its part of this.
#![allow(dead_code, unreachable_pub, clippy::print_stdout)]

pub mod services;
mod space;
pub mod world;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use dunlin_dataplane::fib::{Action, Fib, Hop, Wanted};
use dunlin_dataplane::links::{LinkChange, Links};
use dunlin_dataplane::rules::Outcome;
use dunlin_kernel::{KernelError, KernelEvent, KernelHandle, KernelThread, Options};
use serde_json::Value;

pub use space::Space;

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the test in a fresh network namespace, on a thread of its own. Where that is not possible the test fails, unless
/// `DUNLIN_ALLOW_SKIP` is set.
pub fn in_netns(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: no pointers; only this thread moves.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            let reason = format!(
                "no network namespace can be made ({}): run as root",
                std::io::Error::last_os_error()
            );
            assert!(std::env::var_os("DUNLIN_ALLOW_SKIP").is_some(), "{reason}");
            println!("skipped: {reason}");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command in the namespace of the calling thread; gives what it printed.
pub fn run(line: &str) -> String {
    let (ok, out) = attempt(line);
    assert!(ok, "{line}: {out}");
    out
}

/// As [`run`], and the command may fail.
pub fn attempt(line: &str) -> (bool, String) {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

/// Feeds a command's standard input.
pub fn feed(line: &str, input: &str) {
    use std::io::Write;
    let mut words = line.split_whitespace();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
}

/// Two veth pairs, up, with subnets of both families on `d0` and `e0`.
pub fn two_links() {
    for (name, v4, v6) in [
        ("d", "192.0.2.1/24", "2001:db8::1/64"),
        ("e", "198.51.100.1/24", "2001:db8:1::1/64"),
    ] {
        run(&format!("ip link add {name}0 type veth peer name {name}1"));
        run(&format!("ip link set {name}1 up"));
        run(&format!("ip link set {name}0 up"));
        run(&format!("ip addr add {v4} dev {name}0"));
        run(&format!("ip addr add {v6} dev {name}0 nodad"));
    }
    run("ip link set lo up");
}

/// What `ip` shows of our routes of both families: prefix and metric → gateways.
pub fn shown() -> BTreeMap<(String, u64), Vec<String>> {
    let mut found = BTreeMap::new();
    for family in ["-4", "-6"] {
        let text = run(&format!("ip {family} -j route show table main proto 68"));
        if text.trim().is_empty() {
            continue;
        }
        let routes: Value = serde_json::from_str(&text).unwrap();
        for route in routes.as_array().unwrap() {
            let gateway = |hop: &Value| hop["gateway"].as_str().unwrap_or_default().to_owned();
            let mut gateways: Vec<String> = match route["nexthops"].as_array() {
                Some(hops) => hops.iter().map(gateway).collect(),
                None if route["type"] == "blackhole" => Vec::new(),
                None => vec![gateway(route)],
            };
            gateways.sort();
            let dst = route["dst"].as_str().unwrap().to_owned();
            found.insert((dst, route["metric"].as_u64().unwrap()), gateways);
        }
    }
    found
}

/// The number of nexthop objects `ip` shows.
pub fn shown_nexthops() -> usize {
    let text = run("ip -j nexthop show");
    if text.trim().is_empty() {
        return 0;
    }
    serde_json::from_str::<Value>(&text)
        .unwrap()
        .as_array()
        .unwrap()
        .len()
}

/// Hops by gateway, resolved against what the kernel told of links.
pub fn via(links: &Links, gateways: &[&str]) -> Wanted {
    let hop = |gateway: &&str| {
        let gateway = gateway.parse().unwrap();
        Hop {
            gateway,
            ifindex: links.resolve(gateway).unwrap(),
        }
    };
    Wanted::Via(gateways.iter().map(hop).collect())
}

/// The machines and the kernel thread, as the agent wires them.
pub struct Node {
    pub fib: Fib,
    pub links: Links,
    pub kernel: KernelHandle,
    events: Receiver<KernelEvent>,
    start: Instant,
    pub overruns: usize,
    pub rules: Vec<Result<Outcome, KernelError>>,
    pub proxy: Vec<KernelEvent>,
}

impl Node {
    pub fn start() -> Node {
        Node::start_with(Options::default())
    }

    /// Reads back before it returns.
    pub fn start_with(options: Options) -> Node {
        let (sender, events) = channel();
        let sink = move |event| {
            let _ = sender.send(event);
        };
        let kernel = KernelThread::spawn(options, sink).unwrap();
        let mut node = Node {
            fib: Fib::new(1),
            links: Links::new(),
            kernel,
            events,
            start: Instant::now(),
            overruns: 0,
            rules: Vec::new(),
            proxy: Vec::new(),
        };
        node.until("the first read-back", |node| node.fib.is_synced());
        node
    }

    pub fn now(&self) -> dunlin_net::Instant {
        let micros = self.start.elapsed().as_micros();
        dunlin_net::Instant::from_micros(u64::try_from(micros).unwrap())
    }

    /// Runs until the kernel has what is wanted.
    pub fn settle(&mut self) {
        self.until("the tables to settle", |node| node.fib.is_settled());
    }

    /// Runs until `done`; gives how long it took.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Node) -> bool) -> Duration {
        let begin = Instant::now();
        loop {
            let now = self.now();
            while let Some(action) = self.fib.poll(now) {
                match action {
                    Action::Dump => self.kernel.dump().unwrap(),
                    Action::Batch(batch) => self.kernel.submit(batch).unwrap(),
                }
            }
            if done(self) {
                return begin.elapsed();
            }
            assert!(
                begin.elapsed() < DEADLINE,
                "waited for {what}: {:?}",
                self.fib.counters()
            );
            let wait = self
                .fib
                .next_deadline()
                .map_or(DEADLINE, |at| at.since(now));
            match self
                .events
                .recv_timeout(wait.min(Duration::from_millis(50)))
            {
                Ok(event) => self.on_event(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the kernel thread has ended"),
            }
            while let Ok(event) = self.events.try_recv() {
                self.on_event(event);
            }
        }
    }

    fn on_event(&mut self, event: KernelEvent) {
        let now = self.now();
        match event {
            KernelEvent::Link(event) => {
                if self.links.on_event(&event) == LinkChange::Reachability {
                    self.fib.on_link(now, event.ifindex());
                }
            }
            KernelEvent::Route(event) => self.fib.on_route(now, &event),
            KernelEvent::NexthopChanged { id } => self.fib.on_nexthop_changed(now, id),
            KernelEvent::DumpBegin => {
                self.links.on_dump_begin();
                self.fib.on_dump_begin();
            }
            KernelEvent::DumpLinks(links) => {
                links
                    .into_iter()
                    .for_each(|link| self.links.on_dump_link(link));
            }
            KernelEvent::DumpAddresses(addresses) => {
                addresses
                    .into_iter()
                    .for_each(|address| self.links.on_dump_address(address));
            }
            KernelEvent::DumpItems(items) => {
                items.iter().for_each(|item| self.fib.on_dump_item(item));
            }
            KernelEvent::DumpEnd { complete } => {
                self.links.on_dump_end(complete);
                self.fib.on_dump_end(now, complete);
            }
            KernelEvent::BatchDone(done) => self.fib.on_batch_done(now, &done),
            KernelEvent::Overrun => {
                self.overruns += 1;
                self.fib.on_overrun(now);
            }
            KernelEvent::RulesDone(result) => self.rules.push(result),
            event @ (KernelEvent::ProxyDone(_)
            | KernelEvent::ProxyFound(_)
            | KernelEvent::ProxyMeddled) => self.proxy.push(event),
        }
    }

    pub fn want(&mut self, net: &str, gateways: &[&str]) {
        let wanted = via(&self.links, gateways);
        self.fib.want(net.parse().unwrap(), Some(&wanted));
    }

    pub fn unwant(&mut self, net: &str) {
        self.fib.want(net.parse().unwrap(), None);
    }
}
