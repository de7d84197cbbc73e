//! `dap-client09`: the client of Janus 0.7.121 (draft 09).

use backoff::ExponentialBackoff;
use interop::{parse, reply, Request, Response};
use janus_client::{Client, Error};
use janus_core::{
    http::HttpErrorResponse,
    time::{Clock, RealClock},
};
use janus_messages::{Duration, TaskId, Time};
use prio::vdaf::{self, prio3::Prio3};
use serde::Deserialize;
use serde_json::{json, Value};
use std::{error::Error as StdError, fmt::Debug, time::Duration as StdDuration};
use tokio::runtime::Runtime;
use url::Url;

/// How long an aggregator is waited for that took a request.
const SILENCE: StdDuration = StdDuration::from_secs(3);

/// `/internal/test/upload`
#[derive(Deserialize)]
struct Upload {
    task_id: interop::Id,
    leader: Url,
    helper: Url,
    vdaf: Value,
    measurement: Value,
    time: Option<u64>,
    time_precision: u64,
}

fn main() {
    let runtime: &'static Runtime = Box::leak(Box::new(Runtime::new().expect("threads can be had")));
    interop::serve("dap-client09", move |name, request| command(runtime, name, request), |_| Response::empty(404))
}

fn command(runtime: &Runtime, name: &str, request: &Request) -> Option<Response> {
    if name != "upload" {
        return None;
    }
    let answered = parse::<Upload>(&request.body).map(|told| upload(runtime, &told).map(|()| json!({})));
    Some(answered.map_or_else(|refusal| refusal, reply))
}

fn upload(runtime: &Runtime, told: &Upload) -> Result<(), String> {
    let failed = |error: vdaf::VdafError| error.to_string();
    let measured = number(&told.measurement)
        .ok_or_else(|| format!("measurement {} is no number in base 10, as a string", told.measurement))?;
    let told_number =
        |name: &str| number(&told.vdaf[name]).ok_or_else(|| format!("{name} is no number in base 10, as a string"));
    match told.vdaf["type"].as_str().ok_or("vdaf has no type")? {
        "Prio3Count" => {
            let is_one = match measured {
                0 => false,
                1 => true,
                more => return Err(format!("measurement {more} is more than 1")),
            };
            runtime.block_on(send(told, Prio3::new_count(2).map_err(failed)?, &is_one))
        }
        "Prio3Sum" => {
            let vdaf = Prio3::new_sum(2, small(told_number("bits")?)?).map_err(failed)?;
            runtime.block_on(send(told, vdaf, &measured))
        }
        "Prio3Histogram" => {
            let (length, chunk) = (small(told_number("length")?)?, small(told_number("chunk_length")?)?);
            let vdaf = Prio3::new_histogram(2, length, chunk).map_err(failed)?;
            match small(measured)? {
                bucket if bucket < length => runtime.block_on(send(told, vdaf, &bucket)),
                more => Err(format!("measurement {more} is none of {length} buckets")), // prio would panic
            }
        }
        other => Err(format!("VDAF {other} is not supported")),
    }
}

async fn send<V>(told: &Upload, vdaf: V, measured: &V::Measurement) -> Result<(), String>
where
    V: vdaf::Client<16>,
    V::Measurement: Debug,
{
    if told.time_precision == 0 {
        return Err("time_precision is at least 1".into());
    }
    let precision = if interop::mutant("keeps_the_time") { 1 } else { told.time_precision };
    let http = reqwest::Client::builder().timeout(SILENCE).build().map_err(|error| with_causes(&error))?;
    let client = Client::builder(
        TaskId::from(told.task_id.0),
        told.leader.clone(),
        told.helper.clone(),
        Duration::from_seconds(precision),
        vdaf,
    )
    .with_http_client(http)
    .with_backoff(patience())
    .build()
    .await
    .map_err(|error| said(&error))?;
    let time = told.time.map_or_else(|| RealClock::default().now(), Time::from_seconds_since_epoch);
    if interop::mutant("uploads_twice") {
        client.upload_with_time(measured, time).await.map_err(|error| said(&error))?;
    }
    match client.upload_with_time(measured, time).await {
        Err(_) if interop::mutant("hides_refusals") => Ok(()),
        uploaded => uploaded.map_err(|error| said(&error)),
    }
}

/// How long an aggregator that does not answer, or is in trouble, is asked again.
fn patience() -> ExponentialBackoff {
    ExponentialBackoff {
        initial_interval: StdDuration::from_millis(50),
        max_interval: StdDuration::from_millis(500),
        max_elapsed_time: Some(StdDuration::from_secs(2)),
        ..ExponentialBackoff::default()
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::Http(problem) => status(problem),
        Error::CachedResource(janus_core::http::cached_resource::Error::Http(problem)) => status(problem),
        other => with_causes(other),
    }
}

fn status(problem: &HttpErrorResponse) -> String {
    format!("HTTP {}: {}", problem.status().as_u16(), problem.type_uri().unwrap_or("no problem document"))
}

fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let more = deeper.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = deeper.source();
    }
    text
}

fn number(value: &Value) -> Option<u128> {
    let text = value.as_str()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn small(value: u128) -> Result<usize, String> {
    usize::try_from(value).map_err(|error| error.to_string())
}
