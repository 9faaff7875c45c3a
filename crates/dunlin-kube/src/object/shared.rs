//! Pieces of specs that several of our kinds have.

use dunlin_bgp::policy::CommunityValue;
use dunlin_intent::{
    Attributes, GracefulRestartFact, Labels, Operator, Prepend, Requirement, SecretRef, Selector,
    TimersFact, community,
};
use dunlin_net::Asn;
use serde::Deserialize;

use super::value::Values;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SelectorSpec {
    match_labels: Option<Labels>,
    match_expressions: Option<Vec<RequirementSpec>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequirementSpec {
    key: String,
    operator: OperatorSpec,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum OperatorSpec {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl From<SelectorSpec> for Selector {
    fn from(spec: SelectorSpec) -> Selector {
        let requirements = spec.match_expressions.unwrap_or_default().into_iter();
        Selector {
            match_labels: spec.match_labels.unwrap_or_default(),
            match_expressions: requirements
                .map(|requirement| Requirement {
                    key: requirement.key,
                    operator: match requirement.operator {
                        OperatorSpec::In => Operator::In,
                        OperatorSpec::NotIn => Operator::NotIn,
                        OperatorSpec::Exists => Operator::Exists,
                        OperatorSpec::DoesNotExist => Operator::DoesNotExist,
                    },
                    values: requirement.values,
                })
                .collect(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimersSpec {
    hold_time_seconds: Option<u16>,
    keepalive_seconds: Option<u16>,
    connect_retry_seconds: Option<u16>,
}

impl From<TimersSpec> for TimersFact {
    fn from(spec: TimersSpec) -> TimersFact {
        TimersFact {
            hold_time_secs: spec.hold_time_seconds,
            keepalive_secs: spec.keepalive_seconds,
            connect_retry_secs: spec.connect_retry_seconds,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GracefulRestartSpec {
    enabled: Option<bool>,
    restart_seconds: Option<u16>,
    long_lived_stale_seconds: Option<u32>,
}

impl From<GracefulRestartSpec> for GracefulRestartFact {
    fn from(spec: GracefulRestartSpec) -> GracefulRestartFact {
        GracefulRestartFact {
            enabled: spec.enabled,
            restart_secs: spec.restart_seconds,
            long_lived_stale_secs: spec.long_lived_stale_seconds,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SecretRefSpec {
    name: String,
    namespace: Option<String>,
}

impl From<SecretRefSpec> for SecretRef {
    fn from(spec: SecretRefSpec) -> SecretRef {
        let namespace = spec
            .namespace
            .unwrap_or_else(|| SecretRef::DEFAULT_NAMESPACE.to_owned());
        SecretRef::new(namespace, spec.name)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AttributesSpec {
    #[serde(default)]
    communities: CommunitiesSpec,
    local_preference: Option<u32>,
    med: Option<u32>,
    prepend: Option<PrependSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CommunitiesSpec {
    standard: Vec<String>,
    large: Vec<String>,
    well_known: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrependSpec {
    asn: Option<u32>,
    count: u8,
}

impl AttributesSpec {
    pub(super) fn read(self, field: &str, values: &mut Values) -> Attributes {
        type Parse = fn(&str) -> Result<CommunityValue, String>;
        let lists: [(&str, &[String], Parse); 3] = [
            (
                "standard",
                &self.communities.standard,
                community::parse_standard,
            ),
            ("large", &self.communities.large, community::parse_large),
            (
                "wellKnown",
                &self.communities.well_known,
                community::parse_well_known,
            ),
        ];
        let mut communities = Vec::new();
        for (name, list, parse) in lists {
            let field = format!("{field}.communities.{name}");
            communities.extend(values.each(&field, list, |values, field, text| {
                read_community(parse(text), field, values)
            }));
        }
        Attributes {
            local_preference: self.local_preference,
            med: self.med,
            prepend: self.prepend.map(|prepend| Prepend {
                asn: prepend.asn.map(Asn),
                count: prepend.count,
            }),
            communities,
        }
    }
}

pub(super) fn read_community(
    read: Result<CommunityValue, String>,
    field: &str,
    values: &mut Values,
) -> Option<CommunityValue> {
    read.map_err(|message| values.fault(field, message)).ok()
}
