use super::*;

fn config(subnets: &[&str]) -> CniConfig {
    CniConfig {
        subnets: subnets.iter().map(|net| net.parse().unwrap()).collect(),
        mtu: 1450,
        data_dir: "/var/lib/dunlin/cni".to_owned(),
    }
}

fn rendered(config: &CniConfig) -> serde_json::Value {
    serde_json::from_str(&render(config)).expect("JSON")
}

#[test]
fn both_families_have_a_range_and_a_default_route() {
    let conf = rendered(&config(&["fd00:244:1::/64", "10.244.1.0/24"]));
    assert_eq!(conf["cniVersion"], "1.0.0");
    assert_eq!(conf["name"], "dunlin");
    let types: Vec<_> = conf["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["ptp", "portmap", "bandwidth"]);
    let ptp = &conf["plugins"][0];
    assert_eq!(ptp["mtu"], 1450);
    assert_eq!(
        ptp["ipMasq"], false,
        "masquerade is the node's, not the pod's"
    );
    let ipam = &ptp["ipam"];
    assert_eq!(ipam["type"], "host-local");
    assert_eq!(ipam["dataDir"], "/var/lib/dunlin/cni");
    assert_eq!(
        ipam["ranges"],
        serde_json::json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:244:1::/64"}]])
    );
    assert_eq!(
        ipam["routes"],
        serde_json::json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}])
    );
    assert_eq!(conf["plugins"][1]["capabilities"]["portMappings"], true);
    assert_eq!(conf["plugins"][2]["capabilities"]["bandwidth"], true);
}

#[test]
fn one_family_has_nothing_of_the_other() {
    for (subnet, dst) in [("10.244.1.0/24", "0.0.0.0/0"), ("fd00::/64", "::/0")] {
        let ipam = rendered(&config(&[subnet]))["plugins"][0]["ipam"].clone();
        assert_eq!(ipam["ranges"], serde_json::json!([[{"subnet": subnet}]]));
        assert_eq!(ipam["routes"], serde_json::json!([{"dst": dst}]));
    }
}

#[test]
fn several_subnets_of_a_family_are_one_range_set() {
    let ipam = rendered(&config(&["10.0.0.0/24", "10.0.1.0/24"]))["plugins"][0]["ipam"].clone();
    assert_eq!(
        ipam["ranges"],
        serde_json::json!([[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.1.0/24"}]])
    );
}

#[test]
fn any_path_is_a_json_string() {
    let odd = "/a \"b\"\\c\n\u{1}é".to_owned();
    let conf = CniConfig {
        data_dir: odd.clone(),
        ..config(&["10.0.0.0/24"])
    };
    assert_eq!(
        rendered(&conf)["plugins"][0]["ipam"]["dataDir"],
        serde_json::Value::String(odd)
    );
    assert_eq!(render(&conf), render(&conf));
}
