use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Debug)]
struct Node {
    name: Arc<str>,
    zone: String,
    fitness: Fitness,
}

fn chosen(nodes: &BTreeMap<Arc<str>, Node>, count: u32) -> BTreeSet<Arc<str>> {
    let mut ranking = Ranking::default();
    for node in nodes.values() {
        ranking.insert(&node.name, node.candidate());
    }
    ranking.choose(count)
}

impl Node {
    fn candidate(&self) -> Candidate {
        Candidate {
            place: place(&self.name),
            zone: self.zone.clone(),
            fitness: self.fitness,
        }
    }
}

fn fitness() -> impl Strategy<Value = Fitness> {
    prop_oneof![
        4 => Just(Fitness::Fit),
        1 => Just(Fitness::Leaving),
        2 => Just(Fitness::NotReady),
    ]
}

fn node(number: usize, zone: u8, fitness: Fitness) -> Node {
    Node {
        name: format!("node-{number}").into(),
        zone: format!("zone-{zone}"),
        fitness,
    }
}

prop_compose! {
    fn nodes(most: usize)(
        given in prop::collection::btree_map(0..most, (0..5_u8, fitness()), 0..most)
    ) -> BTreeMap<Arc<str>, Node> {
        given
            .into_iter()
            .map(|(number, (zone, fitness))| node(number, zone, fitness))
            .map(|node| (node.name.clone(), node))
            .collect()
    }
}

/// The whole order by the definition.
fn by_definition(nodes: &BTreeMap<Arc<str>, Node>, count: u32) -> BTreeSet<Arc<str>> {
    let turn = |node: &Node| {
        nodes
            .values()
            .filter(|other| (other.fitness, &other.zone) == (node.fitness, &node.zone))
            .filter(|other| (place(&other.name), &other.name) < (place(&node.name), &node.name))
            .count()
    };
    let mut order: Vec<&Node> = nodes.values().collect();
    order.sort_by_key(|node| {
        (
            node.fitness,
            turn(node),
            place(&node.name),
            node.name.clone(),
        )
    });
    let order = order.into_iter().take(count as usize);
    order.map(|node| node.name.clone()).collect()
}

proptest! {
    #[test]
    fn the_choice_is_as_defined_and_as_large_as_it_can_be(nodes in nodes(40), count in 1..8_u32) {
        let set = chosen(&nodes, count);
        prop_assert_eq!(&set, &by_definition(&nodes, count));
        prop_assert_eq!(set.len(), nodes.len().min(count as usize));
    }

    #[test]
    fn what_nodes_were_before_leaves_no_trace(before in nodes(20), after in nodes(20), count in 1..8_u32) {
        let mut ranking = Ranking::default();
        for node in before.values() {
            ranking.insert(&node.name, node.candidate());
        }
        for node in before.values() {
            ranking.remove(&node.name, &node.candidate());
        }
        for node in after.values() {
            ranking.insert(&node.name, node.candidate());
        }
        prop_assert_eq!(ranking.choose(count), chosen(&after, count));
    }

    #[test]
    fn one_nodes_change_moves_at_most_one_reflector(
        nodes in nodes(40),
        number in 0..40_usize,
        change in prop::option::of((0..5_u8, fitness())),
        count in 1..8_u32,
    ) {
        let before = chosen(&nodes, count);
        let mut changed = nodes;
        match change {
            Some((zone, fitness)) => {
                let node = node(number, zone, fitness);
                changed.insert(node.name.clone(), node);
            }
            None => {
                changed.remove(&*format!("node-{number}"));
            }
        }
        let after = chosen(&changed, count);
        prop_assert!(before.difference(&after).count() <= 1, "{before:?} {after:?}");
        prop_assert!(after.difference(&before).count() <= 1, "{before:?} {after:?}");
    }

    #[test]
    fn nobody_unfit_is_chosen_while_somebody_fit_is_not(nodes in nodes(40), count in 1..8_u32) {
        let set = chosen(&nodes, count);
        let worst = set.iter().map(|name| nodes[name].fitness).max();
        let best_left = nodes.values().filter(|n| !set.contains(&n.name)).map(|n| n.fitness).min();
        if let (Some(worst), Some(best)) = (worst, best_left) {
            prop_assert!(worst <= best);
        }
    }

    #[test]
    fn reflectors_are_spread_over_the_zones(nodes in nodes(40), count in 1..8_u32) {
        let nodes: BTreeMap<Arc<str>, Node> = nodes
            .into_iter()
            .filter(|(_, node)| node.fitness == Fitness::Fit)
            .collect();
        let mut in_zone: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        let set = chosen(&nodes, count);
        for node in nodes.values() {
            let (all, reflectors) = in_zone.entry(&node.zone).or_default();
            *all += 1;
            *reflectors += usize::from(set.contains(&node.name));
        }
        let most = in_zone.values().map(|(_, reflectors)| *reflectors).max().unwrap_or_default();
        for (zone, (all, reflectors)) in in_zone {
            prop_assert!(reflectors + 1 >= most || reflectors == all, "{zone}: {set:?}");
        }
    }
}

#[test]
fn when_all_nodes_turn_not_ready_one_by_one_the_set_ends_as_it_began() {
    let mut nodes: BTreeMap<Arc<str>, Node> = (0..500)
        .map(|number| node(number, (number % 3) as u8, Fitness::Fit))
        .map(|node| (node.name.clone(), node))
        .collect();
    let before = chosen(&nodes, 3);
    let names: Vec<Arc<str>> = nodes.keys().cloned().collect();
    let mut moves = 0;
    let mut last = before.clone();
    for name in names {
        nodes.get_mut(&name).unwrap().fitness = Fitness::NotReady;
        let now = chosen(&nodes, 3);
        moves += now.difference(&last).count();
        last = now;
    }
    assert_eq!(last, before);
    // Of each zone the first, then the next first among those that are left, and so on: about ln(n) times.
    assert!(moves < 45, "{moves} moves");
}

#[test]
fn the_choice_never_changes_with_the_program() {
    let nodes: BTreeMap<Arc<str>, Node> = (0..20)
        .map(|number| node(number, (number % 2) as u8, Fitness::Fit))
        .map(|node| (node.name.clone(), node))
        .collect();
    let names: Vec<String> = chosen(&nodes, 3)
        .iter()
        .map(|name| name.to_string())
        .collect();
    // Agents of two versions live in one cluster while it is upgraded.
    assert_eq!(names, ["node-19", "node-2", "node-8"]);
}
