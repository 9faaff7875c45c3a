//! The service proxy killed at any moment while services change: no connection is lost, none fails, nothing is announced that is
//! not delivered, and a restart alone changes nothing.
#![allow(clippy::print_stderr)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dunlin_abuse::bgp::{Connection, End, Open, kind};
use dunlin_abuse::cluster::{PEER_ASN, peer_address};
use dunlin_abuse::flows::{EndsAll, all_go_on, ask, await_delivery, connect};
use dunlin_abuse::services::{CLIENT, Delivered, Endpoint, Rng, Service, Tables};
use dunlin_abuse::tables::{TableWatch, await_calm, changes_nothing_but_adds_one};
use dunlin_abuse::{PATIENCE, can_run, wait_for};
use dunlin_lab::netns::Netns;

/// Whether the tables say what becomes of connections to a frontend: one that has just lost its endpoints is refused.
fn are_treated(tables: &Tables, key: &str) -> bool {
    let mut decide = tables
        .iter()
        .filter(|(set, _)| set.starts_with("ip random_") || *set == "ip refused");
    tables["ip served"].contains("10.96.0.0") && decide.any(|(_, has)| has.contains(key))
}

/// A router that hears what `n1` announces, over all its lives, and holds it against the tables.
fn hear(bed: &Delivered, over: &AtomicBool, heard: &AtomicUsize) {
    let n1 = "192.0.2.1".parse().expect("an address");
    let router = bed.cluster.attacker();
    while !over.load(Ordering::Relaxed) {
        let dialled = dunlin_abuse::bgp::try_dial(&router, peer_address(0), n1, 179);
        let Ok(stream) = dialled else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let mut session = Connection::new(stream);
        session.send(&Open::new(PEER_ASN, peer_address(0)).encode());
        loop {
            match session.receive(Instant::now() + Duration::from_millis(200)) {
                Ok((kind::OPEN, _)) => session.send(&dunlin_abuse::bgp::keepalive()),
                Ok((kind::UPDATE, body)) => {
                    let announced = announced(&body);
                    if !announced.is_empty() {
                        heard.fetch_add(announced.len(), Ordering::Relaxed);
                        let tables = bed.tables().expect("what is announced has tables");
                        for addr in announced {
                            let key = format!("{addr} . tcp . 80");
                            assert!(
                                are_treated(&tables, &key),
                                "{addr} is announced, and nothing delivers it"
                            );
                        }
                    }
                }
                Err(End::StillOpen) if !over.load(Ordering::Relaxed) => {}
                Ok((kind::NOTIFICATION, _)) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}

/// The service addresses that an UPDATE announces by its last field.
fn announced(body: &[u8]) -> Vec<std::net::Ipv4Addr> {
    let len = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let attributes = 2 + len(0);
    let mut rest = &body[attributes + 2 + len(attributes)..];
    let mut found = Vec::new();
    while let Some((bits, more)) = rest.split_first() {
        let (octets, more) = more.split_at(usize::from(bits.div_ceil(8)));
        if let [10, 96, _, _] = octets {
            found.push(<[u8; 4]>::try_from(octets).expect("four").into());
        }
        rest = more;
    }
    found
}

/// New connections to a Service, one after the other, none of which may fail.
fn knock(netns: &Netns, service: &Service, over: &AtomicBool) -> usize {
    let mut count = 0;
    while !over.load(Ordering::Relaxed) {
        let asked = ask(netns, "TCP", service.at(count % 2 == 1));
        asked.unwrap_or_else(|error| panic!("connection {count}: {error}"));
        count += 1;
        thread::sleep(Duration::from_millis(2));
    }
    count
}

/// A service comes, goes, or has other endpoints. The first ones always have some.
fn change(bed: &Delivered, rng: &mut Rng, services: &mut [Service], gone: &mut BTreeSet<u8>) {
    let at = usize::try_from(rng.below(services.len() as u64)).expect("small");
    let service = &mut services[at];
    if at >= 4 && rng.below(6) == 0 {
        if gone.insert(service.number) {
            bed.remove(service.number);
        }
        return;
    }
    let servers = rng.servers();
    service.endpoints = servers.into_iter().map(Endpoint::Ready).collect();
    if at >= 4 && rng.below(8) == 0 {
        service.endpoints.clear();
    }
    gone.remove(&service.number);
    bed.put(service);
}

#[test]
fn killed_at_any_moment_it_loses_no_connection_and_promises_nothing_it_does_not_keep() {
    if !can_run() {
        return;
    }
    let bed = Delivered::new();
    bed.cluster.write_peers(1, "  peerASN: 65010\n");
    let mut rng = Rng(4);
    let mut services: Vec<Service> = (1..=60)
        .map(|number| Service::new(number, &rng.servers()))
        .collect();
    services.iter().for_each(|service| bed.put(service));
    let mut agent = bed.start();
    await_delivery(&bed, &services[50..]);
    let mut flows = connect(&bed, &services[..10]);
    let (over, heard) = (AtomicBool::new(false), AtomicUsize::new(0));
    let steady = services[0].clone();
    let mut gone = BTreeSet::new();
    let mut kills = 0;
    let knocks = thread::scope(|scope| {
        let clients = ["n1", CLIENT].map(|host| {
            let netns = bed.netns(host);
            let (steady, over) = (&steady, &over);
            scope.spawn(move || knock(&netns, steady, over))
        });
        let router = scope.spawn(|| hear(&bed, &over, &heard));
        // Whatever fails ends the others, too.
        let ended = EndsAll(&over);
        for round in 0..300 {
            change(&bed, &mut rng, &mut services, &mut gone);
            if round % 3 == 0 {
                thread::sleep(Duration::from_millis(rng.below(8)));
            }
            if round % 60 == 59 {
                agent.kill();
                kills += 1;
                all_go_on(&mut flows);
                for _ in 0..rng.below(20) {
                    change(&bed, &mut rng, &mut services, &mut gone);
                }
                let place = agent.place.clone();
                let mut command = place.dunlin();
                command.args(place.agent_args());
                // It may be killed again before it answers.
                agent = place.spawn(command);
                if round % 120 == 59 {
                    thread::sleep(Duration::from_millis(rng.below(300)));
                    agent.kill();
                    agent = place.start();
                }
            }
        }
        services.retain(|service| !gone.contains(&service.number));
        let (alive, silent): (Vec<Service>, Vec<Service>) = services
            .iter()
            .cloned()
            .partition(|service| !service.endpoints.is_empty());
        await_delivery(&bed, &alive);
        for service in &silent {
            wait_for("without endpoints it is refused", PATIENCE, || {
                match ask(&bed.netns(CLIENT), "TCP", service.at(false)) {
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
        drop(ended);
        router.join().expect("what is announced is delivered");
        let counts = clients.into_iter().map(|client| client.join());
        let counts = counts.map(|count| count.expect("no connection fails"));
        counts.sum::<usize>()
    });
    all_go_on(&mut flows);
    assert!(heard.load(Ordering::Relaxed) > 60, "announced: {heard:?}");
    eprintln!("{kills} kills, {knocks} connections, {heard:?} announcements");
    assert!(knocks > 100);
    // Nothing of what is gone is left once it has lingered.
    wait_for("what is gone is gone", PATIENCE, || {
        let tables = bed.tables()?;
        let left = gone.iter().find(|number| {
            let key = format!("10.96.0.{number} . tcp . 80");
            are_treated(&tables, &key)
        });
        left.map_or(Ok(()), |number| Err(format!("s{number} is left")))
    });
    // And where nothing has changed, a restart changes nothing.
    let mut watch = TableWatch::open(&bed.netns("n1"));
    await_calm(&mut watch);
    let before = bed.tables().expect("tables");
    agent.kill();
    let _agent = bed.start();
    changes_nothing_but_adds_one(&bed, &mut watch, &before);
    all_go_on(&mut flows);
}
