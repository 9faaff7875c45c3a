//! What it costs. Figures are printed; bounds are far away from them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dunlin_net::Instant;
use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Protocol, Treatment};

use super::kernel::Kernel;
use super::name;
use crate::proxy::{BatchDone, Command, Found, MAX_OPS, Proxy};

const T0: Instant = Instant::ZERO;

fn addr(base: u32, n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base + n)
}

fn service(n: u32, endpoints: u32, first: u32) -> Vec<FrontendRule> {
    let endpoints = (0..endpoints).map(|i| {
        let n = n * 16 + first + i;
        SocketAddr::from((addr(0x0A00_0000, n), 8080))
    });
    vec![FrontendRule {
        frontend: Frontend {
            addr: addr(0x0B00_0000, n).into(),
            protocol: Protocol::Tcp,
            port: 80,
        },
        inside: Treatment::Balance(Arc::new(Balance {
            endpoints: endpoints.collect(),
            choice: Choice::Random,
            affinity_secs: None,
        })),
        outside: None,
        masquerade: false,
        sources: None,
        serving: None,
    }]
}

/// Answers without looking; gives the sizes of batches.
fn answer_all(proxy: &mut Proxy) -> Vec<usize> {
    let mut sizes = Vec::new();
    while let Some(command) = proxy.next(T0) {
        match command {
            Command::Read | Command::Remove => proxy.on_found(T0, Ok(Found::default())),
            Command::Submit(batch) => {
                sizes.push(batch.ops.len());
                let done = BatchDone {
                    number: batch.number,
                    result: Ok(()),
                    unsure: false,
                    forgotten: Ok(()),
                };
                proxy.on_done(T0, done);
            }
        }
    }
    sizes
}

fn filled(services: u32, endpoints: u32) -> (Proxy, Vec<usize>) {
    let mut proxy = Proxy::new(1);
    proxy.set_enabled(true);
    proxy.synced();
    answer_all(&mut proxy);
    for n in 0..services {
        proxy.set(&name(&format!("ns/{n}")), service(n, endpoints, 0));
    }
    let sizes = answer_all(&mut proxy);
    (proxy, sizes)
}

#[test]
fn fifty_thousand_services_are_small() {
    let (proxy, _) = filled(50_000, 5);
    let counters = proxy.counters();
    // Each is in one set, has its slots, and shares its block with others.
    assert_eq!(counters.elements, 50_000 * 6 + 13);
    assert_eq!(counters.endpoints, 250_000);
    // Besides: the names, and the slots' own allocations.
    let octets = proxy.memory() + 50_000 * (48 + 16);
    assert!(octets < 40_000_000, "{octets}");
}

#[test]
fn batches_are_bounded_and_a_change_is_of_one_service() {
    let (mut proxy, sizes) = filled(10_000, 10);
    assert!(sizes.len() > 5);
    assert!(sizes.iter().all(|size| *size < MAX_OPS + 12));
    assert_eq!(sizes.iter().sum::<usize>(), 10_000 * 11 + 3);
    proxy.set(&name("ns/77"), service(77, 10, 1));
    assert_eq!(answer_all(&mut proxy), [2]);
    assert!(proxy.is_settled());
}

#[test]
fn a_restart_changes_nothing() {
    let mut kernel = Kernel::default();
    let mut proxy = Proxy::new(1);
    proxy.set_enabled(true);
    kernel.run(&mut proxy, T0);
    for n in 0..2_000 {
        proxy.set(&name(&format!("ns/{n}")), service(n, 10, n % 3));
    }
    kernel.run(&mut proxy, T0);
    for n in (0..2_000).step_by(3) {
        proxy.set(&name(&format!("ns/{n}")), service(n, 7, 2));
    }
    proxy.synced();
    kernel.run(&mut proxy, T0);
    let (before, batches) = (kernel.set(), kernel.batches);
    let mut proxy = Proxy::new(2);
    proxy.set_enabled(true);
    kernel.run(&mut proxy, T0);
    for n in (0..2_000).rev() {
        let rules = if n % 3 == 0 {
            service(n, 7, 2)
        } else {
            service(n, 10, n % 3)
        };
        proxy.set(&name(&format!("ns/{n}")), rules);
    }
    proxy.synced();
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.batches, batches);
    assert_eq!(kernel.set(), before);
    assert!(proxy.is_settled());
    assert_eq!(proxy.take_changed().len(), 2_000);
}

/// Its figures: `cargo test -p dunlin-dataplane --profile bench-fast adopted_as_it_is -- --nocapture`.
#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a clock for eyes"
)]
fn a_large_load_is_adopted_as_it_is() {
    let clock = std::time::Instant::now;
    for (services, endpoints) in [(10_000, 10), (50_000, 5)] {
        let names: Vec<Arc<str>> = (0..services).map(|n| name(&format!("ns/{n}"))).collect();
        let rules: Vec<_> = (0..services).map(|n| service(n, endpoints, 0)).collect();
        let mut proxy = Proxy::new(1);
        proxy.set_enabled(true);
        proxy.synced();
        answer_all(&mut proxy);
        let at = clock();
        for (name, rules) in names.iter().zip(rules) {
            proxy.set(name, rules);
        }
        let set = at.elapsed();
        let batches = answer_all(&mut proxy).len();
        let load = at.elapsed();
        println!(
            "{services} x {endpoints}: set {set:?}, planned and believed {load:?}, {batches} batches"
        );
        let mut changes: Vec<Duration> = Vec::new();
        for n in 0..10_000 {
            let rules = service(n, endpoints, 1);
            let at = clock();
            proxy.set(&names[n as usize], rules);
            answer_all(&mut proxy);
            changes.push(at.elapsed());
        }
        changes.sort_unstable();
        println!(
            "one change: p50 {:?}, p99 {:?}",
            changes[5_000], changes[9_900]
        );
        let elements: Vec<_> = proxy.elements().collect();
        let found = Found {
            elements,
            intact: true,
            present: true,
            flows: Vec::new(),
        };
        let mut fresh = Proxy::new(3);
        fresh.set_enabled(true);
        for (n, name) in (0..services).zip(&names) {
            fresh.set(name, service(n, endpoints, u32::from(n < 10_000)));
        }
        fresh.synced();
        assert_eq!(fresh.next(T0), Some(Command::Read));
        let at = clock();
        fresh.on_found(T0, Ok(found));
        assert_eq!(fresh.next(T0), None);
        println!("adopted in {:?}; {} octets", at.elapsed(), fresh.memory());
    }
}
