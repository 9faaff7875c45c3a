use super::*;

fn table(table: &'static str, chains: &[(&str, bool, &[&str])]) -> Rules {
    let rule = |(at, to): (usize, &&str)| Rule {
        id: Id::Handle(at as u64),
        to: Some((*to).to_owned()),
        ipvs: *to == "ipvs",
    };
    let chain = |(name, base, to): &(&str, bool, &[&str])| {
        let rules = to.iter().enumerate().map(rule).collect();
        ((*name).to_owned(), Chain { base: *base, rules })
    };
    Rules {
        table,
        chains: chains.iter().map(chain).collect(),
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.chains.iter().map(String::as_str).collect()
}

#[test]
fn chains_of_kubelet_and_of_policies_stay() {
    let of_others = table(
        "filter",
        &[
            ("INPUT", true, &["KUBE-FIREWALL", "KUBE-ROUTER-INPUT"]),
            ("KUBE-FIREWALL", false, &[]),
            ("KUBE-KUBELET-CANARY", false, &[]),
            ("KUBE-ROUTER-INPUT", false, &[]),
            ("KUBE-POD-FW-X", false, &[]),
        ],
    );
    assert_eq!(plan(of_others), None);
    let both = table(
        "filter",
        &[
            ("INPUT", true, &["KUBE-FIREWALL", "KUBE-SERVICES", "ACCEPT"]),
            ("KUBE-FIREWALL", false, &["DROP"]),
            ("KUBE-SERVICES", false, &["REJECT"]),
            ("KUBE-PROXY-CANARY", false, &[]),
        ],
    );
    let plan = plan(both).unwrap();
    assert_eq!(names(&plan), ["KUBE-PROXY-CANARY", "KUBE-SERVICES"]);
    assert_eq!(plan.rules, [("INPUT".to_owned(), Id::Handle(1))]);
    assert_eq!(plan.kept, Vec::<String>::new());
}

#[test]
fn what_others_lead_to_stays_with_all_it_needs() {
    let hostports = table(
        "nat",
        &[
            ("PREROUTING", true, &["KUBE-SERVICES", "KUBE-HOSTPORTS"]),
            ("POSTROUTING", true, &["KUBE-POSTROUTING"]),
            ("KUBE-HOSTPORTS", false, &["KUBE-MARK-MASQ"]),
            ("KUBE-MARK-MASQ", false, &["MARK"]),
            ("KUBE-POSTROUTING", false, &["MASQUERADE"]),
            ("KUBE-SERVICES", false, &["KUBE-SVC-A", "KUBE-MARK-MASQ"]),
            ("KUBE-SVC-A", false, &["KUBE-SEP-A"]),
            ("KUBE-SEP-A", false, &["DNAT"]),
        ],
    );
    let plan = plan(hostports).unwrap();
    assert_eq!(names(&plan), ["KUBE-SEP-A", "KUBE-SERVICES", "KUBE-SVC-A"]);
    assert_eq!(plan.rules, [("PREROUTING".to_owned(), Id::Handle(0))]);
    assert_eq!(plan.kept.len(), 2, "{:?}", plan.kept);
    assert!(plan.kept[0].contains("KUBE-HOSTPORTS"), "{:?}", plan.kept);
}

#[test]
fn the_rule_for_ipvs_goes_with_kube_router_only() {
    let rules = |chain| {
        table(
            "nat",
            &[("POSTROUTING", true, &["ipvs"]), (chain, false, &[])],
        )
    };
    assert_eq!(plan(rules("KUBE-ROUTER-HAIRPIN")).unwrap().rules.len(), 1);
    assert_eq!(plan(rules("KUBE-SERVICES")).unwrap().rules.len(), 0);
}
