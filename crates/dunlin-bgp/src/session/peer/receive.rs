//! Bytes in: framing, then what each message means in each state.

use std::sync::Arc;

use dunlin_net::{Afi, Instant, ScopedAddr};

use super::conn::Stage;
use super::{OPEN_PATIENCE, Peer, open};
use crate::batch::RouteBatch;
use crate::policy::PeerType;
use crate::session::{Action, ConnId, DownReason, FsmState, Negotiated, Opens, SessionEvent};
use crate::wire::{
    DecodeContext, Disposition, Fault, Frame, HEADER_LEN, Limits, MessageType, Notification, Open,
    RefreshSubtype, RouteRefresh, decode_update, frame,
};

impl From<Fault> for DownReason {
    fn from(fault: Fault) -> DownReason {
        DownReason::Malformed {
            notification: fault.notification,
            what: fault.what,
        }
    }
}

impl Peer {
    /// Takes bytes of a living connection in any portions.
    pub(super) fn on_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.stats.received.bytes += bytes.len() as u64;
        let mut batch = RouteBatch::default();
        let outcome = self.take_messages(now, conn, bytes, &mut batch);
        self.hand_over(conn, &mut batch);
        if let Err(reason) = outcome {
            self.end(now, conn, reason);
        }
    }

    fn hand_over(&mut self, conn: ConnId, batch: &mut RouteBatch) {
        if !batch.is_empty() {
            self.actions.push_back(Action::Event(SessionEvent::Routes {
                peer: self.id,
                conn,
                batch: std::mem::take(batch),
            }));
        }
    }

    fn take_messages(
        &mut self,
        now: Instant,
        conn: ConnId,
        bytes: &[u8],
        batch: &mut RouteBatch,
    ) -> Result<(), DownReason> {
        let mut rest = self.finish_partial(now, conn, bytes, batch)?;
        // A message can end the connection; what follows it is nobody's then.
        while let Some(limits) = self.limits(conn) {
            let Some(message) = frame(rest, limits)? else {
                break;
            };
            rest = rest.get(message.wire_len()..).unwrap_or_default();
            self.on_message(now, conn, message, batch)?;
        }
        if let Some(reader) = self.conn_mut(conn)
            && !rest.is_empty()
        {
            reader.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Completes the message whose beginning came earlier; gives back the bytes after it.
    fn finish_partial<'a>(
        &mut self,
        now: Instant,
        conn: ConnId,
        mut bytes: &'a [u8],
        batch: &mut RouteBatch,
    ) -> Result<&'a [u8], DownReason> {
        let Some(reader) = self.conn_mut(conn) else {
            return Ok(&[]);
        };
        if reader.partial.is_empty() {
            return Ok(bytes);
        }
        let mut partial = std::mem::take(&mut reader.partial);
        let limits = limits(reader.negotiated());
        // First the header, which says how long the message is; then the rest of it.
        loop {
            if let Some(message) = frame(&partial, limits)? {
                self.on_message(now, conn, message, batch)?;
                return Ok(bytes);
            }
            let wanted = match partial.get(16..HEADER_LEN) {
                Some(&[high, low, _]) => usize::from(u16::from_be_bytes([high, low])),
                _ => HEADER_LEN,
            };
            let missing = wanted.saturating_sub(partial.len());
            let Some((head, tail)) = bytes.split_at_checked(missing) else {
                partial.extend_from_slice(bytes);
                // Also the marker of a header that is not whole yet.
                frame(&partial, limits)?;
                if let Some(reader) = self.conn_mut(conn) {
                    reader.partial = partial;
                }
                return Ok(&[]);
            };
            partial.extend_from_slice(head);
            bytes = tail;
        }
    }

    /// What the connection accepts; `None` if it has ended.
    fn limits(&self, conn: ConnId) -> Option<Limits> {
        self.conn(conn).map(|conn| limits(conn.negotiated()))
    }

    fn on_message(
        &mut self,
        now: Instant,
        conn: ConnId,
        message: Frame<'_>,
        batch: &mut RouteBatch,
    ) -> Result<(), DownReason> {
        let Some(reader) = self.conn_mut(conn) else {
            return Ok(());
        };
        let state = reader.state();
        match (state, message.kind) {
            (FsmState::Established, MessageType::Update) => {
                reader.heard(now);
                self.on_update(conn, message.body, batch)
            }
            (FsmState::Established, MessageType::Keepalive) => {
                reader.heard(now);
                self.stats.received.keepalives += 1;
                Ok(())
            }
            (FsmState::Established, MessageType::RouteRefresh) => {
                reader.heard(now);
                self.stats.received.refreshes += 1;
                self.on_route_refresh(conn, message.body, batch)
            }
            (FsmState::OpenConfirm, MessageType::Keepalive) => {
                self.stats.received.keepalives += 1;
                self.establish(now, conn);
                Ok(())
            }
            (FsmState::OpenSent, MessageType::Open) => {
                self.stats.received.opens += 1;
                self.on_open(now, conn, &message)
            }
            (_, MessageType::Notification) => {
                self.stats.received.notifications += 1;
                let notification = Notification::parse(message.body)?;
                self.stats.last_received = Some((now, notification.clone()));
                Err(DownReason::NotificationReceived(notification))
            }
            (state, kind) => Err(DownReason::UnexpectedMessage {
                state,
                message: kind as u8,
            }),
        }
    }

    fn on_open(
        &mut self,
        now: Instant,
        conn: ConnId,
        message: &Frame<'_>,
    ) -> Result<(), DownReason> {
        let Some(Stage::OpenSent(ends)) = self.conn(conn).map(|c| c.stage.clone()) else {
            return Ok(());
        };
        let theirs = Open::parse(message.body)?;
        let mut negotiated = open::negotiate(&self.config, ends, theirs)?;
        if let Some(opened) = self.conn(conn) {
            negotiated.opens = Opens {
                sent: opened.open.clone(),
                received: message.to_vec().into(),
            };
        }
        self.resolve_collision(now, conn, &negotiated)?;
        if let Some(opened) = self.conn_mut(conn) {
            let endless = negotiated.hold_time_secs == 0;
            opened.stage = Stage::OpenConfirm(Arc::new(negotiated));
            opened.heard(now);
            if endless {
                opened.patience_ends = Some(now + OPEN_PATIENCE);
            }
            self.send_keepalive(now, conn);
        }
        Ok(())
    }

    /// The peer has confirmed our OPEN: this connection is the session, all others end.
    fn establish(&mut self, now: Instant, conn: ConnId) {
        let Some(Stage::OpenConfirm(negotiated)) = self.conn(conn).map(|c| c.stage.clone()) else {
            return;
        };
        let others: Vec<ConnId> = self
            .conns
            .iter()
            .map(|c| c.id)
            .filter(|id| *id != conn)
            .collect();
        for other in others {
            self.end(now, other, DownReason::Collision);
        }
        if let Some(up) = self.conn_mut(conn) {
            up.stage = Stage::Established(Arc::clone(&negotiated), now);
            up.heard(now);
        }
        self.backoff = super::Backoff::new();
        self.damping.on_accepted();
        self.stats.ups += 1;
        self.actions.push_back(Action::Event(SessionEvent::Up {
            peer: self.id,
            conn,
            negotiated,
        }));
    }

    fn on_update(
        &mut self,
        conn: ConnId,
        body: &[u8],
        batch: &mut RouteBatch,
    ) -> Result<(), DownReason> {
        self.stats.received.updates += 1;
        let Some(context) = self.decode_context(conn) else {
            return Ok(());
        };
        let judgement = decode_update(&context, body, batch)?;
        if judgement.disposition != Disposition::Ok {
            self.stats.treated_as_withdraw +=
                u64::from(judgement.disposition == Disposition::TreatAsWithdraw);
            let discarded = judgement
                .findings
                .iter()
                .filter(|finding| finding.disposition == Disposition::AttributeDiscard);
            self.stats.attributes_discarded += discarded.count() as u64;
        }
        if batch.is_full() {
            self.hand_over(conn, batch);
        }
        Ok(())
    }

    fn decode_context(&self, conn: ConnId) -> Option<DecodeContext> {
        let negotiated = self.conn(conn)?.negotiated()?;
        let external = negotiated.peer_type == PeerType::External;
        Some(DecodeContext {
            peer_type: negotiated.peer_type,
            four_octet_as: negotiated.four_octet_as,
            families: negotiated.families,
            add_path: negotiated.receives_paths(),
            extended_next_hop: negotiated.extended_next_hop,
            enforce_first_as: (external && self.config.enforce_first_as)
                .then_some(negotiated.remote_asn),
            interface: ScopedAddr::from(negotiated.remote).interface,
            hash_seed: self.attr_hash_seed,
        })
    }

    fn on_route_refresh(
        &mut self,
        conn: ConnId,
        body: &[u8],
        batch: &mut RouteBatch,
    ) -> Result<(), DownReason> {
        let Some(negotiated) = self.conn(conn).and_then(|c| c.negotiated()) else {
            return Ok(());
        };
        let enhanced = negotiated.enhanced_route_refresh;
        let message = RouteRefresh::parse(body, enhanced)?;
        let offered = |afi: &Afi| negotiated.route_refresh && *negotiated.families.get(*afi);
        // What was never offered is ignored (RFC 2918 4).
        let Some(afi) = message.family.as_unicast().filter(offered) else {
            return Ok(());
        };
        let peer = self.id;
        let waits = |action: &Action| match action {
            Action::Event(SessionEvent::RefreshRequested {
                conn: on, afi: of, ..
            }) => (*on, *of) == (conn, afi),
            _ => false,
        };
        // One that waits to be taken stands for those that come at once after it. Only the last
        // few are searched, so that a peer that asks without pause has us do no more each time.
        if message.subtype == RefreshSubtype::Request
            && self.actions.iter().rev().take(4).any(waits)
        {
            return Ok(());
        }
        let event = match message.subtype {
            RefreshSubtype::Request => SessionEvent::RefreshRequested { peer, conn, afi },
            RefreshSubtype::Begin if enhanced => SessionEvent::RefreshBegins { peer, conn, afi },
            RefreshSubtype::End if enhanced => SessionEvent::RefreshEnds { peer, conn, afi },
            // So are marks that were not agreed on, and what they may mean one day (RFC 7313 5).
            RefreshSubtype::Begin | RefreshSubtype::End | RefreshSubtype::Unknown(_) => {
                return Ok(());
            }
        };
        self.hand_over(conn, batch);
        self.actions.push_back(Action::Event(event));
        Ok(())
    }
}

fn limits(negotiated: Option<&Arc<Negotiated>>) -> Limits {
    Limits {
        extended_message: negotiated.is_some_and(|n| n.extended_message),
        enhanced_refresh: negotiated.is_some_and(|n| n.enhanced_route_refresh),
    }
}
