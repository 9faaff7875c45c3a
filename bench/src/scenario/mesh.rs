//! One daemon with many sessions, each with two prefixes of its own. Transit: all external, and each told all others. Mesh: all
//! internal, as between the nodes of a cluster, so that nobody is told of anybody else but one external monitor.

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

const PREFIXES: u32 = 2;
const IDLE: Duration = Duration::from_secs(10);

const COLUMNS: &[Column] = &[
    Column::new("established", "s"),
    Column::new("converged", "s"),
    Column::new("CPU", "s"),
    Column::new("peak", "MB"),
    Column::new("per session", "KB"),
    Column::new("idle CPU", "ms/s"),
];

const TRANSIT_BARS: &[(&str, Bar)] = &[
    ("converged", Bar::OfFastest(0.35)),
    ("peak", Bar::Of(1.0, "BIRD")),
];

/// Idle CPU: half a percent of a core.
const MESH_BARS: &[(&str, Bar)] = &[
    ("established", Bar::Below(3.0)),
    ("converged", Bar::Below(1.0)),
    ("per session", Bar::Below(20.0)),
    ("idle CPU", Bar::Below(5.0)),
];

/// What the sessions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// External, each told what all others announce.
    Transit,
    /// Internal, beside one external monitor.
    Mesh,
}

/// One report for each number of sessions.
pub(crate) fn run(
    options: &Options,
    shape: Shape,
    sizes: &[u32],
    mut show: impl FnMut(Report),
) -> Result<()> {
    for &sessions in sizes {
        let (name, bars): (&str, &[(&'static str, Bar)]) = match shape {
            Shape::Transit => ("transit", TRANSIT_BARS),
            Shape::Mesh => ("mesh", MESH_BARS),
        };
        let title = format!("{name}: {sessions} sessions × {PREFIXES} prefixes");
        let mut report = Report::new(title, COLUMNS, "Dunlin");
        for (column, bar) in bars {
            report.require(column, *bar);
        }
        let skip = |kind: Kind| {
            let limit = match shape {
                Shape::Transit => kind.session_limit(),
                Shape::Mesh => u32::MAX,
            };
            (sessions > limit).then_some("not asked: it would take minutes")
        };
        let identity = |n| Identity {
            address: driver_address(n),
            asn: 100_001 + n,
        };
        let mut peers: Vec<Identity> = (0..sessions).map(identity).collect();
        if shape == Shape::Mesh {
            peers.iter_mut().for_each(|peer| peer.asn = LOCAL_AS);
            peers.push(identity(sessions));
        }
        let router = Router {
            peers,
            install: false,
        };
        for _ in 0..options.runs {
            options.take_turns(&mut report, skip, |daemon| {
                on_bed(daemon, &router, |processes| {
                    drive(shape, &router.peers, processes, options)
                })
            })?;
        }
        show(report);
    }
    Ok(())
}

/// What each of the first sessions says: its prefixes, and that these are all.
fn announcements(sessions: u32, peers: &[Identity]) -> Vec<Arc<[u8]>> {
    let announced = (0..sessions).zip(peers).map(|(n, peer)| {
        let mut out = Vec::new();
        wire::put_update(
            &mut out,
            peer.announcer(),
            n,
            n * PREFIXES..(n + 1) * PREFIXES,
        );
        wire::put_end_of_rib(&mut out);
        Arc::from(out)
    });
    announced.collect()
}

fn drive(
    shape: Shape,
    peers: &[Identity],
    processes: &Processes,
    options: &Options,
) -> Result<Vec<f64>> {
    let expectation = Expectation {
        local_as: LOCAL_AS,
        per_set: PREFIXES,
    };
    let all = u32::try_from(peers.len())?;
    let sessions = match shape {
        Shape::Transit => all,
        Shape::Mesh => all - 1,
    };
    let table = || Some(Table::new(expectation, sessions * PREFIXES));
    let encoded = announcements(sessions, peers);

    let mut fleet = Fleet::new(peers.iter().map(|peer| (*peer, table())))?;
    let before = processes.usage()?;
    let established = fleet.establish(options.deadline())?;
    // Idle first: some daemons hold back what they tell for seconds after a session came up.
    let awake = processes.usage()?;
    fleet.idle(IDLE)?;
    let idle = processes.usage()?;

    let started = Instant::now();
    for (session, bytes) in encoded.into_iter().enumerate() {
        fleet.send(session, bytes);
    }
    // A daemon may or may not tell a session its own two prefixes.
    let (others, mut known) = match shape {
        Shape::Transit => ((sessions - 1) * PREFIXES, 0),
        Shape::Mesh => (sessions * PREFIXES, peers.len() - 1),
    };
    let first = known;
    let converged = fleet.run_until(
        options.deadline(),
        "every session to be told all prefixes",
        |fleet| {
            while known < peers.len() && fleet.held(known) >= others {
                known += 1;
            }
            known == peers.len()
        },
    );
    let converged = converged.with_context(|| {
        let least = (first..peers.len())
            .map(|session| fleet.held(session))
            .min();
        format!(
            "the session that knows least was told {} of {others}",
            least.unwrap_or(0)
        )
    })?;
    let after = processes.usage()?;

    Ok(vec![
        established.as_secs_f64(),
        (converged - started).as_secs_f64(),
        after.cpu_secs - idle.cpu_secs,
        after.peak_mb,
        (after.resident_mb - before.resident_mb) * 1024.0 / f64::from(all),
        (idle.cpu_secs - awake.cpu_secs) * 1000.0 / IDLE.as_secs_f64(),
    ])
}
