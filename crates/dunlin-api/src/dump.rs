use serde::{Deserialize, Serialize};

/// Where a [`DumpRequest`] is posted, as JSON; the reply's body is an MRT dump (RFC 6396) as it is made, or an
/// [`ErrorBody`](crate::ErrorBody) where the status is not 200.
pub const MRT_PATH: &str = "/v1/mrt";

/// What is to be dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DumpRequest {
    /// The table.
    pub table: DumpedTable,
}

/// A table of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DumpedTable {
    /// What all peers told, before import policy.
    #[serde(rename = "AdjRIBIn")]
    AdjRibIn,
    /// The best paths, after import policy; what the node originates among them.
    #[serde(rename = "LocRIB")]
    LocRib,
}
