//! Label selectors as Kubernetes has them: `matchLabels` and `matchExpressions`, all of which must hold.

use std::collections::BTreeMap;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector; the default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Labels that must be there with exactly these values.
    pub match_labels: Labels,
    /// Further requirements.
    pub match_expressions: Vec<Requirement>,
}

/// One entry of `matchExpressions`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is required of it.
    pub operator: Operator,
    /// The values of `In` and `NotIn`.
    pub values: Vec<String>,
}

/// The operator of a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The label is there and its value is listed.
    In,
    /// The label is missing or its value is not listed.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is missing.
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
    }

    /// The same for labels that are kept in another way.
    pub(crate) fn matches_by<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| label(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|r| r.matches(label(&r.key)))
    }

    /// What is wrong with the selector, if anything: `In` and `NotIn` need values, the others have none.
    pub fn fault(&self) -> Option<String> {
        self.match_expressions.iter().find_map(Requirement::fault)
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In => value.is_some_and(listed),
            Operator::NotIn => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    fn fault(&self) -> Option<String> {
        let wants_values = matches!(self.operator, Operator::In | Operator::NotIn);
        if self.key.is_empty() {
            Some("a requirement has an empty key".to_owned())
        } else if wants_values && self.values.is_empty() {
            Some(format!(
                "{:?} of key {:?} needs at least one value",
                self.operator, self.key
            ))
        } else if !wants_values && !self.values.is_empty() {
            Some(format!(
                "{:?} of key {:?} takes no values",
                self.operator, self.key
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests;
