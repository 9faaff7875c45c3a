//! The definitions of our kinds for an API server, made from the very types that read them, and what is written into their
//! `status`.
//!
//! * [`definitions`], [`yaml`]: the CustomResourceDefinitions.
//! * [`status`]: the conditions of every kind, and what agents tell of their nodes in a `BGPNode`.

mod schema;
pub mod status;

/// The well-known communities that our objects name.
pub use dunlin_intent::community::WELL_KNOWN as WELL_KNOWN_COMMUNITIES;

use dunlin_intent::ObjectKind;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::object::{GROUP, Resource, VERSION, spec_schema};
use status::{BgpNodeStatus, ObjectStatus, PoolStatus};

/// The kind that agents tell of their nodes in.
pub const BGP_NODE: &str = "BGPNode";
/// Its name in paths.
pub const BGP_NODE_PLURAL: &str = "bgpnodes";

/// A column of `kubectl get`: its name, type, path and priority; those of priority 1 are shown by `-o wide`.
type Column = (&'static str, &'static str, &'static str, u8);

const ACCEPTED: Column = (
    "Accepted",
    "string",
    ".status.conditions[?(@.type=='Accepted')].status",
    0,
);
const REASON: Column = (
    "Reason",
    "string",
    ".status.conditions[?(@.type=='Accepted')].reason",
    1,
);
const AGE: Column = ("Age", "date", ".metadata.creationTimestamp", 0);

/// What of a definition does not follow from the types.
struct Words {
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    /// What `kubectl explain` says of the kind.
    about: &'static str,
    columns: &'static [Column],
    /// Rules on the object as a whole.
    rules: &'static [(&'static str, &'static str)],
}

const WORDS: [Words; 7] = [
    Words {
        kind: "BGPConfiguration",
        plural: "bgpconfigurations",
        short_names: &["bgpconf"],
        about: "How the nodes of the cluster route. There is one, named default; without it all defaults hold.",
        columns: &[
            ("ASN", "integer", ".spec.asn", 0),
            ("Topology", "string", ".spec.topology.mode", 0),
            ACCEPTED,
            REASON,
            AGE,
        ],
        rules: &[(
            "self.metadata.name == 'default'",
            "there is one BGPConfiguration, and its name is default",
        )],
    },
    Words {
        kind: "BGPPeer",
        plural: "bgppeers",
        short_names: &["bgpp"],
        about: "A router outside the cluster that nodes peer with.",
        columns: &[
            ("Address", "string", ".spec.peerAddress", 0),
            ("Range", "string", ".spec.peerRange", 1),
            ("ASN", "string", ".spec.peerASN", 0),
            ACCEPTED,
            REASON,
            AGE,
        ],
        rules: &[],
    },
    Words {
        kind: "BGPAdvertisement",
        plural: "bgpadvertisements",
        short_names: &["bgpadv"],
        about: "What nodes announce to which BGPPeers.",
        columns: &[
            ("Services", "string", ".spec.services.addresses", 0),
            ACCEPTED,
            REASON,
            AGE,
        ],
        rules: &[],
    },
    Words {
        kind: "BGPFilter",
        plural: "bgpfilters",
        short_names: &["bgpf"],
        about: "Which routes pass from or to the BGPPeers that name it, and what they are changed to.",
        columns: &[ACCEPTED, REASON, AGE],
        rules: &[],
    },
    Words {
        kind: "BFDProfile",
        plural: "bfdprofiles",
        short_names: &["bfdp"],
        about: "How fast the failure of a peer is noticed (BFD, RFC 5880): BGPPeers and the BGPConfiguration name it.",
        columns: &[ACCEPTED, REASON, AGE],
        rules: &[],
    },
    Words {
        kind: "LoadBalancerPool",
        plural: "loadbalancerpools",
        short_names: &["lbpool"],
        about: "Addresses that Services of type LoadBalancer are given.",
        columns: &[
            ("Addresses", "string", ".spec.addresses", 0),
            ("Auto", "boolean", ".spec.autoAssign", 1),
            ("Allocated", "integer", ".status.allocated", 0),
            ("Available", "integer", ".status.available", 0),
            ACCEPTED,
            REASON,
            AGE,
        ],
        rules: &[],
    },
    Words {
        kind: BGP_NODE,
        plural: BGP_NODE_PLURAL,
        short_names: &["bgpn"],
        about: "How a node stands, written by its agent. It has the name of its Node.",
        columns: &[
            (
                "Ready",
                "string",
                ".status.conditions[?(@.type=='Ready')].status",
                0,
            ),
            ("Role", "string", ".status.role", 0),
            ("Up", "integer", ".status.sessionCounts.established", 0),
            ("Expected", "integer", ".status.sessionCounts.expected", 0),
            ("Learned", "integer", ".status.routeCounts.learned", 0),
            ("Problems", "integer", ".status.problemCount", 0),
            ("Version", "string", ".status.agentVersion", 1),
            AGE,
        ],
        rules: &[],
    },
];

/// The CustomResourceDefinitions of all our kinds, each with its plural.
pub fn definitions() -> Vec<(&'static str, Value)> {
    WORDS.iter().map(|w| (w.plural, definition(w))).collect()
}

/// The definitions as YAML, each with its plural.
pub fn yaml() -> Vec<(&'static str, String)> {
    let text =
        |value: &Value| schema::yaml(value).expect("a definition has nothing YAML cannot say");
    let definitions = definitions().into_iter();
    definitions
        .map(|(plural, value)| (plural, text(&value)))
        .collect()
}

fn definition(words: &Words) -> Value {
    let singular = words.kind.to_lowercase();
    let columns = words.columns.iter().map(|&(name, kind, path, priority)| {
        let mut column = json!({"name": name, "type": kind, "jsonPath": path});
        if priority > 0 {
            column["priority"] = json!(priority);
        }
        column
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{GROUP}", words.plural),
            "labels": {"app.kubernetes.io/name": "dunlin"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {
                "kind": words.kind,
                "listKind": format!("{}List", words.kind),
                "plural": words.plural,
                "singular": singular,
                "shortNames": words.short_names,
                "categories": ["dunlin"],
            },
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": object_schema(words)},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns.collect::<Vec<Value>>(),
            }],
        },
    })
}

