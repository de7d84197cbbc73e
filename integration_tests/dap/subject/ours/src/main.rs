//! `dap-ours`: a leader and helper of draft 02 that shares nothing with Daphne but `prio`.

mod batches;
mod helper;
mod leader;
mod preparing;
mod problem;
mod task;

use interop::{log, parse, reply, AddAuthenticationToken, AddTask, EndpointForTask, Request, Response, Role};
use janus_messages::{
    query_type::{FixedSize, TimeInterval},
    AggregateContinueReq, AggregateInitializeReq, CollectResp, HpkeConfig,
};
use prio::codec::Encode;
use problem::{Problem, MISSING_TASK_ID, UNAUTHORIZED, UNRECOGNIZED_MESSAGE, UNRECOGNIZED_TASK};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};
use task::{lock, Collection, Task};

const PREFIX: &str = "/dap/";

#[derive(Default)]
struct Aggregator {
    tasks: RwLock<HashMap<interop::Id, Arc<Task>>>,
}

fn main() {
    let aggregator: &'static Aggregator = Box::leak(Box::default());
    interop::serve(
        "dap-ours",
        move |name, request| aggregator.command(name, request),
        move |request| {
            let response = aggregator.answer(request);
            if response.status >= 400 {
                let said = String::from_utf8_lossy(&response.body);
                log(format!("{} {}: {} {said}", request.method, request.path, response.status));
            }
            response
        },
    )
}

#[derive(serde::Deserialize)]
struct FetchBatchIds {
    task_id: interop::Id,
}

impl Aggregator {
    fn task(&self, id: &interop::Id) -> Option<Arc<Task>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn command(&self, name: &str, request: &Request) -> Option<Response> {
        let answered = match name {
            "endpoint_for_task" => parse::<EndpointForTask>(&request.body).map(|_| Ok(json!({"endpoint": PREFIX}))),
            "add_task" => parse(&request.body).map(|told| self.add_task(told)),
            "add_authentication_token" => parse(&request.body).map(|told| self.add_token(told)),
            "fetch_batch_ids" => parse::<FetchBatchIds>(&request.body).map(|told| {
                let task = self.task(&told.task_id).ok_or("unknown task")?;
                let ids: Vec<_> = task.memory().filling.begun.iter().map(|id| interop::Id(*id)).collect();
                Ok(json!({"batch_ids": ids}))
            }),
            _ => return None,
        };
        Some(answered.map_or_else(|refusal| refusal, reply))
    }

    fn add_task(&self, told: AddTask) -> interop::Reply {
        let id = told.task_id;
        let task = Arc::new(Task::new(told)?);
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        if tasks.contains_key(&id) {
            return Err("the task is there already".into());
        }
        tasks.insert(id, Arc::clone(&task));
        if task.role == Role::Leader {
            std::thread::spawn(move || match task.most {
                None => leader::work::<TimeInterval>(&task),
                Some(_) => leader::work::<FixedSize>(&task),
            });
        }
        Ok(json!({}))
    }

    fn add_token(&self, told: AddAuthenticationToken) -> interop::Reply {
        let task = self.task(&told.task_id).ok_or("unknown task")?;
        let mut tokens = lock(&task.tokens);
        match (told.role, task.role) {
            (Role::Leader, _) => tokens.leader = Some(told.token),
            (Role::Collector, Role::Leader) => tokens.collector = Some(told.token),
            _ => return Err("a token is the leader's, or for the leader the collector's".into()),
        }
        drop(tokens);
        task.bell.ring();
        Ok(json!({}))
    }

    /// Answer a request of DAP.
    fn answer(&self, request: &Request) -> Response {
        let Some(path) = request.path.strip_prefix(PREFIX) else { return Response::empty(404) };
        let answered = match (request.method.as_str(), path) {
            ("GET", "hpke_config") => self.config(request),
            ("GET", path) => match path.strip_prefix("collections/") {
                Some(path) => self.poll(path, request),
                None => return Response::empty(404),
            },
            ("POST", "upload" | "collect") => self.led(path, request),
            ("POST", "aggregate" | "aggregate_share") => self.helped(path, request),
            _ => return Response::empty(404),
        };
        answered.unwrap_or_else(Problem::response)
    }

