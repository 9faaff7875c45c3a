//! A node whose services one proxy delivers, in a network namespace of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use dunlin_fakeapi::FakeApi;

use super::objects::{POD_RANGE, Size};
use crate::api_server::Server;
use crate::interrupt;
use crate::netns::{Bed, driver_address};
use crate::nft_monitor::{self, Monitor};
use crate::process::{Processes, Scratch, Usage};
use crate::scenario::{Options, api};

/// kube-proxy's own port for what it counts.
const KUBE_PROXY_METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// Who delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Dunlin,
    KubeProxy,
}

impl Subject {
    pub(super) fn name(self) -> &'static str {
        match self {
            Subject::Dunlin => "Dunlin",
            Subject::KubeProxy => "kube-proxy",
        }
    }

    /// Longer than it takes between two of its transactions while it has work.
    pub(super) fn quiet(self) -> Duration {
        match self {
            Subject::Dunlin => Duration::from_millis(500),
            Subject::KubeProxy => Duration::from_secs(30),
        }
    }
}

/// How the first programming went.
#[derive(Debug, Clone, Copy)]
pub(super) struct FirstSync {
    /// From the start of the process until the last element was acknowledged.
    pub(super) took: Duration,
    /// Until it had read all objects.
    pub(super) reading: Duration,
    pub(super) usage: Usage,
}

/// Fields are dropped in this order: the process first.
pub(super) struct Node {
    processes: Processes,
    pub(super) subject: Subject,
    argv: Vec<String>,
    pub(super) size: Size,
    pub(super) api: FakeApi,
    _server: Server,
    scratch: Scratch,
    pub(super) bed: Bed,
}

impl Node {
    /// A node whose proxy has not been started. `api` holds the objects of that size.
    pub(super) fn new(
        options: &Options,
        subject: Subject,
        size: Size,
        api: &FakeApi,
    ) -> Result<Node> {
        let bed = Bed::new(0)?;
        bed.daemon
            .ip(&format!("route add {POD_RANGE} via {}", driver_address(0)))?;
        bed.driver
            .ip(&format!("route add local {POD_RANGE} dev lo"))?;
        let scratch = Scratch::new()?;
        let server = Server::start(api.clone(), &bed.daemon, &scratch)?;
        let argv = match subject {
            Subject::Dunlin => api::agent(options, &scratch, server.kubeconfig(), "on")?,
            Subject::KubeProxy => {
                let config = kube_proxy_config(server.kubeconfig());
                let config = scratch.write("kube-proxy.yaml", &config)?;
                let program = dunlin_e2e::kube_proxy().map_err(anyhow::Error::msg)?;
                vec![program.display().to_string(), format!("--config={config}")]
            }
        };
        Ok(Node {
            processes: Processes::default(),
            subject,
            argv,
            size,
            api: api.clone(),
            _server: server,
            scratch,
            bed,
        })
    }

    pub(super) fn monitor(&self, elements: bool) -> Result<Monitor> {
        Monitor::new(&self.bed.daemon, elements)
    }

    /// Starts the process; gives when.
    pub(super) fn launch(&mut self) -> Result<Instant> {
        self.api.forget_requests();
        let started = Instant::now();
        self.processes
            .start(&self.bed.daemon, &self.scratch, &self.argv, None)?;
        Ok(started)
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) {
        self.processes = Processes::default();
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        self.processes.usage()
    }

    /// Starts the process and waits until all is programmed.
    pub(super) fn first_sync(&mut self, deadline: Instant) -> Result<FirstSync> {
        let started = self.launch()?;
        let lists = self.lists_read(deadline)?;
        let programmed = self.programmed(deadline)?;
        let usage = self.usage()?;
        // Not before: while anybody listens, the kernel has more to do.
        let monitor = self.monitor(false)?;
        let quiet = self.subject.quiet();
        std::thread::sleep(quiet);
        monitor.wait_quiet(quiet, deadline)?;
        Ok(FirstSync {
            took: programmed - started,
            reading: lists - started,
            usage,
        })
    }

