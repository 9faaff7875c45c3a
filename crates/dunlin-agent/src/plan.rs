//! The objects of a planned change, read as the agent's sources read them.

use std::sync::Arc;

use dunlin_api::{ObjectChange, PlanFault, PlanFile, PlanRequest, PlannedObject};
use dunlin_core::{PlanStep, PlannedChange};
use dunlin_kube::manifest::{Format, sift};
use dunlin_kube::object::Resource;

/// What was read of a request.
pub(crate) enum Read {
    /// Everything.
    Steps {
        /// For the core.
        steps: Vec<PlanStep>,
        /// Objects that say nothing to routing.
        ignored: Vec<PlannedObject>,
    },
    /// Not everything: where and why.
    Faults(Vec<PlanFault>),
}

/// Reads the request's files and names. Deletions come first: what is renamed does not meet its own old self.
///
/// # Errors
/// The request is larger than it may be.
pub(crate) fn read(request: PlanRequest) -> Result<Read, String> {
    let octets: usize = request.files.iter().map(|file| file.text.len()).sum();
    if octets > PlanRequest::MAX_BYTES {
        return Err(format!(
            "the files have {octets} octets: at most {} can be planned at once",
            PlanRequest::MAX_BYTES
        ));
    }
    if request.delete.len() > PlanRequest::MAX_DELETIONS {
        return Err(format!(
            "{} objects are to be deleted: at most {} can be planned at once",
            request.delete.len(),
            PlanRequest::MAX_DELETIONS
        ));
    }
    let (mut steps, mut ignored, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for name in &request.delete {
        match Resource::named_key(name) {
            Ok(key) => steps.push(PlanStep {
                change: PlannedChange::Delete(key),
                at: None,
            }),
            Err(message) => faults.push(PlanFault {
                file: "--delete".to_owned(),
                message,
                ..PlanFault::default()
            }),
        }
    }
    for file in &request.files {
        read_file(file, &mut steps, &mut ignored, &mut faults);
    }
    Ok(match faults.is_empty() {
        true => Read::Steps { steps, ignored },
        false => Read::Faults(faults),
    })
}

fn read_file(
    file: &PlanFile,
    steps: &mut Vec<PlanStep>,
    ignored: &mut Vec<PlannedObject>,
    faults: &mut Vec<PlanFault>,
) {
    let format = match file.name.ends_with(".json") {
        true => Format::Json,
        false => Format::Yaml,
    };
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let sifted = sift(text, format);
    let name: Arc<str> = file.name.as_str().into();
    faults.extend(
        sifted
            .faults
            .into_iter()
            .map(|(document, fault)| PlanFault {
                file: file.name.clone(),
                document,
                line: fault.line as u64,
                column: (fault.column > 0).then_some(fault.column as u64),
                message: fault.message,
            }),
    );
    steps.extend(sifted.facts.into_iter().map(|located| PlanStep {
        change: PlannedChange::Apply(located.fact),
        at: Some((name.clone(), located.line as u64)),
    }));
    ignored.extend(sifted.ignored.into_iter().map(|object| PlannedObject {
        object: object.object,
        change: ObjectChange::Ignored,
        file: Some(file.name.clone()),
        line: Some(object.line as u64),
    }));
}
