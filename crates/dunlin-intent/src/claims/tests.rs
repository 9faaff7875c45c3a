use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// The Node of this name, the older the smaller the number.
fn age(created: i64, name: &str) -> Age {
    Age::new(Some(Timestamp::from_unix_secs(created)), name.into())
}

fn owner<'a>(claims: &'a Claims, text: &str) -> Option<&'a str> {
    claims.owner(net(text)).map(|age| &*age.name)
}

#[test]
fn the_oldest_owns_then_the_first_by_name_and_one_without_age_last() {
    let by_age = [
        age(1, "z"),
        age(2, "a"),
        age(2, "b"),
        Age::new(None, "0".into()),
    ];
    assert!(by_age.is_sorted());
    let mut claims = Claims::default();
    let mut touched = Touched::new();
    for age in by_age.iter().rev() {
        claims.add(net("10.0.0.0/24"), age, None, &mut touched);
        assert_eq!(owner(&claims, "10.0.0.0/24"), Some(&*age.name));
    }
    for (at, age) in by_age.iter().enumerate() {
        claims.remove(net("10.0.0.0/24"), age, &mut touched);
        assert_eq!(
            owner(&claims, "10.0.0.0/24"),
            by_age.get(at + 1).map(|a| &*a.name)
        );
    }
}

#[test]
fn a_claim_that_lost_blocks_nobody() {
    let (oldest, middle, youngest) = (age(1, "a"), age(2, "b"), age(3, "c"));
    let mut claims = Claims::default();
    let mut touched = Touched::new();
    claims.add(net("10.0.1.0/24"), &youngest, None, &mut touched);
    claims.add(net("10.0.0.0/16"), &middle, None, &mut touched);
    assert_eq!(owner(&claims, "10.0.1.0/24"), None);
    assert_eq!(
        claims.standing(net("10.0.1.0/24"), &youngest),
        Some(Standing::Overlaps("b".into(), net("10.0.0.0/16")))
    );
    // The oldest takes it from the middle, so the youngest has its own again.
    touched.clear();
    claims.add(net("10.0.0.0/24"), &oldest, None, &mut touched);
    assert_eq!(owner(&claims, "10.0.0.0/16"), None);
    assert_eq!(owner(&claims, "10.0.1.0/24"), Some("c"));
    assert!(
        touched.contains(&(net("10.0.1.0/24"), "c".into())),
        "{touched:?}"
    );
    claims.remove(net("10.0.0.0/24"), &oldest, &mut touched);
    assert_eq!(owner(&claims, "10.0.0.0/16"), Some("b"));
    assert_eq!(owner(&claims, "10.0.1.0/24"), None);
}

#[test]
fn a_subnet_with_a_node_address_is_nobodys_until_the_address_goes() {
    let (old, young) = (age(1, "a"), age(2, "b"));
    let mut claims = Claims::default();
    let mut touched = Touched::new();
    let addr: IpAddr = "10.0.0.9".parse().unwrap();
    claims.add(net("10.0.0.0/16"), &old, Some(addr), &mut touched);
    claims.add(net("10.0.1.0/24"), &young, None, &mut touched);
    assert_eq!(
        claims.standing(net("10.0.0.0/16"), &old),
        Some(Standing::Covers(addr))
    );
    assert_eq!(owner(&claims, "10.0.1.0/24"), Some("b"));
    claims.recheck_covers(addr, |_| None, &mut touched);
    assert_eq!(owner(&claims, "10.0.0.0/16"), Some("a"));
    assert_eq!(owner(&claims, "10.0.1.0/24"), None);
}

#[test]
fn subnets_of_one_node_and_of_two_families_do_not_fight() {
    let (a, b) = (age(1, "a"), age(2, "b"));
    let mut claims = Claims::default();
    let mut touched = Touched::new();
    claims.add(net("10.0.0.0/16"), &a, None, &mut touched);
    claims.add(net("10.0.1.0/24"), &a, None, &mut touched);
    claims.add(net("::/8"), &b, None, &mut touched);
    assert_eq!(owner(&claims, "10.0.1.0/24"), Some("a"));
    assert_eq!(owner(&claims, "::/8"), Some("b"));
}

#[test]
fn one_more_node_touches_only_its_own_claim() {
    let mut claims = Claims::default();
    let mut touched = Touched::new();
    for n in 0..200u8 {
        touched.clear();
        let net = IpNet::new_assert(IpAddr::from([10, 0, n, 0]), 24);
        claims.add(net, &age(i64::from(n), "n"), None, &mut touched);
        assert_eq!(touched.len(), 1);
    }
}
