use dunlin_bgp::policy::{FilterAction, Match, PeerType};
use dunlin_intent::{FilterFact, FilterRuleFact, community};
use dunlin_net::Asn;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cel;
use super::meta::Meta;
use super::shared::{AttributesSpec, read_community};
use super::value::Values;

/// Which routes may pass. The first rule that matches decides; a route that none matches is rejected.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    /// The rules, in order.
    #[serde(default)]
    #[schemars(length(max = 10_000), extend("x-kubernetes-list-type" = "atomic"))]
    rules: Vec<RuleSpec>,
}

/// One rule.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = cel::rules(&[(
    "self.action == 'Accept' || !has(self.attributes)",
    "a rule that rejects changes nothing: remove the attributes or accept",
    Some(".attributes"),
)])))]
struct RuleSpec {
    /// What a route must be like. All of it must hold; an empty one matches every route.
    #[serde(default, rename = "match")]
    matches: MatchSpec,
    /// What then.
    action: ActionSpec,
    /// What an accepted route is changed to.
    #[serde(default)]
    attributes: AttributesSpec,
}

/// What a route must be like.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = cel::rules(&[(
    "!has(self.lengthMin) || !has(self.lengthMax) || self.lengthMin <= self.lengthMax",
    "must not be less than lengthMin: the rule would match nothing",
    Some(".lengthMax"),
)])))]
struct MatchSpec {
    /// The route's prefix lies within this one: it is equal or longer.
    #[schemars(with = "Option<cel::Prefix>")]
    cidr: Option<String>,
    /// The least length of the route's prefix.
    #[schemars(range(max = 128))]
    length_min: Option<u8>,
    /// The greatest length of the route's prefix.
    #[schemars(range(max = 128))]
    length_max: Option<u8>,
    /// The route has all of these communities: standard (64512:100), large (64512:1:2) or well-known (no-export).
    #[schemars(length(max = 32), with = "Vec<cel::AnyCommunity>")]
    communities: Vec<String>,
    /// The AS path begins with these numbers, nearest first.
    #[schemars(length(max = 64), inner(range(min = 1)))]
    as_path: Vec<u32>,
    /// The kind of the session it came by (import) or goes to (export).
    peer_type: Option<PeerTypeSpec>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum ActionSpec {
    Accept,
    Reject,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum PeerTypeSpec {
    Internal,
    External,
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> FilterFact {
        let mut values = Values::default();
        let rules = self.rules.into_iter().enumerate();
        FilterFact {
            name: metadata.name,
            rules: rules
                .map(|(at, rule)| rule.read(&format!("spec.rules[{at}]"), &mut values))
                .collect(),
            malformed: values.malformed,
        }
    }
}

impl RuleSpec {
    fn read(self, field: &str, values: &mut Values) -> FilterRuleFact {
        let matches = self.matches;
        let cidr = matches.cidr;
        let communities = values.each(
            &format!("{field}.match.communities"),
            &matches.communities,
            |values, field, text| read_community(community::parse(text), field, values),
        );
        FilterRuleFact {
            matches: Match {
                cidr: cidr.and_then(|text| values.net(&format!("{field}.match.cidr"), &text)),
                length_min: matches.length_min,
                length_max: matches.length_max,
                communities,
                as_path_prefix: matches.as_path.into_iter().map(Asn).collect(),
                peer_type: matches.peer_type.map(|peer_type| match peer_type {
                    PeerTypeSpec::Internal => PeerType::Internal,
                    PeerTypeSpec::External => PeerType::External,
                }),
            },
            action: match self.action {
                ActionSpec::Accept => FilterAction::Accept,
                ActionSpec::Reject => FilterAction::Reject,
            },
            attributes: self.attributes.read(&format!("{field}.attributes"), values),
        }
    }
}
