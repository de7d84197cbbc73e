//! `dap-collector`: the collector of Janus 0.2.30 (draft 02).

use backoff::ExponentialBackoff;
use interop::{log, parse, reply, AddAuthenticationToken, BatchQuery, Bytes, Request, Response, Role, Vdaf};
use janus_collector::{default_http_client, Collector, CollectorParameters, Error};
use janus_core::{
    hpke::{generate_hpke_config_and_private_key, HpkePrivateKey},
    task::AuthenticationToken,
};
use janus_messages::{
    query_type::QueryType, BatchId, Duration, HpkeAeadId, HpkeConfig, HpkeConfigId, HpkeKdfId, HpkeKemId, Interval,
    Query, TaskId, Time,
};
use prio::{codec::Encode, vdaf, vdaf::prio3::Prio3};
use serde::Deserialize;
use serde_json::{json, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration as StdDuration,
};
use tokio::runtime::Runtime;
use url::Url;

const KEY: u8 = 3;

#[derive(Deserialize)]
struct AddTask {
    task_id: interop::Id,
    leader: Url,
    vdaf: Value,
    collector_authentication_token: Option<String>,
    query_type: u8,
}

#[derive(Deserialize)]
struct Start {
    task_id: interop::Id,
    agg_param: Bytes,
    query: BatchQuery,
}

#[derive(Deserialize)]
struct Poll {
    handle: String,
}

#[derive(Clone)]
struct Task {
    leader: Url,
    vdaf: Vdaf,
    query_type: u8,
    config: HpkeConfig,
    key: HpkePrivateKey,
    token: Option<String>,
}

/// How far a collection is; without an answer it goes on.
type Collection = Arc<Mutex<Option<interop::Reply>>>;

struct Subject {
    runtime: Runtime,
    tasks: Mutex<HashMap<interop::Id, Task>>,
    collections: Mutex<Vec<Collection>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() {
    let subject: &'static Subject = Box::leak(Box::new(Subject {
        runtime: Runtime::new().expect("threads can be had"),
        tasks: Mutex::default(),
        collections: Mutex::default(),
    }));
    interop::serve("dap-collector", move |name, request| subject.command(name, request), |_| Response::empty(404))
}

impl Subject {
    fn command(&self, name: &str, request: &Request) -> Option<Response> {
        let answered = match name {
            "add_task" => parse(&request.body).map(|told| self.add_task(told)),
            "add_authentication_token" => parse(&request.body).map(|told| self.add_token(told)),
            "collect_start" | "collection_start" => parse(&request.body).map(|told| self.start(&told)),
            "collect_poll" | "collection_poll" => parse(&request.body).map(|told| self.poll(&told)),
            _ => return None,
        };
        Some(answered.map_or_else(|refusal| refusal, reply))
    }

    fn add_task(&self, told: AddTask) -> interop::Reply {
        let vdaf = Vdaf::read(&told.vdaf)?;
        if !matches!(told.query_type, 1 | 2) {
            return Err(format!("query_type {} is not supported", told.query_type));
        }
        let mut tasks = lock(&self.tasks);
        if tasks.contains_key(&told.task_id) {
            return Err("the task is there already".into());
        }
        let (config, key) = generate_hpke_config_and_private_key(
            HpkeConfigId::from(KEY),
            HpkeKemId::X25519HkdfSha256,
            HpkeKdfId::HkdfSha256,
            HpkeAeadId::Aes128Gcm,
        );
        let answer = json!({"collector_hpke_config": Bytes(config.get_encoded())});
        let token = told.collector_authentication_token;
        let task = Task { leader: told.leader, vdaf, query_type: told.query_type, config, key, token };
        tasks.insert(told.task_id, task);
        Ok(answer)
    }

    fn add_token(&self, told: AddAuthenticationToken) -> interop::Reply {
        if told.role != Role::Collector {
            return Err("a collector has the collector's token only".into());
        }
        lock(&self.tasks).get_mut(&told.task_id).ok_or("unknown task")?.token = Some(told.token);
        Ok(json!({}))
    }

