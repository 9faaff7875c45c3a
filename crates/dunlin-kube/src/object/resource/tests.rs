use dunlin_intent::NamespacedName;

use super::*;

#[test]
fn each_kind_of_fact_is_stated_by_objects_of_one_kind() {
    for kind in Kind::ALL {
        let resource = Resource::of(kind);
        assert_eq!(resource.facts, kind);
        let named = Resource::named(&resource.api_version(), resource.kind.as_str());
        assert_eq!(named, Some(resource));
        let place = Place {
            name: Some("a".to_owned()),
            namespace: Some("b".to_owned()),
        };
        let object = resource.key(place).unwrap().object();
        let name = if resource.namespaced { "b/a" } else { "a" };
        assert_eq!((object.kind, object.name.as_str()), (resource.kind, name));
    }
    assert_eq!(Resource::ALL.len(), Kind::ALL.len());
}

#[test]
fn a_kind_of_another_group_or_version_is_another_kind() {
    for (version, kind) in [
        ("v2", "Node"),
        ("discovery.k8s.io/v1", "Node"),
        ("v1", "EndpointSlice"),
        ("dunlin.dev/v1", "BGPPeer"),
        ("v1alpha1", "BGPPeer"),
        ("", ""),
    ] {
        assert_eq!(Resource::named(version, kind), None, "{version} {kind}");
    }
}

#[test]
fn objects_are_found_by_the_names_that_people_give_them() {
    let key = |text| Resource::named_key(text);
    assert_eq!(key("BGPPeer/tor-1"), Ok(Key::Peer("tor-1".into())));
    assert_eq!(key("bgppeers/tor-1"), Ok(Key::Peer("tor-1".into())));
    let web = |namespace| Ok(Key::Service(NamespacedName::new(namespace, "web")));
    assert_eq!(key("service/shop/web"), web("shop"));
    assert_eq!(key("Service/web"), web("default"));
    for wrong in [
        "tor-1",
        "BGPPeer/",
        "BGPPeer/a/b",
        "Deployment/web",
        "Service/a/b/c",
        "/x",
    ] {
        let error = key(wrong).unwrap_err();
        assert!(error.contains(&format!("{wrong:?}")), "{error}");
    }
}
