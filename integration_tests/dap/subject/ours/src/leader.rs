//! The leader: takes reports and questions, and works on them beside.

use crate::{
    batches::{Bucket, Kind},
    preparing::{self, Prepared},
    problem::{Problem, BATCH_INVALID, OUTDATED_CONFIG, REPORT_TOO_EARLY, REPORT_TOO_LATE, UNRECOGNIZED_MESSAGE},
    task::{lock, Asked, Collection, Task},
};
use interop::{log, Unsent};
use janus_core::hpke::{self, associated_data_for_aggregate_share, HpkeApplicationInfo};
use janus_messages::{
    AggregateContinueReq, AggregateContinueResp, AggregateInitializeReq, AggregateInitializeResp, AggregateShareReq,
    AggregateShareResp, AggregationJobId, BatchSelector, CollectReq, CollectResp, PrepareStep, PrepareStepResult,
    Report, ReportShare, Role as Party,
};
use prio::codec::{Decode, Encode};
use rand::random;
use std::time::{SystemTime, UNIX_EPOCH};

/// Reports of one aggregation.
const MOST: usize = 100;
/// Seconds that a client's clock may be ahead.
const AHEAD: u64 = 600;

/// Take a report.
pub fn upload(task: &Task, body: &[u8]) -> Result<(), Problem> {
    let report = Report::get_decoded(body)?;
    let time = report.metadata().time().as_seconds_since_epoch();
    let [share, _] = report.encrypted_input_shares() else { return Err(UNRECOGNIZED_MESSAGE) };
    if share.config_id() != task.config.id() {
        return Err(OUTDATED_CONFIG);
    }
    if time >= task.end {
        return Err(REPORT_TOO_LATE);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if time > now + AHEAD {
        return Err(REPORT_TOO_EARLY);
    }
    let mut memory = task.memory();
    let id = *report.metadata().id();
    if memory.uploaded.contains(id.as_ref()) && !interop::mutant("counts_a_replay") {
        log(format!("task {}: {id} was uploaded before, and is ignored", task.id));
        return Ok(());
    }
    let window = Bucket::Window(time - time % task.precision);
    if task.most.is_none() && memory.refusal(&window, &id).is_some() {
        return Err(REPORT_TOO_LATE);
    }
    memory.uploaded.insert(*id.as_ref());
    if interop::mutant("drops_a_report") && memory.uploaded.len() == 5 {
        return Ok(());
    }
    let bucket = if task.most.is_some() { memory.filling.next(task.least) } else { window };
    memory.waiting.entry(bucket).or_default().push(report);
    drop(memory);
    task.bell.ring();
    Ok(())
}

/// Take a question; return the number that its answer will have.
pub fn ask<Q: Kind>(task: &Task, body: &[u8]) -> Result<[u8; 32], Problem> {
    let request = CollectReq::<Q>::get_decoded(body)?;
    if !request.aggregation_parameter().is_empty() {
        return Err(UNRECOGNIZED_MESSAGE);
    }
    let span = Q::span(request.query().batch_identifier(), task).ok_or(BATCH_INVALID)?;
    let mut memory = task.memory();
    if task.most.is_some()
        && !span.iter().all(|bucket| matches!(bucket, Bucket::Batch(id) if memory.filling.begun.contains(id)))
    {
        return Err(BATCH_INVALID);
    }
    if let Some(problem) = memory.conflict(&span, task.queries) {
        return Err(problem);
    }
    let number = random();
    memory.asked.push(Asked { number, request: body.to_vec(), span, state: Collection::Waiting });
    drop(memory);
    task.bell.ring();
    Ok(number)
}

/// Work for a task as long as the process lives.
pub fn work<Q: Kind>(task: &Task) -> ! {
    task.bell.serve(|| aggregate_all::<Q>(task) && answer_all::<Q>(task))
}

/// Aggregate what was uploaded. Return whether nothing has to be tried again.
fn aggregate_all<Q: Kind>(task: &Task) -> bool {
    loop {
        let mut memory = task.memory();
        let Some(bucket) = memory.waiting.keys().next().copied() else { return true };
        let mut reports = memory.waiting.remove(&bucket).unwrap_or_default();
        let later = reports.split_off(reports.len().min(MOST));
        if !later.is_empty() {
            memory.waiting.insert(bucket, later);
        }
        drop(memory);
        match aggregate::<Q>(task, bucket, &reports) {
            Ok(count) => log(format!("task {}: aggregated {count} of {} reports", task.id, reports.len())),
            Err(why) => {
                log(format!("task {}: {} reports wait: {why}", task.id, reports.len()));
                task.memory().waiting.entry(bucket).or_default().extend(reports);
                return false;
            }
        }
    }
}

/// A report between two messages.
struct Step<'a> {
    report: &'a Report,
    prepared: Prepared,
}

