//! Load-balancer addresses through an API server: who gives them, what is written, and what happens when agents and servers
//! fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dunlin_fakeapi::{FakeApi, Fault};
use dunlin_intent::{Fact, Kind, NodeFact, PoolFact, SourceEvent};
use dunlin_kube::allocate::{self, AllocateOptions, AllocateReport, CONDITION, LEASE, Roster};
use dunlin_kube::api::Client;
use dunlin_kube::events::{self, NoticeQueue};
use dunlin_kube::lease::LeaseTimes;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

const NODES: [&str; 3] = ["one", "two", "three"];

fn times() -> LeaseTimes {
    LeaseTimes {
        duration: Duration::from_secs(5),
        renew: Duration::from_millis(700),
        retry: Duration::from_millis(300),
        request: Duration::from_millis(1500),
        margin: Duration::from_millis(500),
    }
}

/// An agent's part in it.
struct Agent {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    roster: watch::Sender<Roster>,
    report: watch::Receiver<AllocateReport>,
    notices: NoticeQueue,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    fn start(api: &FakeApi, node: &str, seed: u64) -> Agent {
        Agent::with(api, node, seed, true)
    }

    fn with(api: &FakeApi, node: &str, seed: u64, pools: bool) -> Agent {
        let (roster, seen) = watch::channel(Roster::default());
        let (report, reported) = watch::channel(AllocateReport::default());
        let (notices, queue) = events::notices();
        let (stop, stopped) = oneshot::channel();
        let options = AllocateOptions {
            node: node.to_owned(),
            namespace: "kube-system".to_owned(),
            default_class: true,
            times: times(),
            seed,
        };
        let client = Client::new(api.clone(), "default");
        let stopped = async move {
            let _ = stopped.await;
        };
        let task = tokio::spawn(allocate::run(
            client, options, seen, notices, report, stopped,
        ));
        let agent = Agent {
            task,
            stop: Some(stop),
            roster,
            report: reported,
            notices: queue,
        };
        for node in NODES {
            let fact = NodeFact::new(node).with_internal_ip("192.0.2.1".parse().unwrap());
            agent.note(SourceEvent::Apply(Fact::Node(fact)));
        }
        agent.note(SourceEvent::Synced(Kind::Node));
        if pools {
            agent.note_pool();
        }
        agent
    }

    fn note(&self, event: SourceEvent) {
        self.roster.send_modify(|roster| {
            roster.note(&event);
        });
    }

    fn note_pool(&self) {
        let pool = PoolFact {
            name: "p".to_owned(),
            ..PoolFact::default()
        };
        self.note(SourceEvent::Apply(Fact::Pool(pool)));
    }

    async fn leads(&mut self) {
        let leads = self.report.wait_for(|report| report.leading);
        tokio::time::timeout(PATIENCE, leads)
            .await
            .expect("it comes to lead")
            .unwrap();
    }

    async fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("it ends")
            .unwrap();
    }
}

fn pool(api: &FakeApi, addresses: &str) {
    api.put(json!({
        "apiVersion": "dunlin.dev/v1alpha1", "kind": "LoadBalancerPool",
        "metadata": { "name": "p", "uid": "pool-uid" },
        "spec": { "addresses": [addresses] },
    }));
}

fn namespace(api: &FakeApi) {
    api.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns" } }));
}

fn service(api: &FakeApi, name: &str) {
    api.put(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": "ns" },
        "spec": { "type": "LoadBalancer", "clusterIPs": ["10.96.0.7"], "ipFamilies": ["IPv4"],
                  "ipFamilyPolicy": "SingleStack", "ports": [{ "port": 80 }] },
    }));
}

fn addresses_of(service: &Value) -> Vec<String> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    let ips = ingress
        .into_iter()
        .flatten()
        .filter_map(|i| i["ip"].as_str());
    ips.map(str::to_owned).collect()
}

