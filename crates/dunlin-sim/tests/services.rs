//! Service addresses at a router outside: exactly those of the rules, whatever happens meanwhile.

use std::time::Duration;

use dunlin_intent::TrafficPolicy;
use dunlin_net::IpNet;
use dunlin_sim::{Chance, World, WorldConfig, cluster_ip, load_balancer_ip};

const SECOND: Duration = Duration::from_secs(1);
const NODES: usize = 4;
const ROUTER: usize = NODES;

/// Runs until router and nodes have what they should; panics with what is wrong.
#[track_caller]
fn heals(world: &mut World, within: Duration, what: &str) -> Duration {
    let right = |world: &mut World| world.misrouted().is_empty() && world.orphans().is_empty();
    match world.run_until(within, right) {
        Some(took) => took,
        None => {
            let misrouted: Vec<String> =
                world.misrouted().iter().map(ToString::to_string).collect();
            panic!(
                "{what}: after {within:?} {misrouted:?} {:?}",
                world.orphans()
            )
        }
    }
}

fn world(seed: u64) -> World {
    let mut world = World::new(WorldConfig::with_router(4, seed));
    world.put_service(0, TrafficPolicy::Cluster);
    world.put_endpoints(0, &[1]);
    world.put_service(1, TrafficPolicy::Local);
    world.put_endpoints(1, &[0, 2]);
    heals(&mut world, 10 * SECOND, "start");
    world
}

fn hops(world: &World, net: IpNet) -> usize {
    let hops = world.hosts[ROUTER].kernel.gateways(net);
    hops.map_or(0, |hops| hops.len())
}

#[test]
fn the_router_has_exactly_the_addresses_of_the_rules() {
    let mut world = world(1);
    assert_eq!(hops(&world, load_balancer_ip(0).into()), 4);
    assert_eq!(hops(&world, load_balancer_ip(1).into()), 2);
    assert_eq!(hops(&world, cluster_ip(1).into()), 4);
    world.put_endpoints(1, &[3]);
    heals(&mut world, SECOND, "the endpoints moved");
    assert_eq!(hops(&world, load_balancer_ip(1).into()), 1);
    world.put_endpoints(0, &[]);
    heals(&mut world, SECOND, "the last endpoint is not ready");
    assert_eq!(hops(&world, load_balancer_ip(0).into()), 0);
    world.remove_service(1);
    heals(&mut world, SECOND, "a Service is gone");
    assert_eq!(hops(&world, cluster_ip(1).into()), 0);
}

#[test]
fn an_address_that_moves_between_services_is_never_withdrawn() {
    let mut world = world(2);
    let net = IpNet::from(load_balancer_ip(0));
    let before = world.hosts[ROUTER].kernel.deletions;
    world.put_service(6, TrafficPolicy::Cluster);
    world.put_endpoints(6, &[2]);
    world.run(SECOND);
    world.remove_service(0);
    world.remove_endpoints(0);
    for _ in 0..1000 {
        world.run(Duration::from_millis(1));
        assert_eq!(hops(&world, net), 4);
    }
    heals(&mut world, SECOND, "the address moved");
    // The cluster IP of the one that went, and nothing else.
    assert_eq!(world.hosts[ROUTER].kernel.deletions, before + 1);
}

#[test]
fn a_restarted_agent_withdraws_nothing_that_is_still_so() {
    for seed in 0..10 {
        let mut world = world(100 + seed);
        let nets = [load_balancer_ip(0), load_balancer_ip(1), cluster_ip(0)].map(IpNet::from);
        let before = nets.map(|net| hops(&world, net));
        for node in 0..NODES {
            world.kill(node);
            world.run(SECOND);
            world.start(node, true);
            for _ in 0..100 {
                world.run(Duration::from_millis(100));
                assert_eq!(nets.map(|net| hops(&world, net)), before, "seed {seed}");
            }
        }
        assert_eq!(world.hosts[ROUTER].kernel.deletions, 0);
    }
}

#[test]
fn what_ended_while_an_agent_was_down_is_withdrawn_when_it_is_back() {
    let mut world = world(3);
    world.kill(2);
    world.put_endpoints(1, &[0]);
    world.remove_service(0);
    world.run(SECOND);
    world.start(2, true);
    heals(&mut world, 5 * SECOND, "the agent is back");
}

fn some(chance: &mut Chance) -> Vec<usize> {
    let bits = chance.below(1 << NODES);
    (0..NODES).filter(|node| bits >> node & 1 == 1).collect()
}

fn chaos(seed: u64) {
    let mut chance = Chance::new(seed);
    let mut world = World::new(WorldConfig::with_router(4, seed));
    for _ in 0..60 {
        let node = usize::try_from(chance.below(NODES as u64)).unwrap_or_default();
        let service = u8::try_from(chance.below(9)).unwrap_or_default();
        let policy = match chance.below(2) {
            0 => TrafficPolicy::Cluster,
            _ => TrafficPolicy::Local,
        };
        match chance.below(14) {
            0 => world.kill(node),
            1 if !world.hosts[node].is_running() => world.start(node, true),
            2 => world.set_cut(node, ROUTER, true),
            3 => world.set_cut(node, ROUTER, false),
            4 => world.remove_node(node),
            5 => world.restore_node(node),
            6 => world.remove_service(service),
            7 => world.remove_endpoints(service),
            8..=10 => world.put_service(service, policy),
            _ => {
                let on = some(&mut chance);
                world.put_endpoints(service, &on);
            }
        }
        let pause = match chance.below(3) {
            0 => chance.below(5),
            1 => chance.below(1_000),
            _ => chance.below(60_000),
        };
        world.run(Duration::from_millis(pause));
    }
    for node in 0..NODES {
        world.set_isolated(node, false);
        world.restore_node(node);
        if !world.hosts[node].is_running() {
            world.start(node, true);
        }
    }
    let what = format!("seed {seed}");
    heals(&mut world, 250 * SECOND, &what);
    // What was silent when the chaos ended is noticed within the hold time.
    world.run(100 * SECOND);
    heals(&mut world, 30 * SECOND, &what);
    world.run(600 * SECOND);
    let misrouted = world.misrouted();
    assert!(misrouted.is_empty(), "seed {seed}: {misrouted:?}");
}

#[test]
fn chaos_of_fifty_seeds_always_comes_to_rest_with_what_the_rules_give() {
    for seed in 0..50 {
        chaos(seed);
    }
}
