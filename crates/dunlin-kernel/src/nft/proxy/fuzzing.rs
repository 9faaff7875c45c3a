//! The part of [`crate::nft::fuzzing`] that looks into these tables.

use std::collections::BTreeSet;

use dunlin_dataplane::proxy::{Element, FrontendSet};
use dunlin_net::Afi;
use dunlin_net::service::View;

use super::found::{demanded, has_rules};
use super::octets::{self, Encoded, Parts};
use super::shape;
use crate::nft::set::ElementRef;

/// Takes elements for those of each set in turn.
pub(in crate::nft) fn elements(afi: Afi, all: &[ElementRef<'_>]) {
    let refused = |element: &ElementRef<'_>| {
        let set = FrontendSet::Refused;
        octets::member(afi, element).map(|frontend| Element::Member { set, frontend })
    };
    for element in all {
        survives(element, refused);
        for view in View::ALL {
            survives(element, |element| octets::slot(afi, view, element));
        }
        survives(element, |element| octets::allowed(afi, element));
        survives(element, |element| octets::hairpin(afi, element));
        survives(element, |element| octets::served(afi, element));
    }
    if let Some(near) = near(afi, all) {
        let mut marks = Vec::new();
        for element in &near {
            Encoded::of(element).each(|mark| {
                let addr = Parts::new(afi, mark.key).address();
                marks.push((addr.expect("we wrote an address"), mark.end));
            });
        }
        assert_eq!(octets::near(marks), Some(near));
    }
}

fn near(afi: Afi, all: &[ElementRef<'_>]) -> Option<Vec<Element>> {
    let mark = |element: &ElementRef<'_>| {
        let addr = Parts::new(afi, element.key).address()?;
        Some((addr, element.end))
    };
    octets::near(all.iter().map(mark).collect::<Option<Vec<_>>>()?)
}

/// What is read of an element is read again of what is written of it.
fn survives(element: &ElementRef<'_>, read: impl Fn(&ElementRef<'_>) -> Option<Element>) {
    if let Some(found) = read(element) {
        Encoded::of(&found).each(|again| assert_eq!(read(again), Some(found)));
    }
}

/// Takes names and comments for those of sets and of rules in chains.
pub(in crate::nft) fn shape(afi: Afi, told: &[(String, String)]) {
    let names = || told.iter().map(|(name, _)| name.as_str());
    let _ = demanded(afi, names());
    let made: BTreeSet<FrontendSet> = names().filter_map(shape::set_of).collect();
    let _ = has_rules(afi, &made, told.to_vec());
}

/// Writes an element of every kind, all sets, and all rules.
#[cfg(test)]
pub(in crate::nft) fn write(afi: Afi, transaction: &mut crate::nft::Transaction) {
    use dunlin_net::service::{Frontend, Protocol};

    use dunlin_dataplane::proxy::block;

    use super::rules;

    let (addr, to, net) = match afi {
        Afi::Ipv4 => ("10.96.0.1", "10.244.1.7:8080", "192.0.2.0/25"),
        Afi::Ipv6 => ("fd10::1", "[fd00:1::7]:8080", "2001:db8::/33"),
    };
    let frontend = Frontend {
        addr: addr.parse().expect("an address"),
        protocol: Protocol::Tcp,
        port: 443,
    };
    let net = net.parse().expect("a network");
    let table = shape::table(afi);
    let set = FrontendSet::Random {
        view: View::Inside,
        slots: 8,
    };
    for set in shape::fixed_sets(afi) {
        transaction.add_set(table, &set);
    }
    let more = [set, FrontendSet::Sticky { secs: 10_800 }];
    let on_demand = more.iter().flat_map(|set| rules::demanded(afi, *set).1);
    for rule in rules::fixed_rules(afi).into_iter().chain(on_demand) {
        transaction.add_rule(table, &rule.chain, &rule.comment, &rule.exprs);
    }
    for set in more {
        transaction.add_set(table, &shape::frontend_set(afi, set));
    }
    let slot = Element::Slot {
        view: View::Inside,
        frontend,
        slot: 5,
        to: to.parse().expect("an endpoint"),
    };
    let source = net;
    let elements = [
        Element::Member { set, frontend },
        slot,
        Element::Allowed { frontend, source },
        Element::Hairpin(frontend.addr),
        Element::Served(block(frontend.addr)),
        Element::Near(net),
    ];
    for element in elements {
        transaction.change_elements(true, table, "any", |list| {
            Encoded::of(&element).each(|each| list.push(each));
        });
    }
}
