use dunlin_api::{
    FieldChange, Listed, ObjectChange, ObjectProblem, Plan, PlanFault, PlannedExports,
    PlannedPrefix, PlannedPrefixes, PlannedSessions, SessionEffect,
};

use super::wrap;
use crate::output::{Style, Tone, clean};
use crate::table::WIDTH;
use crate::words::count;

/// What would change, what is wrong first.
pub(crate) fn plan(plan: &Plan, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    if !plan.faults.is_empty() {
        page.faults(&plan.faults);
        return page.text;
    }
    let node = style.paint(Tone::Strong, &format!("node {}", clean(&plan.node)));
    page.line(&format!(
        "Plan for {node}, by its agent; other nodes may fare otherwise. Nothing was changed."
    ));
    page.objects(plan);
    page.problems("WOULD BE WRONG", Tone::Bad, &plan.problems);
    page.problems("WOULD BE SOLVED", Tone::Good, &plan.solved);
    if !plan.notes.is_empty() {
        page.title("NOTES");
        for note in &plan.notes {
            page.wrapped("  ", note);
        }
    }
    if !plan.node_changes.is_empty() {
        page.title("NODE");
        for change in &plan.node_changes {
            page.wrapped("  ", &change_text(change));
        }
    }
    page.sessions(&plan.sessions);
    for exports in &plan.exports.items {
        let mut title = format!("TOLD TO {}", names(&exports.peers));
        if tells_itself(exports) {
            title.push_str(" (each but what comes from itself)");
        }
        page.prefixes(&title, &exports.prefixes, " (");
    }
    page.more(&plan.exports, "groups of peers would be told otherwise");
    for imports in &plan.imports.items {
        let title = format!("LEARNED FROM {}", clean(&imports.peer));
        page.prefixes(&title, &imports.prefixes, " (rejected: ");
    }
    page.more(
        &plan.imports,
        "peers whose routes would be judged otherwise",
    );
    page.prefixes("ROUTES IN THE KERNEL", &plan.routes, " (");
    let kept = "KEPT FROM MASQUERADE";
    page.prefixes(kept, &plan.masquerade_exclusions, " (");
    let ranges = "RANGES OF SERVICE ADDRESSES";
    page.prefixes(ranges, &plan.service_ranges, " (");
    if plan.is_idle() {
        page.line("");
        page.line("No session, route or announcement of this node would change.");
    }
    page.text
}

/// Whether some of what several peers are told comes from one of them, to which it is not told.
fn tells_itself(exports: &PlannedExports) -> bool {
    let (peers, prefixes) = (&exports.peers, &exports.prefixes);
    let lists = [&prefixes.appear, &prefixes.go, &prefixes.change];
    let origins = lists.into_iter().flat_map(|list| &list.items);
    let mut origin = origins.filter_map(|one| one.origin.as_ref());
    origin.any(|origin| peers.items.contains(origin))
}

struct Page {
    text: String,
    style: Style,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A paragraph; lines but the first are indented two more.
    fn wrapped(&mut self, indent: &str, text: &str) {
        let lines = wrap(&clean(text), WIDTH - indent.len() - 2);
        for (at, line) in lines.iter().enumerate() {
            let more = if at == 0 { "" } else { "  " };
            self.line(&format!("{indent}{more}{line}"));
        }
    }

    fn title(&mut self, title: &str) {
        self.line("");
        for line in wrap(title, WIDTH) {
            let line = self.style.paint(Tone::Strong, &line);
            self.line(&line);
        }
    }

    fn more<T>(&mut self, listed: &Listed<T>, what: &str) {
        if listed.more > 0 {
            self.line("");
            self.line(&format!("… and {} more {what}", listed.more));
        }
    }

    fn faults(&mut self, faults: &[PlanFault]) {
        for fault in faults {
            let mut place = clean(&fault.file);
            if fault.line > 0 {
                place = format!("{place}:{}", fault.line);
            }
            if let Some(column) = fault.column {
                place = format!("{place}:{column}");
            }
            if fault.document > 0 {
                place = format!("{place} (document {})", fault.document);
            }
            let head = self.style.paint(Tone::Bad, &place);
            self.line(&head);
            self.wrapped("  ", &fault.message);
        }
        self.line("");
        self.line("Not everything could be read, so nothing was worked out.");
    }

    fn objects(&mut self, plan: &Plan) {
        for object in &plan.objects.items {
            let (tone, word) = match object.change {
                ObjectChange::Created => (Tone::Good, "create "),
                ObjectChange::Replaced => (Tone::Warn, "replace"),
                ObjectChange::Deleted => (Tone::Bad, "delete "),
                ObjectChange::NotFound => (Tone::Bad, "missing"),
                ObjectChange::Ignored => (Tone::Faint, "ignore "),
            };
            let word = self.style.paint(tone, word);
            let place = match (&object.file, object.line) {
                (Some(file), Some(line)) => format!("  ({}:{line})", clean(file)),
                _ => String::new(),
            };
            self.line(&format!("  {word}  {}{place}", clean(&object.object)));
        }
        if plan.objects.more > 0 {
            self.line(&format!("  … and {} more objects", plan.objects.more));
        }
    }

