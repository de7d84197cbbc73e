//! The objects of the test API. A key that another draft calls otherwise is known by both names.

use crate::{Bytes, Id, Response};
use serde::{de::DeserializeOwned, Deserialize};
use serde_json::{json, Value};
use url::Url;

/// What an aggregator is in a task, or whose token is told.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Leader,
    Helper,
    Collector,
}

/// `/internal/test/endpoint_for_task`
#[derive(Debug, Deserialize)]
pub struct EndpointForTask {
    pub task_id: Id,
    pub role: Role,
    pub hostname: String,
}

/// `/internal/test/add_task` of an aggregator.
#[derive(Debug, Deserialize)]
pub struct AddTask {
    pub task_id: Id,
    pub leader: Url,
    pub helper: Url,
    pub vdaf: Value,
    pub role: Role,
    #[serde(alias = "vdaf_verify_key")]
    pub verify_key: Bytes,
    pub max_batch_query_count: u64,
    pub query_type: u8,
    pub min_batch_size: u64,
    pub max_batch_size: Option<u64>,
    pub time_precision: u64,
    pub collector_hpke_config: Bytes,
    /// Seconds since the epoch; without it the task has no end.
    pub task_expiration: Option<u64>,
    pub leader_authentication_token: Option<String>,
    pub collector_authentication_token: Option<String>,
}

impl AddTask {
    /// Say what is wrong with the numbers of a task that could be read.
    pub fn problem(&self) -> Option<String> {
        if self.role == Role::Collector {
            return Some("an aggregator is leader or helper".into());
        }
        if self.time_precision == 0 || self.min_batch_size == 0 {
            return Some("time_precision and min_batch_size are at least 1".into());
        }
        match (self.query_type, self.max_batch_size) {
            (1, None) => None,
            (1, Some(_)) => Some("max_batch_size belongs to tasks of fixed size".into()),
            (2, Some(most)) if most >= self.min_batch_size => None,
            (2, _) => Some("a task of fixed size needs max_batch_size, not below min_batch_size".into()),
            (other, _) => Some(format!("query_type {other} is not supported")),
        }
    }
}

/// `/internal/test/add_authentication_token`
#[derive(Debug, Deserialize)]
pub struct AddAuthenticationToken {
    pub task_id: Id,
    pub role: Role,
    pub token: String,
}

/// What is asked of a task: `query` of a collection.
#[derive(Debug, Deserialize)]
pub struct BatchQuery {
    #[serde(rename = "type")]
    pub query_type: u8,
    pub batch_interval_start: Option<u64>,
    pub batch_interval_duration: Option<u64>,
    pub batch_id: Option<Id>,
}

/// An answer of the test API: that a command was read is its status, whether it came to something is in it.
pub type Reply = Result<Value, String>;

/// Read a command. Errors: the answer to one that is none.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| reply_error(400, &format!("the command cannot be read: {error}")))
}

/// Answer a command: its values with the status `success`, unless they have one, or the error.
pub fn reply(reply: Reply) -> Response {
    match reply {
        Ok(mut values) => {
            if values.get("status").is_none() {
                values["status"] = "success".into();
            }
            Response::json(200, &values)
        }
        Err(error) => reply_error(200, &error),
    }
}

/// Answer with an error.
pub fn reply_error(status: u16, error: &str) -> Response {
    Response::json(status, &json!({"status": "error", "error": error}))
}