/// The addresses of all Services that have one; none is had twice.
fn given(api: &FakeApi) -> BTreeMap<String, String> {
    let mut given = BTreeMap::new();
    let mut holders: BTreeMap<String, String> = BTreeMap::new();
    for service in api.objects("v1", "Service") {
        let name = service["metadata"]["name"].as_str().unwrap().to_owned();
        for ip in addresses_of(&service) {
            if let Some(other) = holders.insert(ip.clone(), name.clone()) {
                panic!("{ip} is had by {other} and {name}");
            }
            given.insert(name.clone(), ip);
        }
    }
    given
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn get(api: &FakeApi, name: &str) -> Value {
    api.get("v1", "Service", Some("ns"), name).unwrap()
}

fn condition(service: &Value) -> Option<&Value> {
    let conditions = service["status"]["conditions"].as_array()?;
    conditions.iter().find(|c| c["type"] == CONDITION)
}

fn holder(api: &FakeApi) -> String {
    let lease = api.get(
        "coordination.k8s.io/v1",
        "Lease",
        Some("kube-system"),
        LEASE,
    );
    let holder = lease.as_ref().map(|lease| &lease["spec"]["holderIdentity"]);
    holder
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn addresses_conditions_and_events() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "192.0.2.0-192.0.2.2");
    service(&api, "a");
    let mut agent = Agent::start(&api, "one", 1);
    until("a has an address", || given(&api).contains_key("a")).await;
    let a = get(&api, "a");
    assert_eq!(a["status"]["loadBalancer"]["ingress"][0]["ipMode"], "VIP");
    let said = condition(&a).unwrap();
    assert_eq!(
        (&said["status"], &said["reason"]),
        (&json!("True"), &json!("Allocated"))
    );
    let notice = agent.notices.next().await.unwrap();
    assert_eq!(
        (notice.reason, &*notice.message),
        ("AddressAllocated", "got 192.0.2.0")
    );
    assert_eq!(notice.object.uid.as_deref(), a["metadata"]["uid"].as_str());
    // 192.0.2.1 is a Node's, so there is one more.
    service(&api, "b");
    until("b has an address", || given(&api).contains_key("b")).await;
    assert_eq!(given(&api)["b"], "192.0.2.2");
    service(&api, "c");
    until("c is told why not", || condition(&get(&api, "c")).is_some()).await;
    let said = get(&api, "c");
    let said = condition(&said).unwrap();
    assert_eq!(
        (&said["status"], &said["reason"]),
        (&json!("False"), &json!("Exhausted"))
    );
    let mut reasons = BTreeSet::new();
    while reasons.len() < 3 {
        let notice = tokio::time::timeout(PATIENCE, agent.notices.next())
            .await
            .unwrap();
        reasons.insert(notice.unwrap().reason);
    }
    assert_eq!(
        reasons,
        BTreeSet::from(["AddressAllocated", "Exhausted", "PoolExhausted"])
    );
    let counted = agent
        .report
        .wait_for(|r| r.short == 1 && !r.pools.is_empty() && r.pools[0].exhausted.v4);
    let report = tokio::time::timeout(PATIENCE, counted)
        .await
        .unwrap()
        .unwrap()
        .clone();
    assert_eq!((report.given, report.failures), (2, 0));
    assert!(report.watchful && report.holder.starts_with("one_"));
    let pool_status = || {
        let pool = api.get("dunlin.dev/v1alpha1", "LoadBalancerPool", None, "p");
        pool.map(|pool| pool["status"].clone()).unwrap_or_default()
    };
    until("the pool says so", || {
        pool_status()["conditions"][0]["reason"] == "Exhausted"
    })
    .await;
    assert_eq!(
        (&pool_status()["allocated"], &pool_status()["available"]),
        (&json!(2), &json!(0))
    );
    assert_eq!(pool_status()["conditions"][0]["status"], "False");
    // What goes makes room.
    api.delete("v1", "Service", Some("ns"), "a");
    until("c has an address", || given(&api).contains_key("c")).await;
    assert_eq!(given(&api)["c"], "192.0.2.0");
    // Somebody clears a status.
    api.put({
        let mut b = get(&api, "b");
        b["status"] = json!({});
        b
    });
    until("b has it again", || {
        given(&api).get("b").is_some_and(|ip| ip == "192.0.2.2")
    })
    .await;
}

#[tokio::test]
async fn without_pools_nothing_is_asked() {
    let api = FakeApi::new();
    namespace(&api);
    service(&api, "a");
    let mut agent = Agent::with(&api, "one", 1, false);
    let changed = tokio::time::timeout(Duration::from_secs(1), agent.report.changed()).await;
    assert!(changed.is_err());
    assert_eq!(api.requests(), []);
    pool(&api, "192.0.2.0/28");
    agent.note_pool();
    until("a has an address", || given(&api).contains_key("a")).await;
    // The last pool goes: nobody looks any more, and what was given stays.
    agent.note(SourceEvent::Remove(dunlin_intent::Key::Pool(
        "p".to_owned(),
    )));
    let idle = agent.report.wait_for(|report| !report.leading);
    tokio::time::timeout(PATIENCE, idle).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    api.forget_requests();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(api.requests(), []);
    assert!(given(&api).contains_key("a"));
}

#[tokio::test]
async fn an_address_is_free_when_its_service_goes_however_garbled() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "203.0.113.1/32");
    service(&api, "first");
    let mut agent = Agent::start(&api, "one", 1);
    agent.leads().await;
    until("the only address is given", || given(&api).len() == 1).await;
    // What it says now cannot be read, and what it said before stays.
    let mut garbled = get(&api, "first");
    garbled["spec"] = json!("garbage");
    api.put(garbled);
    api.delete("v1", "Service", Some("ns"), "first");
    service(&api, "second");
    until("the next has it", || given(&api).contains_key("second")).await;
}

