//! What differs between two values, field by field, in the words of objects and RFCs.

use std::time::Duration;

use dunlin_api::FieldChange;
use dunlin_bgp::policy::{AttrEdits, CommunityValue};
use dunlin_intent::{
    Auth, BfdIntent, ExportFilter, GracefulRestart, ImportPolicy, MaxPrefixes, NextHopMode,
    PeerIntent, Remote, RemoteAsn, SessionIntent,
};

/// Collects differences.
#[derive(Debug, Default)]
pub(super) struct Fields(pub(super) Vec<FieldChange>);

impl Fields {
    /// Notes a field if its value differs.
    pub(super) fn compare<T: PartialEq>(
        &mut self,
        field: &str,
        [before, after]: [T; 2],
        show: impl Fn(&T) -> Option<String>,
    ) {
        if before != after {
            self.0.push(FieldChange {
                field: field.to_owned(),
                before: show(&before),
                after: show(&after),
            });
        }
    }

    /// Of values that are shown as they are.
    pub(super) fn plain<T: PartialEq + ToString>(&mut self, field: &str, values: [T; 2]) {
        self.compare(field, values, |value| Some(value.to_string()));
    }

    /// Of values that may be absent.
    pub(super) fn optional<T: PartialEq + ToString>(
        &mut self,
        field: &str,
        values: [Option<T>; 2],
    ) {
        self.compare(field, values, |value| value.as_ref().map(T::to_string));
    }

    /// Of lists.
    pub(super) fn list<T: PartialEq + ToString>(&mut self, field: &str, values: [&[T]; 2]) {
        self.compare(field, values, |list| {
            let texts: Vec<String> = list.iter().map(T::to_string).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        });
    }
}

/// The transport and what OPEN says.
pub(super) fn session(fields: &mut Fields, both: [&SessionIntent; 2]) {
    let address = |s: &SessionIntent| match s.remote {
        Remote::Address(addr, _) => Some(addr),
        Remote::Range(_) | Remote::Interface(..) => None,
    };
    let range = |s: &SessionIntent| match s.remote {
        Remote::Address(..) | Remote::Interface(..) => None,
        Remote::Range(net) => Some(net),
    };
    let port = |s: &SessionIntent| match s.remote {
        Remote::Address(_, port) | Remote::Interface(_, port) => Some(port),
        Remote::Range(_) => None,
    };
    fields.optional("peerAddress", both.map(address));
    fields.optional("peerRange", both.map(range));
    fields.optional("interface", both.map(|s| s.remote.interface()));
    fields.optional("port", both.map(port));
    fields.optional("sourceAddress", both.map(|s| s.local_address));
    fields.plain("localASN", both.map(|s| s.local_asn));
    fields.compare("peerASN", both.map(|s| s.remote_asn), |asn| {
        Some(match asn {
            RemoteAsn::Exactly(asn) => asn.to_string(),
            RemoteAsn::External => "external".to_owned(),
        })
    });
    fields.list("addressFamilies", both.map(|s| s.families.as_slice()));
    fields.plain("holdTimeSeconds", both.map(|s| s.timers.hold_time_secs));
    fields.plain("keepaliveSeconds", both.map(|s| s.timers.keepalive_secs));
    fields.plain(
        "connectRetrySeconds",
        both.map(|s| s.timers.connect_retry_secs),
    );
    fields.compare("gracefulRestart", both.map(|s| s.graceful_restart), |gr| {
        gr.map(|gr| restart(&gr))
    });
    fields.compare(
        "passwordSecretRef",
        both.map(|s| &s.auth),
        |auth| match auth {
            Auth::None => None,
            Auth::Password(_) => Some("a password".to_owned()),
            Auth::Missing => Some("a password that is missing".to_owned()),
        },
    );
    fields.optional("ebgpMultihop", both.map(|s| s.ebgp_multihop));
    fields.optional("role", both.map(|s| s.role));
    fields.plain("strictRole", both.map(|s| s.strict_role));
    fields.optional("ttlSecurity.hops", both.map(|s| s.ttl_security_hops));
    fields.optional("addPath", both.map(add_path));
}

