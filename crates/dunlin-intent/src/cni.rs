//! The CNI network configuration list that container runtimes read.

use dunlin_net::{Afi, IpNet};

/// The name of the file in the CNI configuration directory.
pub const FILE_NAME: &str = "10-dunlin.conflist";

/// The network's name in the file, by which we know our own file again.
pub const NETWORK_NAME: &str = "dunlin";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniConfig {
    /// This node's pod subnets, from which pods get their addresses.
    pub subnets: Vec<IpNet>,
    /// The MTU of pods' interfaces, in octets.
    pub mtu: u32,
    /// The directory in which `host-local` keeps what it has given out.
    pub data_dir: String,
}

/// The file's content: `ptp` with `host-local`, then `portmap` and `bandwidth`. The same configuration always gives
/// the same octets.
///
/// Each pod gets one address of each family there is a subnet of: subnets of one family form one range set.
pub fn render(config: &CniConfig) -> String {
    let mut range_sets = Vec::new();
    let mut routes = Vec::new();
    for afi in Afi::ALL {
        let ranges: Vec<String> = config
            .subnets
            .iter()
            .filter(|net| Afi::of_net(**net) == afi)
            .map(|net| format!("{{\"subnet\": {}}}", json_string(&net.to_string())))
            .collect();
        if !ranges.is_empty() {
            range_sets.push(format!("          [{}]", ranges.join(", ")));
            let default = match afi {
                Afi::Ipv4 => "0.0.0.0/0",
                Afi::Ipv6 => "::/0",
            };
            routes.push(format!("          {{\"dst\": \"{default}\"}}"));
        }
    }
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "{NETWORK_NAME}",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "mtu": {mtu},
      "ipam": {{
        "type": "host-local",
        "dataDir": {data_dir},
        "ranges": [
{ranges}
        ],
        "routes": [
{routes}
        ]
      }}
    }},
    {{
      "type": "portmap",
      "capabilities": {{"portMappings": true}},
      "snat": true
    }},
    {{
      "type": "bandwidth",
      "capabilities": {{"bandwidth": true}}
    }}
  ]
}}
"#,
        mtu = config.mtu,
        data_dir = json_string(&config.data_dir),
        ranges = range_sets.join(",\n"),
        routes = routes.join(",\n"),
    )
}

/// A string as JSON writes it (RFC 8259 section 7).
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