/// Aggregate reports with the helper; return how many were. Until it has said so nothing is counted.
fn aggregate<Q: Kind>(task: &Task, bucket: Bucket, reports: &[Report]) -> Result<usize, Unsent> {
    let mut steps = vec![];
    for report in reports {
        let metadata = report.metadata();
        let refusal = task.memory().refusal(&bucket, metadata.id());
        let prepared = refusal
            .map_or_else(|| task.prepare(metadata, report.public_share(), &report.encrypted_input_shares()[0]), Err);
        match prepared {
            Ok(prepared) => steps.push(Step { report, prepared }),
            Err(error) => log(format!("task {}: {} is left out: {error:?}", task.id, metadata.id())),
        }
    }
    if steps.is_empty() {
        return Ok(0);
    }
    let job: AggregationJobId = random();
    let shares = steps.iter().map(|step| {
        let report = step.report;
        let helpers = report.encrypted_input_shares()[1].clone();
        ReportShare::new(report.metadata().clone(), report.public_share().to_vec(), helpers)
    });
    let first = AggregateInitializeReq::<Q>::new(task.id, job, vec![], Q::selector(&bucket), shares.collect());
    let answer: AggregateInitializeResp =
        post(task, "aggregate", AggregateInitializeReq::<Q>::MEDIA_TYPE, &first.get_encoded())?;
    let (mut outputs, mut messages) = (vec![], vec![]);
    for (step, said) in paired(&steps, answer.prepare_steps())? {
        let combined = match said {
            PrepareStepResult::Continued(share) => {
                preparing::combine(&task.vdaf, &step.prepared, share).map_err(|_| "its proof is wrong".to_owned())
            }
            PrepareStepResult::Failed(error) => Err(format!("the helper says {error:?}")),
            PrepareStepResult::Finished => Err("the helper has finished too early".to_owned()),
        };
        let id = step.report.metadata().id();
        match combined {
            Ok((output, message)) => {
                messages.push(PrepareStep::new(*id, PrepareStepResult::Continued(message)));
                outputs.push((id, output));
            }
            Err(why) => log(format!("task {}: {id} is left out: {why}", task.id)),
        }
    }
    if messages.is_empty() {
        return Ok(0);
    }
    let second = AggregateContinueReq::new(task.id, job, messages);
    let answer: AggregateContinueResp =
        post(task, "aggregate", AggregateContinueReq::MEDIA_TYPE, &second.get_encoded())?;
    let finished: Vec<_> =
        answer.prepare_steps().iter().filter(|step| *step.result() == PrepareStepResult::Finished).collect();
    let mut memory = task.memory();
    let mut count = 0;
    for (id, output) in outputs {
        if finished.iter().any(|step| step.report_id() == id) {
            memory.add(bucket, id, output);
            count += 1;
        }
    }
    Ok(count)
}

