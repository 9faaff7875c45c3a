//! Whole clusters: convergence, restart, failure, repair, and chaos from seeds.

use std::time::Duration;

use dunlin_intent::{ConfigurationFact, Fact, RouteInstallation};
use dunlin_net::Asn;
use dunlin_sim::{Chance, World, WorldConfig};

const SECOND: Duration = Duration::from_secs(1);

fn converged(hosts: u16, seed: u64) -> World {
    let mut world = World::new(WorldConfig::new(hosts, seed));
    let took = world.run_until(10 * SECOND, |world| world.orphans().is_empty());
    assert!(took.is_some(), "seed {seed}: {:?}", world.orphans());
    world
}

/// Runs until nothing is wrong; panics with what is.
#[track_caller]
fn heals(world: &mut World, within: Duration, what: &str) -> Duration {
    match world.run_until(within, |world| world.orphans().is_empty()) {
        Some(took) => took,
        None => panic!("{what}: after {within:?} {:?}", world.orphans()),
    }
}

fn deletions(world: &World) -> u64 {
    world.hosts.iter().map(|host| host.kernel.deletions).sum()
}

#[test]
fn a_cluster_converges_within_three_seconds() {
    let mut world = World::new(WorldConfig::new(20, 1));
    let took = world.run_until(3 * SECOND, |world| world.orphans().is_empty());
    assert!(took.is_some(), "{:?}", world.orphans());
    for host in &world.hosts {
        assert!(host.pod_network.is_some(), "{} can carry pods", host.name);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(WorldConfig::new(8, seed));
        world.run_until(10 * SECOND, |world| world.orphans().is_empty())
    };
    assert_eq!(run(7), run(7));
}

#[test]
fn a_killed_agent_that_comes_back_deletes_and_loses_nothing() {
    let mut world = converged(5, 2);
    for host in 0..5 {
        world.kill(host);
        world.run(2 * SECOND);
        world.start(host, true);
        for _ in 0..200 {
            world.run(Duration::from_millis(100));
            // A stopped agent's own kernel is looked at as well: its routes stay.
            for (at, one) in world.hosts.iter().enumerate() {
                for other in (0..5).filter(|&other| other != at) {
                    let net = world.subnet(other);
                    assert!(
                        one.kernel.gateways(net).is_some(),
                        "{} lost {net}",
                        one.name
                    );
                }
            }
        }
    }
    assert_eq!(deletions(&world), 0);
    assert!(world.orphans().is_empty());
}

#[test]
fn the_route_of_a_node_removed_meanwhile_goes_within_a_second_of_the_restart() {
    let mut world = converged(5, 3);
    world.kill(0);
    world.run(SECOND);
    world.kill(4);
    world.remove_node(4);
    world.run(SECOND);
    world.start(0, true);
    let gone = world.subnet(4);
    let took = world.run_until(SECOND, |world| {
        world.hosts[0].kernel.gateways(gone).is_none()
    });
    assert!(
        took.is_some(),
        "{gone} is still there a second after the sources synced"
    );
    assert_eq!(world.hosts[0].kernel.deletions, 1, "nothing else moved");
    assert!(world.orphans().is_empty(), "{:?}", world.orphans());
}

#[test]
fn a_node_cut_off_is_withdrawn_at_hold_time_and_back_within_two_seconds_of_healing() {
    let mut world = converged(4, 4);
    world.run(5 * SECOND);
    world.set_isolated(3, true);
    let net = world.subnet(3);
    let gone =
        |world: &mut World| (0..3).all(|host| world.hosts[host].kernel.gateways(net).is_none());
    let took = world.run_until(100 * SECOND, gone);
    let took = took.expect("withdrawn when the hold time ends");
    assert!(took > 55 * SECOND && took <= 91 * SECOND, "after {took:?}");
    world.run(60 * SECOND);
    world.set_isolated(3, false);
    heals(&mut world, 2 * SECOND, "the cut is healed");
}

#[test]
fn one_dead_node_delays_nothing_but_its_own_routes() {
    let mut world = converged(4, 5);
    world.kill(3);
    world.set_isolated(3, true);
    world.kill(0);
    world.run(SECOND);
    world.start(0, true);
    world.run(5 * SECOND);
    let dead = world.subnet(3);
    assert!(
        world.hosts[0].kernel.gateways(dead).is_some(),
        "kept: the node may only be restarting too"
    );
    // A change elsewhere is not held up by it.
    world.remove_node(2);
    let gone = world.subnet(2);
    let took = world.run_until(SECOND, |world| {
        world.hosts[0].kernel.gateways(gone).is_none()
    });
    assert!(
        took.is_some(),
        "the removed node's route waits for the dead one"
    );
    world.run(130 * SECOND);
    assert!(
        world.hosts[0].kernel.gateways(dead).is_none(),
        "gone once the restart gate's deadline has passed"
    );
}

#[test]
fn a_deleted_route_is_back_at_once_and_a_foreign_one_is_left_alone() {
    let mut world = converged(3, 6);
    let net = world.subnet(1);
    world.with_kernel(0, |kernel| kernel.foreign_delete(net).into_iter().collect());
    heals(&mut world, SECOND, "a route was deleted");
    let mut world = World::new(WorldConfig::new(3, 6));
    let net = world.subnet(1);
    world.hosts[0].kernel.foreign_add(net);
    world.run(5 * SECOND);
    assert!(world.hosts[0].kernel.has_foreign(net));
    heals(&mut world, SECOND, "a foreign route stands in the way");
}