    /// The task of a message: its ID is what each begins with.
    fn task_of(&self, request: &Request, role: Role) -> Result<Arc<Task>, Problem> {
        let id = request.body.get(..32).and_then(|bytes| bytes.try_into().ok()).ok_or(UNRECOGNIZED_MESSAGE)?;
        self.task(&interop::Id(id)).filter(|task| task.role == role).ok_or(UNRECOGNIZED_TASK)
    }

    fn config(&self, request: &Request) -> Result<Response, Problem> {
        let id = request.query.strip_prefix("task_id=").ok_or(MISSING_TASK_ID)?;
        let id = interop::Id::parse(id).ok_or(UNRECOGNIZED_MESSAGE)?;
        let task = self.task(&id).ok_or(UNRECOGNIZED_TASK)?;
        Ok(Response::new(200, HpkeConfig::MEDIA_TYPE, task.config.get_encoded()))
    }

    fn led(&self, path: &str, request: &Request) -> Result<Response, Problem> {
        let task = self.task_of(request, Role::Leader)?;
        if path == "upload" {
            return leader::upload(&task, &request.body).map(|()| Response::empty(200));
        }
        if !task.knows(Role::Collector, request.token.as_deref()) {
            return Err(UNAUTHORIZED);
        }
        let number = match task.most {
            None => leader::ask::<TimeInterval>(&task, &request.body)?,
            Some(_) => leader::ask::<FixedSize>(&task, &request.body)?,
        };
        let place = format!("collections/{}/{}", task.id, interop::Id(number));
        let place = task.leader.join(&place).map_err(|_| UNRECOGNIZED_MESSAGE)?;
        Ok(Response::empty(303).with("Location", place.as_str()))
    }

    fn helped(&self, path: &str, request: &Request) -> Result<Response, Problem> {
        let task = self.task_of(request, Role::Helper)?;
        if !task.knows(Role::Leader, request.token.as_deref()) {
            return Err(UNAUTHORIZED);
        }
        let (is_fixed, body) = (task.most.is_some(), request.body.as_slice());
        let said = match (path, request.content_type.as_str(), is_fixed) {
            ("aggregate_share", _, false) => helper::share::<TimeInterval>(&task, body)?,
            ("aggregate_share", _, true) => helper::share::<FixedSize>(&task, body)?,
            (_, AggregateInitializeReq::<TimeInterval>::MEDIA_TYPE, false) => {
                helper::begin::<TimeInterval>(&task, body)?
            }
            (_, AggregateInitializeReq::<FixedSize>::MEDIA_TYPE, true) => helper::begin::<FixedSize>(&task, body)?,
            (_, AggregateContinueReq::MEDIA_TYPE, _) => helper::finish(&task, body)?,
            _ => return Err(UNRECOGNIZED_MESSAGE),
        };
        let answer = request.content_type.replace("-req", "-resp");
        Ok(Response::new(200, &answer, said))
    }

    /// `TASK/NUMBER`
    fn poll(&self, path: &str, request: &Request) -> Result<Response, Problem> {
        let ids =
            path.split_once('/').and_then(|(task, number)| interop::Id::parse(task).zip(interop::Id::parse(number)));
        let Some((task, number)) = ids else { return Ok(Response::empty(404)) };
        let task = self.task(&task).ok_or(UNRECOGNIZED_TASK)?;
        if !task.knows(Role::Collector, request.token.as_deref()) {
            return Err(UNAUTHORIZED);
        }
        let memory = task.memory();
        Ok(match memory.asked.iter().find(|asked| asked.number == number.0).map(|asked| &asked.state) {
            None => Response::empty(404),
            Some(Collection::Waiting) => Response::empty(202).with("Retry-After", "0"),
            Some(Collection::Done(message)) => {
                Response::new(200, CollectResp::<TimeInterval>::MEDIA_TYPE, message.clone())
            }
            Some(Collection::Failed(document)) => Response::new(400, "application/problem+json", document.clone()),
        })
    }
}
