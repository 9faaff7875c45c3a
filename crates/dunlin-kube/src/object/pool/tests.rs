use super::*;
use crate::object::{Resource, read_json};
use dunlin_intent::{Fact, Kind};

fn pool(spec: &str) -> PoolFact {
    let text = format!(r#"{{"metadata": {{"name": "p"}}, "spec": {spec}}}"#);
    match read_json(Resource::of(Kind::Pool), text.as_bytes()) {
        Ok(Fact::Pool(pool)) => pool,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pool_takes_prefixes_and_ranges_of_both_families() {
    let told = pool(
        r#"{"addresses": ["192.0.2.0/28", "198.51.100.7/32", "203.0.113.10-203.0.113.20", "2001:db8::/124",
            "2001:db8:1::a - 2001:db8:1::f"], "autoAssign": false, "avoidFirstLast": true,
            "serviceSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {}}"#,
    );
    let range = |first: &str, last: &str, is_cidr| AddressRange {
        first: first.parse().unwrap(),
        last: last.parse().unwrap(),
        is_cidr,
    };
    assert_eq!(
        told.addresses,
        [
            range("192.0.2.0", "192.0.2.15", true),
            range("198.51.100.7", "198.51.100.7", true),
            range("203.0.113.10", "203.0.113.20", false),
            range("2001:db8::", "2001:db8::f", true),
            range("2001:db8:1::a", "2001:db8:1::f", false),
        ]
    );
    assert_eq!(told.malformed, []);
    assert!(!told.auto_assign && told.avoid_first_last);
    assert!(told.service_selector.is_some() && told.namespace_selector.is_some());
    let bare = pool("{}");
    assert!(bare.auto_assign && !bare.avoid_first_last && bare.service_selector.is_none());
}

#[test]
fn an_entry_that_does_not_parse_says_how_to_write_it_and_the_others_count() {
    for (entry, said) in [
        ("", "write 192.0.2.0/24"),
        ("192.0.2.1", "write 192.0.2.0/24"),
        ("192.0.2.0/33", "write 192.0.2.0/24"),
        ("192.0.2.1/24", "write 192.0.2.0/24"),
        ("192.0.2.9-192.0.2.1", "write 192.0.2.1-192.0.2.9"),
        ("192.0.2.1-", "write 192.0.2.0/24"),
        ("192.0.2.1-192.0.2.2-192.0.2.3", "write 192.0.2.0/24"),
        ("192.0.2.1-2001:db8::1", "two families"),
        ("::ffff:192.0.2.1-::ffff:192.0.2.9", "as IPv4"),
        ("::ffff:192.0.2.0/120", "as IPv4"),
    ] {
        let told = pool(&format!(
            r#"{{"addresses": ["{entry}", "198.51.100.0/24"]}}"#
        ));
        assert_eq!(told.addresses.len(), 1, "{entry}");
        let [fault] = told.malformed.as_slice() else {
            panic!("{entry}: {:?}", told.malformed)
        };
        assert_eq!(fault.field, "spec.addresses[0]");
        assert!(fault.message.contains(said), "{entry}: {fault:?}");
    }
}
