use std::fmt::Debug;
use std::time::Duration;

use dunlin_intent::ObjectKind;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FIELD_MANAGER, time_text};
use crate::crd::status::{BgpNodeStatus, Condition};
use crate::crd::{BGP_NODE, BGP_NODE_PLURAL};
use crate::object::{GROUP, Resource, VERSION};

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why something was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct WriteError {
    /// What kind of failure.
    pub fault: WriteFault,
    what: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFault {
    /// The server is busy, or does not answer: 409, 429, 5xx, or nothing.
    Busy,
    /// There is no such object.
    Missing,
    /// The kind is not there: its definition is not installed.
    NotInstalled,
    /// The server does not know us: 401. Credentials are exchanged without anybody doing anything.
    Unauthorized,
    /// We may not: 403.
    Forbidden,
    /// The server does not take it: its definitions are of another version.
    Invalid,
}

impl WriteFault {
    /// Whether it may go better in a moment, without anybody doing anything. An API server that starts knows neither
    /// rights nor definitions at first, and says of both that they are missing.
    pub fn is_passing(self) -> bool {
        self != WriteFault::Invalid
    }

    /// In one word.
    pub fn reason(self) -> &'static str {
        match self {
            WriteFault::Busy => "Busy",
            WriteFault::Missing => "Missing",
            WriteFault::NotInstalled => "NotInstalled",
            WriteFault::Unauthorized => "Unauthorized",
            WriteFault::Forbidden => "Forbidden",
            WriteFault::Invalid => "Invalid",
        }
    }
}