fn add_path(session: &SessionIntent) -> Option<&'static str> {
    match (session.add_path.send, session.add_path.receive) {
        (true, true) => Some("both ways"),
        (true, false) => Some("send"),
        (false, true) => Some("receive"),
        (false, false) => None,
    }
}

pub(super) fn restart(gr: &GracefulRestart) -> String {
    let bit = if gr.notification { ", N" } else { "" };
    let long = match gr.long_lived_secs {
        0 => String::new(),
        secs => format!(", long-lived {secs} s"),
    };
    format!("{} s{bit}{long}", gr.restart_secs)
}

/// What is learned and told, and BFD: what no session resets for.
pub(super) fn policy(fields: &mut Fields, both: [&PeerIntent; 2]) {
    fields.compare("bfdProfile", both.map(|p| p.bfd), |bfd| {
        bfd.as_ref().map(profile)
    });
    fields.compare("maxPrefixes", both.map(|p| p.max_prefixes), |max| {
        max.as_ref().map(max_prefixes)
    });
    let both = both.map(|intent| &intent.policy);
    fields.compare("importFilter", both.map(|p| p.import.filter()), |filter| {
        filter.map(|filter| rules(&filter.name, filter.rules.len()))
    });
    fields.plain(
        "fabric",
        both.map(|p| matches!(p.import, ImportPolicy::Fabric(_))),
    );
    fields.plain("allowOwnAS", both.map(|p| p.allow_own_as));
    fields.compare(
        "exportFilter",
        both.map(|p| &p.export.filter),
        |filter| match filter {
            ExportFilter::None => None,
            ExportFilter::Missing => Some("one that is missing".to_owned()),
            ExportFilter::Filter(filter) => Some(rules(&filter.name, filter.rules.len())),
        },
    );
    fields.compare("nextHop", both.map(|p| p.export.next_hop), |mode| {
        Some(next_hop_mode(*mode).to_owned())
    });
    fields.compare("advertisements", both.map(|p| &p.export.originated), |_| {
        None
    });
}

fn max_prefixes(max: &MaxPrefixes) -> String {
    let action = match max.restart_after {
        Some(after) => format!("Reset for {} s", after.as_secs()),
        None => "Warn".to_owned(),
    };
    format!(
        "{}, a problem from {} on, then {action}",
        max.limit, max.warning
    )
}

fn profile(bfd: &BfdIntent) -> String {
    let millis = |interval: Duration| interval.as_millis();
    let passive = if bfd.passive { ", passive" } else { "" };
    let ttl = bfd.minimum_ttl.map(|ttl| format!(", TTL {ttl} at least"));
    format!(
        "{} ms out, {} ms in, x{}{passive}{}",
        millis(bfd.transmit_interval),
        millis(bfd.receive_interval),
        bfd.detect_multiplier,
        ttl.unwrap_or_default()
    )
}

fn rules(name: &str, count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{name} ({count} rule{s})")
}

fn next_hop_mode(mode: NextHopMode) -> &'static str {
    match mode {
        NextHopMode::SelfAddress => "Self",
        NextHopMode::Unchanged => "Unchanged",
    }
}

/// What an originated prefix is told with.
pub(super) fn edits(fields: &mut Fields, both: [&AttrEdits; 2]) {
    fields.optional("LOCAL_PREF", both.map(|e| e.local_pref));
    fields.optional("MULTI_EXIT_DISC", both.map(|e| e.med));
    fields.compare("prepend", both.map(|e| e.prepend), |prepend| {
        prepend.map(|(asn, count)| format!("{asn} x{count}"))
    });
    let communities = both.map(|e| communities(&e.add_communities));
    let communities = [&communities[0], &communities[1]].map(Vec::as_slice);
    fields.list("communities", communities);
}

fn communities(values: &[CommunityValue]) -> Vec<String> {
    let text = |value: &CommunityValue| match value {
        CommunityValue::Standard(value) => format!("{}:{}", value >> 16, value & 0xffff),
        CommunityValue::Large(a, b, c) => format!("{a}:{b}:{c}"),
    };
    let mut texts: Vec<String> = values.iter().map(text).collect();
    texts.sort_unstable();
    texts
}
