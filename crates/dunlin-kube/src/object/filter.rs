use dunlin_bgp::policy::{FilterAction, Match, PeerType};
use dunlin_intent::{FilterFact, FilterRuleFact, community};
use dunlin_net::Asn;
use serde::Deserialize;

use super::meta::Meta;
use super::shared::{AttributesSpec, read_community};
use super::value::Values;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    rules: Vec<RuleSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleSpec {
    #[serde(default, rename = "match")]
    matches: MatchSpec,
    action: ActionSpec,
    #[serde(default)]
    attributes: AttributesSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct MatchSpec {
    cidr: Option<String>,
    length_min: Option<u8>,
    length_max: Option<u8>,
    communities: Vec<String>,
    as_path: Vec<u32>,
    peer_type: Option<PeerTypeSpec>,
}

#[derive(Clone, Copy, Deserialize)]
enum ActionSpec {
    Accept,
    Reject,
}

#[derive(Clone, Copy, Deserialize)]
enum PeerTypeSpec {
    #[serde(alias = "internal")]
    Internal,
    #[serde(alias = "external")]
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