/// A `BGPNode` as far as whoever writes it has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownNode {
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status.conditions`.
    pub conditions: Vec<Condition>,
}

/// Writes statuses.
#[derive(Clone)]
pub struct StatusApi {
    client: Client,
}

impl StatusApi {
    /// Through this client.
    pub fn new(client: Client) -> StatusApi {
        StatusApi { client }
    }

    /// The `BGPNode` of a node; none if there is none.
    ///
    /// # Errors
    /// Why it is not known.
    pub async fn node(&self, name: &str) -> Result<Option<KnownNode>, WriteError> {
        let what = format!("read the {BGP_NODE} {name}");
        let nodes = self.nodes();
        match in_time(&what, nodes.get(name)).await {
            Ok(object) => Ok(Some(known(&object))),
            Err(error) if error.fault == WriteFault::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the `BGPNode` of a node. It goes when the Node of this uid goes.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn make_node(&self, name: &str, uid: Option<&str>) -> Result<KnownNode, WriteError> {
        let mut metadata = json!({"name": name});
        if let Some(uid) = uid {
            metadata["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Node", "name": name, "uid": uid,
            }]);
        }
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": BGP_NODE, "metadata": metadata,
        });
        let what = format!("create the {BGP_NODE} {name}");
        let (nodes, patch) = (self.nodes(), Patch::Apply(&body));
        let object = in_time(&what, nodes.patch(name, &apply(), &patch)).await?;
        Ok(known(&object))
    }

    /// Writes the status of a node.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn write_node(&self, name: &str, status: &BgpNodeStatus) -> Result<(), WriteError> {
        let body = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": BGP_NODE,
            "metadata": {"name": name}, "status": status,
        });
        let what = format!("write the status of the {BGP_NODE} {name}");
        self.apply_status(&self.nodes(), name, &body, &what).await
    }

    /// Writes a condition of an object of our kinds.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn write_condition(
        &self,
        kind: ObjectKind,
        name: &str,
        condition: &Condition,
    ) -> Result<(), WriteError> {
        let what = format!("write the conditions of the {kind} {name}");
        let Some(resource) = ours().find(|resource| resource.kind == kind) else {
            return Err(WriteError {
                fault: WriteFault::NotInstalled,
                what: format!("cannot {what}: it is none of our kinds"),
            });
        };
        let body = json!({
            "apiVersion": resource.api_version(), "kind": kind.as_str(),
            "metadata": {"name": name}, "status": {"conditions": [condition]},
        });
        let objects = Api::all_with(self.client.clone(), &api_resource(&resource));
        self.apply_status(&objects, name, &body, &what).await
    }

    /// Says of a Node that its network is there.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn network_is_available(
        &self,
        node: &str,
        unix_micros: u64,
    ) -> Result<(), WriteError> {
        let now = time_text(unix_micros);
        let body = json!({"status": {"conditions": [{
            "type": "NetworkUnavailable", "status": "False", "reason": "DunlinIsUp",
            "message": "Dunlin routes this node's pod subnets",
            "lastTransitionTime": now, "lastHeartbeatTime": now,
        }]}});
        let what = format!("say that the network of the Node {node} is available");
        let nodes: Api<DynamicObject> = Api::all_with(
            self.client.clone(),
            &api_resource(&Resource::of(dunlin_intent::Kind::Node)),
        );
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Strategic(&body);
        in_time(&what, nodes.patch_status(node, &params, &patch)).await?;
        Ok(())
    }

    async fn apply_status(
        &self,
        objects: &Api<DynamicObject>,
        name: &str,
        body: &Value,
        what: &str,
    ) -> Result<(), WriteError> {
        let patch = Patch::Apply(body);
        in_time(what, objects.patch_status(name, &apply(), &patch)).await?;
        Ok(())
    }

    fn nodes(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            plural: BGP_NODE_PLURAL.to_owned(),
            ..ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, VERSION, BGP_NODE))
        };
        Api::all_with(self.client.clone(), &resource)
    }
}

impl Debug for StatusApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusApi").finish_non_exhaustive()
    }
}

/// Our own kinds that carry conditions.
pub(super) fn ours() -> impl Iterator<Item = Resource> {
    Resource::ALL
        .into_iter()
        .filter(|resource| resource.group == GROUP)
}

pub(super) fn api_resource(resource: &Resource) -> ApiResource {
    let gvk = GroupVersionKind::gvk(resource.group, resource.version, resource.kind.as_str());
    ApiResource::from_gvk_with_plural(&gvk, resource.plural)
}

/// Ours is what we say, whoever said something else.
fn apply() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// The conditions of an object; those that cannot be read are none.
pub(super) fn conditions(object: &DynamicObject) -> Vec<Condition> {
    let conditions = object.data.get("status").and_then(|s| s.get("conditions"));
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions
        .filter_map(|condition| Condition::deserialize(condition).ok())
        .collect()
}

fn known(object: &DynamicObject) -> KnownNode {
    KnownNode {
        generation: object.metadata.generation,
        conditions: conditions(object),
    }
}

async fn in_time<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, WriteError> {
    let failed = |fault, why: &str| WriteError {
        fault,
        what: format!("cannot {what}: {why}"),
    };
    match tokio::time::timeout(TIMEOUT, request).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(kube::Error::Api(status))) => {
            let said: String = status.message.chars().take(512).collect();
            let (fault, advice) = judged(status.code, &status.reason);
            let said = said.trim();
            Err(failed(fault, &format!("{} {said}{advice}", status.code)))
        }
        Ok(Err(error)) => Err(failed(WriteFault::Busy, &error.to_string())),
        Err(_) => {
            let why = format!("no answer within {} s", TIMEOUT.as_secs());
            Err(failed(WriteFault::Busy, &why))
        }
    }
}

/// What an error status means, and what to do about it.
fn judged(code: u16, reason: &str) -> (WriteFault, &'static str) {
    match code {
        401 => (
            WriteFault::Unauthorized,
            "; look whether the service account's token or the kubeconfig's certificate has run out",
        ),
        403 => (
            WriteFault::Forbidden,
            "; give the agents the rights that `dunlin manifests` prints",
        ),
        404 if reason == "NotFound" => (WriteFault::Missing, ""),
        // An API server answers so for a kind it does not know.
        404 => (
            WriteFault::NotInstalled,
            "; install the definitions that `dunlin crds` prints",
        ),
        400 | 415 | 422 => (
            WriteFault::Invalid,
            "; install the definitions of this version, which `dunlin crds` prints",
        ),
        _ => (WriteFault::Busy, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::{WriteFault, judged};

    #[test]
    fn what_an_error_means() {
        for (code, reason, fault) in [
            (401, "Unauthorized", WriteFault::Unauthorized),
            (403, "Forbidden", WriteFault::Forbidden),
            (404, "NotFound", WriteFault::Missing),
            (404, "Failed to parse error data", WriteFault::NotInstalled),
            (409, "Conflict", WriteFault::Busy),
            (422, "Invalid", WriteFault::Invalid),
            (429, "TooManyRequests", WriteFault::Busy),
            (500, "InternalError", WriteFault::Busy),
            (504, "Timeout", WriteFault::Busy),
        ] {
            assert_eq!(judged(code, reason).0, fault, "{code} {reason}");
        }
        assert!(!WriteFault::Invalid.is_passing());
        let passing = [
            WriteFault::Busy,
            WriteFault::Missing,
            WriteFault::NotInstalled,
            WriteFault::Unauthorized,
            WriteFault::Forbidden,
        ];
        assert!(passing.iter().all(|fault| fault.is_passing()));
    }
}
