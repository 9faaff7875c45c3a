use super::*;

fn net_of(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn read(afi: Afi, element: &Element) -> Option<Element> {
    let encoded = Encoded::of(element);
    let mut found = Vec::new();
    encoded.each(|one| {
        found.push(match element {
            Element::Member { set, .. } => member(afi, one).map(|frontend| Element::Member {
                set: *set,
                frontend,
            }),
            Element::Slot { view, .. } => slot(afi, *view, one),
            Element::Allowed { .. } => allowed(afi, one),
            Element::Hairpin(_) => hairpin(afi, one),
            Element::Served(_) => served(afi, one),
            Element::Near(_) => None,
        });
    });
    match &found[..] {
        [one] => *one,
        _ => None,
    }
}

#[test]
fn elements_survive_their_encoding() {
    for (addr, to, source) in [
        ("10.96.0.1", "10.244.1.7:8080", "192.0.2.0/25"),
        ("fd10::1", "[fd00:1::7]:8080", "2001:db8::/33"),
    ] {
        for protocol in Protocol::ALL {
            let frontend = Frontend {
                addr: addr.parse().unwrap(),
                protocol,
                port: 443,
            };
            let afi = frontend.afi();
            for element in [
                Element::Member {
                    set: dunlin_dataplane::proxy::FrontendSet::Refused,
                    frontend,
                },
                Element::Slot {
                    view: View::Outside,
                    frontend,
                    slot: 70_000,
                    to: to.parse().unwrap(),
                },
                Element::Allowed {
                    frontend,
                    source: net_of(source),
                },
                Element::Hairpin(addr.parse().unwrap()),
                Element::Served(block(addr.parse().unwrap())),
            ] {
                assert_eq!(read(afi, &element), Some(element));
            }
        }
    }
}

#[test]
fn networks_that_are_near_survive_their_encoding() {
    for nets in [
        vec!["0.0.0.0/0"],
        vec![
            "10.0.0.0/25",
            "10.0.0.128/25",
            "192.0.2.1/32",
            "240.0.0.0/4",
        ],
        vec!["::/0"],
        vec!["fd00::/64", "fd00:0:0:1::/64", "ff00::/8"],
    ] {
        let elements: Vec<Element> = nets.iter().map(|net| Element::Near(net_of(net))).collect();
        let mut marks = Vec::new();
        for element in elements.iter().rev() {
            Encoded::of(element).each(|one| {
                let mut parts = Parts::new(element.afi(), one.key);
                marks.push((parts.address().unwrap(), one.end));
            });
        }
        assert_eq!(near(marks), Some(elements));
    }
}

#[test]
fn ranges_that_are_no_networks_are_strange() {
    let at = |text: &str, end| (text.parse::<IpAddr>().unwrap(), end);
    assert_eq!(
        near(vec![at("10.0.0.1", false), at("10.0.0.3", true)]),
        None
    );
    assert_eq!(
        near(vec![at("10.0.0.0", false), at("10.0.0.2", false)]),
        None
    );
    assert_eq!(near(vec![at("10.0.0.1", false)]), None);
    let gap = vec![
        at("0.0.0.0", true),
        at("10.0.0.0", false),
        at("11.0.0.0", true),
    ];
    assert_eq!(near(gap), Some(vec![Element::Near(net_of("10.0.0.0/8"))]));
}

#[test]
fn other_lengths_are_strange() {
    let element = |key: &'static [u8]| ElementRef {
        key,
        ..ElementRef::default()
    };
    assert_eq!(
        member(Afi::Ipv4, &element(&[10, 0, 0, 1, 6, 0, 0, 0])),
        None
    );
    assert_eq!(
        member(
            Afi::Ipv4,
            &element(&[10, 0, 0, 1, 99, 0, 0, 0, 0, 80, 0, 0])
        ),
        None
    );
    assert_eq!(
        member(
            Afi::Ipv4,
            &element(&[10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0, 1, 0, 0, 0])
        ),
        None
    );
    assert!(member(Afi::Ipv4, &element(&[10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0])).is_some());
}
