mod course;
mod kernel;
mod random;
mod rules;
mod scale;

use std::net::SocketAddr;
use std::sync::Arc;

use dunlin_net::service::{Balance, Choice, Frontend, FrontendRule, Protocol, Treatment};

fn name(text: &str) -> Arc<str> {
    Arc::from(text)
}

/// `10.96.0.1:80` or `[fd00::1]:80`, TCP unless it ends in `/UDP`.
fn frontend(text: &str) -> Frontend {
    let (at, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
    let at: SocketAddr = at.parse().expect("an address");
    let protocol = Protocol::ALL.into_iter().find(|p| p.name() == protocol);
    Frontend {
        addr: at.ip(),
        protocol: protocol.expect("a protocol"),
        port: at.port(),
    }
}

fn endpoints(texts: &[&str]) -> Arc<[SocketAddr]> {
    let mut endpoints: Vec<SocketAddr> = texts
        .iter()
        .map(|text| text.parse().expect("an endpoint"))
        .collect();
    endpoints.sort_unstable();
    endpoints.into()
}

fn balance(texts: &[&str]) -> Balance {
    Balance {
        endpoints: endpoints(texts),
        choice: Choice::Random,
        affinity_secs: None,
    }
}

fn to(texts: &[&str]) -> Treatment {
    Treatment::Balance(Arc::new(balance(texts)))
}

fn rule(at: &str, inside: Treatment) -> FrontendRule {
    FrontendRule {
        frontend: frontend(at),
        inside,
        outside: None,
        masquerade: false,
        sources: None,
        serving: None,
    }
}

/// `SplitMix64`.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("small")
    }
}
