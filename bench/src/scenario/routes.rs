//! Routes in, routes out: eBGP senders, one daemon, one eBGP monitor that must be told every
//! prefix; then the senders close and the monitor must lose every prefix. A transit router tells the
//! senders each other's prefixes too: "all told" is when that has been done as well, and the CPU
//! time is counted until then.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{Options, on_bed};
use crate::daemon::{Kind, LOCAL_AS, Router};
use crate::fleet::{Fleet, Identity};
use crate::netns::driver_address;
use crate::process::Processes;
use crate::report::{Bar, Column, Report};
use crate::table::{Expectation, Table};
use crate::wire;

/// Prefixes that share one attribute set, and one UPDATE.
const PER_SET: u32 = 10;

/// Some daemons hold back what they tell for a second or two after a session came up.
const SETTLE: Duration = Duration::from_secs(2);

const COLUMNS: &[Column] = &[
    Column::new("wall", "s"),
    Column::new("all told", "s"),
    Column::new("CPU", "s"),
    Column::new("peak", "MB"),
    Column::new("withdraw", "s"),
];

struct Case {
    name: &'static str,
    title: &'static str,
    senders: u32,
    prefixes: u32,
    /// All senders announce the same prefixes.
    same: bool,
    bars: &'static [(&'static str, Bar)],
}

const CASES: &[Case] = &[
    Case {
        name: "1x1000000",
        title: "1 sender × 1,000,000 prefixes",
        senders: 1,
        prefixes: 1_000_000,
        same: false,
        bars: &[
            ("wall", Bar::Of(0.6, "BIRD")),
            ("CPU", Bar::Of(0.8, "BIRD")),
            ("peak", Bar::Of(1.0, "BIRD")),
            ("withdraw", Bar::OfFastest(0.7)),
        ],
    },
    Case {
        name: "10x100000-same",
        title: "10 senders × the same 100,000 prefixes",
        senders: 10,
        prefixes: 100_000,
        same: true,
        bars: &[
            ("wall", Bar::OfFastest(0.6)),
            ("peak", Bar::Of(1.0, "BIRD")),
            ("withdraw", Bar::OfFastest(0.7)),
        ],
    },
    Case {
        name: "10x100000-different",
        title: "10 senders × 100,000 different prefixes",
        senders: 10,
        prefixes: 100_000,
        same: false,
        bars: &[
            ("wall", Bar::OfFastest(0.5)),
            ("peak", Bar::Of(1.0, "BIRD")),
            ("withdraw", Bar::OfFastest(0.7)),
        ],
    },
    Case {
        name: "1x100000",
        title: "1 sender × 100,000 prefixes",
        senders: 1,
        prefixes: 100_000,
        same: false,
        bars: &[],
    },
];

/// The names of the cases.
pub(super) fn case_names() -> impl Iterator<Item = &'static str> {
    CASES.iter().map(|case| case.name)
}

impl Case {
    /// What sender `n` announces. With the same prefixes from all, each adds one of its own at the
    /// end: once the monitor knows it, the daemon has taken in everything that sender said.
    fn ranges(&self, n: u32) -> [Range<u32>; 2] {
        if self.same {
            let marker = self.prefixes + n * PER_SET;
            [0..self.prefixes, marker..marker + 1]
        } else {
            [n * self.prefixes..(n + 1) * self.prefixes, 0..0]
        }
    }

    fn distinct(&self) -> u32 {
        if self.same {
            self.prefixes + self.senders
        } else {
            self.senders * self.prefixes
        }
    }

    fn encode(&self, n: u32, sender: Identity) -> Arc<[u8]> {
        let mut out = Vec::with_capacity(12 * self.prefixes as usize);
        for range in self.ranges(n) {
            for first in range.clone().step_by(PER_SET as usize) {
                let set = first..range.end.min(first + PER_SET);
                wire::put_update(&mut out, sender.announcer(), first / PER_SET, set);
            }
        }
        wire::put_end_of_rib(&mut out);
        out.into()
    }
}

/// One report for each case.
pub(crate) fn run(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        let mut report = Report::new(format!("routes: {}", case.title), COLUMNS, "Dunlin");
        for (column, bar) in case.bars {
            report.require(column, *bar);
        }
        let skip = |kind: Kind| {
            let routes = case.senders * case.prefixes;
            (routes > kind.route_limit()).then_some("not asked: it would take minutes")
        };
        let identity = |n| Identity {
            address: driver_address(n),
            asn: 65_101 + n,
        };
        let router = Router {
            peers: (0..=case.senders).map(identity).collect(),
            install: false,
        };
        for _ in 0..options.runs {
            options.take_turns(&mut report, skip, |daemon| {
                on_bed(daemon, &router, |processes| {
                    drive(case, &router.peers, processes, options)
                })
            })?;
        }
        show(report);
    }
    Ok(())
}

/// The driver's side of one run, inside its namespace. The monitor is the last of `peers`.
fn drive(
    case: &Case,
    peers: &[Identity],
    processes: &Processes,
    options: &Options,
) -> Result<Vec<f64>> {
    let expectation = Expectation {
        local_as: LOCAL_AS,
        per_set: PER_SET,
    };
    let limit = case.distinct() + PER_SET * case.senders;
    let (monitor, senders) = (peers.len() - 1, 0..peers.len() - 1);
    let tables = peers.iter().map(|_| Some(Table::new(expectation, limit)));
    let encoded: Vec<Arc<[u8]>> = (0..case.senders)
        .zip(peers)
        .map(|(n, sender)| case.encode(n, *sender))
        .collect();

    let mut fleet = Fleet::new(peers.iter().copied().zip(tables))?;
    fleet.establish(options.deadline())?;
    fleet.idle(SETTLE)?;
    let before = processes.usage()?;
    let started = Instant::now();
    for (sender, bytes) in senders.clone().zip(encoded) {
        fleet.send(sender, bytes);
    }
    let told = fleet.run_until(
        options.deadline(),
        "the monitor to be told every prefix",
        |fleet| fleet.held(monitor) == case.distinct(),
    );
    let told = told.with_context(|| {
        format!(
            "the monitor was told {} of {}",
            fleet.held(monitor),
            case.distinct()
        )
    })?;
    // Each prefix is told to every sender but the one whose path was chosen.
    let others = u64::from(case.distinct()) * u64::from(case.senders - 1);
    let held_by_senders = |fleet: &Fleet| {
        senders
            .clone()
            .map(|n| u64::from(fleet.held(n)))
            .sum::<u64>()
    };
    let all_told = fleet.run_until(options.deadline(), "the senders to be told", |fleet| {
        held_by_senders(fleet) >= others
    });
    let all_told = all_told
        .with_context(|| format!("they were told {} of {others}", held_by_senders(&fleet)))?;
    let after = processes.usage()?;

    let closing = Instant::now();
    senders.clone().for_each(|sender| fleet.close(sender));
    let lost = fleet.run_until(
        options.deadline(),
        "the monitor to lose every prefix",
        |fleet| fleet.held(monitor) == 0,
    );
    let lost = lost.with_context(|| format!("the monitor still holds {}", fleet.held(monitor)))?;
    Ok(vec![
        (told - started).as_secs_f64(),
        (all_told - started).as_secs_f64(),
        after.cpu_secs - before.cpu_secs,
        processes.usage()?.peak_mb,
        (lost - closing).as_secs_f64(),
    ])
}
