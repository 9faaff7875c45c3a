//! `dunlin check`.

use std::io::Write;

use anyhow::Result;
use dunlin_agent::config::ClusterSource;
use dunlin_agent::preflight::{self, Finding, Level, Preflight};
use dunlin_api::{Answer, BmpStation, Client, ClientError, Query};

use crate::agent::node_name;
use crate::args::CheckOptions;
use crate::output::{Style, Tone, clean, print};
use crate::show::wrap;
use crate::table::WIDTH;

/// Looks at the machine, and at the agent if one runs. A failure is a problem; a warning is none.
pub(crate) fn run(
    client: &Client,
    options: &CheckOptions,
    style: Style,
    out: &mut dyn Write,
) -> Result<bool> {
    let agent = agent(client);
    let manifests = match &options.cluster {
        Some(ClusterSource::Dir(path)) => {
            Some((path.clone(), node_name(options.node_name.as_ref())?))
        }
        _ => None,
    };
    let mut findings = preflight::run(&Preflight {
        manifests,
        api: (options.cluster == Some(ClusterSource::Kube)).then(|| options.api.clone().into()),
        cni_conf_dir: options.cni_conf_dir.clone(),
        agent_runs: agent.is_some(),
    });
    findings.extend(agent.unwrap_or_default());
    print(out, options.output.output, &findings, |_| {
        table(&findings, style)
    })?;
    Ok(!findings.iter().any(|finding| finding.level == Level::Fail))
}

/// What a running agent says of itself and its peers; nothing if none runs.
fn agent(client: &Client) -> Option<Vec<Finding>> {
    const AGENT: &str = "agent";
    let mut findings = Vec::new();
    match client.ask_blocking(&Query::Status) {
        Ok(Answer::Status(status)) => {
            let node = &status.node;
            findings.push(if status.ready {
                Finding::ok(AGENT, format!("node {node} is ready to carry pods"))
            } else {
                let text = format!("node {node} is not ready: {}", status.not_ready.join("; "));
                Finding::fail(AGENT, text, "see `dunlin status`")
            });
            findings.extend(status.bmp.iter().map(station));
        }
        Ok(_) => {}
        Err(ClientError::Unreachable { .. }) => return None,
        Err(error) => findings.push(Finding::fail(AGENT, error.to_string(), "see its log")),
    }
    if let Ok(Answer::Neighbors(neighbors)) = client.ask_blocking(&Query::Neighbors) {
        for neighbor in neighbors
            .iter()
            .filter(|neighbor| neighbor.state != "Established")
        {
            let why = neighbor.last_error.as_deref().unwrap_or("no error yet");
            let text = format!("{} is {}: {why}", neighbor.name, neighbor.state);
            findings.push(Finding::fail(
                "peer",
                text,
                format!("see `dunlin explain {}`", neighbor.name),
            ));
        }
    }
    Some(findings)
}

/// A node works without its stations.
fn station(station: &BmpStation) -> Finding {
    const CHECK: &str = "bmp";
    let at = station.address;
    if station.connected {
        return Finding::ok(CHECK, format!("connected to the station {at}"));
    }
    let why = station.last_error.as_deref().unwrap_or("no answer yet");
    Finding::warn(
        CHECK,
        format!("no connection to the station {at}: {why}"),
        "see that it listens there, and that this node reaches it; routing goes on without it",
    )
}

fn table(findings: &[Finding], style: Style) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.check.len())
        .max()
        .unwrap_or(0);
    let indent = " ".repeat(4 + 2 + width + 2);
    let mut text = String::new();
    for finding in findings {
        let (tone, word) = match finding.level {
            Level::Ok => (Tone::Good, "ok  "),
            Level::Warn => (Tone::Warn, "warn"),
            Level::Fail => (Tone::Bad, "FAIL"),
        };
        let lines = wrap(&clean(&finding.text), WIDTH - indent.len());
        for (at, line) in lines.iter().enumerate() {
            let head = if at == 0 {
                format!("{}  {:<width$}  ", style.paint(tone, word), finding.check)
            } else {
                indent.clone()
            };
            text.push_str(&format!("{head}{line}\n"));
        }
        let advice = finding.advice.as_deref().unwrap_or_default();
        for line in wrap(&clean(advice), WIDTH - indent.len() - 2) {
            text.push_str(&format!(
                "{indent}{}\n",
                style.paint(Tone::Faint, &format!("  {line}"))
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Finding, table};
    use crate::args::Color;
    use crate::output::Style;

    #[test]
    fn findings_line_up_and_say_what_to_do() {
        let findings = [
            Finding::ok("port", "port 179 is free"),
            Finding::fail(
                "firewall",
                "chain FORWARD of table ip filter drops forwarded packets by its policy, which cannot be overruled from here",
                "let the pod subnets through",
            ),
        ];
        let expected = "\
ok    port      port 179 is free
FAIL  firewall  chain FORWARD of table ip filter drops forwarded packets by its policy, which cannot
                be overruled from here
                  let the pod subnets through
";
        assert_eq!(table(&findings, Style::new(Color::Never, false)), expected);
    }
}
