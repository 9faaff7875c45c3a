use dunlin_api::{Explanation, Verdict};

use crate::output::{Style, Tone, clean};

/// The summary, then a line a step.
pub(crate) fn explanation(explanation: &Explanation, style: Style) -> String {
    let tone = if explanation.ok {
        Tone::Good
    } else {
        Tone::Bad
    };
    let mut text = format!(
        "{}: {}\n",
        style.paint(Tone::Strong, &clean(&explanation.subject)),
        style.paint(tone, &clean(&explanation.summary))
    );
    let stage_width = explanation
        .steps
        .iter()
        .map(|step| step.stage.chars().count())
        .max()
        .unwrap_or(0);
    for step in &explanation.steps {
        let (tone, word) = match step.verdict {
            Verdict::Pass => (Tone::Good, "ok  "),
            Verdict::Wait => (Tone::Warn, "wait"),
            Verdict::Stop => (Tone::Bad, "STOP"),
            Verdict::Info => (Tone::Faint, "info"),
        };
        let stage = clean(&step.stage);
        text.push_str(&format!(
            "  {}  {stage:<stage_width$}  {}\n",
            style.paint(tone, word),
            clean(&step.text)
        ));
        for line in &step.lines {
            let indent = stage_width + 10;
            text.push_str(&format!("{:indent$}{}\n", "", clean(line)));
        }
    }
    text
}