#[tokio::test]
async fn a_thousand_at_once() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "10.0.0.0/16");
    let mut agent = Agent::start(&api, "one", 1);
    agent.leads().await;
    for n in 0..1000 {
        service(&api, &format!("s{n}"));
    }
    until("all have one", || given(&api).len() == 1000).await;
    let writes = api.requests();
    let writes = writes.iter().filter(|r| r.method == "PATCH").count();
    assert!(writes <= 1010, "{writes} writes");
}

#[tokio::test]
async fn another_takes_over_from_one_that_dies() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "192.0.2.0/28");
    for name in ["a", "b"] {
        service(&api, name);
    }
    let mut first = Agent::start(&api, "one", 1);
    first.leads().await;
    until("both have one", || given(&api).len() == 2).await;
    let mut second = Agent::start(&api, "two", 2);
    let before = given(&api);
    first.task.abort();
    let died = Instant::now();
    service(&api, "c");
    api.delete("v1", "Service", Some("ns"), "a");
    second.leads().await;
    until("c has one", || given(&api).contains_key("c")).await;
    assert!(
        died.elapsed() > Duration::from_secs(3),
        "not before its time"
    );
    assert_eq!(given(&api)["b"], before["b"]);
    assert!(holder(&api).starts_with("two_"));
    let lease = api.get(
        "coordination.k8s.io/v1",
        "Lease",
        Some("kube-system"),
        LEASE,
    );
    assert_eq!(lease.unwrap()["spec"]["leaseTransitions"], 1);
}

#[tokio::test]
async fn one_that_ends_in_order_hands_over_at_once() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "192.0.2.0/28");
    let mut first = Agent::start(&api, "one", 1);
    first.leads().await;
    let mut second = Agent::start(&api, "two", 2);
    first.stop().await;
    assert_eq!(holder(&api), "");
    service(&api, "a");
    second.leads().await;
    until("a has one", || given(&api).contains_key("a")).await;
}

#[tokio::test]
async fn a_server_that_fails() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "192.0.2.0/24");
    let mut agent = Agent::start(&api, "one", 1);
    agent.leads().await;
    api.faults(|faults| {
        let writes = "PATCH /api/v1/namespaces/ns/services";
        faults.times(3, writes, Fault::Status(409, None, "Conflict"));
        faults.times(3, writes, Fault::Status(429, Some(1), "TooManyRequests"));
        faults.times(3, writes, Fault::Status(500, None, "InternalError"));
        faults.times(2, writes, Fault::Garbage);
        faults.times(2, writes, Fault::Silence);
        faults.times(2, writes, Fault::Refuse);
        faults.times(2, writes, Fault::Delay(Duration::from_secs(3)));
    });
    for n in 0..30 {
        service(&api, &format!("s{n}"));
    }
    until("all have one", || given(&api).len() == 30).await;
    // The watch forgets, and what happened meanwhile is found.
    api.forget_past();
    api.drop_watches();
    api.delete("v1", "Service", Some("ns"), "s0");
    service(&api, "t");
    until("t has one", || given(&api).contains_key("t")).await;
    assert!(agent.report.borrow().failures > 0);
}

/// Three agents of which now and then one dies, a server that now and then does not answer, and Services that come and go:
/// at no moment is an address had twice.
#[tokio::test]
async fn never_twice_whatever_happens() {
    let api = FakeApi::new();
    namespace(&api);
    pool(&api, "192.0.2.0-192.0.2.20");
    let mut agents: Vec<Agent> = (0u64..3)
        .map(|n| Agent::start(&api, NODES[n as usize], n + 1))
        .collect();
    let checker = tokio::spawn({
        let api = api.clone();
        async move {
            loop {
                given(&api);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut seed = 10;
    for _ in 0..120 {
        let name = format!("s{}", next(25));
        match next(10) {
            0..5 => service(&api, &name),
            5..7 => {
                api.delete("v1", "Service", Some("ns"), &name);
            }
            7 => {
                let who = next(3) as usize;
                seed += 1;
                agents[who] = Agent::start(&api, NODES[who], seed);
            }
            8 => api.faults(|faults| {
                faults.clear();
                let what = ["leases", "PATCH /api", "GET /api", "PUT"][next(4) as usize];
                let fault = match next(3) {
                    0 => Fault::Silence,
                    1 => Fault::Delay(Duration::from_millis(1000 + next(4000))),
                    _ => Fault::Status(500, None, "InternalError"),
                };
                faults.times(5, what, fault);
            }),
            _ => api.drop_watches(),
        }
        tokio::time::sleep(Duration::from_millis(next(300))).await;
    }
    api.faults(|faults| faults.clear());
    let count = || api.objects("v1", "Service").len();
    until("all there is room for have one", || {
        given(&api).len() == count().min(20)
    })
    .await;
    assert!(!checker.is_finished(), "an address was had twice");
    checker.abort();
}
