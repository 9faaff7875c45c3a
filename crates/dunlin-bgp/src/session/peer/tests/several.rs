//! Several paths for one prefix (RFC 7911 4, 5): what is offered, and what both agree on.

use dunlin_net::{Afi, PerFamily};

use super::super::conn::Ends;
use super::super::open::{negotiate, our_open};
use super::bench::*;
use crate::session::{AddPath, PeerConfig};
use crate::wire::{AddPathFamily, AddPathMode, AfiSafi, Capability, Open};

const NEITHER: AddPath = AddPath {
    send: false,
    receive: false,
};
const SEND: AddPath = AddPath {
    send: true,
    receive: false,
};
const RECEIVE: AddPath = AddPath {
    send: false,
    receive: true,
};
const BOTH: AddPath = AddPath {
    send: true,
    receive: true,
};

fn asking(v4: AddPath, v6: AddPath) -> PeerConfig {
    let mut config = config();
    config.add_path = PerFamily { v4, v6 };
    config
}

fn capability(families: &[(Afi, AddPathMode)]) -> Capability {
    let one = |&(afi, mode): &(Afi, AddPathMode)| AddPathFamily {
        family: AfiSafi::unicast(afi),
        mode,
    };
    Capability::AddPath(families.iter().map(one).collect())
}

fn agreed(config: &PeerConfig, more: Vec<Capability>) -> PerFamily<AddPath> {
    let mut open: Open = open();
    open.capabilities.extend(more);
    let ends = Ends {
        local: ours(),
        remote: theirs(),
    };
    negotiate(config, ends, open).expect("they agree").add_path
}

#[test]
fn one_capability_says_what_each_offered_family_can_do() {
    let offered = |config: &PeerConfig| -> Vec<Capability> {
        let all = our_open(config).capabilities.into_iter();
        all.filter(|one| matches!(one, Capability::AddPath(_)))
            .collect()
    };
    assert_eq!(offered(&asking(NEITHER, NEITHER)), []);
    let both = [
        (Afi::Ipv4, AddPathMode::Both),
        (Afi::Ipv6, AddPathMode::Send),
    ];
    assert_eq!(offered(&asking(BOTH, SEND)), [capability(&both)]);
    assert_eq!(
        offered(&asking(NEITHER, RECEIVE)),
        [capability(&[(Afi::Ipv6, AddPathMode::Receive)])]
    );
    // Nothing is said of a family that is not offered itself.
    let mut config = asking(BOTH, BOTH);
    config.families.v6 = false;
    assert_eq!(
        offered(&config),
        [capability(&[(Afi::Ipv4, AddPathMode::Both)])]
    );
}

#[test]
fn a_direction_is_used_if_one_can_send_and_the_other_receive() {
    let config = asking(BOTH, SEND);
    let table = [
        (AddPathMode::Both, BOTH, SEND),
        (AddPathMode::Receive, SEND, SEND),
        (AddPathMode::Send, RECEIVE, NEITHER),
    ];
    for (mode, v4, v6) in table {
        let theirs = capability(&Afi::ALL.map(|afi| (afi, mode)));
        assert_eq!(
            agreed(&config, vec![theirs]),
            PerFamily { v4, v6 },
            "{mode:?}"
        );
    }
    assert_eq!(agreed(&config, Vec::new()), PerFamily::default());
    let theirs = capability(&Afi::ALL.map(|afi| (afi, AddPathMode::Both)));
    assert_eq!(
        agreed(&asking(NEITHER, NEITHER), vec![theirs]),
        PerFamily::default()
    );
}

#[test]
fn each_family_stands_by_itself_and_the_first_word_on_it_counts() {
    let config = asking(BOTH, BOTH);
    let first = capability(&[
        (Afi::Ipv6, AddPathMode::Send),
        (Afi::Ipv6, AddPathMode::Both),
    ]);
    let second = capability(&[(Afi::Ipv6, AddPathMode::Both)]);
    let v6 = RECEIVE;
    assert_eq!(
        agreed(&config, vec![first, second]),
        PerFamily { v4: NEITHER, v6 }
    );
}
