//! Answers as text for people.

mod cluster;
mod explain;
mod neighbors;
mod nft;
mod nodes;
mod plan;
mod pools;
mod routes;
mod services;
mod status;

pub(crate) use cluster::{cluster_neighbors, cluster_nodes, cluster_status};
pub(crate) use explain::explanation;
pub(crate) use neighbors::neighbors;
pub(crate) use nft::nft;
pub(crate) use nodes::nodes;
pub(crate) use plan::plan;
pub(crate) use pools::pools;
pub(crate) use routes::{advertisements, routes};
pub(crate) use services::services;
pub(crate) use status::{status, wrap};

/// The width to render a table to.
fn width(wide: bool) -> usize {
    if wide {
        usize::MAX
    } else {
        crate::table::WIDTH
    }
}

#[cfg(test)]
mod tests;
