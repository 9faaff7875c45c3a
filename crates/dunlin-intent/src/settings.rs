//! The `BGPConfiguration` with its defaults filled in.

mod bmp;

use dunlin_net::{Asn, IpNet};

use crate::fact::{
    ConfigurationFact, GracefulRestartFact, ReflectorsFact, SecretRef, TimersFact, TopologyMode,
};
use crate::intent::{BmpStation, GracefulRestart, RouteInstallation, Timers};
use crate::problem::{ObjectKind, ObjectRef, Problem, Reason};
use crate::reflectors::{DEFAULT_REFLECTORS, MAX_REFLECTORS};
use crate::selector::Selector;

/// The name of the one configuration that has an effect.
pub const CONFIGURATION: &str = "default";

/// The AS of all nodes unless the configuration says otherwise.
pub const DEFAULT_ASN: Asn = Asn(64512);

/// The TCP port of BGP.
pub const DEFAULT_PORT: u16 = 179;

/// The most nodes that `Auto` builds a mesh of.
pub const DEFAULT_MESH_LIMIT: u32 = 100;

/// The restart time offered unless said otherwise (RFC 4724), in seconds.
pub const DEFAULT_RESTART_SECS: u16 = 120;

/// The restart time has twelve bits (RFC 4724 section 3).
const MAX_RESTART_SECS: u16 = 4095;

/// How long routes between nodes may stay beyond the restart time unless said otherwise (RFC 9494), in seconds.
const LONG_LIVED_SECS: u32 = 3600;

/// The long-lived stale time has 24 bits (RFC 9494 section 3.1).
const MAX_LONG_LIVED_SECS: u32 = (1 << 24) - 1;

pub(crate) const LONG_LIVED_FIELD: &str = "spec.gracefulRestart.longLivedStaleSeconds";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) asn: Asn,
    pub(crate) topology: TopologyMode,
    pub(crate) mesh_limit: u32,
    /// How many nodes reflect.
    pub(crate) reflectors: u32,
    /// Which nodes may; none given means all.
    pub(crate) reflector_selector: Option<Selector>,
    pub(crate) listen_port: u16,
    pub(crate) timers: Timers,
    /// The restart time in seconds, if graceful restart is on.
    pub(crate) restart_secs: Option<u16>,
    /// The long-lived stale time in seconds, if it is given.
    pub(crate) long_lived_secs: Option<u32>,
    pub(crate) password: Option<SecretRef>,
    pub(crate) bfd_profile: Option<String>,
    pub(crate) masquerade: bool,
    pub(crate) exclude: Vec<IpNet>,
    pub(crate) route_installation: RouteInstallation,
    pub(crate) drain_on_cordon: bool,
    pub(crate) bmp: Vec<BmpStation>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            asn: DEFAULT_ASN,
            topology: TopologyMode::Auto,
            mesh_limit: DEFAULT_MESH_LIMIT,
            reflectors: DEFAULT_REFLECTORS,
            reflector_selector: None,
            listen_port: DEFAULT_PORT,
            timers: Timers::default(),
            restart_secs: Some(DEFAULT_RESTART_SECS),
            long_lived_secs: None,
            password: None,
            bfd_profile: None,
            masquerade: true,
            exclude: Vec::new(),
            route_installation: RouteInstallation::Kernel,
            drain_on_cordon: false,
            bmp: Vec::new(),
        }
    }
}

