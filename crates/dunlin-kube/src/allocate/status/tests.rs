use super::*;

fn marks(conditions: Value) -> Marks {
    serde_json::from_value(json!({
        "metadata": { "resourceVersion": "7", "uid": "u", "generation": 3, "name": "ignored" },
        "status": { "conditions": conditions, "loadBalancer": {} },
    }))
    .unwrap()
}

fn given(addresses: &[&str]) -> Outcome {
    Outcome {
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        ..Outcome::default()
    }
}

#[test]
fn a_patch_names_what_it_is_meant_for() {
    let other = json!({ "type": "Other", "status": "True", "x": [1] });
    let outcome = given(&["192.0.2.1", "2001:db8::1"]);
    let patch = marks(json!([other])).patch(&outcome, "now");
    assert_eq!(
        patch["metadata"],
        json!({ "uid": "u", "resourceVersion": "7" })
    );
    assert_eq!(
        patch["status"]["loadBalancer"]["ingress"],
        json!([{ "ip": "192.0.2.1", "ipMode": "VIP" }, { "ip": "2001:db8::1", "ipMode": "VIP" }])
    );
    let conditions = &patch["status"]["conditions"];
    assert_eq!(conditions[0], other, "other people's stay");
    assert_eq!(conditions[1]["status"], "True");
    assert_eq!(conditions[1]["observedGeneration"], 3);
    assert_eq!(conditions[1]["lastTransitionTime"], "now");
    // What it says once written needs no other patch.
    assert!(marks(conditions.clone()).says(&outcome));
    assert!(!marks(conditions.clone()).says(&given(&["192.0.2.2"])));
    let later = marks(conditions.clone()).patch(&given(&["192.0.2.2"]), "later");
    assert_eq!(
        later["status"]["conditions"][1]["lastTransitionTime"],
        "now"
    );
}

#[test]
fn nothing_to_give_clears_the_list() {
    let outcome = Outcome {
        shortfall: Some(Shortfall::NoPool),
        ..Outcome::default()
    };
    let patch = marks(Value::Null).patch(&outcome, "now");
    assert_eq!(patch["status"]["loadBalancer"]["ingress"], Value::Null);
    assert_eq!(patch["status"]["conditions"][0]["reason"], "NoPool");
    assert_eq!(patch["status"]["conditions"][0]["status"], "False");
}

#[test]
fn what_another_controller_does_is_left_alone() {
    let fresh = marks(Value::Null);
    let mut outcome = given(&["192.0.2.1"]);
    assert!(!fresh.leave_alone(&outcome, false));
    outcome.remarks = vec![Remark::KeptOutsidePools("192.0.2.1".parse().unwrap())];
    assert!(fresh.leave_alone(&outcome, false));
    assert!(!fresh.leave_alone(&outcome, true));
    let ours = marks(json!([{ "type": CONDITION, "status": "True" }]));
    assert!(!ours.leave_alone(&outcome, false), "we gave it once");
    outcome = Outcome {
        shortfall: Some(Shortfall::AnotherController),
        ..Outcome::default()
    };
    assert!(ours.leave_alone(&outcome, true));
}