    /// Begin a collection. What the leader says of it is told by `poll`: Janus asks and waits in one.
    fn start(&self, told: &Start) -> interop::Reply {
        let task = lock(&self.tasks).get(&told.task_id).cloned().ok_or("unknown task")?;
        if !told.agg_param.0.is_empty() {
            return Err("these VDAFs have no aggregation parameter".into());
        }
        if told.query.query_type != task.query_type {
            return Err(format!("the task's query_type is {}", task.query_type));
        }
        let collection = match told.query.query_type {
            1 => {
                let ends = told.query.batch_interval_start.zip(told.query.batch_interval_duration);
                let (start, duration) =
                    ends.ok_or("the query needs batch_interval_start and batch_interval_duration")?;
                let start = Time::from_seconds_since_epoch(start);
                let interval = Interval::new(start, Duration::from_seconds(duration)).map_err(|e| e.to_string())?;
                self.collect(told.task_id, task, Query::new_time_interval(interval))?
            }
            _ => {
                let id = told.query.batch_id.ok_or("the query needs batch_id")?;
                self.collect(told.task_id, task, Query::new_fixed_size(BatchId::from(id.0)))?
            }
        };
        let mut collections = lock(&self.collections);
        collections.push(collection);
        Ok(json!({"handle": (collections.len() - 1).to_string()}))
    }

    fn collect<Q: QueryType>(&self, id: interop::Id, task: Task, query: Query<Q>) -> Result<Collection, String> {
        let failed = |error: vdaf::VdafError| error.to_string();
        match task.vdaf.clone() {
            Vdaf::Count => self.begin(id, task, query, Prio3::new_aes128_count(2).map_err(failed)?, |sum: &u64| {
                json!((sum + wrong()).to_string())
            }),
            Vdaf::Sum { bits } => {
                let vdaf = Prio3::new_aes128_sum(2, bits).map_err(failed)?;
                self.begin(id, task, query, vdaf, |sum: &u128| json!((sum + u128::from(wrong())).to_string()))
            }
            Vdaf::Histogram { buckets } => {
                let vdaf = Prio3::new_aes128_histogram(2, &buckets).map_err(failed)?;
                self.begin(id, task, query, vdaf, |counts: &Vec<u128>| {
                    json!(counts.iter().map(|count| (count + u128::from(wrong())).to_string()).collect::<Vec<_>>())
                })
            }
        }
    }

    fn begin<V, Q, R>(
        &self,
        id: interop::Id,
        task: Task,
        query: Query<Q>,
        vdaf: V,
        write: fn(&R) -> Value,
    ) -> Result<Collection, String>
    where
        V: vdaf::Collector<AggregationParam = (), AggregateResult = R> + Send + Sync + 'static,
        V::AggregateShare: Send + Sync,
        for<'a> Vec<u8>: From<&'a V::AggregateShare>,
        Q: QueryType,
        R: Send + 'static,
    {
        let token = task.token.ok_or("the collector has no token for the task")?;
        let token = AuthenticationToken::from(token.into_bytes());
        let parameters = CollectorParameters::new(TaskId::from(id.0), task.leader, token, task.config, task.key)
            .with_http_request_backoff(patience(StdDuration::from_secs(2)))
            .with_collect_poll_backoff(patience(StdDuration::from_secs(600)));
        let http = default_http_client().map_err(|error| error.to_string())?;
        let collector = Collector::new(parameters, vdaf, http);
        let collection = Collection::default();
        let mine = Arc::clone(&collection);
        self.runtime.spawn(async move {
            let ended = match collector.collect(query, &()).await {
                Ok(collected) => Ok(json!({
                    "status": "complete",
                    "report_count": collected.report_count(),
                    "result": write(collected.aggregate_result()),
                })),
                Err(error) => Err(said(&error)),
            };
            log(format!("task {id}: {ended:?}"));
            *lock(&mine) = Some(ended);
        });
        Ok(collection)
    }

    fn poll(&self, told: &Poll) -> interop::Reply {
        let number: Option<usize> = told.handle.parse().ok();
        let collection = number.and_then(|number| lock(&self.collections).get(number).cloned());
        let collection = collection.ok_or("unknown handle")?;
        let ended = lock(&collection).clone();
        ended.unwrap_or_else(|| Ok(json!({"status": "in progress"})))
    }
}

/// What a broken collector adds to each number.
fn wrong() -> u64 {
    u64::from(interop::mutant("wrong_sum"))
}

fn patience(longest: StdDuration) -> ExponentialBackoff {
    ExponentialBackoff {
        initial_interval: StdDuration::from_millis(20),
        max_interval: StdDuration::from_millis(200),
        max_elapsed_time: Some(longest),
        ..ExponentialBackoff::default()
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::Http { problem_details, .. } => {
            let kind = problem_details.type_url.as_deref().unwrap_or("no problem document");
            format!("HTTP {}: {kind}", problem_details.status.map_or(0, |status| status.as_u16()))
        }
        other => other.to_string(),
    }
}
