use crate::crd::status::{Condition, ConditionStatus};

/// The most octets of a condition's message; the definitions allow for more.
const MAX_MESSAGE: usize = 4096;

/// How an aspect of an object stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it holds.
    pub holds: bool,
    /// Why, as one word.
    pub reason: String,
    /// What, where and what to do.
    pub message: String,
}

impl Verdict {
    fn status(&self) -> ConditionStatus {
        match self.holds {
            true => ConditionStatus::True,
            false => ConditionStatus::False,
        }
    }
}

/// The condition that an object has to carry from `now` on, given the one it carries. Its time is that of the last change
/// of its status. Nothing if it says all this already.
pub fn next_condition(
    before: Option<&Condition>,
    kind: &str,
    verdict: &Verdict,
    generation: Option<i64>,
    now: &str,
) -> Option<Condition> {
    let status = verdict.status();
    let since = before.filter(|condition| condition.status == status);
    let condition = Condition {
        kind: kind.to_owned(),
        status,
        reason: verdict.reason.clone(),
        message: clipped(&verdict.message),
        last_transition_time: since
            .map_or(now, |condition| &condition.last_transition_time)
            .to_owned(),
        observed_generation: generation,
    };
    (before != Some(&condition)).then_some(condition)
}

fn clipped(text: &str) -> String {
    const MARK: &str = "…";
    if text.len() <= MAX_MESSAGE {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_MESSAGE - MARK.len());
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}{MARK}")
}

#[cfg(test)]
mod tests {
    use super::{Verdict, next_condition};
    use crate::crd::status::ConditionStatus;

    fn verdict(holds: bool, message: &str) -> Verdict {
        Verdict {
            holds,
            reason: if holds { "Accepted" } else { "Invalid" }.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_time_moves_with_the_status_alone_and_what_is_said_already_is_not_said_again() {
        let first = next_condition(None, "Accepted", &verdict(true, ""), Some(1), "t1").unwrap();
        assert_eq!(first.status, ConditionStatus::True);
        assert_eq!(first.last_transition_time, "t1");
        let same = next_condition(Some(&first), "Accepted", &verdict(true, ""), Some(1), "t2");
        assert_eq!(same, None);
        let newer = next_condition(Some(&first), "Accepted", &verdict(true, ""), Some(2), "t2");
        let newer = newer.unwrap();
        assert_eq!(newer.last_transition_time, "t1");
        assert_eq!(newer.observed_generation, Some(2));
        let bad = verdict(false, "spec.peerASN: 0 is no AS number");
        let bad = next_condition(Some(&newer), "Accepted", &bad, Some(2), "t3").unwrap();
        assert_eq!(bad.last_transition_time, "t3");
        assert_eq!(bad.reason, "Invalid");
        let other = verdict(false, "another word");
        let other = next_condition(Some(&bad), "Accepted", &other, Some(2), "t4").unwrap();
        assert_eq!(other.last_transition_time, "t3");
        let long = verdict(false, &"é".repeat(5_000));
        let long = next_condition(None, "Accepted", &long, None, "t").unwrap();
        assert!(long.message.len() <= 4096 && long.message.ends_with('…'));
    }
}
