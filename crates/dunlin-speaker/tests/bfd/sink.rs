//! An owner that is behind.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use dunlin_bfd::{ConfigError, Seeds, SessionConfig, SessionId, State};
use dunlin_speaker::bfd::{BfdConfig, BfdError, BfdEvent, BfdHandle};
use dunlin_speaker::{Clock, Waker};

use crate::support::netns::in_netns;
use crate::support::{PATIENCE, ip};
use crate::{ID, NEAR, OTHER, config, ms};

#[test]
fn an_owner_without_room_is_told_the_state_later_and_once() {
    in_netns(&[], || {
        // While this holds nothing, there is room; else the waker is kept in it.
        let full: Arc<Mutex<Option<Vec<Waker>>>> = Arc::new(Mutex::new(Some(Vec::new())));
        let (sender, events) = mpsc::channel();
        let there = Arc::clone(&full);
        let sink = move |event: BfdEvent, waker: &Waker| match &mut *there.lock().expect("whole") {
            Some(wakers) => {
                wakers.push(waker.clone());
                Err(event)
            }
            None => {
                sender.send(event).expect("somebody listens");
                Ok(())
            }
        };
        let bfd = BfdConfig {
            seeds: Seeds::default(),
            clock: Clock::start(),
            limit: 2,
        };
        let mut handle = BfdHandle::spawn(&bfd, sink).expect("it starts");
        let on = config(NEAR, ms(50));
        let off = SessionConfig {
            enabled: false,
            ..on.clone()
        };
        for config in [&on, &off, &on, &off, &on, &off] {
            handle.set(ID, config.clone()).expect("it can be");
        }
        handle.set(OTHER, on.clone()).expect("told later");
        assert!(handle.report().is_some(), "all of it is done");
        let wakers = full.lock().expect("whole").take().unwrap_or_default();
        wakers.iter().for_each(Waker::wake);
        let mut told = [(); 2].map(|()| events.recv_timeout(PATIENCE).expect("told"));
        told.sort_by_key(BfdEvent::session);
        let [BfdEvent::Changed(change), refused] = told else {
            panic!("{told:?}");
        };
        assert_eq!((change.from, change.to), (State::Down, State::AdminDown));
        let error = ConfigError::PathTaken { owner: ID };
        let expected = BfdEvent::Refused {
            session: OTHER,
            error,
        };
        assert_eq!(refused, expected);
        assert!(events.try_recv().is_err(), "and no more");
        // What makes no sense is refused at once.
        let nonsense = SessionConfig::single_hop(ip("0.0.0.0"));
        let refused = handle.set(SessionId(9), nonsense);
        assert!(matches!(refused, Err(BfdError::Config(_))));
    });
}
