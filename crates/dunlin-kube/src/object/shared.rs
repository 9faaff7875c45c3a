//! Pieces of specs that several of our kinds have.

use dunlin_bgp::policy::CommunityValue;
use dunlin_intent::{
    Attributes, GracefulRestartFact, Labels, Operator, Prepend, Requirement, SecretRef, Selector,
    TimersFact, community,
};
use dunlin_net::Asn;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cel;
use super::value::Values;

/// Selects by labels: all that is given must hold, and an empty one selects everything.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub(super) struct SelectorSpec {
    /// Labels that must be there with exactly these values.
    match_labels: Option<Labels>,
    /// Further requirements.
    #[schemars(length(max = 64))]
    match_expressions: Option<Vec<RequirementSpec>>,
}

/// A requirement on one label.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = requirement_rules()))]
struct RequirementSpec {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    key: String,
    /// What is required of it.
    operator: OperatorSpec,
    /// The values of In and NotIn.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(max = 63)))]
    values: Vec<String>,
}

fn requirement_rules() -> serde_json::Value {
    cel::rules(&[(
        "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 : \
         !has(self.values) || self.values.size() == 0",
        "In and NotIn need at least one value, Exists and DoesNotExist take none",
        Some(".values"),
    )])
}

#[derive(Deserialize, JsonSchema)]
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

/// Timers of a session.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = timer_rules()))]
pub(super) struct TimersSpec {
    /// How long a session lives without a word from the peer: 0 (it never expires) or at least 3. Default 90. The lower
    /// of both sides counts.
    hold_time_seconds: Option<u16>,
    /// How often the peer is told that we are there; less than the hold time. Default a third of the hold time.
    keepalive_seconds: Option<u16>,
    /// What the pause between attempts to connect grows to; the first is 1 s. Default 5.
    #[schemars(range(min = 1))]
    connect_retry_seconds: Option<u16>,
}

fn timer_rules() -> serde_json::Value {
    cel::rules(&[
        (
            "!has(self.holdTimeSeconds) || self.holdTimeSeconds == 0 || self.holdTimeSeconds >= 3",
            "must be 0 (never expires) or at least 3",
            Some(".holdTimeSeconds"),
        ),
        (
            "!has(self.holdTimeSeconds) || !has(self.keepaliveSeconds) || self.holdTimeSeconds == 0 || \
             (self.keepaliveSeconds > 0 && self.keepaliveSeconds < self.holdTimeSeconds)",
            "must be at least 1 and less than holdTimeSeconds: leave it out for a third of that",
            Some(".keepaliveSeconds"),
        ),
    ])
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

/// Graceful restart (RFC 4724): routes stay in use while an agent or a router restarts.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GracefulRestartSpec {
    /// Whether it is negotiated. Default true.
    enabled: Option<bool>,
    /// How long the peer keeps our routes while we are away, at most 4095. Default 120.
    #[schemars(range(max = 4095))]
    restart_seconds: Option<u16>,
    /// How long routes may stay beyond the restart time (RFC 9494), at most 16777215: ours with the peer, and the peer's with
    /// us. They are then preferred least, and go where the peer has marked them NO_LLGR. 0 turns it off. Default: 3600
    /// between nodes, 0 toward routers outside.
    #[schemars(range(max = 16_777_215))]
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

/// A Secret whose key `password` holds the password of TCP MD5 (RFC 2385), of 1 to 80 octets.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SecretRefSpec {
    /// The Secret's name.
    #[schemars(length(min = 1, max = cel::NAME_LEN))]
    name: String,
    /// The Secret's namespace. Default kube-system.
    #[schemars(length(min = 1, max = 63))]
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

/// Attributes that a route is given.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AttributesSpec {
    /// Communities that are added.
    #[serde(default)]
    communities: CommunitiesSpec,
    /// LOCAL_PREF toward internal peers. Default 100.
    local_preference: Option<u32>,
    /// MULTI_EXIT_DISC: of routes from one AS, the lower is preferred.
    med: Option<u32>,
    /// A number put before the AS path, which makes a route less preferred.
    prepend: Option<PrependSpec>,
}

/// Communities by form.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CommunitiesSpec {
    /// Standard communities (RFC 1997), such as 64512:100.
    #[schemars(length(max = 32), with = "Vec<cel::StandardCommunity>")]
    standard: Vec<String>,
    /// Large communities (RFC 8092), such as 64512:1:2.
    #[schemars(length(max = 32), with = "Vec<cel::LargeCommunity>")]
    large: Vec<String>,
    /// Well-known communities by name.
    #[schemars(length(max = 8), with = "Vec<cel::WellKnownCommunity>")]
    well_known: Vec<String>,
}

/// `prepend`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrependSpec {
    /// The number. Default our own AS.
    #[schemars(range(min = 1), extend("x-kubernetes-validations" = cel::asn()))]
    asn: Option<u32>,
    /// How many times, 1 to 32.
    #[schemars(range(min = 1, max = 32))]
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
