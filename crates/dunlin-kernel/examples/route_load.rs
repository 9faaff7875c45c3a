//! Routes into the kernel: the machines and the kernel thread beside `ip -batch` of the same routes, each in fresh network
//! namespaces, interleaved.
//!
//!     cargo run --profile bench-fast -p dunlin-kernel --example route_load -- [ROUTES] [ROUNDS]

#![allow(clippy::print_stdout)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dunlin_net::IpNet;
use support::{Node, feed, in_netns, two_links, via};

#[derive(Clone, Copy)]
enum Case {
    Ipv4,
    Ipv4Ecmp,
    Ipv6,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Case::Ipv4 => "IPv4, one next hop",
            Case::Ipv4Ecmp => "IPv4, two next hops",
            Case::Ipv6 => "IPv6, one next hop",
        }
    }

    fn gateways(self) -> &'static [&'static str] {
        match self {
            Case::Ipv4 => &["192.0.2.2"],
            Case::Ipv4Ecmp => &["192.0.2.2", "198.51.100.2"],
            Case::Ipv6 => &["2001:db8::2"],
        }
    }

    fn nets(self, count: u32) -> Vec<IpNet> {
        (0..count)
            .map(|i| match self {
                Case::Ipv4 | Case::Ipv4Ecmp => {
                    let addr = Ipv4Addr::from_bits(0x1400_0000 + (i << 6));
                    IpNet::new(addr.into(), 26).unwrap()
                }
                Case::Ipv6 => {
                    let addr = Ipv6Addr::from_bits((0xfd00 << 112) | (u128::from(i) << 64));
                    IpNet::new(addr.into(), 64).unwrap()
                }
            })
            .collect()
    }
}

/// Time to install, to move to other hops, and to withdraw.
struct Ours {
    install: Duration,
    replace: Duration,
    withdraw: Duration,
}

fn ours(case: Case, count: u32) -> Ours {
    let (tell, told) = channel();
    in_netns(move || {
        two_links();
        let mut node = Node::start();
        node.fib.hold_deletes(false);
        let nets = case.nets(count);
        let wanted = via(&node.links, case.gateways());
        let mut timed = |wanted: Option<&dunlin_dataplane::fib::Wanted>, some: usize| {
            let begin = Instant::now();
            nets.iter()
                .take(some)
                .for_each(|net| node.fib.want(*net, wanted));
            node.settle();
            begin.elapsed()
        };
        let install = timed(Some(&wanted), nets.len());
        // All but one, so that routes are replaced and not the nexthop they share.
        let other = match case {
            Case::Ipv6 => "2001:db8:1::2",
            _ => "198.51.100.3",
        };
        let other = via_in(other);
        let replace = timed(Some(&other), nets.len() - 1);
        let withdraw = timed(None, nets.len());
        tell.send(Ours {
            install,
            replace,
            withdraw,
        })
        .unwrap();
    });
    told.recv().unwrap()
}

/// A hop through `e0`.
fn via_in(gateway: &str) -> dunlin_dataplane::fib::Wanted {
    let index = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap_or_default();
    let ifindex = index
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find_map(|words| (words.get(1) == Some(&"e0")).then(|| words[0].parse().unwrap()))
        .unwrap();
    let hop = dunlin_dataplane::fib::Hop {
        gateway: gateway.parse().unwrap(),
        ifindex,
    };
    dunlin_dataplane::fib::Wanted::Via(smallvec::smallvec![hop])
}

fn ip_batch(case: Case, count: u32) -> Duration {
    let (tell, told) = channel();
    in_netns(move || {
        two_links();
        let mut input = String::new();
        let hops = match case.gateways() {
            [one] => format!("via {one}"),
            many => many
                .iter()
                .map(|gateway| format!("nexthop via {gateway} "))
                .collect(),
        };
        for net in case.nets(count) {
            writeln!(input, "route add {net} proto 68 metric 512 {hops}").unwrap();
        }
        let begin = Instant::now();
        feed("ip -batch -", &input);
        tell.send(begin.elapsed()).unwrap();
    });
    told.recv().unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|arg| arg.parse::<u32>().expect("a number"));
    let (count, rounds) = (args.next().unwrap_or(100_000), args.next().unwrap_or(5));
    println!("{count} routes, median of {rounds}, routes per second");
    println!(
        "{:<22} {:>10} {:>10} {:>6} {:>10} {:>10}",
        "", "dunlin", "ip -batch", "ratio", "replace", "withdraw"
    );
    for case in [Case::Ipv4, Case::Ipv4Ecmp, Case::Ipv6] {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            mine.push(ours(case, count));
            theirs.push(ip_batch(case, count));
        }
        let of = |pick: fn(&Ours) -> Duration| median(mine.iter().map(pick).collect());
        let rate = |time: Duration| f64::from(count) / time.as_secs_f64();
        let (install, batch) = (of(|ours| ours.install), median(theirs));
        println!(
            "{:<22} {:>10.0} {:>10.0} {:>5.2}× {:>10.0} {:>10.0}",
            case.name(),
            rate(install),
            rate(batch),
            batch.as_secs_f64() / install.as_secs_f64(),
            rate(of(|ours| ours.replace)),
            rate(of(|ours| ours.withdraw)),
        );
    }
}