    fn problems(&mut self, title: &str, tone: Tone, problems: &Listed<ObjectProblem>) {
        if problems.is_empty() {
            return;
        }
        self.title(&format!("{}: {title}", count(problems.count(), "problem")).to_uppercase());
        for problem in &problems.items {
            let field = problem.field.as_deref().map(|f| format!(" {f}"));
            let head = clean(&format!(
                "{}/{} {}{}",
                problem.kind,
                problem.name,
                problem.reason,
                field.unwrap_or_default()
            ));
            let head = self.style.paint(tone, &head);
            self.line(&format!("  {head}"));
            for line in wrap(&clean(&problem.message), WIDTH - 4) {
                self.line(&format!("    {line}"));
            }
        }
        if problems.more > 0 {
            self.line(&format!("  … and {} more", problems.more));
        }
    }

    fn sessions(&mut self, sessions: &Listed<PlannedSessions>) {
        if sessions.is_empty() {
            return;
        }
        self.title("SESSIONS");
        for group in &sessions.items {
            let (tone, word) = match group.effect {
                SessionEffect::Ends => (Tone::Bad, "end    "),
                SessionEffect::Resets => (Tone::Bad, "reset  "),
                SessionEffect::Starts => (Tone::Good, "start  "),
                SessionEffect::Changes => (Tone::Warn, "change "),
                SessionEffect::Policy => (Tone::Plain, "refresh"),
            };
            let total = group.peers.count();
            let up = match (group.effect, total) {
                (SessionEffect::Starts, _) => String::new(),
                (_, 1) if group.established == 1 => " (Established)".to_owned(),
                (_, 1) => " (not up)".to_owned(),
                _ => format!(" ({} of {total} Established)", group.established),
            };
            let peers = listed(&group.peers, |peer| match peer.address {
                Some(address) => format!("{} {address}", clean(&peer.name)),
                None => clean(&peer.name),
            });
            let lines = wrap(&format!("{peers}{up}"), WIDTH - 11);
            for (at, line) in lines.iter().enumerate() {
                let head = match at {
                    0 => self.style.paint(tone, word),
                    _ => " ".repeat(word.len()),
                };
                self.line(&format!("  {head}  {line}"));
            }
            for reason in &group.reasons {
                self.wrapped("             ", &change_text(reason));
            }
            if let Some(why) = &group.not_tried {
                self.wrapped("             ", why);
            }
        }
        if sessions.more > 0 {
            self.line(&format!(
                "  … and {} more groups of sessions",
                sessions.more
            ));
        }
    }

    /// `reason` is what comes before why a prefix is rejected.
    fn prefixes(&mut self, title: &str, prefixes: &PlannedPrefixes, reason: &str) {
        if prefixes.is_empty() {
            return;
        }
        self.title(title);
        let kinds = [
            (
                Tone::Good,
                "+",
                &prefixes.appear,
                "appear",
                " (rejected now: ",
            ),
            (Tone::Bad, "-", &prefixes.go, "go", reason),
            (Tone::Warn, "~", &prefixes.change, "change", reason),
        ];
        for (tone, mark, list, word, reason) in kinds {
            for prefix in &list.items {
                let text = prefix_text(prefix, reason);
                let lines = wrap(&text, WIDTH - 6);
                for (at, line) in lines.iter().enumerate() {
                    let head = if at == 0 { mark } else { "   " };
                    let line = format!("  {} {line}", self.style.paint(tone, head));
                    self.line(&line);
                }
            }
            if list.more > 0 {
                self.line(&format!("  {mark} … and {} more that {word}", list.more));
            }
        }
    }
}

fn prefix_text(prefix: &PlannedPrefix, reason: &str) -> String {
    let mut text = prefix.prefix.to_string();
    if let Some(origin) = &prefix.origin {
        text = format!("{text} {}", clean(origin));
    }
    if let Some(why) = &prefix.reason {
        text = format!("{text}{reason}{})", clean(why));
    }
    let changes: Vec<String> = prefix.changes.iter().map(change_text).collect();
    if !changes.is_empty() {
        text = format!("{text}: {}", changes.join("; "));
    }
    text
}

/// `holdTimeSeconds 90 -> 30`; the field alone where its values say nothing.
fn change_text(change: &FieldChange) -> String {
    let side = |value: &Option<String>| clean(value.as_deref().unwrap_or("none"));
    let field = clean(&change.field);
    match (&change.before, &change.after) {
        (before, after) if before == after => format!("{field} would be another"),
        (before, after) => format!("{field} {} -> {}", side(before), side(after)),
    }
}

fn names(peers: &Listed<String>) -> String {
    listed(peers, |name| clean(name))
}

fn listed<T>(listed: &Listed<T>, name: impl Fn(&T) -> String) -> String {
    let names: Vec<String> = listed.items.iter().map(name).collect();
    let names = names.join(", ");
    match listed.more {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
