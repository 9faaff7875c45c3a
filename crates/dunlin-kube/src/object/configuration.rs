use dunlin_intent::{
    ConfigurationFact, PodEgressFact, ReflectorsFact, RouteInstallation, TopologyMode,
};
use dunlin_net::Asn;
use serde::Deserialize;

use super::meta::Meta;
use super::shared::{GracefulRestartSpec, SecretRefSpec, SelectorSpec, TimersSpec};
use super::value::Values;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    asn: Option<u32>,
    #[serde(default)]
    topology: TopologySpec,
    listen_port: Option<u16>,
    #[serde(default)]
    timers: TimersSpec,
    #[serde(default)]
    graceful_restart: GracefulRestartSpec,
    password_secret_ref: Option<SecretRefSpec>,
    bfd_profile: Option<String>,
    #[serde(default)]
    pod_egress: PodEgressSpec,
    route_installation: Option<RouteInstallationSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TopologySpec {
    mode: Option<ModeSpec>,
    mesh_limit: Option<u32>,
    reflectors: Option<ReflectorsSpec>,
}

#[derive(Deserialize)]
enum ModeSpec {
    Auto,
    Mesh,
    Reflectors,
    None,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReflectorsSpec {
    count: Option<u32>,
    node_selector: Option<SelectorSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodEgressSpec {
    masquerade: Option<bool>,
    #[serde(default)]
    exclude: Vec<String>,
}

#[derive(Deserialize)]
enum RouteInstallationSpec {
    Kernel,
    None,
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> ConfigurationFact {
        let mut values = Values::default();
        let exclude = values.each(
            "spec.podEgress.exclude",
            &self.pod_egress.exclude,
            |v, f, text| v.net(f, text),
        );
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
            malformed: values.malformed,
        }
    }
}
