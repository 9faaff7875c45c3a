//! Reflectors come, go and are replaced, a mesh outgrows its limit and shrinks again, agents see the cluster differently: no
//! route is missing meanwhile, and afterwards all is at rest with few sessions.
//!
//! `DUNLIN_SIM_SEEDS` says how many seeds the chaos runs with.

use std::collections::BTreeSet;
use std::time::Duration;

use dunlin_intent::{ConfigurationFact, Fact, ReflectorsFact, TopologyMode};
use dunlin_sim::{Chance, World, WorldConfig};

const SECOND: Duration = Duration::from_secs(1);

fn configuration(mode: TopologyMode, limit: u32, count: u32) -> Fact {
    Fact::Configuration(ConfigurationFact {
        name: "default".into(),
        topology: Some(mode),
        mesh_limit: Some(limit),
        reflectors: Some(ReflectorsFact {
            count: Some(count),
            node_selector: None,
        }),
        ..ConfigurationFact::default()
    })
}

fn auto(limit: u32) -> Fact {
    configuration(TopologyMode::Auto, limit, 3)
}

fn from_env(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A cluster at rest.
fn converged(hosts: u16, seed: u64, configuration: Fact) -> World {
    let mut world = World::new(WorldConfig::new(hosts, seed));
    world.put(configuration);
    world.run(SECOND);
    heals(&mut world, 20 * SECOND, "the start");
    world.run(60 * SECOND);
    world
}

#[track_caller]
fn heals(world: &mut World, within: Duration, what: &str) {
    let start = world.now();
    loop {
        let orphans = world.orphans();
        if orphans.is_empty() {
            return;
        }
        if world.now().since(start) > within {
            panic!(
                "{what}: after {within:?} {} are wrong: {:?}",
                orphans.len(),
                &orphans[..orphans.len().min(5)]
            );
        }
        world.run(SECOND);
    }
}

fn reflectors(world: &mut World, host: usize) -> BTreeSet<usize> {
    let core = world.hosts[host].core().expect("it runs");
    let names = core.reflectors();
    names
        .filter_map(|name| name.strip_prefix('n')?.parse().ok())
        .collect()
}

/// No host has lost its route to any of these hosts' subnets, not for a moment.
#[track_caller]
fn nothing_lost(world: &World, of: &BTreeSet<usize>, what: &str) {
    for &at in of {
        for &other in of {
            let net = world.subnet(other);
            let lost = world.hosts[at].kernel.deleted.get(&net);
            assert_eq!(lost, None, "{what}: n{at} lost its route to n{other}");
        }
    }
}

fn all(hosts: usize) -> BTreeSet<usize> {
    (0..hosts).collect()
}

/// Connections of so many hosts of which so many reflect.
fn with_reflectors(hosts: usize, reflectors: usize) -> usize {
    reflectors * (hosts - reflectors) + reflectors * (reflectors - 1) / 2
}

#[track_caller]
fn at_rest(world: &mut World, what: &str) {
    let (updates, connections) = (world.updates, world.connections());
    world.run(700 * SECOND);
    assert_eq!(
        world.updates, updates,
        "{what}: somebody is still told something"
    );
    assert_eq!(world.connections(), connections, "{what}");
    assert!(world.orphans().is_empty(), "{what}: {:?}", world.orphans());
}

#[test]
fn a_mesh_becomes_reflectors_and_a_mesh_again_without_a_route_missing() {
    const N: usize = 24;
    let mut world = converged(24, 1, auto(30));
    assert_eq!(world.connections(), N * (N - 1) / 2);
    world.put(auto(20));
    world.run(5 * SECOND);
    assert!(world.connections() >= N * (N - 1) / 2, "new before old");
    world.run(115 * SECOND);
    assert_eq!(world.connections(), with_reflectors(N, 3));
    nothing_lost(&world, &all(N), "to reflectors");
    at_rest(&mut world, "reflectors");
    world.put(auto(30));
    world.run(120 * SECOND);
    assert_eq!(world.connections(), N * (N - 1) / 2);
    nothing_lost(&world, &all(N), "to a mesh");
    at_rest(&mut world, "a mesh again");
    for host in 0..N {
        let core = world.hosts[host].core().expect("it runs");
        assert_eq!(core.reflectors().count(), 0);
        assert_eq!(core.reflector_clients(), 0, "n{host} still reflects");
    }
    world.put(configuration(TopologyMode::Reflectors, 30, 1));
    world.run(120 * SECOND);
    assert_eq!(world.connections(), with_reflectors(N, 1));
    world.put(configuration(TopologyMode::Mesh, 30, 1));
    world.run(120 * SECOND);
    assert_eq!(world.connections(), N * (N - 1) / 2);
    nothing_lost(&world, &all(N), "by mode");
}

#[test]
fn nodes_that_join_and_leave_over_the_limit_lose_nobody_anything() {
    let mut world = converged(22, 2, auto(20));
    let stay = all(19);
    for round in 0..4 {
        for host in 19..22 {
            world.remove_node(host);
            world.run(SECOND);
        }
        world.run(60 * SECOND);
        assert_eq!(reflectors(&mut world, 0).len(), 3, "nineteen are not few");
        for host in 19..22 {
            world.restore_node(host);
            world.run(SECOND);
        }
        world.run(60 * SECOND);
        nothing_lost(&world, &stay, &format!("round {round}"));
    }
    heals(&mut world, 20 * SECOND, "all are back");
    world.run(700 * SECOND);
    at_rest(&mut world, "all are back");
}

#[test]
fn a_reflector_is_replaced_without_a_route_missing() {
    const N: usize = 16;
    for count in [1, 3] {
        let mode = TopologyMode::Reflectors;
        let mut world = converged(16, 3, configuration(mode, 0, count));
        let before = reflectors(&mut world, 0);
        let first = *before.first().expect("there is one");
        world.change_node(first, |node| node.unschedulable = true);
        world.run(120 * SECOND);
        let after = reflectors(&mut world, 0);
        assert_eq!(before.difference(&after).count(), 1);
        nothing_lost(&world, &all(N), "cordoned");
        world.run(400 * SECOND);
        assert_eq!(world.connections(), with_reflectors(N, count as usize));
        nothing_lost(&world, &all(N), "the old one's sessions are gone");
        // Its Node object goes without any warning, and comes back.
        let next = *after.first().expect("there is one");
        world.remove_node(next);
        for tick in 0..200 {
            world.run(Duration::from_millis(1));
            let mut others = all(N);
            others.remove(&next);
            nothing_lost(&world, &others, &format!("count {count} n{next} {tick} ms"));
        }
        world.run(200 * SECOND);
        world.restore_node(next);
        world.run(200 * SECOND);
        let mut others = all(N);
        others.remove(&next);
        nothing_lost(&world, &others, "its Node was removed");
        heals(&mut world, 20 * SECOND, "its Node is back");
    }
}

#[test]
fn all_reflectors_at_once_die_and_others_take_over_without_a_route_missing() {
    const N: usize = 16;
    let mut world = converged(16, 4, auto(5));
    let dead = reflectors(&mut world, 0);
    for &host in &dead {
        world.set_isolated(host, true);
        world.kill(host);
    }
    let mut living = all(N);
    living.retain(|host| !dead.contains(host));
    world.run(40 * SECOND);
    for &host in &dead {
        world.change_node(host, |node| node.ready = Some(false));
    }
    world.run(30 * SECOND);
    let at = *living.first().expect("some live");
    let chosen = reflectors(&mut world, at);
    assert!(chosen.is_disjoint(&dead), "{chosen:?} instead of {dead:?}");
    world.run(400 * SECOND);
    nothing_lost(&world, &living, "all reflectors died");
    let gone = world.subnet(*dead.first().expect("one"));
    assert!(
        world.hosts[at].kernel.gateways(gone).is_none(),
        "the dead are withdrawn"
    );
    for &host in &dead {
        world.set_isolated(host, false);
        world.start(host, true);
        world.change_node(host, |node| node.ready = Some(true));
    }
    heals(&mut world, 60 * SECOND, "they are back");
    world.run(400 * SECOND);
    nothing_lost(&world, &living, "they are back");
    at_rest(&mut world, "they are back");
}

#[test]
fn reflectors_that_only_restart_lose_nothing_at_all() {
    const N: usize = 12;
    let mut world = converged(12, 5, auto(5));
    let chosen = reflectors(&mut world, 0);
    for &host in &chosen {
        world.kill(host);
    }
    world.run(3 * SECOND);
    for &host in &chosen {
        world.start(host, true);
    }
    world.run(200 * SECOND);
    nothing_lost(&world, &all(N), "all reflectors restarted");
    for host in 0..N {
        world.kill(host);
        world.run(SECOND);
        world.start(host, true);
        world.run(20 * SECOND);
    }
    world.run(200 * SECOND);
    nothing_lost(&world, &all(N), "one after the other restarted");
    at_rest(&mut world, "after restarts");
}

#[test]
fn agents_that_do_not_hear_of_a_change_lose_nothing() {
    const N: usize = 14;
    let mut world = converged(14, 6, configuration(TopologyMode::Reflectors, 0, 3));
    let first = *reflectors(&mut world, 0).first().expect("there is one");
    let deaf: Vec<usize> = (0..N).filter(|host| host % 3 == 0).collect();
    for &host in &deaf {
        world.set_deaf(host, true);
    }
    world.change_node(first, |node| node.unschedulable = true);
    world.run(300 * SECOND);
    nothing_lost(&world, &all(N), "some do not know");
    // One of them restarts and still finds who it believes reflects.
    let restarted = deaf
        .iter()
        .copied()
        .find(|host| *host != first)
        .expect("one");
    world.kill(restarted);
    world.run(SECOND);
    world.start(restarted, true);
    for second in 0..1000 {
        world.run(SECOND);
        nothing_lost(
            &world,
            &all(N),
            &format!("n{restarted} of {deaf:?} {first} restarted {second} s ago"),
        );
    }
    for &host in &deaf {
        world.set_deaf(host, false);
    }
    world.run(1300 * SECOND);
    nothing_lost(&world, &all(N), "all know");
    assert_eq!(world.connections(), with_reflectors(N, 3));
    at_rest(&mut world, "all know");
}

#[test]
fn a_former_reflector_that_hears_of_it_last_stops_all_the_same() {
    const N: usize = 14;
    for restarts in [false, true] {
        let mut world = converged(14, 9, configuration(TopologyMode::Reflectors, 0, 3));
        let late = *reflectors(&mut world, 0).first().expect("there is one");
        world.set_deaf(late, true);
        world.put(configuration(TopologyMode::Mesh, 0, 3));
        world.run(100 * SECOND);
        if restarts {
            // One that has never taken it for a reflector is reflected to all the same.
            let fresh = (late + 1) % N;
            world.kill(fresh);
            world.run(SECOND);
            world.start(fresh, true);
            world.run(100 * SECOND);
        }
        let clients = |world: &mut World| {
            let core = world.hosts[late].core().expect("it runs");
            core.reflector_clients()
        };
        assert_eq!(clients(&mut world), N - 1, "it goes on reflecting");
        world.set_deaf(late, false);
        world.run(700 * SECOND);
        assert_eq!(clients(&mut world), 0, "asked again, it has stopped");
        nothing_lost(&world, &all(N), "a reflector hears last");
        assert_eq!(world.connections(), N * (N - 1) / 2);
        at_rest(&mut world, "a reflector hears last");
    }
}

#[test]
fn readiness_that_all_nodes_lose_at_once_ends_with_the_same_reflectors() {
    const N: usize = 20;
    let mut world = converged(20, 7, auto(5));
    let before = reflectors(&mut world, 0);
    for ready in [false, true] {
        for host in 0..N {
            world.change_node(host, |node| node.ready = Some(ready));
        }
        world.run(400 * SECOND);
        assert_eq!(reflectors(&mut world, 0), before);
        nothing_lost(&world, &all(N), "readiness flaps");
    }
    world.run(700 * SECOND);
    assert_eq!(world.connections(), with_reflectors(N, 3));
}

/// In every large cluster something is always away, coming or going.
#[test]
fn hundreds_of_nodes_keep_every_route_through_changes_of_topology() {
    const N: usize = 500;
    let mut world = World::new(WorldConfig::large(500, 8));
    world.run(5 * SECOND);
    heals(&mut world, 10 * SECOND, "the start");
    let chosen = reflectors(&mut world, 0);
    let zones: BTreeSet<usize> = chosen.iter().map(|host| host % 3).collect();
    assert_eq!(zones.len(), 3, "one in each zone: {chosen:?}");
    assert!((0..N).all(|host| reflectors(&mut world, host) == chosen));
    assert_eq!(world.connections(), with_reflectors(N, 3));

    // The agent of a reflector dies and comes back.
    let crashed = *chosen.first().expect("one");
    world.kill(crashed);
    world.run(5 * SECOND);
    world.start(crashed, true);
    world.run(30 * SECOND);
    nothing_lost(&world, &all(N), "a reflector restarted");
    heals(&mut world, SECOND, "a reflector restarted");
    assert_eq!(world.connections(), with_reflectors(N, 3));

    // A zone is cordoned: its reflector is replaced.
    let zone = chosen.last().expect("one") % 3;
    for host in (zone..N).step_by(3) {
        world.change_node(host, |node| node.unschedulable = true);
    }
    world.run(60 * SECOND);
    let without_zone = reflectors(&mut world, 0);
    assert_eq!(without_zone.difference(&chosen).count(), 1);
    assert!(without_zone.iter().all(|host| host % 3 != zone));
    nothing_lost(&world, &all(N), "a zone is cordoned");

    // Nodes leave, a reflector among them, and join again.
    let mut stay = all(N);
    let leaving = *without_zone.last().expect("one");
    for host in (0..N).step_by(100).chain([leaving]) {
        stay.remove(&host);
        world.remove_node(host);
        world.run(SECOND);
    }
    heals(&mut world, 20 * SECOND, "some left");
    nothing_lost(&world, &stay, "some left");
    for host in all(N).difference(&stay) {
        world.restore_node(*host);
        world.run(SECOND);
    }
    heals(&mut world, 60 * SECOND, "they are back");
    nothing_lost(&world, &stay, "they are back");

    machine_of_a_reflector_dies(&mut world, &mut stay);
    for host in (zone..N).step_by(3) {
        world.change_node(host, |node| node.unschedulable = false);
    }
    world.run(1_300 * SECOND);
    nothing_lost(&world, &stay, "no zone is cordoned");
    assert_eq!(reflectors(&mut world, 0), chosen);
    assert_eq!(world.connections(), with_reflectors(N, 3));
    at_rest(&mut world, "after all");
}

/// Its own pods are gone when the others miss it, and nobody else's. It comes back.
fn machine_of_a_reflector_dies(world: &mut World, stay: &mut BTreeSet<usize>) {
    let at = *stay.first().expect("some stay");
    let dead = *reflectors(world, at).first().expect("one");
    stay.remove(&dead);
    world.set_isolated(dead, true);
    world.kill(dead);
    world.run(40 * SECOND);
    world.change_node(dead, |node| node.ready = Some(false));
    world.run(55 * SECOND);
    let net = world.subnet(dead);
    for &host in stay.iter() {
        let way = world.hosts[host].kernel.gateways(net);
        assert!(
            way.is_none(),
            "n{host} sends to n{dead} after its hold time"
        );
    }
    let others = reflectors(world, at);
    assert!(others.len() == 3 && !others.contains(&dead), "{others:?}");
    nothing_lost(world, stay, "a reflector's machine died");
    world.set_isolated(dead, false);
    world.start(dead, true);
    world.change_node(dead, |node| node.ready = Some(true));
    heals(world, 60 * SECOND, "the machine is back");
    nothing_lost(world, stay, "the machine is back");
}

/// Whatever happens to the other hosts and to the configuration, the first hosts never lose each other.
fn chaos(seed: u64) {
    const HOSTS: u64 = 14;
    const CALM: u64 = 5;
    let mut chance = Chance::new(seed ^ 0x7090_0109);
    let mut world = converged(14, seed, auto(10));
    let calm = all(usize::try_from(CALM).unwrap());
    for _ in 0..30 {
        let any = usize::try_from(chance.below(HOSTS)).unwrap();
        let wild = usize::try_from(CALM + chance.below(HOSTS - CALM)).unwrap();
        match chance.below(12) {
            0 => world.kill(wild),
            1 | 2 if !world.hosts[wild].is_running() => world.start(wild, true),
            3 => world.remove_node(wild),
            4 | 5 => world.restore_node(wild),
            6 => world.change_node(any, |node| node.unschedulable ^= true),
            7 => world.change_node(any, |node| node.ready = Some(node.ready == Some(false))),
            8 => world.set_deaf(any, true),
            9 => world.set_deaf(any, false),
            10 => world.put(auto(u32::try_from(4 + chance.below(14)).unwrap())),
            _ => {
                let zone = chance.below(3).to_string();
                world.change_node(any, |node| {
                    node.labels
                        .insert("topology.kubernetes.io/zone".into(), zone);
                });
            }
        }
        let pause = match chance.below(3) {
            0 => chance.below(50),
            1 => chance.below(3_000),
            _ => chance.below(40_000),
        };
        world.run(Duration::from_millis(pause));
    }
    nothing_lost(&world, &calm, &format!("seed {seed}"));
    for host in 0..14 {
        world.set_deaf(host, false);
        world.restore_node(host);
        if !world.hosts[host].is_running() {
            world.start(host, true);
        }
    }
    world.put(auto(10));
    heals(&mut world, 200 * SECOND, &format!("seed {seed}"));
    world.run(1_300 * SECOND);
    nothing_lost(&world, &calm, &format!("seed {seed}, at the end"));
    assert_eq!(world.connections(), with_reflectors(14, 3), "seed {seed}");
    at_rest(&mut world, &format!("seed {seed}"));
}

#[test]
fn chaos_of_topology_always_comes_to_rest() {
    for seed in 0..from_env("DUNLIN_SIM_SEEDS", 20) {
        chaos(seed);
    }
}
