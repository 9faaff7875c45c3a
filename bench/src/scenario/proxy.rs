//! The service proxy beside kube-proxy's nftables mode, on the same objects: from the API to the kernel, told by the
//! kernel, and what packets meet there.

mod node;
mod objects;
mod path;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dunlin_fakeapi::FakeApi;

use self::node::{Node, Subject};
use self::objects::Size;
use self::path::Path;
use super::Options;
use crate::interrupt;
use crate::report::{Column, Report};

const MIDDLE: Size = Size {
    services: 10_000,
    endpoints: 10,
};
const LARGE: Size = Size {
    services: 50_000,
    endpoints: 5,
};
/// Numbers of services whose addresses are connected to.
const WALKED: [u32; 3] = [10, 1_000, 50_000];
/// kube-proxy takes minutes for more.
const WALKED_KUBE_PROXY: u32 = 1_000;

const FIRST: &[Column] = &[
    Column::new("from start", "s"),
    Column::new("of it reading", "s"),
    Column::new("CPU", "s"),
    Column::new("peak", "MB"),
    Column::new("resident", "MB"),
];
const CHANGES: &[Column] = &[
    Column::new("p50", "ms"),
    Column::new("p99", "ms"),
    Column::new("longest", "ms"),
    Column::new("in the agent p50", "ms"),
    Column::new("p99", "ms"),
];
const STEADY: &[Column] = &[
    Column::new("CPU of a core", "%"),
    Column::new("last behind by", "ms"),
    Column::new("resident", "MB"),
];
const RESTART: &[Column] = &[
    Column::new("programs again", "s"),
    Column::new("elements written", ""),
];
const CONNECTIONS: &[Column] = &[
    Column::new("a connection", "µs"),
    Column::new("until open p50", "µs"),
    Column::new("p99", "µs"),
];

/// Between two single changes.
const PAUSE: Duration = Duration::from_millis(20);
/// kube-proxy waits a second between two of its syncs.
const PAUSE_KUBE_PROXY: Duration = Duration::from_millis(1500);
const PER_SEC: u32 = 1_000;
const STEADY_SECS: u32 = 10;
/// Endpoints that a service has one after the other: in a run, and of those in the changes of each second.
const GENERATIONS: u32 = 1_000;
const STEADY_GENERATIONS: u32 = 5;
/// Of each subject, in turn.
const ROUNDS: u32 = 40;

/// What `--case` takes here: kube-proxy at the middle size takes a quarter of an hour.
pub(super) const CASES: [&str; 4] = ["middle", "kube-proxy", "large", "connections"];

/// Figures at one size.
struct Reports {
    first: Report,
    changes: Report,
    steady: Report,
    restart: Report,
}

/// Four reports at 10,000 × 10, one at 50,000 × 5, one of connections.
pub(crate) fn run(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    let title = |what: &str, size: Size| {
        format!(
            "proxy, {} services × {} endpoints: {what}",
            size.services, size.endpoints
        )
    };
    let report = |what, columns| Report::new(title(what, MIDDLE), columns, "Dunlin");
    let mut reports = Reports {
        first: report("all programmed", FIRST),
        changes: report("an endpoint changes, API to kernel", CHANGES),
        steady: report("1,000 changes a second", STEADY),
        restart: report("killed, changed once, started", RESTART),
    };
    let sizes = ["middle", "kube-proxy"];
    if sizes.into_iter().any(|case| options.wants(case)) {
        let api = MIDDLE.fill();
        for run in 0..options.runs {
            if options.wants("middle") {
                middle(options, Subject::Dunlin, &api, run, &mut reports)?;
            }
        }
        if options.wants("kube-proxy") {
            kube_proxy(options, &api, &mut reports)?;
        }
        show(reports.first);
        show(reports.changes);
        show(reports.steady);
        show(reports.restart);
    }
    if options.wants("large") {
        let mut report = Report::new(title("all programmed", LARGE), FIRST, "Dunlin");
        let api = LARGE.fill();
        for _ in 0..options.runs {
            let mut node = Node::new(options, Subject::Dunlin, LARGE, &api)?;
            report.add("Dunlin", first(&mut node, options)?);
        }
        show(report);
    }
    if options.wants("connections") {
        show(connections(options)?);
    }
    Ok(())
}