/// The schema of objects of a kind as a whole.
fn object_schema(words: &Words) -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let resource = Resource::ALL
        .into_iter()
        .find(|r| r.group == GROUP && r.kind.as_str() == words.kind);
    let kind = resource.map(|resource| resource.kind);
    let mut properties: Map<String, Value> = [
        (
            "apiVersion",
            json!({"type": "string", "description": "The group and version of the object."}),
        ),
        (
            "kind",
            json!({"type": "string", "description": "The kind of the object."}),
        ),
        ("metadata", json!({"type": "object"})),
        ("status", status_schema(kind, &mut generator)),
    ]
    .map(|(name, schema)| (name.to_owned(), schema))
    .into_iter()
    .collect();
    let spec = kind.and_then(|kind| spec_schema(kind, &mut generator));
    let mut root = json!({"type": "object", "description": words.about});
    if let Some(spec) = spec {
        properties.insert("spec".to_owned(), schema::structural(spec.to_value()));
        root["required"] = json!(["spec"]);
    }
    root["properties"] = Value::Object(properties);
    if !words.rules.is_empty() {
        let rules = words.rules.iter();
        root["x-kubernetes-validations"] = rules
            .map(|(rule, message)| json!({"rule": rule, "message": message}))
            .collect();
    }
    root
}

fn status_schema(kind: Option<ObjectKind>, generator: &mut SchemaGenerator) -> Value {
    let schema = match kind {
        None => BgpNodeStatus::json_schema(generator),
        Some(ObjectKind::LoadBalancerPool) => PoolStatus::json_schema(generator),
        Some(_) => ObjectStatus::json_schema(generator),
    };
    schema::structural(schema.to_value())
}

#[cfg(test)]
mod tests;
