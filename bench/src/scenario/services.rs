//! From a change in a real Kubernetes API to FRR beside three nodes: how long until the route is there, or gone.
//!
//! Each change is one request over a connection that is open; FRR is asked over one, again and again.

use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dunlin_e2e::proxy::{Connection, Proxy};
use dunlin_e2e::router::{self, Standing, Vty};
use dunlin_e2e::world::{NODES, World};
use serde_json::{Value, json};

use super::Options;
use crate::interrupt;
use crate::report::{Column, Report};

const COLUMNS: &[Column] = &[
    Column::new("p50", "ms"),
    Column::new("p99", "ms"),
    Column::new("longest", "ms"),
];

const SERVICES: &str = "/api/v1/namespaces/default/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// Between two looks at FRR's table.
const LOOK: Duration = Duration::from_micros(200);

/// When what happened, in milliseconds since the request was sent.
#[derive(Debug, Default)]
struct Times {
    /// The API server had answered.
    answered: Vec<f64>,
    /// Another watcher had the event.
    watched: Vec<f64>,
    /// FRR had heard it from one of the nodes.
    heard: Vec<f64>,
    /// From the watcher's event until then: what Dunlin adds, and what looking at FRR takes.
    after_watch: Vec<f64>,
    /// FRR had acted on it; it waits 50 ms for more, by itself.
    acted: Vec<f64>,
}

/// Creates and empties `count` services, one after the other.
pub(crate) fn run(options: &Options, count: u32, mut show: impl FnMut(Report)) -> Result<()> {
    let title = format!(
        "services: {count}, through a real API server, {} nodes",
        NODES.len()
    );
    let mut report = Report::new(title, COLUMNS, "Dunlin");
    let ready = router::installed().and_then(|()| dunlin_e2e::control_plane());
    match ready {
        Ok(program) => measure(
            World::new(program, options.dunlin.clone()),
            options,
            count,
            &mut report,
        )?,
        Err(lack) => report.note("Dunlin", format!("skipped: {lack}")),
    }
    show(report);
    Ok(())
}

fn measure(mut world: World, options: &Options, count: u32, report: &mut Report) -> Result<()> {
    let mut vty = world.cluster().router.vty();
    let kubectl = world.kubectl();
    kubectl.apply(
        "apiVersion: dunlin.dev/v1alpha1\nkind: BGPAdvertisement\nmetadata: {name: services}\n\
         spec: {services: {addresses: [ExternalIP]}}\n",
    );
    let proxy = Proxy::start(&kubectl, world.plane.home());
    let mut api = proxy.connect();
    let services = follow(&proxy, SERVICES);
    let slices = follow(&proxy, SLICES);
    let (mut created, mut emptied) = (Times::default(), Times::default());
    for number in 0..count {
        let name = format!("svc-{number}");
        let address = format!("198.18.{}.{}", number / 250, number % 250 + 1);
        let prefix = format!("{address}/32");
        api.request("POST", SLICES, Some(&slice(&name, true)));
        event(&slices, &name, options)?;
        let deadline = options.deadline();
        let time = |api: &mut Connection, vty: &mut Vty, times: &mut Times, change: &Change<'_>| {
            let sent = Instant::now();
            api.request(change.method, &change.path, Some(&change.body));
            let answered = sent.elapsed();
            let mut until = |what: fn(Standing) -> bool| {
                interrupt::wait_for(deadline, LOOK, &prefix, || {
                    Ok(what(vty.standing(&prefix)) == change.has)
                })
            };
            let heard = until(|standing| standing.heard)? - sent;
            let acted = until(|standing| standing.chosen)? - sent;
            let watched = event(change.events, &name, options)?.saturating_duration_since(sent);
            times.add(answered, watched, heard, acted);
            anyhow::Ok(())
        };
        let create = Change {
            method: "POST",
            path: SERVICES.to_owned(),
            body: service(&name, &address),
            events: &services,
            has: true,
        };
        time(&mut api, &mut vty, &mut created, &create)?;
        let empty = Change {
            method: "PATCH",
            path: format!("{SLICES}/{name}"),
            body: json!({ "endpoints": [endpoint(false)] }),
            events: &slices,
            has: false,
        };
        time(&mut api, &mut vty, &mut emptied, &empty)?;
        api.request("DELETE", &format!("{SERVICES}/{name}"), None);
        api.request("DELETE", &format!("{SLICES}/{name}"), None);
        event(&services, &name, options)?;
        event(&slices, &name, options)?;
    }
    created.tell("new", report);
    emptied.tell("gone", report);
    Ok(())
}

struct Change<'a> {
    method: &'static str,
    path: String,
    body: Value,
    events: &'a Receiver<(String, Instant)>,
    /// Whether FRR then has the route.
    has: bool,
}

impl Times {
    fn add(&mut self, answered: Duration, watched: Duration, heard: Duration, acted: Duration) {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        self.answered.push(ms(answered));
        self.watched.push(ms(watched));
        self.heard.push(ms(heard));
        self.after_watch.push(ms(heard.saturating_sub(watched)));
        self.acted.push(ms(acted));
    }

    fn tell(self, what: &str, report: &mut Report) {
        let rows = [
            ("API answers", self.answered),
            ("event seen", self.watched),
            ("FRR heard", self.heard),
            ("event to FRR", self.after_watch),
            ("FRR acted", self.acted),
        ];
        for (row, mut values) in rows {
            values.sort_by(f64::total_cmp);
            let at = |share: f64| {
                let index = (values.len() as f64 * share).ceil() as usize;
                values
                    .get(index.saturating_sub(1))
                    .copied()
                    .unwrap_or(f64::NAN)
            };
            let figures = vec![at(0.5), at(0.99), at(1.0)];
            report.add(&format!("{what}: {row}"), figures);
        }
    }
}

/// Watches a collection; names of objects, and when something was heard of them.
fn follow(proxy: &Proxy, path: &str) -> Receiver<(String, Instant)> {
    let list = proxy.connect().request("GET", path, None);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or("0");
    let events = proxy
        .connect()
        .watch(&format!("{path}?watch=1&resourceVersion={version}"));
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for event in events {
            let name = event["object"]["metadata"]["name"].as_str();
            let heard = (name.unwrap_or_default().to_owned(), Instant::now());
            if sender.send(heard).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for the next event about an object.
fn event(events: &Receiver<(String, Instant)>, name: &str, options: &Options) -> Result<Instant> {
    loop {
        let (about, at) = events
            .recv_timeout(options.patience)
            .with_context(|| format!("no event about {name}"))?;
        if about == name {
            return Ok(at);
        }
    }
}

fn service(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"port": 80}], "externalIPs": [address]},
    })
}

fn slice(name: &str, ready: bool) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [endpoint(ready)],
    })
}

fn endpoint(ready: bool) -> Value {
    json!({
        "addresses": ["10.244.250.1"],
        "nodeName": NODES[0],
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
    })
}
