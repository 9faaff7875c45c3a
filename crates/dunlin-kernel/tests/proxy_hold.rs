//! The machine of the data plane and the real kernel together: sizes, and failures halfway, that no single batch shows.

mod support;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dunlin_dataplane::KernelError;
use dunlin_dataplane::proxy::{Batch, Command, Element, FrontendSet, Op, Proxy};
use dunlin_kernel::nft::proxy::ProxyTables;
use dunlin_net::Instant;
use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Protocol, Treatment, View};
use support::in_netns;

struct Bed {
    proxy: Proxy,
    tables: ProxyTables,
    now: Instant,
    /// Batches that ended nobody knows how.
    unsure: usize,
}

impl Bed {
    fn new() -> Bed {
        let mut proxy = Proxy::new(1);
        proxy.set_enabled(true);
        Bed {
            proxy,
            tables: ProxyTables::open().unwrap(),
            now: Instant::ZERO,
            unsure: 0,
        }
    }

    fn set(&mut self, number: u32, rule: FrontendRule) {
        let name: Arc<str> = format!("ns/{number}").into();
        self.proxy.set(&name, vec![rule]);
    }

    /// Until nothing is left to do.
    fn settle(&mut self) {
        self.proxy.synced();
        loop {
            while let Some(command) = self.proxy.next(self.now) {
                match command {
                    Command::Read => {
                        let found = self.tables.read();
                        let found = found.map_err(|error| KernelError::from(&error));
                        self.proxy.on_found(self.now, found);
                    }
                    Command::Submit(batch) => {
                        let done = self.tables.apply(&batch);
                        self.unsure += usize::from(done.unsure);
                        self.proxy.on_done(self.now, done);
                    }
                    Command::Remove => panic!("nobody asks for that"),
                }
            }
            match self.proxy.deadline() {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
        }
        assert!(self.proxy.is_settled(), "{:?}", self.proxy.last_error());
        let found = ProxyTables::open().unwrap().read().unwrap();
        assert!(found.intact);
        let found: BTreeSet<Element> = found.elements.into_iter().collect();
        assert!(found == self.proxy.elements().collect(), "not as believed");
    }
}

fn address(from: [u8; 4], number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(from)) + number).into()
}

/// A service at an address of its own.
fn service(number: u32, endpoints: impl IntoIterator<Item = u32>) -> FrontendRule {
    let at = |n| SocketAddr::new(address([10, 0, 0, 1], n), 8080);
    let endpoints: BTreeSet<SocketAddr> = endpoints.into_iter().map(at).collect();
    FrontendRule {
        frontend: Frontend {
            addr: address([10, 96, 0, 0], number),
            protocol: Protocol::Tcp,
            port: 80,
        },
        inside: Treatment::Balance(Arc::new(Balance {
            endpoints: endpoints.into_iter().collect(),
            choice: Choice::Random,
            affinity_secs: None,
        })),
        outside: None,
        sources: None,
        serving: None,
        masquerade: false,
    }
}

#[test]
fn of_a_batch_that_fails_halfway_nothing_is_lost() {
    in_netns(|| {
        let mut bed = Bed::new();
        bed.settle();
        // Slots are written in the order of services, five thousand elements a transaction: this one is in the second.
        let rule = service(2_900, [7]);
        let odd = Element::Slot {
            view: View::Inside,
            frontend: rule.frontend,
            slot: 0,
            to: "192.0.2.9:9".parse().unwrap(),
        };
        let by_another_hand = ProxyTables::open().unwrap().apply(&Batch {
            number: 1,
            ops: vec![Op::Add(odd)],
            ..Batch::default()
        });
        assert_eq!(by_another_hand.result, Ok(()));
        for number in 0..3_000 {
            bed.set(number, service(number, [number, number + 1]));
        }
        bed.settle();
        assert!(bed.unsure > 0, "it was done at once, or not at all");
        assert_eq!(bed.proxy.elements().count(), 3_000 * 3 + 1);
    });
}

#[test]
fn five_thousand_endpoints_have_the_same_chance() {
    in_netns(|| {
        let mut bed = Bed::new();
        bed.set(1, service(1, 0..5_000));
        bed.settle();
        let slots = |bed: &Bed| -> Vec<(u32, SocketAddr)> {
            let of = bed.proxy.elements().filter_map(|element| match element {
                Element::Slot { slot, to, .. } => Some((slot, to)),
                _ => None,
            });
            of.collect()
        };
        let before = slots(&bed);
        // One slot each, none empty below the last: a throw that misses is thrown again.
        assert!(before.iter().map(|(slot, _)| *slot).eq(0..5_000));
        let all: BTreeSet<SocketAddr> = before.iter().map(|(_, to)| *to).collect();
        assert_eq!(all.len(), 5_000);
        let set = FrontendSet::Random {
            view: View::Inside,
            slots: 8_192,
        };
        let member = Element::Member {
            set,
            frontend: service(1, []).frontend,
        };
        assert!(bed.proxy.elements().any(|element| element == member));
        // One that goes moves one other at most.
        let done = bed.proxy.counters().ops_done;
        bed.set(1, service(1, (0..5_000).filter(|n| *n != 1_234)));
        bed.settle();
        assert!(bed.proxy.counters().ops_done - done <= 3);
        let after: BTreeSet<(u32, SocketAddr)> = slots(&bed).into_iter().collect();
        let kept = before.iter().filter(|slot| after.contains(slot)).count();
        assert!(kept >= 4_998, "{kept}");
    });
}

#[test]
fn sixty_five_thousand_services_are_there_and_adopted() {
    in_netns(|| {
        let mut bed = Bed::new();
        for number in 0..65_000 {
            bed.set(number, service(number, [number % 50_000]));
        }
        bed.settle();
        assert_eq!(bed.proxy.elements().count(), 65_000 * 2 + 16);
        // Without the rules themselves.
        assert!(bed.proxy.memory() < 65_000 * 400, "{}", bed.proxy.memory());
        // Another agent finds all of it, and has nothing to do.
        let mut next = Bed::new();
        for number in 0..65_000 {
            next.set(number, service(number, [number % 50_000]));
        }
        next.settle();
        assert_eq!(next.proxy.counters().ops_done, 0);
    });
}
