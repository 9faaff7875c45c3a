//! What marks a kernel object as ours. Nothing without these marks is ever changed or removed.

/// The route protocol number (`rtm_protocol`, `nh_protocol`) of our routes and nexthops.
pub const ROUTE_PROTOCOL: u8 = 68;
/// The name that `rt_protos.d` gives [`ROUTE_PROTOCOL`].
pub const ROUTE_PROTOCOL_NAME: &str = "dunlin";
/// The routing table our routes live in (`RT_TABLE_MAIN`).
pub const TABLE: u8 = 254;
/// The metric of a route through next hops.
pub const ROUTE_METRIC: u32 = 512;
/// The metric of a blackhole: worse than any route that should win over it.
pub const BLACKHOLE_METRIC: u32 = 4096;
/// The first nexthop id of ours.
pub const NEXTHOP_FIRST: u32 = 0x0D00_0000;
/// The last nexthop id of ours.
pub const NEXTHOP_LAST: u32 = 0x0DFF_FFFF;
/// The nf_tables table (family `inet`) that is ours.
pub const NFT_TABLE: &str = "dunlin";
/// The nf_tables tables (families `ip` and `ip6`) of the service proxy.
pub const NFT_PROXY_TABLE: &str = "dunlin_services";

/// Whether a nexthop id lies in our range.
pub fn is_our_nexthop_id(id: u32) -> bool {
    (NEXTHOP_FIRST..=NEXTHOP_LAST).contains(&id)
}
