//! The helper: answers the leader.

use crate::{
    batches::Kind,
    preparing,
    problem::{Problem, BATCH_INVALID, BATCH_MISMATCH, INVALID_BATCH_SIZE, UNRECOGNIZED_JOB, UNRECOGNIZED_MESSAGE},
    task::{Job, Task},
};
use interop::log;
use janus_core::hpke::{self, associated_data_for_aggregate_share, HpkeApplicationInfo};
use janus_messages::{
    AggregateContinueReq, AggregateContinueResp, AggregateInitializeReq, AggregateInitializeResp, AggregateShareReq,
    AggregateShareResp, PrepareStep, PrepareStepResult, ReportShareError, Role as Party,
};
use prio::codec::{Decode, Encode};
use std::collections::HashSet;

/// The first step of an aggregation.
pub fn begin<Q: Kind>(task: &Task, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let request = AggregateInitializeReq::<Q>::get_decoded(body)?;
    let mut seen = HashSet::new();
    let (mut reports, mut answers) = (vec![], vec![]);
    for share in request.report_shares() {
        let metadata = share.metadata();
        let id = *metadata.id();
        if !seen.insert(*id.as_ref()) {
            return Err(UNRECOGNIZED_MESSAGE);
        }
        let bucket = Q::bucket(request.batch_selector(), task, metadata.time().as_seconds_since_epoch());
        let refusal = task.memory().refusal(&bucket, &id);
        let prepared =
            refusal.map_or_else(|| task.prepare(metadata, share.public_share(), share.encrypted_input_share()), Err);
        let said = match prepared {
            Ok(prepared) => {
                let said = PrepareStepResult::Continued(prepared.share.clone());
                reports.push((bucket, id, prepared));
                said
            }
            Err(error) => {
                log(format!("task {}: {id} is refused: {error:?}", task.id));
                PrepareStepResult::Failed(error)
            }
        };
        answers.push(PrepareStep::new(id, said));
    }
    let mut memory = task.memory();
    if memory.jobs.contains_key(request.job_id()) {
        return Err(UNRECOGNIZED_MESSAGE);
    }
    memory.jobs.insert(*request.job_id(), Job { reports });
    Ok(AggregateInitializeResp::new(answers).get_encoded())
}

/// The second step, after which the outputs are counted.
pub fn finish(task: &Task, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let request = AggregateContinueReq::get_decoded(body)?;
    let mut memory = task.memory();
    let mut job = memory.jobs.remove(request.job_id()).ok_or(UNRECOGNIZED_JOB)?;
    let mut answers = vec![];
    for step in request.prepare_steps() {
        let place = job.reports.iter().position(|(_, id, _)| id == step.report_id()).ok_or(UNRECOGNIZED_MESSAGE)?;
        let (bucket, id, prepared) = job.reports.swap_remove(place);
        let PrepareStepResult::Continued(message) = step.result() else { return Err(UNRECOGNIZED_MESSAGE) };
        // Another aggregation may have had it meanwhile.
        let said = match memory.refusal(&bucket, &id) {
            Some(error) => PrepareStepResult::Failed(error),
            None => match preparing::finish(&task.vdaf, &prepared, message) {
                Ok(output) => {
                    memory.add(bucket, &id, output);
                    PrepareStepResult::Finished
                }
                Err(_) => PrepareStepResult::Failed(ReportShareError::VdafPrepError),
            },
        };
        answers.push(PrepareStep::new(id, said));
    }
    log(format!("task {}: aggregated {} reports", task.id, answers.len()));
    Ok(AggregateContinueResp::new(answers).get_encoded())
}

/// Give the leader this aggregator's share of a batch, for the collector.
pub fn share<Q: Kind>(task: &Task, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let request = AggregateShareReq::<Q>::get_decoded(body)?;
    let asked = request.batch_selector().batch_identifier();
    let span = Q::span(asked, task).ok_or(BATCH_INVALID)?;
    let mut memory = task.memory();
    if task.most.is_some() && !span.iter().all(|bucket| memory.has(bucket)) {
        return Err(BATCH_INVALID);
    }
    if let Some(problem) = memory.conflict(&span, task.queries) {
        return Err(problem);
    }
    let total = memory.total(&task.vdaf, &span).map_err(|_| BATCH_INVALID)?;
    if total.count != request.report_count() || total.checksum != *request.checksum() {
        return Err(BATCH_MISMATCH);
    }
    if total.count < task.least || task.most.is_some_and(|most| total.count > most) {
        return Err(INVALID_BATCH_SIZE);
    }
    let sealed = hpke::seal(
        &task.collector,
        &HpkeApplicationInfo::new(&hpke::Label::AggregateShare, &Party::Helper, &Party::Collector),
        &total.share,
        &associated_data_for_aggregate_share::<Q>(&task.id, asked),
    );
    let sealed = sealed.map_err(|_| BATCH_INVALID)?;
    memory.give(&span);
    Ok(AggregateShareResp::new(sealed).get_encoded())
}
