use std::time::Duration;

/// How a world is.
#[derive(Clone, Copy, Debug)]
pub struct WorldConfig {
    /// How many hosts, each a Node with one pod subnet.
    pub hosts: u16,
    /// Chooses everything that is left to chance.
    pub seed: u64,
    /// One way through the network, at the least.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// Whether there is a router outside, the last host, that every Node is to tell its Services' addresses.
    pub router: bool,
    /// Among how many zones the Nodes are spread, one after the other; 0 for Nodes without zones.
    pub zones: u16,
    /// How finely time is told. What a host hears within one grain it takes in together and answers once, as an agent does that
    /// has much to read; zero has it answer each thing by itself.
    pub grain: Duration,
}

impl WorldConfig {
    /// A quiet network of this many hosts.
    pub fn new(hosts: u16, seed: u64) -> WorldConfig {
        WorldConfig {
            hosts,
            seed,
            latency: Duration::from_micros(200),
            jitter: Duration::from_micros(300),
            router: false,
            zones: 0,
            grain: Duration::ZERO,
        }
    }

    /// The same with a router outside.
    pub fn with_router(hosts: u16, seed: u64) -> WorldConfig {
        WorldConfig {
            router: true,
            ..WorldConfig::new(hosts, seed)
        }
    }

    /// Hundreds of hosts in three zones, that each take in together what comes within a millisecond.
    pub fn large(hosts: u16, seed: u64) -> WorldConfig {
        WorldConfig {
            zones: 3,
            grain: Duration::from_millis(1),
            ..WorldConfig::new(hosts, seed)
        }
    }
}
