//! Results: medians, the table a person reads, and JSON.

use serde_json::{Value, json};

/// A measured quantity; less is better for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

impl Column {
    pub(crate) const fn new(name: &'static str, unit: &'static str) -> Self {
        Self { name, unit }
    }

    fn head(&self) -> String {
        format!("{} {}", self.name, self.unit)
    }

    fn width(&self) -> usize {
        (self.head().len() + 2).max(10)
    }
}

/// What our own median of a column must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bar {
    /// A figure.
    Below(f64),
    /// So many times that of the other row with the least.
    OfFastest(f64),
    /// So many times that of the row whose name begins so.
    Of(f64, &'static str),
}

/// One subject's runs: a value per column and run, or why there is none.
#[derive(Debug)]
struct Row {
    subject: String,
    runs: Vec<Vec<f64>>,
    note: Option<String>,
}

/// One case of one scenario.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    columns: &'static [Column],
    /// Ratios are that row's figure divided by each other row's.
    reference: &'static str,
    rows: Vec<Row>,
    bars: Vec<(&'static str, Bar)>,
}

impl Report {
    pub(crate) fn new(title: String, columns: &'static [Column], reference: &'static str) -> Self {
        Self {
            title,
            columns,
            reference,
            rows: Vec::new(),
            bars: Vec::new(),
        }
    }

    /// Says what our own row must reach in the column of this name.
    pub(crate) fn require(&mut self, column: &'static str, bar: Bar) {
        debug_assert!(self.columns.iter().any(|c| c.name == column));
        self.bars.push((column, bar));
    }

    /// Adds one run's values, in the order of the columns.
    pub(crate) fn add(&mut self, subject: &str, values: Vec<f64>) {
        debug_assert_eq!(values.len(), self.columns.len());
        self.row(subject).runs.push(values);
    }

    /// Notes why a subject has no (more) figures.
    pub(crate) fn note(&mut self, subject: &str, note: String) {
        self.row(subject).note = Some(note);
    }

    /// Whether a subject failed or was skipped.
    pub(crate) fn has_note(&self, subject: &str) -> bool {
        self.rows
            .iter()
            .any(|row| row.subject == subject && row.note.is_some())
    }

    fn row(&mut self, subject: &str) -> &mut Row {
        let at = self
            .rows
            .iter()
            .position(|row| row.subject == subject)
            .unwrap_or_else(|| {
                self.rows.push(Row {
                    subject: subject.to_owned(),
                    runs: Vec::new(),
                    note: None,
                });
                self.rows.len() - 1
            });
        &mut self.rows[at]
    }

    fn reference(&self) -> Option<Vec<f64>> {
        let row = self
            .rows
            .iter()
            .find(|row| row.subject.starts_with(self.reference))?;
        (!row.runs.is_empty()).then(|| row.medians())
    }

    /// The table as text, at most 100 columns wide for ordinary names.
    pub(crate) fn text(&self) -> String {
        let runs = self
            .rows
            .iter()
            .map(|row| row.runs.len())
            .max()
            .unwrap_or(0);
        let reference = self.reference();
        let mut out = format!("\n{} (median of {runs})\n{:18}", self.title, "");
        for column in self.columns {
            out += &format!("{:>width$}", column.head(), width = column.width());
        }
        if reference.is_some() {
            out += &format!("  {}:", self.reference);
        }
        for row in &self.rows {
            out += &format!("\n{:18}", row.subject);
            if !row.runs.is_empty() {
                let medians = row.medians();
                for (column, value) in self.columns.iter().zip(&medians) {
                    out += &format!("{:>width$}", figure(*value), width = column.width());
                }
                if let Some(reference) = reference.as_ref().filter(|_| !self.is_reference(row)) {
                    let ratios = reference.iter().zip(&medians).map(|(ours, theirs)| {
                        if *theirs > 0.0 {
                            format!("{:.2}×", ours / theirs)
                        } else {
                            "–".to_owned()
                        }
                    });
                    out += &format!("  {}", ratios.collect::<Vec<_>>().join(" "));
                }
            }
            if let Some(note) = &row.note {
                out += &format!("  {}", note.lines().collect::<Vec<_>>().join("\n    "));
            }
        }
        for (column, bar) in &self.bars {
            out += &format!("\n  {}", self.verdict(column, *bar));
        }
        out
    }

    /// Whether a bar is met, in words.
    fn verdict(&self, column: &'static str, bar: Bar) -> String {
        let at = self.columns.iter().position(|c| c.name == column);
        let of = |row: &Row| row.medians().get(at?).copied().filter(|v| !v.is_nan());
        let own = self.reference().zip(at).map(|(medians, at)| medians[at]);
        let others = || self.rows.iter().filter(|row| !self.is_reference(row));
        let (most, words) = match bar {
            Bar::Below(most) => (Some(most), format!("{most}")),
            Bar::OfFastest(times) => {
                let least = others().filter_map(of).reduce(f64::min);
                (least.map(|v| v * times), format!("{times} × the least"))
            }
            Bar::Of(times, name) => {
                let row = others().find(|row| row.subject.starts_with(name));
                let theirs = row.and_then(of);
                (theirs.map(|v| v * times), format!("{times} × {name}'s"))
            }
        };
        let verdict = match (own, most) {
            (Some(own), Some(most)) => {
                let word = if own <= most { "met" } else { "MISSED" };
                format!("{word}: {} against {}", figure(own), figure(most))
            }
            _ => "not measured".to_owned(),
        };
        format!("bar: {column} ≤ {words}: {verdict}")
    }

    fn is_reference(&self, row: &Row) -> bool {
        row.subject.starts_with(self.reference)
    }

    /// The same with every run's values.
    pub(crate) fn json(&self) -> Value {
        let columns: Vec<Value> = self
            .columns
            .iter()
            .map(|c| json!({ "name": c.name, "unit": c.unit }))
            .collect();
        let rows = self.rows.iter().map(|row| {
            let medians = if row.runs.is_empty() {
                Vec::new()
            } else {
                row.medians()
            };
            json!({ "subject": row.subject, "median": medians, "runs": row.runs, "note": row.note })
        });
        let rows: Vec<Value> = rows.collect();
        let bars = self
            .bars
            .iter()
            .map(|(column, bar)| self.verdict(column, *bar));
        let bars: Vec<String> = bars.collect();
        json!({ "title": self.title, "columns": columns, "rows": rows, "bars": bars })
    }
}

impl Row {
    fn medians(&self) -> Vec<f64> {
        let columns = self.runs.first().map_or(0, Vec::len);
        (0..columns)
            .map(|c| median(self.runs.iter().map(|run| run[c]).collect()))
            .collect()
    }
}

/// The middle value; of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(upper) if values.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(values[middle - 1], *upper),
    }
}

fn figure(value: f64) -> String {
    match value {
        v if v.is_nan() => "–".to_owned(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests;
