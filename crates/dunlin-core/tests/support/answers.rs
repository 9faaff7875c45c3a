//! What the core answers.

use dunlin_api::{Answer, Neighbor, Query, Route, RouteFilter, Status};

use super::*;

impl Bench {
    pub(crate) fn ask(&mut self, query: &Query) -> Answer {
        self.core.answer(self.now, query, &Outside::default())
    }

    pub(crate) fn status(&mut self) -> Status {
        match self.ask(&Query::Status) {
            Answer::Status(status) => *status,
            other => panic!("the status was asked for: {other:?}"),
        }
    }

    /// The reasons of problems.
    pub(crate) fn reasons(&mut self) -> Vec<String> {
        let problems = self.status().problems.into_iter();
        problems.map(|problem| problem.reason).collect()
    }

    pub(crate) fn neighbors(&mut self) -> Vec<Neighbor> {
        match self.ask(&Query::Neighbors) {
            Answer::Neighbors(all) => all,
            other => panic!("neighbors were asked for: {other:?}"),
        }
    }

    pub(crate) fn routes(&mut self) -> Vec<Route> {
        match self.ask(&Query::Routes(RouteFilter::default())) {
            Answer::Routes(view) => view.items,
            other => panic!("routes were asked for: {other:?}"),
        }
    }

    /// How many changes were measured, and their sum in seconds.
    pub(crate) fn announce_count(&mut self) -> (u64, f64) {
        match self.ask(&Query::Metrics) {
            Answer::Metrics(metrics) => {
                let histogram = &metrics.service_announce;
                (histogram.counts.iter().sum(), histogram.sum_secs)
            }
            other => panic!("metrics were asked for: {other:?}"),
        }
    }
}
