//! Octets as what the kernel tells of sets, rules and flows: an entry point for a fuzzer, and a test that runs it.

use dunlin_net::Afi;

use super::read::{comment_of, elements, text};
use super::set::ElementRef;
use super::{Element, GENMSG_LEN, SET_NAME, proxy, rule_list, rules};
use crate::conntrack;
use crate::netlink::Messages;

/// Every decoder of what is read back, on every message of a buffer. What is made of it is the same once it has been written
/// and read again.
pub fn fuzz_read_back(data: &[u8]) {
    let (mut told, mut all) = (Vec::new(), Vec::new());
    for message in Messages::new(data) {
        let _ = conntrack::flow(&message);
        let attrs = message.attrs(GENMSG_LEN);
        let _ = rule_list::rule(&attrs);
        if let Some(name) = attrs.get(SET_NAME).and_then(text) {
            told.push((name.to_owned(), comment_of(&attrs)));
        }
        all.extend(elements(&message));
    }
    for afi in Afi::ALL {
        proxy::fuzzing::elements(afi, &all);
        proxy::fuzzing::shape(afi, &told);
        let plain = all.iter().map(|element: &ElementRef<'_>| Element {
            key: element.key.to_vec(),
            end: element.end,
            data: None,
        });
        if let Some(ranges) = rules::ranges(afi, plain.collect()) {
            let again = rules::elements(afi, ranges.as_slice());
            assert_eq!(rules::ranges(afi, again), Some(ranges));
        }
    }
}

#[cfg(test)]
mod tests {
    use dunlin_dataplane::rules::Range;
    use dunlin_net::Chance;

    use super::*;
    use crate::nft::proxy::shape;
    use crate::nft::{Set, Transaction};

    /// What is written of every kind of element, set and rule, which is read back in the same form.
    fn written() -> Vec<u8> {
        let mut transaction = Transaction::new();
        for afi in Afi::ALL {
            proxy::fuzzing::write(afi, &mut transaction);
            let ranges = [(1, 7), (64, 255)].map(|(first, last)| Range { first, last });
            let ranges = rules::elements(afi, &ranges);
            transaction.add_elements(shape::table(afi), "pods", &ranges);
        }
        let (messages, _) = transaction.finish().expect("there is something");
        messages.bytes().expect("not too long").to_vec()
    }

    #[test]
    fn whatever_is_read_back_hurts_nothing() {
        let good = written();
        fuzz_read_back(&good);
        let mut chance = Chance::new(3);
        for _ in 0..5_000 {
            let mut bad = good.clone();
            for _ in 0..=chance.below(8) {
                let at = chance.below(bad.len() as u64) as usize;
                match chance.below(4) {
                    0 => bad[at] = chance.draw() as u8,
                    1 => bad[at] ^= 1 << chance.below(8),
                    2 => bad[at] = 0,
                    _ => bad.truncate(at.max(64)),
                }
            }
            fuzz_read_back(&bad);
        }
    }

    #[test]
    fn sets_that_are_called_like_ours_and_cannot_be_are_looked_at_without_harm() {
        for name in [
            "random_inside_0",
            "random_inside_5",
            "random_outside_32768",
            "hashed_inside_0",
        ] {
            let set = Set {
                name: name.to_owned(),
                ..Set::default()
            };
            let mut transaction = Transaction::new();
            transaction.add_set(shape::table(Afi::Ipv4), &set);
            let (messages, _) = transaction.finish().expect("there is something");
            fuzz_read_back(messages.bytes().expect("not too long"));
        }
    }
}
