//! The control packet (RFC 5880 4.1).

use std::fmt;

use crate::DropReason;

/// The length of a control packet without an authentication section, in octets.
pub const CONTROL_LEN: usize = 24;

/// The least length of one that has an authentication section.
const AUTHENTICATED_LEN: usize = 26;

const VERSION: u8 = 1;

/// The state of a session, as both ends tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Kept down on purpose.
    AdminDown = 0,
    /// Down, or just begun.
    Down = 1,
    /// The other end is heard, and does not say that it hears us.
    Init = 2,
    /// Both ends hear each other.
    Up = 3,
}

impl State {
    /// All states.
    pub const ALL: [State; 4] = [State::AdminDown, State::Down, State::Init, State::Up];

    fn from_bits(bits: u8) -> State {
        match bits & 3 {
            0 => State::AdminDown,
            1 => State::Down,
            2 => State::Init,
            _ => State::Up,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::AdminDown => "AdminDown",
            State::Down => "Down",
            State::Init => "Init",
            State::Up => "Up",
        })
    }
}

/// Why the sender's session last changed its state: five bits, of which the first values are named (RFC 5880 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Diagnostic(u8);

impl Diagnostic {
    /// No Diagnostic.
    pub const NONE: Diagnostic = Diagnostic(0);
    /// Control Detection Time Expired.
    pub const DETECTION_TIME_EXPIRED: Diagnostic = Diagnostic(1);
    /// Echo Function Failed.
    pub const ECHO_FAILED: Diagnostic = Diagnostic(2);
    /// Neighbor Signaled Session Down.
    pub const NEIGHBOR_SIGNALED_DOWN: Diagnostic = Diagnostic(3);
    /// Forwarding Plane Reset.
    pub const FORWARDING_PLANE_RESET: Diagnostic = Diagnostic(4);
    /// Path Down.
    pub const PATH_DOWN: Diagnostic = Diagnostic(5);
    /// Concatenated Path Down.
    pub const CONCATENATED_PATH_DOWN: Diagnostic = Diagnostic(6);
    /// Administratively Down.
    pub const ADMINISTRATIVELY_DOWN: Diagnostic = Diagnostic(7);
    /// Reverse Concatenated Path Down.
    pub const REVERSE_CONCATENATED_PATH_DOWN: Diagnostic = Diagnostic(8);

    /// The lower five bits.
    pub fn from_bits(bits: u8) -> Diagnostic {
        Diagnostic(bits & 0x1f)
    }

    /// The number, at most 31.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.0 {
            0 => "no diagnostic",
            1 => "control detection time expired",
            2 => "echo function failed",
            3 => "neighbor signaled session down",
            4 => "forwarding plane reset",
            5 => "path down",
            6 => "concatenated path down",
            7 => "administratively down",
            8 => "reverse concatenated path down",
            other => return write!(f, "reserved diagnostic {other}"),
        })
    }
}

/// A control packet of version 1. Intervals are in microseconds, as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPacket {
    /// Why the sender's session last changed.
    pub diagnostic: Diagnostic,
    /// The sender's state.
    pub state: State,
    /// P: the sender asks for an answer with F.
    pub poll: bool,
    /// F: this answers a packet with P.
    pub is_final: bool,
    /// C: the sender's BFD does not share fate with its control plane.
    pub control_plane_independent: bool,
    /// A: an authentication section follows, which is not looked at.
    pub authenticated: bool,
    /// D: once both ends are up, the sender wants no packets but in polls.
    pub demand: bool,
    /// How many intervals without a packet mean that the sender is gone; not zero.
    pub detect_mult: u8,
    /// The sender's name of the session; not zero.
    pub my_discriminator: u32,
    /// The receiver's name of the session; zero if the sender does not know it.
    pub your_discriminator: u32,
    /// The sender would send as often as this.
    pub desired_min_tx_micros: u32,
    /// The sender can take packets as often as this; zero for none.
    pub required_min_rx_micros: u32,
    /// The sender can loop echo packets as often as this; zero for none.
    pub required_min_echo_rx_micros: u32,
}

impl ControlPacket {
    /// Decodes the payload of a datagram. What of RFC 5880 6.8.6 can be judged without knowing the session is judged here.
    ///
    /// # Errors
    /// The first of the RFC's rules that it breaks.
    pub fn decode(payload: &[u8]) -> Result<ControlPacket, DropReason> {
        let Some(head) = payload.first_chunk::<CONTROL_LEN>() else {
            return Err(DropReason::Truncated);
        };
        let [first, flags, detect_mult, length, words @ ..] = head;
        if first >> 5 != VERSION {
            return Err(DropReason::Version);
        }
        let flag = |bit: u8| flags & bit != 0;
        let authenticated = flag(0x04);
        let length = usize::from(*length);
        let least = if authenticated {
            AUTHENTICATED_LEN
        } else {
            CONTROL_LEN
        };
        if length < least {
            return Err(DropReason::LengthTooSmall);
        }
        if length > payload.len() {
            return Err(DropReason::LengthBeyondPayload);
        }
        if *detect_mult == 0 {
            return Err(DropReason::DetectMultZero);
        }
        if flag(0x01) {
            return Err(DropReason::Multipoint);
        }
        let word = |at: usize| {
            let octets = words.get(at * 4..).and_then(|rest| rest.first_chunk());
            octets.map_or(0, |octets| u32::from_be_bytes(*octets))
        };
        let packet = ControlPacket {
            diagnostic: Diagnostic::from_bits(*first),
            state: State::from_bits(flags >> 6),
            poll: flag(0x20),
            is_final: flag(0x10),
            control_plane_independent: flag(0x08),
            authenticated,
            demand: flag(0x02),
            detect_mult: *detect_mult,
            my_discriminator: word(0),
            your_discriminator: word(1),
            desired_min_tx_micros: word(2),
            required_min_rx_micros: word(3),
            required_min_echo_rx_micros: word(4),
        };
        if packet.my_discriminator == 0 {
            return Err(DropReason::MyDiscriminatorZero);
        }
        if packet.your_discriminator == 0 && matches!(packet.state, State::Init | State::Up) {
            return Err(DropReason::YourDiscriminatorZero);
        }
        Ok(packet)
    }

    /// Encodes it, without an authentication section.
    pub fn encode(&self) -> [u8; CONTROL_LEN] {
        let flags = [
            (self.poll, 0x20),
            (self.is_final, 0x10),
            (self.control_plane_independent, 0x08),
            (self.demand, 0x02),
        ];
        let bits = flags.iter().filter(|(set, _)| *set);
        let flags = bits.fold((self.state as u8) << 6, |all, (_, bit)| all | bit);
        let mut octets = [0; CONTROL_LEN];
        let words = [
            u32::from_be_bytes([
                VERSION << 5 | self.diagnostic.code(),
                flags,
                self.detect_mult,
                CONTROL_LEN as u8, // 24
            ]),
            self.my_discriminator,
            self.your_discriminator,
            self.desired_min_tx_micros,
            self.required_min_rx_micros,
            self.required_min_echo_rx_micros,
        ];
        for (to, word) in octets.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

#[cfg(test)]
mod tests;