impl Settings {
    /// Fills in defaults. A field that is refused takes its default too, and is a problem.
    pub(crate) fn from_fact(fact: &ConfigurationFact) -> (Settings, Vec<Problem>) {
        let mut faults = Faults::new(ObjectRef::new(ObjectKind::BgpConfiguration, &fact.name));
        faults.malformed(&fact.malformed);
        let mut settings = Settings::default();
        if let Some(asn) = fact.asn
            && faults.check("spec.asn", asn_fault(asn))
        {
            settings.asn = asn;
        }
        settings.topology = fact.topology.unwrap_or_default();
        settings.mesh_limit = fact.mesh_limit.unwrap_or(DEFAULT_MESH_LIMIT);
        if let Some(reflectors) = &fact.reflectors {
            settings.take_reflectors(reflectors, &mut faults);
        }
        if let Some(port) = fact.listen_port
            && faults.check("spec.listenPort", port_fault(port))
        {
            settings.listen_port = port;
        }
        match timers(settings.timers, &fact.timers) {
            Ok(timers) => settings.timers = timers,
            Err((field, message)) => faults.invalid(field, message),
        }
        match restart_secs(settings.restart_secs, &fact.graceful_restart) {
            Ok(secs) => settings.restart_secs = secs,
            Err(message) => faults.invalid("spec.gracefulRestart.restartSeconds", message),
        }
        match long_lived_secs(None, &fact.graceful_restart) {
            Ok(secs) => settings.long_lived_secs = secs,
            Err(message) => faults.invalid(LONG_LIVED_FIELD, message),
        }
        settings.password = fact.password.clone();
        settings.bfd_profile = fact.bfd_profile.clone();
        settings.masquerade = fact.pod_egress.masquerade.unwrap_or(true);
        for (at, net) in fact.pod_egress.exclude.iter().enumerate() {
            if faults.check(
                format!("spec.podEgress.exclude[{at}]"),
                host_bits_fault(*net),
            ) {
                settings.exclude.push(*net);
            }
        }
        settings.exclude.sort();
        settings.exclude.dedup();
        settings.route_installation = fact.route_installation.unwrap_or_default();
        settings.drain_on_cordon = fact.drain_on_cordon.unwrap_or(false);
        settings.bmp = bmp::stations(&fact.bmp, &mut faults);
        (settings, faults.problems)
    }

    fn take_reflectors(&mut self, fact: &ReflectorsFact, faults: &mut Faults) {
        if let Some(count) = fact.count {
            let fault = (!(1..=MAX_REFLECTORS).contains(&count)).then(|| {
                format!("{count} is no number of reflectors: give 1 to {MAX_REFLECTORS}; {DEFAULT_REFLECTORS} are used")
            });
            if faults.check("spec.topology.reflectors.count", fault) {
                self.reflectors = count;
            }
        }
        if let Some(selector) = &fact.node_selector {
            let fault = selector
                .fault()
                .map(|fault| format!("{fault}; any node may be a reflector"));
            if faults.check("spec.topology.reflectors.nodeSelector", fault) {
                self.reflector_selector = Some(selector.clone());
            }
        }
    }
}

/// Timers from what is given and what they default to.
pub(crate) fn timers(base: Timers, fact: &TimersFact) -> Result<Timers, (&'static str, String)> {
    let hold = fact.hold_time_secs.unwrap_or(base.hold_time_secs);
    if matches!(hold, 1 | 2) {
        return Err((
            "spec.timers.holdTimeSeconds",
            format!(
                "{hold} is too short: give 0 (never expires) or at least 3 (RFC 4271 section 4.2)"
            ),
        ));
    }
    let third = if hold == 0 { 0 } else { (hold / 3).max(1) };
    let default_keepalive = match fact.hold_time_secs {
        Some(_) => third,
        None => base.keepalive_secs.min(third),
    };
    let keepalive = fact.keepalive_secs.unwrap_or(default_keepalive);
    if hold > 0 && (keepalive == 0 || keepalive >= hold) {
        return Err((
            "spec.timers.keepaliveSeconds",
            format!(
                "{keepalive} does not keep a session with a hold time of {hold} s alive: give 1 to {third}"
            ),
        ));
    }
    let connect_retry = fact.connect_retry_secs.unwrap_or(base.connect_retry_secs);
    if connect_retry == 0 {
        return Err((
            "spec.timers.connectRetrySeconds",
            "0 would dial without pause: give at least 1".to_owned(),
        ));
    }
    Ok(Timers {
        hold_time_secs: hold,
        keepalive_secs: if hold == 0 { 0 } else { keepalive },
        connect_retry_secs: connect_retry,
    })
}

