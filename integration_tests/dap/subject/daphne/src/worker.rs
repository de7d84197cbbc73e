//! The leader's own work for one task: it aggregates what was uploaded, and finishes collections that can be.

use crate::{
    aggregator::{pending_collections, Aggregator, Known},
    store::{Bucket, Collection},
};
use daphne::{
    messages::{CollectReq, Id, PartialBatchSelector, Report},
    roles::DapLeader,
    DapAbort,
};
use futures::executor::block_on;
use interop::log;
use std::collections::HashMap;

/// Reports of one aggregation. Daphne cannot encode one that is much longer.
const MOST: usize = 100;

/// Work for a task as long as the process lives.
pub fn work(aggregator: &'static Aggregator, id: &Id) {
    let Some(task) = aggregator.task(id) else { return };
    let task = Known(task);
    task.0.bell.serve(|| aggregate(aggregator, id, &task) & collect(aggregator, id, &task))
}

/// Aggregate all that was uploaded. Return whether that went well; what did not is tried again.
fn aggregate(aggregator: &'static Aggregator, id: &Id, task: &Known) -> bool {
    // Daphne refuses an aggregation that has a report twice.
    let most = if interop::mutant("counts_a_replay") { 1 } else { MOST };
    loop {
        let mut jobs: HashMap<PartialBatchSelector, Vec<(Bucket, Report)>> = HashMap::new();
        for (bucket, reports) in task.0.store().take(MOST) {
            let job = jobs.entry((&bucket).into()).or_default();
            job.extend(reports.into_iter().map(|report| (bucket.clone(), report)));
        }
        if jobs.is_empty() {
            return true;
        }
        let mut well = true;
        for (selector, reports) in jobs {
            for job in reports.chunks(most) {
                well &= run(aggregator, id, task, &selector, job);
            }
        }
        if !well {
            return false;
        }
    }
}

fn run(
    aggregator: &'static Aggregator,
    id: &Id,
    task: &Known,
    selector: &PartialBatchSelector,
    job: &[(Bucket, Report)],
) -> bool {
    let reports = job.iter().map(|(_, report)| report.clone()).collect();
    match block_on(aggregator.run_agg_job(id, task.as_ref(), selector, reports)) {
        Ok(count) => {
            log(format!("task {}: aggregated {count} of {} reports", id.to_base64url(), job.len()));
            true
        }
        Err(abort) => {
            log(format!("task {}: {} reports wait: {}", id.to_base64url(), job.len(), told(&abort)));
            let mut store = task.0.store();
            for (bucket, report) in job {
                store.put_back(bucket.clone(), vec![report.clone()]);
            }
            false
        }
    }
}

/// Finish the collections that can be. Return whether none has to be tried again by itself.
fn collect(aggregator: &'static Aggregator, id: &Id, task: &Known) -> bool {
    let pending = pending_collections(&task.0.store());
    let mut well = true;
    for (collect_id, request) in pending {
        well &= finish(aggregator, id, task, &collect_id, &request);
    }
    well
}

fn finish(aggregator: &'static Aggregator, id: &Id, task: &Known, collect_id: &Id, request: &CollectReq) -> bool {
    match block_on(aggregator.run_collect_job(collect_id, task.as_ref(), request)) {
        Ok(0) => {
            log(format!("task {}: the batch has too few reports as yet", id.to_base64url()));
            true
        }
        Ok(count) => {
            log(format!("task {}: collected {count} reports", id.to_base64url()));
            true
        }
        Err(abort @ DapAbort::Internal(_)) => {
            log(format!("task {}: a collection waits: {}", id.to_base64url(), told(&abort)));
            false
        }
        Err(abort) => {
            log(format!("task {}: a collection failed: {}", id.to_base64url(), told(&abort)));
            let said = serde_json::to_vec(&abort.to_problem_details()).unwrap_or_default();
            task.0.store().collections.insert(collect_id.clone(), Collection::Failed(said));
            true
        }
    }
}

fn told(abort: &DapAbort) -> String {
    match abort {
        DapAbort::BadRequest(why) => why.clone(),
        other => other.to_string(),
    }
}
