use super::*;

#[test]
fn a_family_prefix_has_no_host_bits() {
    let net = V4::net("10.1.2.3".parse().unwrap(), 16).unwrap();
    assert_eq!(net.to_string(), "10.1.0.0/16");
    assert_eq!(V4::net("10.1.2.3".parse().unwrap(), 33), None);
    let net = V6::from_net("fd00::1/64".parse().unwrap()).unwrap();
    assert_eq!(net.to_string(), "fd00::/64");
    assert_eq!(V4::from_net(net.into()), None);
}

#[test]
fn time_saturates_instead_of_wrapping() {
    use std::time::Duration;
    let end = Instant::from_micros(u64::MAX - 1);
    assert_eq!(end + Duration::MAX, Instant::from_micros(u64::MAX));
    assert_eq!(Instant::ZERO.since(end), Duration::ZERO);
}

#[test]
fn an_interface_is_called_what_linux_allows() {
    for name in [
        "eth0",
        "a",
        "fifteen-octets.",
        "br-lan.100",
        "ens3f0np0",
        "é",
    ] {
        let parsed: InterfaceName = name.parse().expect(name);
        assert_eq!(parsed.as_str(), name);
    }
    for name in [
        "",
        ".",
        "..",
        "sixteen-octets..",
        "a/b",
        "a:1",
        "a b",
        "a\t",
        "a\0",
    ] {
        assert_eq!(
            name.parse::<InterfaceName>(),
            Err(BadInterfaceName),
            "{name}"
        );
    }
}

#[test]
fn an_address_on_a_link_is_another_on_another_link() {
    use std::net::{SocketAddr, SocketAddrV6};
    let on = |addr: &str, scope| {
        let addr = addr.parse().expect("an address");
        ScopedAddr::from(SocketAddr::V6(SocketAddrV6::new(addr, 179, 0, scope)))
    };
    assert_ne!(on("fe80::1", 2), on("fe80::1", 3));
    assert_eq!(on("fe80::1", 2).to_string(), "fe80::1%2");
    // The scope of any other address says nothing.
    assert_eq!(on("2001:db8::1", 2), on("2001:db8::1", 3));
    assert_eq!(on("::ffff:192.0.2.1", 0).to_string(), "192.0.2.1");
}
