use dunlin_dataplane::mark::{BLACKHOLE_METRIC, ROUTE_METRIC, ROUTE_PROTOCOL};
use serde::Deserialize;

use super::{Finding, Machine};

const CHECK: &str = "routes";

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    dst: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    metric: u32,
}

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut lines: Vec<Line> = Vec::new();
    for family in ["-4", "-6"] {
        let text =
            match (machine.run)(&["ip", "-N", "-j", family, "route", "show", "table", "main"]) {
                Ok(text) => text,
                Err(error) => {
                    return vec![Finding::warn(
                        CHECK,
                        format!("the routing table cannot be looked at with `ip`: {error}"),
                        "install iproute2 to have it checked",
                    )];
                }
            };
        // No route at all is printed as nothing, or as an empty list.
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Vec<Line>>(&text) {
            Ok(more) => lines.extend(more),
            Err(error) => {
                return vec![Finding::warn(
                    CHECK,
                    format!("what `ip` prints is not understood: {error}"),
                    "use a newer iproute2",
                )];
            }
        }
    }
    judge(&lines)
}

fn judge(lines: &[Line]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // `ip -N -j` gives the protocol as text.
    let protocol = ROUTE_PROTOCOL.to_string();
    let our_metrics = [ROUTE_METRIC, BLACKHOLE_METRIC];
    let foreign: Vec<&str> = lines
        .iter()
        .filter(|line| line.protocol == protocol && !our_metrics.contains(&line.metric))
        .map(|line| line.dst.as_str())
        .collect();
    if !foreign.is_empty() {
        findings.push(Finding::fail(
            CHECK,
            format!("somebody else uses route protocol {ROUTE_PROTOCOL}: {}", some(&foreign)),
            "give that program another protocol number: routes of this number at our metric are taken for ours",
        ));
    }
    let same_metric: Vec<&str> = lines
        .iter()
        .filter(|line| line.metric == ROUTE_METRIC && line.protocol != protocol)
        .map(|line| line.dst.as_str())
        .collect();
    if !same_metric.is_empty() {
        findings.push(Finding::warn(
            CHECK,
            format!("routes of somebody else have our metric {ROUTE_METRIC}: {}", some(&same_metric)),
            "where a pod subnet has the same prefix, ours is not installed and is shown as a conflict",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("nobody else uses route protocol {ROUTE_PROTOCOL} or metric {ROUTE_METRIC}"),
        ));
    }
    findings
}

fn some(prefixes: &[&str]) -> String {
    let shown: Vec<&str> = prefixes.iter().take(3).copied().collect();
    let more = if prefixes.len() > 3 {
        format!(" and {} more", prefixes.len() - 3)
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