#[test]
fn a_link_that_bounces_gets_all_its_routes_back() {
    let mut world = converged(6, 7);
    world.with_kernel(0, |kernel| kernel.set_link(false));
    world.run(Duration::from_millis(200));
    world.with_kernel(0, |kernel| kernel.set_link(true));
    heals(&mut world, SECOND, "the link is up again");
}

#[test]
fn refused_operations_are_tried_again() {
    let mut world = World::new(WorldConfig::new(4, 8));
    for host in &mut world.hosts {
        host.kernel.refuse_next(5, 105);
    }
    heals(&mut world, 30 * SECOND, "the kernel refused for a while");
}

/// Whatever happens, once it stops the cluster comes to rest with exactly the right routes.
fn chaos(seed: u64) {
    const HOSTS: u64 = 6;
    let mut chance = Chance::new(seed);
    let mut world = World::new(WorldConfig::new(6, seed));
    for _ in 0..40 {
        let host = usize::try_from(chance.below(HOSTS)).unwrap();
        let other = usize::try_from(chance.below(HOSTS)).unwrap();
        match chance.below(10) {
            0 | 1 => world.kill(host),
            2 | 3 if !world.hosts[host].is_running() => world.start(host, true),
            4 if host != other => world.set_cut(host, other, true),
            5 if host != other => world.set_cut(host, other, false),
            6 => world.remove_node(host),
            7 => world.restore_node(host),
            8 => {
                let net = world.subnet(other);
                world.with_kernel(host, |kernel| {
                    kernel.foreign_delete(net).into_iter().collect()
                });
            }
            _ => {
                world.with_kernel(host, |kernel| kernel.set_link(false));
                world.run(Duration::from_millis(chance.below(300)));
                world.with_kernel(host, |kernel| kernel.set_link(true));
            }
        }
        let pause = match chance.below(3) {
            0 => chance.below(50),
            1 => chance.below(3_000),
            _ => chance.below(100_000),
        };
        world.run(Duration::from_millis(pause));
    }
    for host in 0..6 {
        world.set_isolated(host, false);
        world.restore_node(host);
        if !world.hosts[host].is_running() {
            world.start(host, true);
        }
    }
    heals(&mut world, 200 * SECOND, &format!("seed {seed}"));
    // What was silent when the chaos ended is noticed within the hold time.
    world.run(100 * SECOND);
    heals(
        &mut world,
        30 * SECOND,
        &format!("seed {seed}, hold time over"),
    );
    let before = deletions(&world);
    world.run(600 * SECOND);
    assert!(
        world.orphans().is_empty(),
        "seed {seed}: {:?}",
        world.orphans()
    );
    assert_eq!(
        deletions(&world),
        before,
        "seed {seed}: at rest nothing is deleted"
    );
}

#[test]
fn chaos_of_a_hundred_seeds_always_comes_to_rest() {
    for seed in 0..100 {
        chaos(seed);
    }
}

#[test]
fn an_agent_that_does_not_find_its_own_node_object_deletes_nothing() {
    let mut world = converged(3, 9);
    world.kill(0);
    world.remove_node(0);
    world.run(SECOND);
    world.start(0, true);
    world.run(300 * SECOND);
    for other in [1, 2] {
        let net = world.subnet(other);
        assert!(
            world.hosts[0].kernel.gateways(net).is_some(),
            "{net} is kept"
        );
    }
    assert_eq!(world.hosts[0].kernel.deletions, 0);
    world.restore_node(0);
    heals(&mut world, 10 * SECOND, "the Node object is back");
    assert_eq!(world.hosts[0].kernel.deletions, 0);
}

fn configuration(change: impl FnOnce(&mut ConfigurationFact)) -> Fact {
    let mut fact = ConfigurationFact {
        name: "default".into(),
        ..ConfigurationFact::default()
    };
    change(&mut fact);
    Fact::Configuration(fact)
}

#[test]
fn another_as_number_starts_every_session_anew_and_afterwards_withdrawals_still_go() {
    let mut world = converged(4, 10);
    world.put(configuration(|fact| fact.asn = Some(Asn(64600))));
    world.run(5 * SECOND);
    heals(&mut world, 10 * SECOND, "the AS number changed");
    assert_eq!(deletions(&world), 0, "routes stay meanwhile");
    world.run(150 * SECOND);
    world.remove_node(3);
    heals(&mut world, SECOND, "a node was removed after it");
}

#[test]
fn a_node_removed_while_sessions_start_anew_leaves_no_route() {
    let mut world = converged(4, 11);
    world.kill(3);
    world.put(configuration(|fact| fact.asn = Some(Asn(64600))));
    world.remove_node(3);
    heals(&mut world, 10 * SECOND, "both at once");
}

#[test]
fn without_installation_the_kernel_holds_nothing_and_with_it_all_comes_back() {
    let mut world = converged(3, 12);
    world.put(configuration(|fact| {
        fact.route_installation = Some(RouteInstallation::None);
    }));
    let empty = |world: &mut World| {
        let mut hosts = world.hosts.iter();
        hosts.all(|host| host.kernel.our_routes().next().is_none())
    };
    assert!(world.run_until(10 * SECOND, empty).is_some());
    world.put(configuration(|_| {}));
    heals(&mut world, 10 * SECOND, "installation is on again");
}

#[test]
fn two_nodes_that_swap_addresses_are_reached_at_the_new_ones() {
    let mut world = converged(4, 13);
    world.swap_addresses(1, 2);
    heals(&mut world, 30 * SECOND, "the addresses are swapped");
}
