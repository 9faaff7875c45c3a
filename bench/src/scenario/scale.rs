//! An agent in a big cluster that exists in the API alone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dunlin_e2e::control::Component;
use dunlin_e2e::router;
use dunlin_e2e::world::{NODES, World};

use super::Options;
use crate::interrupt;
use crate::process::usage;
use crate::report::{Column, Report};

const COLUMNS: &[Column] = &[
    Column::new("synced", "s"),
    Column::new("RSS", "MB"),
    Column::new("CPU at 50/s", "ms/s"),
];

const BIG_NODES: u32 = 5000;
const SERVICES: u32 = 10_000;
const CHANGES_PER_SEC: u32 = 50;
const CHURN_SECS: u32 = 20;

/// Starts an agent where there is much to read, and lets endpoints change that do not concern it.
pub(crate) fn run(options: &Options, mut show: impl FnMut(Report)) -> Result<()> {
    let title = format!(
        "scale: {BIG_NODES} nodes, {SERVICES} services, {} endpoints in a real API",
        SERVICES * 10
    );
    let mut report = Report::new(title, COLUMNS, "Dunlin");
    match router::installed().and_then(|()| dunlin_e2e::control_plane()) {
        Ok(program) => {
            let mut world = World::new(program, options.dunlin.clone());
            report.add("Dunlin", measure(&mut world, options)?);
        }
        Err(lack) => report.note("Dunlin", format!("skipped: {lack}")),
    }
    show(report);
    Ok(())
}

fn measure(world: &mut World, options: &Options) -> Result<Vec<f64>> {
    world.cluster();
    let [subject, others @ ..] = NODES;
    for other in others {
        world.cluster().agents.remove(other);
    }
    // Its subnets would be none of the controller manager's, and nobody answers at the nodes' addresses.
    world.plane.kill(Component::ControllerManager);
    world.kubectl().apply(
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {name: default}\n\
         spec: {topology: {mode: None}}\n",
    );
    world.plane.tool("populate", &[BIG_NODES, SERVICES]);
    let agents = &mut world.cluster().agents;
    agents.remove(subject).context("the agent")?.terminate();
    // What it knew would make it look ready before it has read anything.
    let state = world.place(subject).state_dir();
    std::fs::remove_dir_all(&state)
        .with_context(|| format!("cannot remove {}", state.display()))?;
    let began = Instant::now();
    world.start_agent(subject);
    let agent = &world.cluster().agents[subject];
    let synced = interrupt::wait_for(
        options.deadline(),
        Duration::from_millis(20),
        "the agent to have read everything",
        || {
            Ok(agent
                .status()
                .is_ok_and(|s| s.source_synced && s.ready && s.sessions.external_up == 1))
        },
    )?;
    let pid = u32::try_from(agent.pid())?;
    let before = usage(&[pid])?;
    let from = Instant::now();
    world
        .plane
        .tool("churn", &[BIG_NODES, SERVICES, CHANGES_PER_SEC, CHURN_SECS]);
    let secs = from.elapsed().as_secs_f64();
    let after = usage(&[pid])?;
    Ok(vec![
        (synced - began).as_secs_f64(),
        after.resident_mb,
        (after.cpu_secs - before.cpu_secs) * 1000.0 / secs,
    ])
}