/// Once: it takes long, and what it takes is long enough to measure.
fn kube_proxy(options: &Options, api: &FakeApi, reports: &mut Reports) -> Result<()> {
    let name = Subject::KubeProxy.name();
    let outcome = match dunlin_e2e::kube_proxy() {
        Ok(_) => middle(options, Subject::KubeProxy, api, options.runs, reports),
        Err(lack) => Err(anyhow::Error::msg(format!("skipped: {lack}"))),
    };
    match outcome {
        Err(error) if interrupt::asked() => return Err(error),
        Err(error) => reports.first.note(name, format!("{error:#}")),
        Ok(()) => {}
    }
    Ok(())
}

fn middle(
    options: &Options,
    subject: Subject,
    api: &FakeApi,
    run: u32,
    reports: &mut Reports,
) -> Result<()> {
    let name = subject.name();
    // What an earlier run left behind is none of them: what changes nothing is not programmed.
    let generation = 1 + run * GENERATIONS;
    let mut node = Node::new(options, subject, MIDDLE, api)?;
    reports.first.add(name, first(&mut node, options)?);
    reports
        .changes
        .add(name, changes(&node, options, generation)?);
    reports
        .steady
        .add(name, steady(&node, options, generation)?);
    reports
        .restart
        .add(name, restart(&mut node, options, generation)?);
    Ok(())
}

/// What `options` say is for Dunlin.
fn deadline(options: &Options, subject: Subject) -> Instant {
    const KUBE_PROXY: Duration = Duration::from_secs(900);
    match subject {
        Subject::Dunlin => options.deadline(),
        Subject::KubeProxy => Instant::now() + KUBE_PROXY,
    }
}

fn first(node: &mut Node, options: &Options) -> Result<Vec<f64>> {
    let sync = node.first_sync(deadline(options, node.subject))?;
    Ok(vec![
        sync.took.as_secs_f64(),
        sync.reading.as_secs_f64(),
        sync.usage.cpu_secs,
        sync.usage.peak_mb,
        node.usage()?.resident_mb,
    ])
}

/// One endpoint after the other is replaced, each when the one before is programmed.
fn changes(node: &Node, options: &Options, first: u32) -> Result<Vec<f64>> {
    let (count, pause) = match node.subject {
        Subject::Dunlin => (300, PAUSE),
        Subject::KubeProxy => (10, PAUSE_KUBE_PROXY),
    };
    let slice = |number: u32| {
        let generation = first + STEADY_GENERATIONS + number;
        let service = number * 7 % node.size.services;
        node.size.slice(service, generation)
    };
    let monitor = node.monitor(false)?;
    let mut took = Vec::new();
    for number in 0..count {
        std::thread::sleep(pause);
        let slice = slice(number);
        let before = monitor.heard().transactions;
        let begun = Instant::now();
        node.api.put(slice);
        let done = monitor.wait(deadline(options, node.subject), "a change", |heard| {
            heard.transactions > before
        })?;
        took.push(done.saturating_duration_since(begun).as_secs_f64() * 1000.0);
    }
    drop(monitor);
    took.sort_by(f64::total_cmp);
    // As many again, with nobody else to be told of them by the kernel.
    let inside = match node.programming()? {
        None => [f64::NAN; 2],
        Some(before) => {
            for number in count..2 * count {
                std::thread::sleep(pause);
                node.api.put(slice(number));
            }
            let end = deadline(options, node.subject);
            let after = node.programming_after(&before, count, end)?;
            [0.5, 0.99].map(|part| after.quantile_since(&before, part) * 1000.0)
        }
    };
    Ok(vec![
        at(&took, 0.5),
        at(&took, 0.99),
        at(&took, 1.0),
        inside[0],
        inside[1],
    ])
}

