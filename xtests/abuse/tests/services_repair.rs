//! The service proxy's tables changed by others, its ears overrun, a second agent beside it, endpoints that leave: all is as it
//! should be soon, and what goes on goes on.
#![allow(clippy::print_stderr)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::cluster::node_object;
use dunlin_abuse::flows::{EndsAll, all_go_on, ask, await_delivery, connect};
use dunlin_abuse::services::{
    CLIENT, Delivered, Endpoint, PORT, Rng, SERVERS, Service, Tables, server,
};
use dunlin_abuse::tables::{TableWatch, await_calm, changes_nothing_but_adds_one};
use dunlin_abuse::{PATIENCE, can_run, wait_for};
use rustix::process::Signal;

/// How soon it must be as it was: a second, and what a busy machine adds.
const REPAIR: Duration = Duration::from_secs(3);

/// After `damage` the tables are as they were within [`REPAIR`].
#[track_caller]
fn is_repaired(
    what: &str,
    before: &Tables,
    now: impl Fn() -> Result<Tables, String>,
    damage: impl FnOnce(),
) {
    damage();
    let start = Instant::now();
    wait_for(what, REPAIR, || {
        let now = now()?;
        let differs = before.keys().find(|set| now.get(*set) != before.get(*set));
        differs.map_or(Ok(()), |set| Err(format!("{set}: {:?}", now.get(set))))
    });
    eprintln!("{what}: repaired within {:?}", start.elapsed());
}

#[test]
fn what_others_change_is_as_it_was_within_a_second() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    let mut rng = Rng(5);
    let services: Vec<Service> = (1..=40)
        .map(|number| Service::new(number, &rng.servers()))
        .collect();
    services.iter().for_each(|service| bed.put(service));
    let mut agent = bed.start();
    await_delivery(&bed, &services);
    let mut flows = connect(&bed, &services[..5]);
    let before = bed.tables().expect("tables");
    let slot = |at: usize| {
        let mut slots = before["ip slots_inside"].iter();
        slots.nth(at).expect("a slot").clone()
    };
    let elements = |verb: &str, set: &str, element: &str| {
        format!("{verb} element ip dunlin_services {set} {{ {element} }}\n")
    };
    let damages = [
        (
            "a slot is deleted",
            elements("delete", "slots_inside", &slot(9)),
        ),
        (
            "a slot leads elsewhere",
            elements("delete", "slots_inside", &slot(9))
                + &elements("add", "slots_inside", &elsewhere(&slot(9))),
        ),
        (
            "a service that is none",
            elements("add", "refused", "10.96.9.9 . tcp . 80"),
        ),
        (
            "what is served is looked at no more",
            "flush set ip dunlin_services served".to_owned(),
        ),
        (
            "all that is near is gone",
            "flush set ip6 dunlin_services near".to_owned(),
        ),
        (
            "the slots are flushed",
            "flush map ip6 dunlin_services slots_inside".to_owned(),
        ),
        (
            "a chain is flushed",
            "flush chain ip dunlin_services inside".to_owned(),
        ),
        (
            "a table is flushed",
            "flush table ip6 dunlin_services".to_owned(),
        ),
        (
            "a table is deleted",
            "delete table ip dunlin_services".to_owned(),
        ),
        ("everything is flushed", "flush ruleset".to_owned()),
    ];
    let before = without_busy(before);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // All the while another service changes.
        let _ended = EndsAll(&over);
        let (bed, over) = (&bed, &over);
        let busy = scope.spawn(move || {
            let mut rng = Rng(6);
            while !over.load(Ordering::Relaxed) {
                bed.put(&Service::new(99, &rng.servers()));
                thread::sleep(Duration::from_millis(20));
            }
        });
        for (what, script) in damages {
            let now = || bed.tables().map(without_busy);
            is_repaired(what, &before, now, || bed.nft(&script));
        }
        over.store(true, Ordering::Relaxed);
        busy.join().expect("files can be written");
    });
    await_delivery(&bed, &services);
    all_go_on(&mut flows);
    assert!(agent.is_running());
}

/// The tables without what the service has that changes all the while, and the sets that it goes through.
fn without_busy(mut tables: Tables) -> Tables {
    for elements in tables.values_mut() {
        elements.retain(|e| !e.contains("10.96.0.99 ") && !e.contains("fd96::63 "));
    }
    tables.retain(|set, _| !set.contains("random"));
    tables
}

/// The same slot with another endpoint.
fn elsewhere(slot: &str) -> String {
    let (key, _) = slot.split_once(" : ").expect("a key and a value");
    format!("{key} : 192.0.2.77 . 9")
}

/// How many messages the kernel could not give to a process's netfilter sockets.
fn dropped(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/netlink")).expect("netlink");
    let netfilter = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"12")).then(|| fields.get(8)?.parse::<u64>().ok())?
    });
    netfilter.sum()
}

#[test]
fn what_it_could_not_hear_it_reads_back() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    let services: Vec<Service> = (1..=20).map(|n| Service::new(n, &[n % SERVERS])).collect();
    services.iter().for_each(|service| bed.put(service));
    let agent = bed.start();
    await_delivery(&bed, &services);
    let before = bed.tables().expect("tables");
    agent.signal(Signal::STOP);
    // More than it has room for, and what concerns it last: that is lost.
    let noise = |from: u32| {
        let numbers = (from..from + 30_000).map(|n| n.to_string());
        numbers.collect::<Vec<_>>().join(", ")
    };
    bed.nft("table ip noise { set s { type mark; }; }");
    let mut from = 0;
    while dropped(agent.pid()) == 0 {
        assert!(from < 3_000_000, "there is room for everything");
        bed.nft(&format!("add element ip noise s {{ {} }}", noise(from)));
        from += 30_000;
    }
    is_repaired(
        "what was not heard",
        &before,
        || bed.tables(),
        || {
            bed.nft("flush map ip dunlin_services slots_inside");
            bed.nft("delete element ip6 dunlin_services served { fd96:: }");
            agent.signal(Signal::CONT);
        },
    );
    await_delivery(&bed, &services);
}

