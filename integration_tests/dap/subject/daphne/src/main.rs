//! `dap-daphne`: leader and helper of Daphne 0.2.0 (draft 02), each task in the role that it is given.

mod aggregator;
mod store;
mod worker;

use aggregator::{Aggregator, Task};
use daphne::{
    auth::BearerToken,
    constants::{media_type_for, MEDIA_TYPE_COLLECT_RESP},
    messages::Id,
    roles::{DapAggregator, DapHelper, DapLeader},
    DapAbort, DapCollectJob, DapRequest, DapResponse, DapVersion,
};
use futures::executor::block_on;
use interop::{log, parse, reply, AddAuthenticationToken, AddTask, EndpointForTask, Request, Response};
use prio::codec::Encode;
use serde_json::{json, Value};
use url::Url;

const PREFIX: &str = "/v02/";

fn main() {
    // It lives as long as the process, and Daphne's futures borrow it.
    let aggregator: &'static Aggregator = Box::leak(Box::default());
    interop::serve(
        "dap-daphne",
        move |name, request| command(aggregator, name, request),
        move |request| answer(aggregator, request),
    )
}

fn command(aggregator: &'static Aggregator, name: &str, request: &Request) -> Option<Response> {
    let answered = match name {
        "endpoint_for_task" => parse::<EndpointForTask>(&request.body).map(|_| Ok(json!({"endpoint": PREFIX}))),
        "add_task" => parse::<AddTask>(&request.body).map(|task| add_task(aggregator, task)),
        "add_authentication_token" => parse::<AddAuthenticationToken>(&request.body).map(|told| {
            let task = aggregator.task(&Id(told.task_id.0)).ok_or("unknown task")?;
            task.set_token(told.role, told.token).map(|()| json!({}))
        }),
        "fetch_batch_ids" => parse::<FetchBatchIds>(&request.body).map(|told| {
            let task = aggregator.task(&Id(told.task_id.0)).ok_or("unknown task")?;
            let ids: Vec<Value> = task.batch_ids().iter().map(|id| json!(interop::Id(id.0))).collect();
            Ok(json!({"batch_ids": ids}))
        }),
        _ => return None,
    };
    Some(answered.map_or_else(|refusal| refusal, reply))
}

#[derive(serde::Deserialize)]
struct FetchBatchIds {
    task_id: interop::Id,
}

fn add_task(aggregator: &'static Aggregator, told: AddTask) -> interop::Reply {
    let id = Id(told.task_id.0);
    let is_leader = told.role == interop::Role::Leader;
    let task = Task::new(told)?;
    aggregator.add(id.clone(), task)?;
    if is_leader {
        std::thread::spawn(move || worker::work(aggregator, &id));
    }
    Ok(json!({}))
}

/// Answer a request of DAP.
fn answer(aggregator: &'static Aggregator, request: &Request) -> Response {
    let response = match route(aggregator, request) {
        Ok(response) => response,
        Err(abort) => {
            let status = if matches!(abort, DapAbort::Internal(_)) { 500 } else { 400 };
            problem(status, &abort)
        }
    };
    if response.status >= 400 {
        let said = String::from_utf8_lossy(&response.body);
        log(format!("{} {}: {} {said}", request.method, request.path, response.status));
        if interop::mutant("errors_are_200") {
            return Response { status: 200, ..response };
        }
    }
    response
}

fn problem(status: u16, abort: &DapAbort) -> Response {
    let details = serde_json::to_vec(&abort.to_problem_details()).unwrap_or_default();
    Response::new(status, "application/problem+json", details)
}

fn route(aggregator: &'static Aggregator, request: &Request) -> Result<Response, DapAbort> {
    let mut parts = request.path.trim_start_matches('/').splitn(2, '/');
    let (version, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let asked = dap_request(version, request)?;
    match (request.method.as_str(), path) {
        ("GET", "hpke_config") => block_on(aggregator.http_get_hpke_config(&asked)).map(encoded),
        ("POST", "upload") => {
            block_on(aggregator.http_post_upload(&asked))?;
            aggregator.wake(&asked);
            Ok(Response::empty(200))
        }
        ("POST", "aggregate") => block_on(aggregator.http_post_aggregate(&asked)).map(encoded),
        ("POST", "aggregate_share") => block_on(aggregator.http_post_aggregate_share(&asked)).map(encoded),
        ("POST", "collect") => {
            let place = block_on(aggregator.http_post_collect(&asked))?;
            aggregator.wake(&asked);
            Ok(Response::empty(303).with("Location", place.as_str()))
        }
        ("GET", path) if path.starts_with("collect/") => poll(aggregator, path, request),
        _ => Ok(Response::empty(404)),
    }
}

fn encoded(response: DapResponse) -> Response {
    Response::new(200, response.media_type.unwrap_or("application/octet-stream"), response.payload)
}

/// What Daphne makes of a request: the task's ID is what each message begins with.
fn dap_request(version: &str, request: &Request) -> Result<DapRequest<BearerToken>, DapAbort> {
    let task_id = request.body.get(..32).and_then(|bytes| bytes.try_into().ok()).map(Id);
    let url = format!("http://here{}?{}", request.path, request.query);
    let mut url = Url::parse(&url).map_err(|error| DapAbort::BadRequest(error.to_string()))?;
    if request.query.is_empty() {
        url.set_query(None);
    }
    Ok(DapRequest {
        version: DapVersion::from(version),
        media_type: media_type_for(&request.content_type),
        task_id,
        payload: request.body.clone(),
        url,
        sender_auth: request.token.as_deref().map(BearerToken::from),
    })
}

/// `collect/task/TASK/req/COLLECTION`
fn poll(aggregator: &'static Aggregator, path: &str, request: &Request) -> Result<Response, DapAbort> {
    let parts: Vec<&str> = path.split('/').collect();
    let ids = match parts.as_slice() {
        ["collect", "task", task, "req", collection] => interop::Id::parse(task).zip(interop::Id::parse(collection)),
        _ => None,
    };
    let Some((task_id, collect_id)) = ids.map(|(task, collection)| (Id(task.0), Id(collection.0))) else {
        return Ok(Response::empty(404));
    };
    let task = aggregator.task(&task_id).ok_or(DapAbort::UnrecognizedTask)?;
    if !task.is_collector(request.token.as_deref()) {
        return Err(DapAbort::UnauthorizedRequest);
    }
    if let Some(failed) = task.failed_collection(&collect_id) {
        return Ok(Response::new(400, "application/problem+json", failed));
    }
    match block_on(aggregator.poll_collect_job(&task_id, &collect_id))? {
        DapCollectJob::Done(response) => Ok(Response::new(200, MEDIA_TYPE_COLLECT_RESP, response.get_encoded())),
        DapCollectJob::Pending => Ok(Response::empty(202).with("Retry-After", "0")),
        DapCollectJob::Unknown => Ok(Response::empty(404)),
    }
}
