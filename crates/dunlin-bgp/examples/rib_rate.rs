//! How fast the RIB takes routes in, decides and encodes them, and how much memory that needs.
//!
//! `cargo run --profile bench-fast -p dunlin-bgp --example rib_rate -- [one|same|different]`; each scenario in a process
//! of its own, since the peak of memory is the process's. Times are of the RIB's calls alone.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program that measures and prints"
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dunlin_bgp::attrs::{self, AttrBuilder, Attrs, Origin};
use dunlin_bgp::batch::{BatchItem, NextHop, RouteBatch};
use dunlin_bgp::policy::{AttrEdits, PeerType, RejectReason};
use dunlin_bgp::rib::{
    ExportAction, ExportNextHop, ExportPolicy, GroupKey, ImportPolicy, Rib, RibConfig, RibFamily,
    SourceId, SourceInfo,
};
use dunlin_bgp::wire::ExportEncoding;
use dunlin_net::{Afi, Asn, Family, Ipv4Net, PeerId, PerFamily, RouterId, V4};

const SEED: u64 = 7;
const PER_SET: u32 = 10;

struct Transit;

impl ImportPolicy for Transit {
    fn judge<F: RibFamily>(
        &self,
        _: &SourceInfo,
        _: F::Net,
        _: Attrs<'_>,
        _: &NextHop,
    ) -> Result<Option<&AttrEdits>, RejectReason> {
        Ok(None)
    }
}

impl ExportPolicy for Transit {
    fn export<F: RibFamily>(
        &self,
        _: &GroupKey,
        _: F::Net,
        _: Attrs<'_>,
        _: &SourceInfo,
    ) -> Result<ExportAction<'_>, RejectReason> {
        Ok(ExportAction {
            edits: None,
            next_hop: ExportNextHop::Own,
        })
    }
}

struct Bench {
    rib: Rib,
    spent: Duration,
    octets: usize,
    blocks: usize,
}

const MONITOR: PeerId = PeerId(999);

impl Bench {
    fn new() -> Bench {
        let router_id = RouterId(Ipv4Addr::new(10, 0, 0, 254));
        let mut config = RibConfig::new(SEED, router_id, Asn(64512));
        (config.resolve, config.fib) = (false, false);
        let mut rib = Rib::new(config);
        let key = GroupKey {
            policy: 0,
            encoding: ExportEncoding {
                peer_type: PeerType::External,
                local_asn: Asn(64512),
                prepend_local_asn: true,
                four_octet_as: true,
                extended_message: false,
                add_path: PerFamily::default(),
                extended_next_hop: false,
            },
            reflector_client: false,
            role: None,
            families: PerFamily {
                v4: true,
                v6: false,
            },
            long_lived: true,
            own_next_hop: PerFamily {
                v4: Some(NextHop::new(router_id.0.into())),
                v6: None,
            },
        };
        rib.join(MONITOR, None, &key, 1 << 20);
        Bench {
            rib,
            spent: Duration::ZERO,
            octets: 0,
            blocks: 0,
        }
    }

    fn source(&mut self, number: u8) -> SourceId {
        let addr = Ipv4Addr::new(10, 0, 1, number);
        let info = SourceInfo {
            peer: Some(PeerId(u32::from(number))),
            peer_type: PeerType::External,
            router_id: RouterId(addr),
            remote_addr: addr.into(),
            remote_asn: Asn(65000 + u32::from(number)),
            local_asn: Asn(64512),
            allow_own_as: 0,
            reflector_client: false,
            role: None,
        };
        self.rib.register(info).expect("few sources")
    }

    fn drain(&mut self) {
        while let Some(output) = self.rib.poll_output(&Transit, 64 * 1024) {
            self.octets += output.bytes.len();
            self.blocks += 1;
            self.rib.on_credit(MONITOR, output.bytes.len());
        }
    }

    fn timed(&mut self, work: impl FnOnce(&mut Bench)) {
        let start = Instant::now();
        work(self);
        self.spent += start.elapsed();
    }

    fn feed(&mut self, source: SourceId, number: u8, first: u32, count: u32) {
        let mut batch = RouteBatch::default();
        let (mut at, end) = (first, first + count);
        while at < end {
            batch.clear();
            while at < end && !batch.is_full() {
                announce(&mut batch, number, at, PER_SET.min(end - at));
                at += PER_SET;
            }
            self.timed(|bench| {
                bench.rib.apply(&Transit, source, &batch);
                bench.drain();
            });
        }
    }

    fn report(&mut self, what: &str, prefixes: u32) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!(
            "{what:<24} {:>8.1} ms {:>6} ns/prefix, {:>5} blocks, {:>9} octets, {}",
            self.spent.as_secs_f64() * 1e3,
            self.spent.as_nanos() / u128::from(prefixes),
            self.blocks,
            self.octets,
            peak.unwrap_or("VmHWM unknown").replace('\t', " "),
        );
        (self.spent, self.octets, self.blocks) = (Duration::ZERO, 0, 0);
    }

    fn withdraw(&mut self, sources: &[SourceId]) {
        self.timed(|bench| {
            for &source in sources {
                bench.rib.drop_source(source);
                while bench.rib.poll_work(&Transit, 16 * 1024) {
                    bench.drain();
                }
                bench.drain();
            }
        });
    }
}

fn net(number: u32) -> Ipv4Net {
    let addr = Ipv4Addr::from(0x0100_0000 + (number << 8));
    V4::net(addr, 24).expect("24 bits are fine")
}

fn announce(batch: &mut RouteBatch, sender: u8, first: u32, count: u32) {
    let set = first / PER_SET;
    let path = [
        65000 + u32::from(sender),
        3000 + set % 7,
        100_000 + set,
        200_000,
    ];
    let bytes = AttrBuilder::originated(Origin::Igp)
        .as_path(&path.map(Asn))
        .communities(&[0xFC00_0000 | (set & 0xFFFF), 0xFC00_0001])
        .build();
    let next_hop = NextHop::new(Ipv4Addr::new(10, 0, 1, sender).into());
    let attrs = batch.attr_bytes.len() as u32;
    let nlri = batch.nlri.v4.len() as u32;
    batch.attr_bytes.extend_from_slice(&bytes);
    batch.nlri.v4.extend((first..first + count).map(net));
    batch.items.push(BatchItem::Announce {
        afi: Afi::Ipv4,
        attrs: attrs..attrs + bytes.len() as u32,
        hash: attrs::hash(SEED, &bytes, &next_hop),
        next_hop,
        nlri: nlri..nlri + count,
    });
}

fn main() {
    let scenario = std::env::args().nth(1).unwrap_or_else(|| "one".into());
    let mut bench = Bench::new();
    let senders: u8 = if scenario == "one" { 1 } else { 10 };
    let each = if scenario == "one" {
        1_000_000
    } else {
        100_000
    };
    let sources: Vec<SourceId> = (1..=senders).map(|n| bench.source(n)).collect();
    for (number, &source) in (1u8..).zip(&sources) {
        let first = if scenario == "different" {
            u32::from(number - 1) * each
        } else {
            0
        };
        bench.feed(source, number, first, each);
    }
    let total = u32::from(senders) * each;
    bench.report(&format!("{scenario}: in and out"), total);
    bench.withdraw(&sources);
    bench.report(&format!("{scenario}: withdraw"), total);
    assert_eq!(bench.rib.counts(), Default::default(), "nothing is left");
}
