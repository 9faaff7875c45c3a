//! What a request is about.

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The collection over all namespaces: `/api/v1/services`.
    pub(crate) collection: String,
    pub(crate) api_version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Option<Target> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (api_version, prefix, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), format!("/api/{version}"), rest),
            ["apis", group, version, rest @ ..] => (
                format!("{group}/{version}"),
                format!("/apis/{group}/{version}"),
                rest,
            ),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let own = |part: Option<&&str>| part.map(|part| (*part).to_owned());
        let plural = (*rest.first()?).to_owned();
        Some(Target {
            collection: format!("{prefix}/{plural}"),
            api_version,
            plural,
            namespace,
            name: own(rest.get(1)),
            subresource: own(rest.get(2)),
        })
    }

    /// Where an object with this name lies.
    pub(crate) fn place(&self, name: &str) -> String {
        place(self.namespace.as_deref(), name)
    }
}

pub(crate) fn place(namespace: Option<&str>, name: &str) -> String {
    format!("{}/{name}", namespace.unwrap_or_default())
}

/// The collection and place of an object that says what it is.
pub(crate) fn locate(object: &serde_json::Value) -> Option<(String, String)> {
    let api_version = object["apiVersion"].as_str()?;
    let kind = object["kind"].as_str()?;
    let meta = &object["metadata"];
    let name = meta["name"].as_str()?;
    let collection = collection(api_version, kind);
    let namespace = meta["namespace"].as_str();
    Some((collection, place(namespace, name)))
}

pub(crate) fn collection(api_version: &str, kind: &str) -> String {
    let prefix = if api_version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    format!("{prefix}/{api_version}/{}s", kind.to_lowercase())
}

/// A query's parameter, decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let raw = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)?
        .1;
    Some(decode(raw))
}

fn decode(raw: &str) -> String {
    let mut out = Vec::new();
    let mut octets = raw.bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = octets.by_ref().take(2).collect();
                let text = String::from_utf8_lossy(&digits);
                out.push(u8::from_str_radix(&text, 16).unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{Target, parameter};

    #[test]
    fn paths_are_taken_apart() {
        let parse = |path: &str| {
            let t = Target::parse(path)?;
            let text = |part: Option<String>| part.unwrap_or("-".into());
            Some(
                [
                    t.collection,
                    text(t.namespace),
                    text(t.name),
                    text(t.subresource),
                ]
                .join(" "),
            )
        };
        for (path, parts) in [
            ("/api/v1/nodes", "/api/v1/nodes - - -"),
            ("/api/v1/nodes/n1/status", "/api/v1/nodes - n1 status"),
            ("/api/v1/namespaces", "/api/v1/namespaces - - -"),
            ("/api/v1/namespaces/a", "/api/v1/namespaces - a -"),
            ("/api/v1/namespaces/a/services", "/api/v1/services a - -"),
            ("/api/v1/namespaces/a/services/s", "/api/v1/services a s -"),
            (
                "/apis/dunlin.dev/v1alpha1/bgppeers/p",
                "/apis/dunlin.dev/v1alpha1/bgppeers - p -",
            ),
        ] {
            assert_eq!(parse(path).as_deref(), Some(parts));
        }
        assert_eq!(parse("/version"), None);
    }

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(parameter("a=b%3Dc%2C+d&e=", "a").as_deref(), Some("b=c, d"));
        assert_eq!(parameter("a=b&e=", "e").as_deref(), Some(""));
        assert_eq!(parameter("a=b", "x"), None);
    }
}
