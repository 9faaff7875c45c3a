//! BIRD. It is asked in text: `birdc` has no other form.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::Result;
use dunlin_lab::plan::Plan;
use dunlin_lab::process::ProcessId;
use dunlin_net::Afi;

use super::{Daemon, afi_of, word};
use crate::check::{Seen, Table};
use crate::scenario::Announce;

/// Writes the configuration and starts it; `again` after an end, as its service does, to recover gracefully.
pub(super) fn start(daemon: &Daemon, again: bool) -> Result<ProcessId> {
    let file = daemon.write("bird.conf", &config(daemon))?;
    let mut command = daemon.netns.command("/usr/sbin/bird");
    command.arg("-f").arg("-c").arg(file);
    command.arg("-s").arg(daemon.path("bird.ctl"));
    command.arg("-P").arg(daemon.path("bird.pid"));
    if again && daemon.speaker.graceful_restart_secs.is_some() {
        command.arg("-R");
    }
    daemon.launch(&mut command)
}

fn config(daemon: &Daemon) -> String {
    let speaker = &daemon.speaker;
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{}}\n",
        daemon.router_id()
    );
    let mut channels = String::new();
    for afi in Afi::ALL {
        let family = word(afi);
        let routes = speaker
            .announce
            .iter()
            .filter(|route| afi_of(&route.prefix) == afi);
        let (mut statics, mut special) = (String::new(), String::new());
        for route in routes {
            let _ = writeln!(statics, "  route {} blackhole;", route.prefix);
            if route.is_special() {
                special += &attributes(route);
            }
        }
        let _ = write!(
            text,
            "protocol kernel {{ {family} {{ import none; export where source = RTS_BGP; }}; }}\n\
             protocol static static_{family} {{\n  {family};\n{statics}}}\n\
             filter out_{family} {{\n{}{special}  accept;\n}}\n",
            // What it reflects is not its own.
            if speaker.reflects {
                "  if source != RTS_BGP then reject;\n"
            } else {
                "  if source != RTS_STATIC then reject;\n"
            }
        );
        let extended = speaker.extended_next_hop && afi == Afi::Ipv4;
        let own = if extended { speaker.over } else { afi };
        let hop = match speaker.reflects {
            true => String::new(),
            // It has no other, and says so by itself.
            false if speaker.unnumbered => String::new(),
            false => format!("next hop address {}; ", Daemon::own(own)),
        };
        let extended = if extended {
            "extended next hop on; "
        } else {
            ""
        };
        let paths = match (speaker.sends_paths, speaker.takes_paths) {
            (true, true) => "add paths on; ",
            (true, false) => "add paths tx; ",
            (false, true) => "add paths rx; ",
            (false, false) => "",
        };
        let _ = writeln!(
            channels,
            "  {family} {{ import all; export filter out_{family}; {hop}{extended}{paths}}};",
        );
    }
    let mut bfd = "";
    if let Some(millis) = speaker.bfd_millis {
        // Else it drops our routes although we restart: it takes our BFD, which ends with us, for the path.
        bfd = "  bfd graceful;\n";
        let _ = writeln!(
            text,
            "protocol bfd {{ interface \"eth0\" {{ interval {millis} ms; multiplier 3; }}; }}"
        );
    }
    let mut link = "";
    if speaker.unnumbered {
        link = "%eth0";
        text +=
            "protocol radv { interface \"eth0\" { max ra interval 4; default lifetime 0; }; }\n";
    }
    let restart = match speaker.graceful_restart_secs {
        Some(secs) => format!("graceful restart on; graceful restart time {secs};"),
        None => "graceful restart aware;".to_owned(),
    };
    let long_lived = match speaker.long_lived_secs {
        Some(secs) => format!("long lived graceful restart on; long lived stale time {secs};"),
        None => "long lived graceful restart off;".to_owned(),
    };
    if let Some(role) = &speaker.role {
        let _ = writeln!(channels, "  local role {role};");
    }
    let password = speaker
        .password
        .as_ref()
        .map(|password| format!("  password \"{password}\";\n"));
    // It takes no number of four octets for a neighbor that it does not offer any.
    let neighbor = if speaker.two_octet {
        "external".to_owned()
    } else {
        format!("as {}", speaker.peer_asn)
    };
    let _ = write!(
        text,
        "protocol bgp agent {{\n  local {} as {};\n  neighbor {}{link} {};\n  direct; hold time {}; {restart} {long_lived}\n  \
         connect delay time 1; connect retry time 2; error wait time 1, 2; error forget time 1;\n  \
         enable as4 {};\n{}{}{}{bfd}{}{channels}}}\n",
        daemon.local(),
        speaker.asn,
        daemon.peer(),
        neighbor,
        speaker.hold_secs,
        if speaker.two_octet { "off" } else { "on" },
        password.unwrap_or_default(),
        if speaker.passive { "  passive;\n" } else { "" },
        if speaker.ttl_security {
            "  ttl security on;\n"
        } else {
            ""
        },
        if speaker.reflects {
            "  rr client;\n"
        } else {
            ""
        },
    );
    for other in &speaker.others {
        let _ = writeln!(
            text,
            "protocol bgp other_{} {{ local {} as {}; neighbor {} as {}; direct; passive; {}\n  \
             ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}",
            other.number,
            Daemon::own(Afi::Ipv4),
            speaker.asn,
            Plan::node_address(other.number, Afi::Ipv4),
            other.asn,
            if speaker.reflects { "rr client;" } else { "" },
        );
    }
    text
}

