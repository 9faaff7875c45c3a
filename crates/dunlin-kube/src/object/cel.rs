//! What an API server checks beyond types: rules in CEL (Kubernetes: "CRD validation rules"), each with a message that says
//! what to write. An agent checks all of it again, since objects also come from files.
//!
//! An API server reckons the worst cost of each rule before it takes a definition, so every text and list that a rule
//! looks at has a bound.

use std::borrow::Cow;

use dunlin_intent::community::WELL_KNOWN;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The most characters of a name.
pub(super) const NAME_LEN: usize = 253;

/// Rules, each with its message and, where it concerns one, the field below it.
pub(super) fn rules(rules: &[(&str, &str, Option<&str>)]) -> Value {
    let rules = rules.iter().map(|(rule, message, field)| match field {
        Some(field) => json!({"rule": rule, "message": message, "fieldPath": field}),
        None => json!({"rule": rule, "message": message}),
    });
    Value::Array(rules.collect())
}

/// Texts with a form: types that only have a schema.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident { max: $max:expr, rules: $rules:expr })*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": $max,
                    "x-kubernetes-validations": rules(&$rules),
                })
            }
        }
    )*};
}

texts! {
    /// An address.
    Address {
        max: 45,
        rules: [("isIP(self)", "must be an address, such as 192.0.2.1 or 2001:db8::1", None)]
    }
    /// A prefix.
    Prefix {
        max: 49,
        rules: [(
            "isCIDR(self) && cidr(self) == cidr(self).masked()",
            "must be a prefix without bits set beyond its length, such as 10.0.0.0/8 or 2001:db8::/32",
            None,
        )]
    }
    /// A prefix or a range of addresses.
    Range {
        max: 93,
        rules: [
            (
                "self.contains('-') || (isCIDR(self) && cidr(self) == cidr(self).masked())",
                "must be a prefix without bits set beyond its length, such as 192.0.2.0/24, or a range, such as \
                 192.0.2.10-192.0.2.20",
                None,
            ),
            (
                "!self.contains('-') || (self.split('-').size() == 2 && self.split('-').all(end, isIP(end.trim())) && \
                 ip(self.split('-')[0].trim()).family() == ip(self.split('-')[1].trim()).family())",
                "must be a range of two addresses of one family, such as 192.0.2.10-192.0.2.20",
                None,
            ),
        ]
    }
}

/// Texts that match a pattern. Filters have so many of them that no rule would be cheap enough.
macro_rules! patterns {
    ($($(#[$doc:meta])* $name:ident { max: $max:expr, pattern: $pattern:expr })*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "maxLength": $max, "pattern": $pattern})
            }
        }
    )*};
}

patterns! {
    /// A standard community.
    StandardCommunity { max: 11, pattern: "^[0-9]{1,5}:[0-9]{1,5}$" }
    /// A large community.
    LargeCommunity { max: 32, pattern: "^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$" }
    /// A community of any form.
    AnyCommunity {
        max: 32,
        pattern: "^([0-9]{1,5}:[0-9]{1,5}|[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}|[a-z-]+)$"
    }
}

/// A well-known community by its name.
pub(super) enum WellKnownCommunity {}

impl JsonSchema for WellKnownCommunity {
    fn schema_name() -> Cow<'static, str> {
        "WellKnownCommunity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": WELL_KNOWN.map(|(name, _)| name)})
    }
}

/// An AS number that a network may use (RFC 7607, RFC 6793, RFC 7300).
pub(super) fn asn() -> Value {
    rules(&[(
        "!(self in [0, 23456, 65535, 4294967295])",
        "is reserved and cannot be used as an AS number",
        None,
    )])
}

/// `peerASN`: a number or a word.
pub(super) fn peer_asn() -> Value {
    rules(&[(
        "type(self) == string ? self in ['internal', 'external'] : \
         self > 0 && self < 4294967295 && !(self in [23456, 65535])",
        "must be an AS number that is not reserved, internal or external",
        None,
    )])
}

/// The numbers of the communities below `attributes`.
pub(super) const COMMUNITY_RULES: [(&str, &str, Option<&str>); 2] = [
    (
        "!has(self.attributes) || !has(self.attributes.communities) || \
         !has(self.attributes.communities.standard) || self.attributes.communities.standard.all(c, \
         c.matches('^[0-9]{1,5}:[0-9]{1,5}$') && c.split(':').all(n, int(n) <= 65535))",
        "must each be two numbers of 16 bits, such as 64512:100",
        Some(".attributes.communities.standard"),
    ),
    (
        "!has(self.attributes) || !has(self.attributes.communities) || \
         !has(self.attributes.communities.large) || self.attributes.communities.large.all(c, \
         c.matches('^[0-9]{1,10}:[0-9]{1,10}:[0-9]{1,10}$') && c.split(':').all(n, int(n) <= 4294967295))",
        "must each be three numbers of 32 bits, such as 64512:1:2",
        Some(".attributes.communities.large"),
    ),
];
