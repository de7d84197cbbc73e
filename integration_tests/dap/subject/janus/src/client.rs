//! `dap-client`: the client of Janus 0.2.30 (draft 02).

use backoff::ExponentialBackoff;
use interop::{parse, reply, Bytes, Measurement, Request, Response, Vdaf};
use janus_client::{aggregator_hpke_config, default_http_client, Client, ClientParameters, Error};
use janus_core::time::{Clock, RealClock};
use janus_messages::{Duration, HpkeConfig, Role, TaskId, Time};
use prio::{codec::Decode, vdaf, vdaf::prio3::Prio3};
use serde::Deserialize;
use serde_json::{json, Value};
use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        Mutex, PoisonError,
    },
    time::Duration as StdDuration,
};
use tokio::runtime::Runtime;
use url::Url;

const CAUGHT: &str = "/caught/";

/// `/internal/test/upload`, and `report`, which is ours: it answers with the report in place of uploading it.
#[derive(Deserialize)]
struct Upload {
    task_id: interop::Id,
    leader: Url,
    helper: Url,
    vdaf: Value,
    measurement: Value,
    time: Option<u64>,
    time_precision: u64,
    /// Ours, as the next one: whose key a share is encrypted to, if not the aggregator's own.
    leader_hpke_config: Option<Bytes>,
    helper_hpke_config: Option<Bytes>,
}

/// The time that a report is given.
#[derive(Clone, Debug)]
struct At(Option<u64>);

impl Clock for At {
    fn now(&self) -> Time {
        self.0.map_or_else(|| RealClock::default().now(), Time::from_seconds_since_epoch)
    }
}

struct Subject {
    runtime: Runtime,
    /// Whether the length of the public share stands before it where an input share is authenticated, which draft 02
    /// leaves open: Daphne wants it so.
    prefix: bool,
    /// Reports that were sent to this process itself.
    caught: Mutex<HashMap<u64, Vec<u8>>>,
    next: AtomicU64,
}

fn main() {
    let subject: &'static Subject = Box::leak(Box::new(Subject {
        runtime: Runtime::new().expect("threads can be had"),
        prefix: std::env::var("AAD_LENGTH_PREFIX").map_or(true, |text| text != "false"),
        caught: Mutex::default(),
        next: AtomicU64::new(0),
    }));
    interop::serve(
        "dap-client",
        move |name, request| subject.command(name, request),
        move |request| subject.catch(request),
    )
}

impl Subject {
    fn command(&self, name: &str, request: &Request) -> Option<Response> {
        let answered = match name {
            "upload" => parse::<Upload>(&request.body).map(|told| self.upload(&told, None).map(|()| json!({}))),
            "report" => parse::<Upload>(&request.body).map(|told| self.report(&told)),
            _ => return None,
        };
        Some(answered.map_or_else(|refusal| refusal, reply))
    }

    /// Keep a report that this process sent to itself.
    fn catch(&self, request: &Request) -> Response {
        let number = request.path.strip_prefix(CAUGHT).and_then(|path| path.strip_suffix("/upload"));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => {
                let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
                caught.insert(number, request.body.clone());
                Response::empty(200)
            }
            None => Response::empty(404),
        }
    }

    fn report(&self, told: &Upload) -> interop::Reply {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let here = interop::listen_address();
        let host = if here.ip().is_unspecified() { "127.0.0.1".to_owned() } else { here.ip().to_string() };
        let url = format!("http://{host}:{}{CAUGHT}{number}/", here.port());
        self.upload(told, Some(Url::parse(&url).map_err(|error| error.to_string())?))?;
        let mut caught = self.caught.lock().unwrap_or_else(PoisonError::into_inner);
        let report = caught.remove(&number).ok_or("the report did not come")?;
        Ok(json!({"report": Bytes(report)}))
    }

    /// Upload a report to the leader, or to `instead`.
    fn upload(&self, told: &Upload, instead: Option<Url>) -> Result<(), String> {
        let vdaf = Vdaf::read(&told.vdaf)?;
        let measured = vdaf.measurement(&told.measurement)?;
        let failed = |error: vdaf::VdafError| error.to_string();
        match vdaf {
            Vdaf::Count => {
                let measured = u64::try_from(measured).map_err(|error| error.to_string())?;
                self.send(told, instead, Prio3::new_aes128_count(2).map_err(failed)?, &measured)
            }
            Vdaf::Sum { bits } => {
                let vdaf = Prio3::new_aes128_sum(2, bits).map_err(failed)?;
                self.send::<_, Measurement>(told, instead, vdaf, &measured)
            }
            Vdaf::Histogram { buckets } => {
                let vdaf = Prio3::new_aes128_histogram(2, &buckets).map_err(failed)?;
                self.send::<_, Measurement>(told, instead, vdaf, &measured)
            }
        }
    }

    fn send<V, M>(&self, told: &Upload, instead: Option<Url>, vdaf: V, measured: &M) -> Result<(), String>
    where
        V: vdaf::Client<Measurement = M>,
        for<'a> &'a V::AggregateShare: Into<Vec<u8>>,
    {
        if told.time_precision == 0 {
            return Err("time_precision is at least 1".into());
        }
        let parameters = |leader: &Url| {
            ClientParameters::new_with_backoff(
                TaskId::from(told.task_id.0),
                vec![leader.clone(), told.helper.clone()],
                Duration::from_seconds(told.time_precision),
                self.prefix,
                patience(),
            )
        };
        let real = parameters(&told.leader);
        self.runtime.block_on(async {
            let http = default_http_client().map_err(|error| said(&error))?;
            let leader = key(&real, &Role::Leader, told, &http, told.leader_hpke_config.as_ref()).await?;
            let helper = key(&real, &Role::Helper, told, &http, told.helper_hpke_config.as_ref()).await?;
            let parameters = instead.as_ref().map_or(real, parameters);
            let client = Client::new(parameters, vdaf, At(told.time), &http, leader, helper);
            if interop::mutant("reports_twice") {
                client.upload(measured).await.map_err(|error| said(&error))?;
            }
            client.upload(measured).await.map_err(|error| said(&error))
        })
    }
}

/// Return the key that shares for an aggregator are encrypted to: the one that the command has, else the aggregator's.
async fn key(
    parameters: &ClientParameters,
    role: &Role,
    told: &Upload,
    http: &reqwest::Client,
    given: Option<&Bytes>,
) -> Result<HpkeConfig, String> {
    match given {
        Some(config) => HpkeConfig::get_decoded(&config.0).map_err(|error| format!("{role:?}_hpke_config: {error}")),
        None => aggregator_hpke_config(parameters, role, &TaskId::from(told.task_id.0), http)
            .await
            .map_err(|error| said(&error)),
    }
}

/// How long an aggregator that does not answer is asked again.
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
        Error::Http(problem) => {
            let kind = problem.type_url.as_deref().unwrap_or("no problem document");
            format!("HTTP {}: {kind}", problem.status.map_or(0, |status| status.as_u16()))
        }
        other => other.to_string(),
    }
}