/// Put what the helper says of each report beside it. Errors: it says something of others.
fn paired<'a, 'b>(
    steps: &'a [Step<'a>],
    said: &'b [PrepareStep],
) -> Result<impl Iterator<Item = (&'a Step<'a>, &'b PrepareStepResult)>, Unsent> {
    let same = steps.len() == said.len()
        && steps.iter().zip(said).all(|(step, said)| step.report.metadata().id() == said.report_id());
    if !same {
        return Err(Unsent::Refused("the helper answers for other reports".into()));
    }
    Ok(steps.iter().zip(said).map(|(step, said)| (step, said.result())))
}

/// Answer the questions that can be. Return whether none has to be tried again by itself.
fn answer_all<Q: Kind>(task: &Task) -> bool {
    let memory = task.memory();
    let waiting = memory.asked.iter().filter(|asked| matches!(asked.state, Collection::Waiting));
    let waiting: Vec<_> = waiting.map(|asked| (asked.number, asked.request.clone(), asked.span.clone())).collect();
    drop(memory);
    let mut all = true;
    for (number, request, span) in waiting {
        let state = match answer::<Q>(task, &request, &span) {
            Ok(None) => continue,
            Ok(Some(answer)) => Collection::Done(answer),
            Err(Unsent::Unreachable(why)) => {
                log(format!("task {}: a collection waits: {why}", task.id));
                all = false;
                continue;
            }
            Err(Unsent::Refused(why)) => {
                log(format!("task {}: a collection failed: {why}", task.id));
                let kind = why.split('"').find(|word| word.starts_with("urn:ietf:params:ppm:dap:error:"));
                let kind = kind.unwrap_or("urn:ietf:params:ppm:dap:error:batchMismatch");
                let document = serde_json::json!({"type": kind, "status": 400, "detail": why});
                Collection::Failed(document.to_string().into_bytes())
            }
        };
        let mut memory = task.memory();
        if matches!(state, Collection::Done(_)) {
            memory.give(&span);
        }
        if let Some(asked) = memory.asked.iter_mut().find(|asked| asked.number == number) {
            asked.state = state;
        }
    }
    all
}

/// Return the collector's message, or nothing while the batch is too small.
fn answer<Q: Kind>(task: &Task, request: &[u8], span: &[Bucket]) -> Result<Option<Vec<u8>>, Unsent> {
    let wrong = |what: &str| Unsent::Refused(what.to_owned());
    let request = CollectReq::<Q>::get_decoded(request).map_err(|_| wrong("the request cannot be read"))?;
    let asked = request.query().batch_identifier();
    let total = task.memory().total(&task.vdaf, span).map_err(|_| wrong("the shares cannot be added"))?;
    if total.count < task.least {
        log(format!("task {}: the batch has {} reports of {} as yet", task.id, total.count, task.least));
        return Ok(None);
    }
    let question =
        AggregateShareReq::<Q>::new(task.id, BatchSelector::new(asked.clone()), vec![], total.count, total.checksum);
    let helpers: AggregateShareResp =
        post(task, "aggregate_share", AggregateShareReq::<Q>::MEDIA_TYPE, &question.get_encoded())?;
    let own = hpke::seal(
        &task.collector,
        &HpkeApplicationInfo::new(&hpke::Label::AggregateShare, &Party::Leader, &Party::Collector),
        &total.share,
        &associated_data_for_aggregate_share::<Q>(&task.id, asked),
    );
    let own = own.map_err(|error| wrong(&error.to_string()))?;
    let shares = vec![own, helpers.encrypted_aggregate_share().clone()];
    log(format!("task {}: collected {} reports", task.id, total.count));
    Ok(Some(CollectResp::<Q>::new(Q::selector_of(asked), total.count, shares).get_encoded()))
}

fn post<T: Decode>(task: &Task, path: &str, media_type: &str, body: &[u8]) -> Result<T, Unsent> {
    let url = task.helper.join(path).map_err(|error| Unsent::Refused(error.to_string()))?;
    let token = lock(&task.tokens).leader.clone().unwrap_or_default();
    let (_, answer) = interop::post(&url, media_type, &token, body)?;
    T::get_decoded(&answer).map_err(|error| Unsent::Refused(format!("{url}: {error}")))
}
