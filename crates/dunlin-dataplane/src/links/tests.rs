use super::*;

fn link(ifindex: u32, up: bool) -> Link {
    Link {
        ifindex,
        name: format!("eth{ifindex}"),
        up,
        loopback: false,
        mtu: 1500,
    }
}

fn address(ifindex: u32, local: &str, on_link: &str) -> Address {
    Address {
        ifindex,
        local: local.parse().unwrap(),
        on_link: on_link.parse().unwrap(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn two_links() -> Links {
    let mut links = Links::new();
    for event in [
        LinkEvent::Link(Link {
            loopback: true,
            ..link(1, true)
        }),
        LinkEvent::Link(link(2, true)),
        LinkEvent::Link(link(3, true)),
        LinkEvent::Address(address(1, "127.0.0.1", "127.0.0.0/8")),
        LinkEvent::Address(address(2, "192.0.2.1", "192.0.2.0/24")),
        LinkEvent::Address(address(3, "192.0.2.129", "192.0.2.128/25")),
        LinkEvent::Address(address(3, "2001:db8::1", "2001:db8::/64")),
    ] {
        assert_eq!(links.on_event(&event), LinkChange::Reachability);
        assert_eq!(links.on_event(&event), LinkChange::Nothing);
    }
    links
}

#[test]
fn a_next_hop_resolves_to_the_longest_subnet_that_holds_it() {
    let links = two_links();
    assert_eq!(links.resolve(ip("192.0.2.7")), Ok(2));
    assert_eq!(links.resolve(ip("192.0.2.130")), Ok(3));
    assert_eq!(links.resolve(ip("2001:db8::2")), Ok(3));
    assert_eq!(
        links.resolve(ip("198.51.100.1")),
        Err(Unresolved::NotOnLink)
    );
    assert_eq!(links.resolve(ip("192.0.2.1")), Err(Unresolved::OwnAddress));
    assert_eq!(links.resolve(ip("127.0.0.5")), Err(Unresolved::NotAGateway));
    assert_eq!(links.resolve(ip("fe80::1")), Err(Unresolved::NotAGateway));
    // The subnet's broadcast address.
    assert_eq!(
        links.resolve(ip("192.0.2.255")),
        Err(Unresolved::NotAGateway)
    );
}

#[test]
fn a_link_that_is_down_yields_to_one_that_is_up() {
    let mut links = two_links();
    assert_eq!(
        links.on_event(&LinkEvent::Link(link(3, false))),
        LinkChange::Reachability
    );
    assert_eq!(links.resolve(ip("192.0.2.130")), Ok(2));
    assert_eq!(
        links.resolve(ip("2001:db8::2")),
        Err(Unresolved::LinkDown { ifindex: 3 })
    );
    let mtu = Link {
        mtu: 9000,
        ..link(2, true)
    };
    assert_eq!(links.on_event(&LinkEvent::Link(mtu)), LinkChange::Property);
    assert_eq!(
        links.link_of(ip("192.0.2.1")).map(|link| link.mtu),
        Some(9000)
    );
}

#[test]
fn addresses_go_alone_or_with_their_link() {
    let mut links = two_links();
    let gone = LinkEvent::AddressGone(address(3, "192.0.2.129", "192.0.2.128/25"));
    assert_eq!(links.on_event(&gone), LinkChange::Reachability);
    assert_eq!(links.resolve(ip("192.0.2.130")), Ok(2));
    assert_eq!(
        links.on_event(&LinkEvent::LinkGone { ifindex: 2 }),
        LinkChange::Reachability
    );
    assert_eq!(links.resolve(ip("192.0.2.130")), Err(Unresolved::NotOnLink));
    assert_eq!(links.link_of(ip("192.0.2.1")), None);
}

#[test]
fn a_read_back_replaces_everything_unless_it_is_incomplete() {
    let mut links = two_links();
    links.on_dump_begin();
    links.on_dump_link(link(2, true));
    assert_eq!(links.on_dump_end(false), LinkChange::Nothing);
    assert_eq!(links.resolve(ip("2001:db8::2")), Ok(3));
    links.on_dump_begin();
    links.on_dump_link(link(2, true));
    links.on_dump_address(address(2, "192.0.2.1", "192.0.2.0/24"));
    assert_eq!(links.on_dump_end(true), LinkChange::Reachability);
    assert_eq!(links.resolve(ip("2001:db8::2")), Err(Unresolved::NotOnLink));
    assert_eq!(links.iter().count(), 1);
}

#[test]
fn a_link_local_next_hop_is_on_the_link_that_it_names() {
    let mut links = two_links();
    let own = address(3, "fe80::1", "fe80::/64");
    links.on_event(&LinkEvent::Address(own));
    let on = |addr: &str, interface| ScopedAddr {
        addr: ip(addr),
        interface,
    };
    assert_eq!(links.link_local(3), "fe80::1".parse().ok());
    assert_eq!(links.link_local(2), None);
    assert_eq!(links.resolve_scoped(on("fe80::2", 3)), Ok(3));
    // The same address on another link is another neighbour's, also if it is ours here.
    assert_eq!(links.resolve_scoped(on("fe80::1", 2)), Ok(2));
    for (hop, why) in [
        (on("fe80::2", 0), Unresolved::NotAGateway),
        (on("fe80::1", 3), Unresolved::OwnAddress),
        (on("fe80::2", 9), Unresolved::NotOnLink),
        (on("2001:db8::2", 3), Unresolved::NotAGateway),
    ] {
        assert_eq!(links.resolve_scoped(hop), Err(why));
    }
    assert_eq!(links.resolve_scoped(on("192.0.2.2", 0)), Ok(2));
    links.on_event(&LinkEvent::Link(link(3, false)));
    let down = Unresolved::LinkDown { ifindex: 3 };
    assert_eq!(links.resolve_scoped(on("fe80::2", 3)), Err(down));
}
