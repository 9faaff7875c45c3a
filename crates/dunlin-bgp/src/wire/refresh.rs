use super::frame::{self, MessageType};
use super::{AfiSafi, Fault, code, refresh_message};

/// A ROUTE-REFRESH message (RFC 2918, RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family asked for; it may be one we do not know, then the message is ignored.
    pub family: AfiSafi,
    /// What it means.
    pub subtype: RefreshSubtype,
}

/// The message subtype of a ROUTE-REFRESH (RFC 7313 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshSubtype {
    /// "Send me everything again" (RFC 2918).
    Request,
    /// Everything follows (BoRR).
    Begin,
    /// Everything was sent (EoRR).
    End,
    /// Any other: ignored.
    Unknown(u8),
}

impl RouteRefresh {
    /// Reads the body of a ROUTE-REFRESH. `enhanced`: RFC 7313 was agreed on.
    ///
    /// # Errors
    /// A body of another length; as an error of its own for the marks of RFC 7313 (section 5 there).
    pub fn parse(body: &[u8], enhanced: bool) -> Result<RouteRefresh, Fault> {
        let &[afi_high, afi_low, subtype, safi] = body else {
            return Err(match body.get(2) {
                Some(1 | 2) if enhanced => bad_mark(body),
                _ => frame::short_body(body),
            });
        };
        Ok(RouteRefresh {
            family: AfiSafi {
                afi: u16::from_be_bytes([afi_high, afi_low]),
                safi,
            },
            subtype: match subtype {
                0 => RefreshSubtype::Request,
                1 => RefreshSubtype::Begin,
                2 => RefreshSubtype::End,
                other => RefreshSubtype::Unknown(other),
            },
        })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = frame::begin(MessageType::RouteRefresh, out);
        out.extend_from_slice(&self.family.afi.to_be_bytes());
        out.push(match self.subtype {
            RefreshSubtype::Request => 0,
            RefreshSubtype::Begin => 1,
            RefreshSubtype::End => 2,
            RefreshSubtype::Unknown(other) => other,
        });
        out.push(self.family.safi);
        frame::finish(start, out);
    }
}

/// A mark of a wrong length, with the whole message (RFC 7313 5).
fn bad_mark(body: &[u8]) -> Fault {
    let mut message = Vec::new();
    let start = frame::begin(MessageType::RouteRefresh, &mut message);
    message.extend_from_slice(body);
    frame::finish(start, &mut message);
    Fault::with_data(
        code::ROUTE_REFRESH,
        refresh_message::INVALID_LENGTH,
        &message,
        "a mark of a route refresh has another length than it may have",
    )
}
