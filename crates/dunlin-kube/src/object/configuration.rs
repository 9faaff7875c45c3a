use dunlin_intent::{
    BmpStationFact, ConfigurationFact, MonitoredTable, PodEgressFact, ReflectorsFact,
    RouteInstallation, TopologyMode,
};
use dunlin_net::Asn;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cel;
use super::meta::Meta;
use super::shared::{GracefulRestartSpec, SecretRefSpec, SelectorSpec, TimersSpec};
use super::value::Values;

/// What holds for all nodes. A field left out has its default.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// The AS number of all nodes. Default 64512.
    #[schemars(range(min = 1), extend("x-kubernetes-validations" = cel::asn()))]
    asn: Option<u32>,
    /// How nodes peer with each other.
    #[serde(default)]
    topology: TopologySpec,
    /// The TCP port that agents listen on and dial each other on. Default 179.
    #[schemars(range(min = 1))]
    listen_port: Option<u16>,
    /// Timers of all sessions that do not set their own.
    #[serde(default)]
    timers: TimersSpec,
    /// Graceful restart of all sessions that do not set their own.
    #[serde(default)]
    graceful_restart: GracefulRestartSpec,
    /// The password of the sessions between nodes. Default none.
    password_secret_ref: Option<SecretRefSpec>,
    /// The name of the BFDProfile of the sessions between nodes. Default none: a dead node is noticed by the hold time.
    #[schemars(length(min = 1, max = cel::NAME_LEN))]
    bfd_profile: Option<String>,
    /// What happens to packets of pods that leave the cluster.
    #[serde(default)]
    pod_egress: PodEgressSpec,
    /// Kernel puts the routes that are learned into the kernel; None only learns and tells them. Default Kernel.
    route_installation: Option<RouteInstallationSpec>,
    /// Whether a Node that is cordoned (spec.unschedulable) is drained: its routes become the last choice of all peers, and
    /// then its service addresses are withdrawn. Default false.
    drain_on_cordon: Option<bool>,
    /// Monitoring stations (BMP, RFC 7854): each node connects to each and tells what it learns. Default none.
    #[serde(default)]
    #[schemars(length(max = dunlin_intent::BMP_STATIONS))]
    bmp: Vec<BmpStationSpec>,
}

/// A monitoring station.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BmpStationSpec {
    /// Its address.
    #[schemars(with = "cel::Address")]
    address: String,
    /// Its TCP port. Default 11019.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// What it is told. Default all.
    #[serde(default)]
    #[schemars(length(max = 2))]
    monitor: Vec<MonitoredTableSpec>,
    /// How often it is told how many routes there are, in seconds: 0 (never) or at least 5. Default 60.
    statistics_seconds: Option<u16>,
}

/// AdjRIBIn: what each peer told, before import policy. LocRIB: the paths chosen, with what the node originates (RFC 9069).
#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum MonitoredTableSpec {
    #[serde(rename = "AdjRIBIn")]
    AdjRibIn,
    #[serde(rename = "LocRIB")]
    LocRib,
}

/// How nodes peer with each other.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopologySpec {
    /// Mesh: every node with every other. Reflectors: all nodes with a few that reflect. Auto: a mesh up to meshLimit nodes,
    /// reflectors above. None: no sessions between nodes. Default Auto.
    mode: Option<ModeSpec>,
    /// The most Nodes that Auto builds a mesh of. Default 100.
    mesh_limit: Option<u32>,
    /// Which nodes reflect, where some do.
    reflectors: Option<ReflectorsSpec>,
}

#[derive(Deserialize, JsonSchema)]
enum ModeSpec {
    Auto,
    Mesh,
    Reflectors,
    None,
}

/// The nodes that reflect.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReflectorsSpec {
    /// How many. Default 3.
    #[schemars(range(min = 1, max = 32))]
    count: Option<u32>,
    /// Which nodes may be one, by their labels. Default all. Where it selects none, the nodes keep a mesh.
    node_selector: Option<SelectorSpec>,
}

/// Packets of pods that leave the cluster.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodEgressSpec {
    /// Whether they leave with the node's address as source. Default true.
    masquerade: Option<bool>,
    /// Further destinations that packets go to with the pod's address, beside pods, nodes and Services.
    #[serde(default)]
    #[schemars(length(max = 256), with = "Vec<cel::Prefix>")]
    exclude: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
enum RouteInstallationSpec {
    Kernel,
    None,
}

impl BmpStationSpec {
    fn fact(&self, values: &mut Values, field: &str) -> BmpStationFact {
        BmpStationFact {
            address: values.addr(&format!("{field}.address"), &self.address),
            port: self.port,
            monitor: self
                .monitor
                .iter()
                .map(|table| match table {
                    MonitoredTableSpec::AdjRibIn => MonitoredTable::AdjRibIn,
                    MonitoredTableSpec::LocRib => MonitoredTable::LocRib,
                })
                .collect(),
            statistics_secs: self.statistics_seconds,
        }
    }
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> ConfigurationFact {
        let mut values = Values::default();
        let exclude = values.each(
            "spec.podEgress.exclude",
            &self.pod_egress.exclude,
            |v, f, text| v.net(f, text),
        );
        let bmp = values.each("spec.bmp", &self.bmp, |v, f, station| {
            Some(station.fact(v, f))
        });
        ConfigurationFact {
            name: metadata.name,
            asn: self.asn.map(Asn),
            topology: self.topology.mode.map(|mode| match mode {
                ModeSpec::Auto => TopologyMode::Auto,
                ModeSpec::Mesh => TopologyMode::Mesh,
                ModeSpec::Reflectors => TopologyMode::Reflectors,
                ModeSpec::None => TopologyMode::None,
            }),
            mesh_limit: self.topology.mesh_limit,
            reflectors: self.topology.reflectors.map(|reflectors| ReflectorsFact {
                count: reflectors.count,
                node_selector: reflectors.node_selector.map(Into::into),
            }),
            listen_port: self.listen_port,
            timers: self.timers.into(),
            graceful_restart: self.graceful_restart.into(),
            password: self.password_secret_ref.map(Into::into),
            bfd_profile: self.bfd_profile,
            pod_egress: PodEgressFact {
                masquerade: self.pod_egress.masquerade,
                exclude,
            },
            route_installation: self.route_installation.map(|mode| match mode {
                RouteInstallationSpec::Kernel => RouteInstallation::Kernel,
                RouteInstallationSpec::None => RouteInstallation::None,
            }),
            drain_on_cordon: self.drain_on_cordon,
            bmp,
            malformed: values.malformed,
        }
    }
}
