//! Rules as they may come.

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::Afi;
use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Protocol, Treatment};

use super::World;

impl World {
    fn treatment(&mut self, afi: Afi) -> Treatment {
        match self.rng.below(8) {
            0 => return Treatment::Reject,
            1 => return Treatment::Drop,
            _ => {}
        }
        let count = match self.rng.below(10) {
            0 => 30,
            _ => 1 + self.rng.below(6),
        };
        let mut endpoints = self.endpoints(afi, count);
        endpoints.sort_unstable();
        endpoints.dedup();
        let choice = match self.rng.below(8) {
            0 => Choice::Maglev { slots: 31 },
            1 => Choice::Maglev { slots: 90 },
            _ => Choice::Random,
        };
        let affinity_secs = [None, None, Some(60), Some(10_800)][self.rng.below(4)];
        Treatment::Balance(Arc::new(Balance {
            endpoints: endpoints.into(),
            choice,
            affinity_secs,
        }))
    }

    fn endpoints(&mut self, afi: Afi, count: usize) -> Vec<SocketAddr> {
        (0..count)
            .map(|_| {
                let last = 1 + self.rng.below(40);
                // Now and then one that is of no use.
                let port = if self.rng.below(60) == 0 { 0 } else { 8080 };
                let text = match (afi, self.rng.below(60)) {
                    (Afi::Ipv4, 1..) | (Afi::Ipv6, 0) => format!("10.0.0.{last}:{port}"),
                    _ => format!("[fd00::{last:x}]:{port}"),
                };
                text.parse().unwrap()
            })
            .collect()
    }

    pub(super) fn rule(&mut self, frontend: Frontend) -> FrontendRule {
        let inside = self.treatment(frontend.afi());
        let outside = match self.rng.below(6) {
            0 => Some(inside.clone()),
            1 | 2 => Some(self.treatment(frontend.afi())),
            _ => None,
        };
        let sources: [&[&str]; 4] = [
            &[],
            &["198.51.100.0/25", "198.51.100.128/25", "198.51.100.7/32"],
            &["198.51.100.0/26", "2001:db8:1::/48"],
            &["0.0.0.0/0", "198.51.100.0/24", "2001:db8:1::/48"],
        ];
        let sources = (self.rng.below(4) == 0).then(|| {
            let sources = sources[self.rng.below(4)].iter();
            sources.map(|net| net.parse().unwrap()).collect()
        });
        // Some of those that there are may serve still.
        let serving = (self.rng.below(2) == 0).then(|| {
            let mut some = self.endpoints(frontend.afi(), 20);
            some.sort_unstable();
            some.dedup();
            some.into()
        });
        FrontendRule {
            frontend,
            inside,
            outside,
            masquerade: false,
            sources,
            serving: serving.filter(|_| frontend.protocol == Protocol::Udp),
        }
    }
}