    /// Waits until it watches on from what it has read of services and of endpoints.
    pub(super) fn lists_read(&mut self, deadline: Instant) -> Result<Instant> {
        let what = format!("{} to read all objects", self.subject.name());
        interrupt::wait_for(deadline, Duration::from_millis(1), &what, || {
            self.processes.check_alive()?;
            let requests = self.api.requests();
            let watches = |resource: &str| {
                requests.iter().any(|seen| {
                    seen.target.contains(resource)
                        && seen.target.contains("watch=")
                        && !seen.target.contains("sendInitialEvents")
                })
            };
            Ok(watches("/services?") && watches("/endpointslices?"))
        })
        .map_err(|error| error.context(self.processes.logs()))
    }

    /// Waits until all objects are programmed, for the first time since the process was started.
    pub(super) fn programmed(&mut self, deadline: Instant) -> Result<Instant> {
        let what = format!("{} to have programmed all objects", self.subject.name());
        let step = Duration::from_millis(10);
        interrupt::wait_for(deadline, step, &what, || {
            self.processes.check_alive()?;
            match self.subject {
                Subject::Dunlin => {
                    let there = nft_monitor::elements(&self.bed.daemon)?;
                    Ok(there >= self.size.elements())
                }
                Subject::KubeProxy => {
                    let text = self.bed.daemon.run(|| api::metrics(KUBE_PROXY_METRICS))?;
                    Ok(has_synced(&text.unwrap_or_default()))
                }
            }
        })
        .map_err(|error| error.context(self.processes.logs()))
    }
}

/// What an agent has told of how long programming took, from when it heard of a change to the kernel's acknowledgement:
/// how many changes were within each bound, which is in seconds. Ascending.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Programming(Vec<(f64, f64)>);

impl Programming {
    fn of(metrics: &str) -> Option<Programming> {
        const BUCKET: &str = "dunlin_service_proxy_program_seconds_bucket{le=\"";
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
            let bound = match bound {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((bound, count.trim().parse().ok()?))
        });
        let buckets: Vec<(f64, f64)> = buckets.collect();
        (!buckets.is_empty()).then_some(Programming(buckets))
    }

    fn changes(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// What so large a part of the changes since then took at most, seconds: within a bucket taken for even.
    pub(super) fn quantile_since(&self, before: &Programming, part: f64) -> f64 {
        let sought = (self.changes() - before.changes()) * part;
        let (mut from, mut passed) = (0.0, 0.0);
        for ((bound, count), (_, old)) in self.0.iter().zip(&before.0) {
            let within = count - old;
            if within >= sought && within > passed {
                let upto = if bound.is_finite() { *bound } else { from };
                return from + (upto - from) * (sought - passed) / (within - passed);
            }
            (from, passed) = (*bound, within);
        }
        from
    }
}

impl Node {
    /// What an agent has told so far; none of a subject that does not.
    pub(super) fn programming(&self) -> Result<Option<Programming>> {
        if self.subject != Subject::Dunlin {
            return Ok(None);
        }
        let metrics = self.bed.daemon.run(api::scrape)??;
        Ok(Programming::of(&metrics))
    }

    /// The same, once it has told of so many more than before.
    pub(super) fn programming_after(
        &self,
        before: &Programming,
        more: u32,
        deadline: Instant,
    ) -> Result<Programming> {
        let mut last = before.clone();
        let step = Duration::from_millis(1);
        interrupt::wait_for(deadline, step, "the agent to tell of all changes", || {
            last = self.programming()?.unwrap_or_else(|| before.clone());
            Ok(last.changes() >= before.changes() + f64::from(more))
        })?;
        Ok(last)
    }
}

/// Whether the time of the last sync is told for IPv4.
fn has_synced(metrics: &str) -> bool {
    const NAME: &str = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
    let mut lines = metrics.lines().filter(|line| line.starts_with(NAME));
    lines.any(|line| {
        let family = line.contains("IPv4") || !line.contains("IPv6");
        family && !line.ends_with(" 0")
    })
}

/// As it comes, but that it speaks JSON, and leaves alone what is the whole machine's.
fn kube_proxy_config(kubeconfig: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node-0
clusterCIDR: {POD_RANGE}
clientConnection: {{kubeconfig: {kubeconfig}, contentType: application/json, acceptContentTypes: application/json}}
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"
    )
}
