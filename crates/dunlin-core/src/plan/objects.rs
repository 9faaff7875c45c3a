//! The objects of the change, and what is wrong with objects before and after.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_api::{ObjectChange, ObjectProblem, Plan, PlannedObject};
use dunlin_intent::{Cluster, Fact, Key, ObjectRef, Problem};

use super::{Draft, PlanStep, PlannedChange};

/// A note on addresses of load balancers.
const NOT_ALLOCATED: &str = "which addresses Services of type LoadBalancer are given from pools is decided by one agent of the \
                             cluster when it is so far: nothing is said of addresses that are not given yet";

/// Tells the copy the change. Gives the objects it is about.
pub(super) fn apply(
    cluster: &mut Cluster,
    steps: Vec<PlanStep>,
    limit: usize,
    plan: &mut Plan,
) -> BTreeSet<ObjectRef> {
    let mut concerned = BTreeSet::new();
    let mut allocates = false;
    for PlanStep { change, at } in steps {
        let key = match &change {
            PlannedChange::Apply(fact) => fact.key(),
            PlannedChange::Delete(key) => key.clone(),
        };
        let object = key.object();
        let known = cluster.knows(&key);
        let (file, line) = at.map_or((None, None), |(file, line)| (Some(file), Some(line)));
        let fate = match (&change, known) {
            (PlannedChange::Apply(_), false) => ObjectChange::Created,
            (PlannedChange::Apply(_), true) => ObjectChange::Replaced,
            (PlannedChange::Delete(_), true) => ObjectChange::Deleted,
            (PlannedChange::Delete(_), false) => ObjectChange::NotFound,
        };
        let planned = PlannedObject {
            object: object.to_string(),
            change: fate,
            file: file.map(|file| file.to_string()),
            line,
        };
        plan.objects.add(limit, planned);
        if fate == ObjectChange::NotFound {
            let problem = not_found(&object);
            plan.problems.add(limit, problem);
        }
        allocates |= is_of_pools(&change, &key);
        match change {
            PlannedChange::Apply(fact) => {
                let fact = cluster.completed(fact);
                cluster.apply(fact);
            }
            PlannedChange::Delete(key) => cluster.remove(&key),
        }
        concerned.insert(object);
    }
    if allocates {
        plan.notes.push(NOT_ALLOCATED.to_owned());
    }
    concerned
}

fn is_of_pools(change: &PlannedChange, key: &Key) -> bool {
    use dunlin_intent::ServiceType;
    match change {
        PlannedChange::Apply(Fact::Service(fact)) => {
            fact.service_type == ServiceType::LoadBalancer && fact.ingress.is_empty()
        }
        _ => matches!(key, Key::Pool(_)),
    }
}

fn not_found(object: &ObjectRef) -> ObjectProblem {
    ObjectProblem {
        kind: object.kind.to_string(),
        name: object.name.clone(),
        reason: "NotFound".to_owned(),
        field: None,
        message: "there is no such object to delete: look at its name".to_owned(),
    }
}

fn shown(problem: &Problem) -> ObjectProblem {
    ObjectProblem {
        kind: problem.object.kind.to_string(),
        name: problem.object.name.clone(),
        reason: problem.reason.to_string(),
        field: problem.field.clone(),
        message: problem.message.clone(),
    }
}

/// Those of `these` that are not among `others`.
fn beyond<'a>(these: &'a [Problem], others: &[Problem]) -> Vec<&'a Problem> {
    let mut counts: BTreeMap<&Problem, usize> = BTreeMap::new();
    for other in others {
        *counts.entry(other).or_default() += 1;
    }
    let mut is_new = |problem: &&Problem| match counts.get_mut(*problem) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        _ => true,
    };
    these.iter().filter(|problem| is_new(problem)).collect()
}

impl Draft<'_> {
    /// Problems that come, those of the request's objects, and problems that go.
    pub(super) fn problems(&self, concerned: &BTreeSet<ObjectRef>, plan: &mut Plan) {
        let (before, after) = (&self.before.problems, &self.after.problems);
        let new = beyond(after, before);
        let mut seen: BTreeSet<&Problem> = BTreeSet::new();
        for problem in &new {
            seen.insert(problem);
            plan.problems.add(self.limit, shown(problem));
        }
        for problem in after {
            if concerned.contains(&problem.object) && !seen.contains(problem) {
                plan.problems.add(self.limit, shown(problem));
            }
        }
        for problem in beyond(before, after) {
            plan.solved.add(self.limit, shown(problem));
        }
    }
}
