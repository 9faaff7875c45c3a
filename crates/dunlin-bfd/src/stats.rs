use std::fmt;

/// Why a packet was dropped: the rules of RFC 5880 6.8.6 in their order, those of the encapsulations, and our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// The payload is shorter than any control packet.
    Truncated,
    /// Not version 1.
    Version,
    /// The length field is below the least.
    LengthTooSmall,
    /// The length field says more than there is.
    LengthBeyondPayload,
    /// The detection multiplier is zero.
    DetectMultZero,
    /// The multipoint bit is set.
    Multipoint,
    /// The sender names its session zero.
    MyDiscriminatorZero,
    /// Init or Up of a sender that does not know our discriminator.
    YourDiscriminatorZero,
    /// No session has that discriminator.
    UnknownDiscriminator,
    /// No session is with that sender.
    UnknownPeer,
    /// The session is with another peer, or by another interface, local address or encapsulation.
    WrongPath,
    /// The TTL or hop limit says that it came from too far (RFC 5881 5; over several hops, what is configured).
    Ttl,
    /// It is authenticated, and no session here is (RFC 5880 6.8.6).
    Authenticated,
    /// The session is kept down; the packet was looked at for the peer's timers alone.
    AdminDown,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 14] = [
        DropReason::Truncated,
        DropReason::Version,
        DropReason::LengthTooSmall,
        DropReason::LengthBeyondPayload,
        DropReason::DetectMultZero,
        DropReason::Multipoint,
        DropReason::MyDiscriminatorZero,
        DropReason::YourDiscriminatorZero,
        DropReason::UnknownDiscriminator,
        DropReason::UnknownPeer,
        DropReason::WrongPath,
        DropReason::Ttl,
        DropReason::Authenticated,
        DropReason::AdminDown,
    ];

    /// Its name, as a label of metrics.
    pub fn label(self) -> &'static str {
        match self {
            DropReason::Truncated => "truncated",
            DropReason::Version => "version",
            DropReason::LengthTooSmall => "length_too_small",
            DropReason::LengthBeyondPayload => "length_beyond_payload",
            DropReason::DetectMultZero => "detect_mult_zero",
            DropReason::Multipoint => "multipoint",
            DropReason::MyDiscriminatorZero => "my_discriminator_zero",
            DropReason::YourDiscriminatorZero => "your_discriminator_zero",
            DropReason::UnknownDiscriminator => "unknown_discriminator",
            DropReason::UnknownPeer => "unknown_peer",
            DropReason::WrongPath => "wrong_path",
            DropReason::Ttl => "ttl",
            DropReason::Authenticated => "authenticated",
            DropReason::AdminDown => "admin_down",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// Packets dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// How many for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        if let Some(count) = self.0.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// What a session counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Packets sent.
    pub sent: u64,
    /// Packets received and taken.
    pub received: u64,
    /// Packets that were ours and were dropped.
    pub dropped: Drops,
    /// Changes of state.
    pub transitions: u64,
    /// Times that it came up.
    pub ups: u64,
    /// Times that it left Up for a cause that is a failure of the path ([`crate::Cause::is_failure`]).
    pub failures: u64,
    /// Poll sequences begun.
    pub polls: u64,
}
