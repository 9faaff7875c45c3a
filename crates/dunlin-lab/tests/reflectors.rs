//! How nodes peer changes under way, and reflectors die: no route is missing for a moment, and no packet is lost.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use dunlin_api::{Answer, Client, Query};
use dunlin_lab::plan::Plan;
use dunlin_lab::report::Report;
use dunlin_lab::{Lab, check, manifests};
use rustix::process::Signal;
use support::cluster::{Pings, Watches, is_settled, up_and_settled, wait_until};
use support::{TestLab, config, dunlin, is_root};

const NODES: [u16; 6] = [1, 2, 3, 4, 5, 6];
const COUNT: usize = NODES.len();

/// What takes this long on a busy machine is broken: agents wait ten seconds before a session goes.
const PATIENCE: Duration = Duration::from_secs(150);

fn set_mesh_limit(lab: &Lab, limit: u32) {
    let text = format!(
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec:\n  topology: {{mode: Auto, meshLimit: {limit}}}\n"
    );
    // The watcher passes a name without a known extension by, and so never reads half a file.
    let new = lab.manifest_dir().join(".topology.new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, lab.manifest_dir().join("topology.yaml")).expect("its name");
}

/// Says of Nodes whether they are Ready.
fn set_ready(lab: &Lab, nodes: &BTreeSet<u16>, ready: bool) {
    for &node in nodes {
        manifests::write_node(&lab.manifest_dir(), lab.plan(), node).expect("a Node");
        if ready {
            continue;
        }
        let file = lab.manifest_dir().join(format!("node-n{node}.yaml"));
        let text = fs::read_to_string(&file).expect("just written");
        let text = format!("{text}  conditions:\n    - {{type: Ready, status: \"False\"}}\n");
        let new = lab.manifest_dir().join(".node.new");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, &file).expect("its name");
    }
}

/// With whom a node has a session.
fn established(lab: &Lab, node: u16) -> Result<BTreeSet<u16>, String> {
    let host = Plan::node_name(node);
    let client = Client::new(lab.host_dir(&host).join("agent.sock"));
    match client.ask_blocking(&Query::Neighbors) {
        Ok(Answer::Neighbors(all)) => {
            let up = all
                .iter()
                .filter(|n| n.kind == "node" && n.state == "Established");
            let number = |name: &str| name.trim_start_matches('n').parse().expect("a node");
            Ok(up.map(|neighbor| number(&neighbor.name)).collect())
        }
        other => Err(format!("{host}: {other:?}")),
    }
}

/// Waits until a node and nobody else of the `living` has a session with each of them: those reflect. Every other has
/// sessions with them alone.
fn await_reflectors(lab: &Lab, living: &BTreeSet<u16>, count: usize) -> BTreeSet<u16> {
    wait_until(&format!("{count} reflectors"), PATIENCE, || {
        let mut reflectors = BTreeSet::new();
        let mut clients = Vec::new();
        for &node in living {
            let mut with = established(lab, node)?;
            with.insert(node);
            if with == *living {
                reflectors.insert(node);
            } else {
                clients.push((node, with));
            }
        }
        let served = clients.iter().all(|(node, with)| {
            let mut expected = reflectors.clone();
            expected.insert(*node);
            *with == expected
        });
        match served && reflectors.len() == count {
            true => Ok(reflectors),
            false => Err(format!("{reflectors:?} reflect, {clients:?}")),
        }
    })
}

/// Waits until all agents agree that these reflect, and no more sessions than `clients` are reflected on.
fn await_roles(lab: &Lab, reflectors: &BTreeSet<u16>, role: &str, clients: u32) {
    let names: BTreeSet<String> = reflectors.iter().copied().map(Plan::node_name).collect();
    for host in NODES.map(Plan::node_name) {
        let expected = match names.contains(&host) {
            true => "Reflector",
            false => role,
        };
        wait_until(&format!("{host} is {expected}"), PATIENCE, || {
            let status = lab.agent_status(&host).map_err(|e| format!("{e:#}"))?;
            let Some(topology) = &status.topology else {
                return Err("not known".to_owned());
            };
            let agrees = topology.reflectors.iter().eq(&names) && topology.role == expected;
            match agrees && topology.clients <= clients && is_settled(&status) {
                true => Ok(()),
                false => Err(format!("{status:?}")),
            }
        });
    }
}

fn kill(lab: &Lab, nodes: &BTreeSet<u16>) {
    for node in nodes {
        let daemon = lab.state().daemon(&Plan::node_name(*node));
        let process = daemon.expect("it runs").process;
        assert!(process.signal(Signal::KILL), "n{node} does not run");
    }
}

fn start(lab: &mut TestLab, nodes: &BTreeSet<u16>) {
    for &node in nodes {
        wait_until(&format!("n{node} starts"), PATIENCE, || {
            lab.start_node(node).map_err(|error| format!("{error:#}"))
        });
    }
}

fn without(of: &BTreeSet<u16>, these: &BTreeSet<u16>) -> BTreeSet<u16> {
    of.difference(these).copied().collect()
}

#[test]
fn reflectors_come_die_and_go_and_no_route_is_missing_for_a_moment() {
    if !is_root() {
        return;
    }
    let mut lab = up_and_settled(config("rr", 6, dunlin()));
    let mut watches = Watches::open(&lab, &NODES);
    // Of six there are always some of each kind among them.
    let pings = Pings::between(&lab, &[1, 2, 3, 4]);
    let all = BTreeSet::from(NODES);
    let mut nothing_missing = |when: &str| {
        assert_eq!(watches.deletions(), Vec::<String>::new(), "{when}");
    };
    assert_eq!(await_reflectors(&lab, &all, COUNT), all, "a mesh");

    set_mesh_limit(&lab, 3);
    let first = await_reflectors(&lab, &all, 3);
    nothing_missing("from a mesh to reflectors");

    let one = BTreeSet::from([*first.first().expect("one")]);
    kill(&lab, &one);
    set_ready(&lab, &one, false);
    let living = without(&all, &one);
    let second = await_reflectors(&lab, &living, 3);
    assert_eq!(without(&first, &second), one, "the others stay");
    nothing_missing("a reflector died");

    start(&mut lab, &one);
    set_ready(&lab, &one, true);
    assert_eq!(await_reflectors(&lab, &all, 3), first, "as it was");
    nothing_missing("it is back");

    kill(&lab, &first);
    std::thread::sleep(Duration::from_secs(2));
    nothing_missing("all reflectors died");
    set_ready(&lab, &first, false);
    let living = without(&all, &first);
    let third = await_reflectors(&lab, &living, 3);
    assert_eq!(third, living, "those that are left reflect");
    nothing_missing("others took over");

    start(&mut lab, &first);
    set_ready(&lab, &first, true);
    // The former reflectors leave it to one another to leave, for minutes.
    await_roles(&lab, &first, "Client", 5);
    set_mesh_limit(&lab, 100);
    await_roles(&lab, &BTreeSet::new(), "Mesh", 5);
    assert_eq!(await_reflectors(&lab, &all, COUNT), all, "a mesh again");
    nothing_missing("at the end");
    pings.assert_no_loss();
    check::await_routes(&lab, Instant::now() + Duration::from_secs(30)).expect("all routes");
    let summary = check::run(&lab, &Report::quiet()).expect("checks run");
    assert_eq!(summary.failures, Vec::<String>::new());
}
