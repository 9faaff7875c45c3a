use std::time::Duration;

use dunlin_api::{Answer, Query};
use dunlin_intent::{Kind, SourceEvent};

use super::{EngineError, EngineRequest, EngineState, ShutdownMode};
use crate::fake_engine;

const SOON: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_question_is_answered() {
    let engine = fake_engine::start(|query| {
        assert_eq!(query, Query::Nodes);
        Answer::Nodes(Vec::new())
    });
    assert_eq!(
        engine.ask(Query::Nodes, LONG).await,
        Ok(Answer::Nodes(Vec::new()))
    );
    assert_eq!(engine.ping(LONG).await, Ok(()));
    assert_eq!(
        engine.shutdown(ShutdownMode::KeepForwarding, LONG).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_core_that_does_not_answer_is_late() {
    let (engine, _requests, _told) = fake_engine::idle(EngineState::default(), 1);
    assert_eq!(engine.ping(SOON).await, Err(EngineError::Late));
}

#[tokio::test]
async fn a_core_that_ended_is_gone() {
    let (engine, requests, _told) = fake_engine::idle(EngineState::default(), 1);
    drop(requests);
    assert_eq!(engine.ping(LONG).await, Err(EngineError::Gone));
}

#[tokio::test]
async fn a_core_that_drops_the_question_is_gone() {
    let (engine, requests, _told) = fake_engine::idle(EngineState::default(), 1);
    std::thread::spawn(move || drop(requests.recv()));
    assert_eq!(engine.ping(LONG).await, Err(EngineError::Gone));
}

#[tokio::test]
async fn whoever_asks_waits_while_the_channel_is_full() {
    let (engine, requests, _told) = fake_engine::idle(EngineState::default(), 1);
    assert_eq!(engine.ping(SOON).await, Err(EngineError::Late));
    // The abandoned request fills the channel; the next waits until there is room and is then answered.
    let late = engine.clone();
    let waiting = tokio::spawn(async move { late.ping(LONG).await });
    tokio::task::yield_now().await;
    std::thread::spawn(move || {
        for request in requests {
            if let EngineRequest::Ping(reply) = request {
                let _ = reply.send(());
            }
        }
    });
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn facts_arrive_in_order_through_a_channel_that_is_full() {
    let (engine, requests, _told) = fake_engine::idle(EngineState::default(), 1);
    let reader = std::thread::spawn(move || {
        let mut kinds = Vec::new();
        for request in requests {
            if let EngineRequest::Fact(event, _) = request
                && let SourceEvent::Synced(kind) = *event
            {
                kinds.push(kind);
            }
        }
        kinds
    });
    for kind in Kind::ALL {
        engine.fact(SourceEvent::Synced(kind)).await.unwrap();
    }
    drop(engine);
    assert_eq!(reader.join().unwrap(), Kind::ALL);
}
