//! Figures of the tables of services, in a network namespace of its own: first loads, single changes, changes at a steady
//! rate, read-backs. Run as root: `cargo run --release -p dunlin-kernel --example service_tables`.
#![allow(clippy::print_stdout)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use dunlin_dataplane::proxy::{Batch, Element, FrontendSet, Op, random_slots};
use dunlin_kernel::{KernelCommand, KernelEvent, KernelHandle, KernelThread, Options};
use dunlin_net::service::{Frontend, Protocol, View};

const VIEW: View = View::Inside;
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    // SAFETY: no pointers; there is one thread so far.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(unshared, 0, "no network namespace can be made: run as root");
    for (services, endpoints) in [(10_000, 10), (50_000, 5)] {
        for chunk in [usize::MAX, 20_000] {
            load(services, endpoints, chunk);
        }
    }
    let node = load(10_000, 10, 20_000);
    single_changes(&node);
    steady_changes(&node);
}

/// A kernel thread and what it tells.
struct Node {
    kernel: KernelHandle,
    events: Receiver<KernelEvent>,
}

impl Node {
    fn start() -> Node {
        let (sender, events) = channel();
        let sink = move |event| {
            let _ = sender.send(event);
        };
        let kernel = KernelThread::spawn(Options::default(), sink).expect("a kernel thread");
        Node { kernel, events }
    }

    fn apply(&self, rebuild: bool, ops: Vec<Op>) {
        let batch = Batch {
            number: 1,
            rebuild,
            ops,
            forget: Vec::new(),
        };
        self.command(KernelCommand::SubmitProxy(batch));
        let done = self.wait(|event| match event {
            KernelEvent::ProxyDone(done) => Some(done),
            _ => None,
        });
        assert_eq!(done.result, Ok(()));
    }

    fn read(&self) -> usize {
        self.command(KernelCommand::ReadProxy);
        let found = self.wait(|event| match event {
            KernelEvent::ProxyFound(found) => Some(found),
            _ => None,
        });
        let found = found.expect("a read-back");
        assert!(found.intact);
        found.elements.len()
    }

    fn remove(&self) {
        self.command(KernelCommand::RemoveProxy);
        let found = self.wait(|event| match event {
            KernelEvent::ProxyFound(found) => Some(found),
            _ => None,
        });
        assert!(found.is_ok());
    }

    fn command(&self, command: KernelCommand) {
        self.kernel.command(command).expect("room for a command");
    }

    fn wait<T>(&self, wanted: impl Fn(KernelEvent) -> Option<T>) -> T {
        loop {
            let event = self.events.recv_timeout(DEADLINE).expect("an event");
            assert!(
                !matches!(event, KernelEvent::ProxyMeddled),
                "our own changes are told as another's"
            );
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }
}

fn frontend(service: u32) -> Frontend {
    Frontend {
        addr: IpAddr::V4(Ipv4Addr::from_bits(0x0A60_0000 + service)),
        protocol: Protocol::Tcp,
        port: 80,
    }
}

fn slot(service: u32, slot: u32, port: u16) -> Element {
    let endpoint = Ipv4Addr::from_bits(0x0AF4_0000 + (service * 16 + slot) % 0xFFFF);
    Element::Slot {
        view: VIEW,
        frontend: frontend(service),
        slot,
        to: SocketAddr::new(endpoint.into(), port),
    }
}

fn elements(service: u32, endpoints: u32) -> impl Iterator<Item = Op> {
    let member = move |set| Element::Member {
        set,
        frontend: frontend(service),
    };
    let set = FrontendSet::Random {
        view: VIEW,
        slots: random_slots(endpoints as usize),
    };
    let slots = (0..endpoints).map(move |at| slot(service, at, 8080));
    std::iter::once(member(set)).chain(slots).map(Op::Add)
}

/// Gives the node, loaded.
fn load(services: u32, endpoints: u32, chunk: usize) -> Node {
    let node = Node::start();
    node.remove();
    let ops: Vec<Op> = (0..services)
        .flat_map(|service| elements(service, endpoints))
        .collect();
    let count = ops.len();
    let begin = Instant::now();
    let cpu = cpu();
    for (at, some) in ops.chunks(chunk.min(count)).enumerate() {
        node.apply(at == 0, some.to_vec());
    }
    let (took, cpu) = (begin.elapsed(), self::cpu() - cpu);
    let begin = Instant::now();
    assert_eq!(node.read(), count);
    let read = begin.elapsed();
    let chunk = chunk.min(count);
    println!(
        "{services} x {endpoints}: {count} elements, {chunk} at a time: written in {took:.0?} (of CPU: {cpu:.0?}), \
         read in {read:.0?}"
    );
    node
}

/// One endpoint is replaced by another.
fn replace(number: u32) -> Vec<Op> {
    let (service, port) = (number * 7919 % 10_000, 8080);
    let (from, to) = (slot(service, 3, port), slot(service, 3, port + 1));
    vec![Op::Remove(from), Op::Add(to), Op::Remove(to), Op::Add(from)]
}

fn single_changes(node: &Node) {
    let mut took: Vec<Duration> = (0..5_000)
        .map(|number| {
            let ops = replace(number);
            let (away, back) = ops.split_at(2);
            let begin = Instant::now();
            node.apply(false, away.to_vec());
            let took = begin.elapsed();
            node.apply(false, back.to_vec());
            took
        })
        .collect();
    took.sort();
    let at = |permille: usize| took.get(took.len() * permille / 1000).copied();
    println!(
        "one change, by way of the kernel thread: p50 {:.0?}, p99 {:.0?}, p99.9 {:.0?}",
        at(500).unwrap_or_default(),
        at(990).unwrap_or_default(),
        at(999).unwrap_or_default()
    );
}

fn steady_changes(node: &Node) {
    const CHANGES: u32 = 5_000;
    let (begin, cpu) = (Instant::now(), cpu());
    let mut late = Duration::ZERO;
    for number in 0..CHANGES {
        let due = begin + Duration::from_millis(1) * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let ops = replace(number / 2);
        let (away, back) = ops.split_at(2);
        let half = if number % 2 == 0 { away } else { back };
        node.apply(false, half.to_vec());
        late = late.max(due.elapsed());
    }
    let (took, cpu) = (begin.elapsed(), self::cpu() - cpu);
    println!(
        "1000 changes a second: {:.1} % of a core, at most {late:.0?} late",
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0
    );
}

/// Of all threads, in the kernel too.
fn cpu() -> Duration {
    // SAFETY: all-zero is a valid `rusage`, and the pointer is that of a live one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    of(usage.ru_utime) + of(usage.ru_stime)
}
