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