#[test]
fn a_second_agent_changes_no_table() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    let services: Vec<Service> = (1..=20).map(|n| Service::new(n, &[n % SERVERS])).collect();
    services.iter().for_each(|service| bed.put(service));
    let mut agent = bed.start();
    await_delivery(&bed, &services);
    let mut watch = TableWatch::open(&bed.netns("n1"));
    await_calm(&mut watch);
    let before = bed.tables().expect("tables");
    // With nothing in common but the node: another directory of objects, in which there are no services.
    let mut second = bed.place();
    second.home = bed.cluster.home().join("second");
    second.manifests = second.home.join("manifests");
    std::fs::create_dir_all(&second.manifests).expect("a directory");
    std::fs::write(second.manifests.join("n1.yaml"), node_object(1)).expect("a file");
    let mut command = second.dunlin();
    let args = second.agent_args();
    command.args(args.iter().map(|arg| match arg.strip_prefix("127.0.0.1:") {
        Some(_) => "127.0.0.1:9180",
        None => arg.as_str(),
    }));
    let (code, said) = second.fails(command);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("another process has this port"), "{said}");
    changes_nothing_but_adds_one(&bed, &mut watch, &before);
    assert!(agent.is_running());
    await_delivery(&bed, &services);
}

#[test]
fn flows_and_clients_stay_with_their_endpoint_as_long_as_it_serves() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    let udp = |endpoints: &[Endpoint]| Service {
        protocol: "UDP",
        endpoints: endpoints.to_vec(),
        ..Service::new(1, &[])
    };
    let sticky = |endpoints: &[u8]| Service {
        affinity_secs: Some(600),
        ..Service::new(2, endpoints)
    };
    bed.put(&udp(&[Endpoint::Ready(0)]));
    bed.put(&sticky(&[0]));
    let mut agent = bed.start();
    await_delivery(&bed, &[udp(&[Endpoint::Ready(0)]), sticky(&[0])]);
    let at = |number: u8, ipv6| SocketAddr::new(server(number, ipv6), PORT);
    let mut flows = connect(&bed, &[udp(&[])]);
    // Others come; whoever had the first keeps it.
    bed.put(&udp(&[Endpoint::Leaving(0), Endpoint::Ready(1)]));
    bed.put(&sticky(&[0, 1, 2, 3, 4, 5, 6, 7]));
    await_delivery(&bed, &[udp(&[Endpoint::Ready(1)])]);
    wait_for("the others are there", PATIENCE, || {
        let tables = bed.tables()?;
        let slots = tables["ip6 slots_inside"].iter();
        let slots = slots.filter(|e| e.starts_with("fd96::2 ")).count();
        (slots == 8).then_some(()).ok_or(slots.to_string())
    });
    let come_back = |bed: &Delivered| {
        for ipv6 in [false, true] {
            for _ in 0..6 {
                let by = ask(&bed.netns(CLIENT), "TCP", sticky(&[]).at(ipv6)).expect("an answer");
                assert_eq!(by, at(0, ipv6), "a client that comes back");
            }
        }
    };
    all_go_on(&mut flows);
    come_back(&bed);
    // So it is when the agent begins anew,
    agent.kill();
    all_go_on(&mut flows);
    agent = bed.start();
    bed.put(&Service::new(3, &[3]));
    await_delivery(&bed, &[Service::new(3, &[3])]);
    all_go_on(&mut flows);
    come_back(&bed);
    // until the endpoint is gone, even if that is while no agent is there.
    agent.kill();
    bed.put(&udp(&[Endpoint::Ready(1)]));
    bed.put(&sticky(&[1]));
    let _agent = bed.start();
    for (flow, by) in &mut flows {
        let new = at(1, by.is_ipv6());
        wait_for(
            "the flow goes to the endpoint that is left",
            PATIENCE,
            || match flow.ask_within(Duration::from_secs(1)) {
                Ok(now) if now == new => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
    }
    await_delivery(&bed, &[sticky(&[1])]);
}

#[test]
fn endpoints_that_are_not_ready_get_connections_where_they_are_published_and_only_there() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    let service = |endpoints: &[Endpoint]| Service {
        endpoints: endpoints.to_vec(),
        ..Service::new(1, &[])
    };
    let ready = Service::new(2, &[2]);
    bed.put(&service(&[Endpoint::Unready(0), Endpoint::Unready(1)]));
    bed.put(&ready);
    let _agent = bed.start();
    let is_refused = || {
        for ipv6 in [false, true] {
            for host in ["n1", CLIENT] {
                let asked = ask(&bed.netns(host), "TCP", service(&[]).at(ipv6));
                let kind = asked.expect_err("nobody is ready").kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionRefused, "{host}");
            }
        }
    };
    await_delivery(&bed, std::slice::from_ref(&ready));
    is_refused();
    let published = service(&[Endpoint::Published(0), Endpoint::Published(1)]);
    bed.put(&published);
    await_delivery(&bed, std::slice::from_ref(&published));
    // Beside one that is ready they are no better and no worse.
    let mixed = service(&[Endpoint::Published(0), Endpoint::Ready(3)]);
    bed.put(&mixed);
    await_delivery(&bed, &[mixed, ready]);
}
