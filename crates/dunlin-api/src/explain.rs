use serde::{Deserialize, Serialize};

/// A chain of steps from an object to the kernel or the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Explanation {
    /// What is explained.
    pub subject: String,
    /// One line: how it stands.
    pub summary: String,
    /// Whether everything is as it should be.
    pub ok: bool,
    /// The steps, first to last.
    pub steps: Vec<Step>,
}

/// One step of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Where: `object`, `intent`, `adj-rib-in`, `loc-rib`, `export`, `proxy`, `kernel`, `session`.
    pub stage: String,
    /// How it went.
    pub verdict: Verdict,
    /// What happened there, with the reason.
    pub text: String,
    /// What belongs to it, one by one: endpoints, elements of the kernel's tables as `nft` writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It is under way, or waits for something.
    Wait,
    /// It stopped here.
    Stop,
    /// For information.
    Info,
}