fn attributes(route: &Announce) -> String {
    let mut text = format!("  if net = {} then {{\n", route.prefix);
    if let Some(hop) = route.next_hop {
        let _ = writeln!(text, "    bgp_next_hop = {hop};");
    }
    if let Some(asn) = route.prepend {
        let _ = writeln!(text, "    bgp_path.prepend({asn});");
    }
    if let Some(med) = route.med {
        let _ = writeln!(text, "    bgp_med = {med};");
    }
    let names = ["bgp_community", "bgp_large_community"];
    for (name, all) in names.into_iter().zip(route.communities()) {
        for one in all {
            let _ = writeln!(text, "    {name}.add(({}));", one.replace(':', ","));
        }
    }
    if let Some(asn) = route.only_to_customer {
        let _ = writeln!(text, "    bgp_otc = {asn};");
    }
    text + "  }\n"
}

fn birdc(daemon: &Daemon) -> Command {
    let mut command = Command::new("/usr/sbin/birdc");
    command.arg("-s").arg(daemon.path("bird.ctl"));
    command
}

pub(super) fn reload(daemon: &Daemon) -> Result<()> {
    daemon.write("bird.conf", &config(daemon))?;
    let said = daemon.text(birdc(daemon).arg("configure"))?;
    anyhow::ensure!(said.contains("Reconfigur"), "{said}");
    Ok(())
}

pub(super) fn refresh(daemon: &Daemon) -> Result<()> {
    let said = daemon.text(birdc(daemon).args(["reload", "in", "agent"]))?;
    anyhow::ensure!(said.contains("reloading"), "{said}");
    Ok(())
}

pub(super) fn tell_again(daemon: &Daemon) -> Result<()> {
    let said = daemon.text(birdc(daemon).args(["reload", "out", "agent"]))?;
    anyhow::ensure!(said.contains("reloading"), "{said}");
    Ok(())
}

pub(super) fn shutdown(daemon: &Daemon, words: &str) -> Command {
    let mut command = birdc(daemon);
    command.args(["disable", "agent", &format!("\"{words}\"")]);
    command
}

pub(super) fn is_up(daemon: &Daemon) -> Result<bool> {
    let said = daemon.text(birdc(daemon).args(["show", "protocols", "agent"]))?;
    anyhow::ensure!(said.contains("BGP"), "{said}");
    Ok(said.contains("Established"))
}

pub(super) fn is_bfd_up(daemon: &Daemon) -> Result<bool> {
    let said = daemon.text(birdc(daemon).args(["show", "bfd", "sessions"]))?;
    let mut words = said.split_whitespace();
    Ok(words.any(|word| word == "Up"))
}

pub(super) fn table(daemon: &Daemon) -> Result<Table> {
    let show = ["show", "route", "all", "protocol", "agent"];
    let said = daemon.text(birdc(daemon).args(show))?;
    let mut table = Table::new();
    let mut current = None;
    for line in said.lines() {
        if !line.starts_with(char::is_whitespace) {
            let word = line.split_whitespace().next().unwrap_or_default();
            current = word.parse().ok();
            if let Some(prefix) = current {
                table.insert(prefix, Seen::default());
            }
            continue;
        }
        let Some(seen) = current.and_then(|prefix| table.get_mut(&prefix)) else {
            continue;
        };
        let (name, value) = line.trim().split_once(": ").unwrap_or_default();
        match name {
            "BGP.as_path" => {
                value.clone_into(&mut seen.as_path);
                seen.as_paths.insert(value.to_owned());
            }
            // A link-local address may follow, or be the only one.
            "BGP.next_hop" => {
                let mut hops = value.split_whitespace().filter(|word| *word != "::");
                seen.next_hop = hops.next().and_then(|word| word.parse().ok());
                seen.next_hops.extend(seen.next_hop);
            }
            "BGP.med" => seen.med = value.parse().ok(),
            "BGP.otc" => seen.only_to_customer = value.parse().ok(),
            "BGP.local_pref" => seen.local_pref = value.parse().ok(),
            "BGP.community" | "BGP.large_community" => {
                // (64512,100) and (64512, 1, 2)
                let tuples = value.split(')').map(|tuple| tuple.replace(['(', ' '], ""));
                let shown = tuples.filter(|tuple| !tuple.is_empty());
                seen.communities
                    .extend(shown.map(|tuple| tuple.replace(',', ":")));
            }
            _ => {}
        }
    }
    Ok(table)
}