/// The same, so many a second, whoever keeps up.
fn steady(node: &Node, options: &Options, first: u32) -> Result<Vec<f64>> {
    let monitor = node.monitor(false)?;
    let before = node.usage()?;
    let begun = Instant::now();
    let end = deadline(options, node.subject);
    for number in 0..PER_SEC * STEADY_SECS {
        interrupt::check(end, "the changes")?;
        let service = number * 11 % node.size.services;
        node.api.put(
            node.size
                .slice(service, first + number % STEADY_GENERATIONS),
        );
        let due = begun + Duration::from_secs(1) * (number + 1) / PER_SEC;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let told = Instant::now();
    monitor.wait(end, "any change", |heard| heard.transactions > 0)?;
    monitor.wait_quiet(node.subject.quiet(), end)?;
    let after = node.usage()?;
    let last = monitor.heard().last.context("no change is programmed")?;
    let lasted = last.max(told) - begun;
    Ok(vec![
        (after.cpu_secs - before.cpu_secs) / lasted.as_secs_f64() * 100.0,
        last.saturating_duration_since(told).as_secs_f64() * 1000.0,
        after.resident_mb,
    ])
}

/// An endpoint changes while the process is away.
fn restart(node: &mut Node, options: &Options, first: u32) -> Result<Vec<f64>> {
    let end = deadline(options, node.subject);
    node.kill();
    node.api.put(node.size.slice(1, first + GENERATIONS - 1));
    let monitor = node.monitor(true)?;
    let started = node.launch()?;
    match node.subject {
        Subject::Dunlin => {
            monitor.wait(end, "the change to be programmed", |heard| {
                heard.elements >= 2
            })?;
        }
        Subject::KubeProxy => {
            node.lists_read(end)?;
            node.programmed(end)?;
        }
    }
    monitor.wait_quiet(node.subject.quiet(), end)?;
    let heard = monitor.heard();
    let last = heard.last.context("nothing was programmed")?;
    let written = match heard.lost {
        true => f64::NAN,
        false => heard.elements as f64,
    };
    Ok(vec![(last - started).as_secs_f64(), written])
}

/// All subjects at once, in turn block by block, so that what else the machine does meets all.
fn connections(options: &Options) -> Result<Report> {
    let title = "proxy: new connections from a pod, client to endpoint".to_owned();
    let mut report = Report::new(title, CONNECTIONS, "one DNAT rule");
    let mut apis: BTreeMap<u32, FakeApi> = BTreeMap::new();
    let mut nodes = Vec::new();
    for services in WALKED {
        let size = Size {
            services,
            endpoints: 5,
        };
        let api = apis.entry(services).or_insert_with(|| size.fill());
        for subject in [Subject::Dunlin, Subject::KubeProxy] {
            let name = format!("{} {services}", subject.name());
            if subject == Subject::KubeProxy {
                if services > WALKED_KUBE_PROXY {
                    continue;
                }
                if let Err(lack) = dunlin_e2e::kube_proxy() {
                    report.note(&name, format!("skipped: {lack}"));
                    continue;
                }
            }
            let mut node = Node::new(options, subject, size, api)?;
            node.first_sync(deadline(options, subject))?;
            let path = Path::new(&node.bed, services)?;
            nodes.push((name, path, Some(node), None));
        }
    }
    // To connect to one address after another has a price of its own, whatever delivers.
    for (at, services) in [1].into_iter().chain(WALKED).enumerate() {
        let name = match services {
            1 => "one DNAT rule".to_owned(),
            _ => format!("one DNAT rule {services}"),
        };
        let rule = path::one_rule(services)?;
        let path = Path::new(&rule, services)?;
        nodes.insert(at, (name, path, None, Some(rule)));
    }
    for round in 0..=ROUNDS {
        for (name, path, _, _) in &mut nodes {
            path.block().with_context(|| name.clone())?;
            if round == 0 {
                path.warm();
            }
        }
    }
    for (name, path, _, _) in &mut nodes {
        report.add(name, path.figures()?);
    }
    Ok(report)
}

/// Of sorted values, the one that so large a share of them does not exceed.
fn at(values: &[f64], share: f64) -> f64 {
    let index = (values.len() as f64 * share).ceil() as usize;
    values
        .get(index.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}