/// The restart time from what is given and what it defaults to; `None` is graceful restart off.
pub(crate) fn restart_secs(
    base: Option<u16>,
    fact: &GracefulRestartFact,
) -> Result<Option<u16>, String> {
    if let Some(secs) = fact.restart_secs
        && secs > MAX_RESTART_SECS
    {
        return Err(format!(
            "{secs} is too long: at most {MAX_RESTART_SECS} seconds (RFC 4724 section 3)"
        ));
    }
    let secs = fact.restart_secs.or(base).unwrap_or(DEFAULT_RESTART_SECS);
    let enabled = fact.enabled.unwrap_or(base.is_some());
    Ok(enabled.then_some(secs))
}

/// The long-lived stale time from what is given and what it defaults to.
pub(crate) fn long_lived_secs(
    base: Option<u32>,
    fact: &GracefulRestartFact,
) -> Result<Option<u32>, String> {
    match fact.long_lived_stale_secs {
        Some(secs) if secs > MAX_LONG_LIVED_SECS => Err(format!(
            "{secs} is too long: at most {MAX_LONG_LIVED_SECS} seconds (RFC 9494 section 3.1)"
        )),
        Some(1..) if fact.enabled == Some(false) => Err(
            "has no effect without graceful restart: remove it, or set enabled to true (RFC 9494 section 3.1)"
                .to_owned(),
        ),
        given => Ok(given.or(base)),
    }
}

/// Graceful restart with a peer: the N bit (RFC 8538) is set between nodes only, and unless something else is asked for,
/// routes are kept for long between nodes only.
pub(crate) fn graceful_restart(
    restart_secs: Option<u16>,
    long_lived_secs: Option<u32>,
    between_nodes: bool,
) -> Option<GracefulRestart> {
    let default = if between_nodes { LONG_LIVED_SECS } else { 0 };
    restart_secs.map(|restart_secs| GracefulRestart {
        restart_secs,
        notification: between_nodes,
        long_lived_secs: long_lived_secs.unwrap_or(default),
    })
}

/// What is wrong with an AS number (RFC 7607, RFC 6793, RFC 7300).
pub(crate) fn asn_fault(asn: Asn) -> Option<String> {
    let reserved = matches!(asn.0, 0 | 65_535 | u32::MAX) || asn == Asn::TRANS;
    reserved.then(|| format!("{asn} is reserved and cannot be used as an AS number"))
}

pub(crate) fn port_fault(port: u16) -> Option<String> {
    (port == 0).then(|| "0 is no port: give 1 to 65535".to_owned())
}

/// A prefix with bits beyond its length is more likely a mistyped one than meant as its network.
pub(crate) fn host_bits_fault(net: IpNet) -> Option<String> {
    (net != net.trunc()).then(|| {
        format!(
            "{net} has bits set beyond its length: write {}",
            net.trunc()
        )
    })
}

/// Collects what is wrong with one object.
pub(crate) struct Faults {
    object: ObjectRef,
    pub(crate) problems: Vec<Problem>,
}

impl Faults {
    pub(crate) fn new(object: ObjectRef) -> Faults {
        Faults {
            object,
            problems: Vec::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        reason: Reason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        self.problems.push(Problem::of_field(
            self.object.clone(),
            reason,
            field,
            message,
        ));
    }

    pub(crate) fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.add(Reason::Invalid, field, message);
    }

    pub(crate) fn malformed(&mut self, malformed: &[crate::fact::Malformed]) {
        for fault in malformed {
            self.invalid(&fault.field, &fault.message);
        }
    }

    /// Takes in a fault, if there is one; returns whether there is none.
    pub(crate) fn check(&mut self, field: impl Into<String>, fault: Option<String>) -> bool {
        match fault {
            Some(message) => {
                self.invalid(field, message);
                false
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests;
