//! Writes the node's own `BGPNode`.

use dunlin_api::{Answer, NodeReport, Query};
use dunlin_core::Revisions;
use dunlin_core::status_plan::{Clocks, StatusPlan};
use dunlin_kube::crd::status::BgpNodeStatus;
use dunlin_kube::events::EventReason;
use dunlin_kube::status::{KnownNode, WriteError, WriteFault, time_text};

use super::news::{News, node_of, notice};
use super::{CORE_TIMEOUT, Context, chance, failure, mapping};

/// How long after its start a node that is not ready yet says nothing, since it will be other than that in a moment.
const PATIENCE_SECS: u64 = 15;

/// By how much the wall clock may drift before times are told by the new one, microseconds.
const DRIFT_MICROS: u64 = 2_000_000;

/// The name in the log and among troubles.
const WRITER: &str = "BGPNode";

pub(super) struct NodeWriter {
    context: Context,
    pub(super) plan: StatusPlan,
    /// The core's counters as of the last look.
    seen: Revisions,
    /// The object as the API has it, once that is known.
    known: Option<KnownNode>,
    /// What was last written.
    last: Option<BgpNodeStatus>,
    /// What makes the agent's clock the wall clock.
    wall_offset: Option<u64>,
    /// Our place among the Nodes is known.
    placed: bool,
    news: News,
    /// The agent began with the state file, which nobody has been told.
    from_state: bool,
}

/// What became of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    Unchanged,
    /// Only figures differ, and they were told a short while ago.
    FiguresLater,
}

impl NodeWriter {
    pub(super) fn new(context: Context) -> NodeWriter {
        NodeWriter {
            context,
            plan: StatusPlan::new(),
            seen: Revisions::default(),
            known: None,
            last: None,
            wall_offset: None,
            placed: false,
            news: News::default(),
            from_state: false,
        }
    }

    /// Until the core ends.
    pub(super) async fn run(mut self) {
        let mut revisions = self.context.engine.revisions();
        let clock = self.context.clock;
        loop {
            let due = self.plan.due(clock.read());
            tokio::select! {
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = *revisions.borrow_and_update();
                    self.heard(clock.read(), now);
                }
                () = clock.wait(due) => {
                    let clocks = clock.read();
                    if self.plan.look(clocks) {
                        self.look(clocks).await;
                    }
                }
            }
        }
    }

    /// The core counted something.
    pub(super) fn heard(&mut self, clocks: Clocks, revisions: Revisions) {
        if revisions.changes != self.seen.changes {
            self.plan.changed(clocks.now);
        }
        if revisions.figures != self.seen.figures {
            self.plan.figures_changed(clocks.now);
        }
        self.seen = revisions;
    }

    async fn look(&mut self, clocks: Clocks) {
        let asked = self.context.engine.ask(Query::NodeReport, CORE_TIMEOUT);
        match asked.await {
            Ok(answer) => match self.context.overlay.complete(answer) {
                Answer::NodeReport(report) => self.tell(&report, clocks).await,
                // The core answers with what it is asked for.
                _ => tracing::error!("the core answered another question"),
            },
            // It is busy, or ending.
            Err(_) => self.plan.changed(clocks.now),
        }
    }

    /// Takes a slot to tell how the node stands.
    pub(super) async fn tell(&mut self, report: &NodeReport, clocks: Clocks) {
        self.plan.set_place(report.rank, report.nodes);
        let early = self.last.is_none() && is_early(report);
        // Now it is known which slot is ours.
        if !std::mem::replace(&mut self.placed, true) || early {
            self.plan.changed(clocks.now);
            return;
        }
        for notice in self.news.of(report) {
            self.context.notices.tell(notice);
        }
        let source = self.context.overlay.source.as_ref();
        self.from_state |= source.is_some_and(|s| s.borrow().running_on_state.is_some());
        match self.write(report, clocks).await {
            Ok(Outcome::Written) => {
                self.tell_start(report);
                self.plan.written();
                self.context.troubles.over(WRITER);
            }
            Ok(Outcome::Unchanged) => {}
            Ok(Outcome::FiguresLater) => self.plan.figures_changed(clocks.now),
            Err(error) => {
                let object = mapping::own_object(&self.context.node);
                self.context.troubles.note(WRITER, object, &error);
                self.plan.failed(clocks.now, failure(&error), chance());
            }
        }
    }

    /// Says that the agent began with the state file: it can only be said once the API server is back.
    fn tell_start(&mut self, report: &NodeReport) {
        if std::mem::take(&mut self.from_state) {
            let node = node_of(&self.context.node, report.node_uid.clone());
            let message =
                "no API server answered when the agent started: it began with the last known state";
            let reason = EventReason::StartedFromState;
            self.context
                .notices
                .tell(notice(node, reason, "Start", message.into()));
        }
    }

    async fn write(&mut self, report: &NodeReport, clocks: Clocks) -> Result<Outcome, WriteError> {
        let name = self.context.node.clone();
        let known = match self.known.take() {
            Some(known) => known,
            None => match self.context.api.node(&name).await? {
                Some(known) => known,
                None => {
                    let uid = report.node_uid.as_deref();
                    self.context.api.make_node(&name, uid).await?
                }
            },
        };
        let offset = self.offset(report, clocks);
        let now = time_text(clocks.wall_micros);
        let status = mapping::node_status(report, &known, offset, &now);
        let known = self.known.insert(known);
        let mut status = status;
        if let Some(last) = &self.last {
            status = mapping::settled(status, last);
            if *last == status {
                return Ok(Outcome::Unchanged);
            }
            if mapping::news(last) == mapping::news(&status) && !self.plan.figures_due() {
                return Ok(Outcome::FiguresLater);
            }
        }
        match self.context.api.write_node(&name, &status).await {
            Ok(()) => {
                known.conditions.clone_from(&status.conditions);
                self.last = Some(status);
                Ok(Outcome::Written)
            }
            Err(error) => {
                if error.fault == WriteFault::Missing {
                    // Somebody deleted it: it is made anew.
                    self.known = None;
                }
                Err(error)
            }
        }
    }

    /// What makes the agent's clock the wall clock: the same each time, or all times would seem to have changed.
    fn offset(&mut self, report: &NodeReport, clocks: Clocks) -> u64 {
        let offset = clocks.wall_micros.saturating_sub(report.now_micros);
        match self.wall_offset {
            Some(before) if before.abs_diff(offset) <= DRIFT_MICROS => before,
            _ => *self.wall_offset.insert(offset),
        }
    }
}

/// Whether a node that has just started is about to say something else.
fn is_early(report: &NodeReport) -> bool {
    let expected = report.sessions.len();
    let up = report.sessions.iter().filter(|s| s.established).count();
    report.status.uptime_secs < PATIENCE_SECS && (!report.status.ready || up < expected)
}
