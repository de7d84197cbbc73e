//! A task of DAP: told to all four parties, reported to, and collected, in the words of draft 02's test API.

use crate::{
    cell::Cell,
    events::{asking, check, park_until, sample, trace},
    vdafs::{written, Collected},
};
use interop::{Bytes, Id, Unsent, Vdaf};
use rand::{rngs::StdRng, Rng};
use serde_json::{json, Value};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use url::Url;

/// Seconds that reports' times are rounded to.
pub const PRECISION: u64 = 300;
/// Time for a collection that has all it needs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time in which what must not come about is looked for.
const STAYS: Duration = Duration::from_secs(1);
/// Between two questions after a collection: at first, and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Which reports a collection is of.
pub enum Query {
    /// So many windows of the task's precision, from the one of a moment on.
    Interval(u64, u64),
    Batch(String),
}

pub struct Task<'a> {
    cell: &'a Cell,
    pub vdaf: Vdaf,
    id: Id,
    leader: Url,
    helper: Url,
    collector_token: String,
}

/// How many reports a batch has.
#[derive(Clone, Copy)]
pub enum Batches {
    /// So many at least, of a stretch of time.
    OfTime(u64),
    /// So many, as they come.
    OfSize(u64),
}

impl<'a> Task<'a> {
    /// Tell all parties of a new task, in the draft's order. Errors: one refuses.
    pub fn add(cell: &'a Cell, random: &mut StdRng, vdaf: Vdaf, batches: Batches) -> Result<Self, String> {
        let id = Id(random.gen());
        let locate = |role: &str, name: &str| {
            let asked = json!({"task_id": id, "role": name, "hostname": cell.place(role)?});
            let answer = cell.command(role, "endpoint_for_task", &asked)?;
            let base = Url::parse(&format!("http://{}/", cell.place(role)?)).map_err(|error| error.to_string())?;
            base.join(answer["endpoint"].as_str().unwrap_or_default()).map_err(|error| error.to_string())
        };
        let (leader, helper) = (locate("worker", "leader")?, locate("helper", "helper")?);
        let collector_token = token(random);
        let task = Self { cell, vdaf, id, leader, helper, collector_token };
        task.tell(random, batches)?;
        Ok(task)
    }

    fn tell(&self, random: &mut StdRng, batches: Batches) -> Result<(), String> {
        let (query_type, least, most) = match batches {
            Batches::OfTime(least) => (1, least, None),
            Batches::OfSize(size) => (2, size, Some(size)),
        };
        trace("task.add", json!({"task_id": self.id, "vdaf": written(&self.vdaf), "min_batch_size": least}));
        let told = json!({
            "task_id": self.id,
            "leader": self.leader,
            "helper": self.helper,
            "vdaf": written(&self.vdaf),
            "query_type": query_type,
        });
        let key = self.cell.command("driver", "add_task", &told)?["collector_hpke_config"].clone();
        self.add_token("driver", "collector", &self.collector_token)?;
        let (verify_key, leader_token) = (Bytes(random.gen::<[u8; 16]>().to_vec()), token(random));
        for (party, role) in [("worker", "leader"), ("helper", "helper")] {
            let mut told = told.clone();
            told["role"] = json!(role);
            told["verify_key"] = json!(verify_key);
            told["max_batch_query_count"] = json!(1);
            told["min_batch_size"] = json!(least);
            told["time_precision"] = json!(PRECISION);
            told["collector_hpke_config"] = key.clone();
            if let Some(most) = most {
                told["max_batch_size"] = json!(most);
            }
            self.cell.command(party, "add_task", &told)?;
            self.add_token(party, "leader", &leader_token)?;
        }
        self.add_token("worker", "collector", &self.collector_token)
    }

    /// Tell a party a token of the leader or the collector.
    fn add_token(&self, party: &str, role: &str, token: &str) -> Result<(), String> {
        let told = json!({"task_id": self.id, "role": role, "token": token});
        self.cell.command(party, "add_authentication_token", &told).map(|_| ())
    }

    /// Have the collector know another token than the leader, or the right one again.
    pub fn set_collector_token(&self, is_right: bool) -> Result<(), String> {
        self.add_token("driver", "collector", if is_right { &self.collector_token } else { "another" })
    }

    // -- reporting -------------------------------------------------------------------------------------------------

    /// Have the client upload a report. Errors: it could not.
    pub fn upload(&self, measurement: u64, at: u64) -> Result<(), String> {
        trace("report.upload", json!({"task_id": self.id, "time": at, "measurement": measurement.to_string()}));
        self.cell.command("client", "upload", &self.report(measurement, at)).map(|_| ())
    }

    /// Have the client make a report, and return it.
    pub fn canned(&self, measurement: u64, at: u64) -> Result<Vec<u8>, String> {
        let answer = self.cell.command("client", "report", &self.report(measurement, at))?;
        let report: Bytes = serde_json::from_value(answer["report"].clone()).map_err(|error| error.to_string())?;
        Ok(report.0)
    }

    /// Upload a report as a client does. The leader may refuse it, which is said. Errors: it did not answer.
    pub fn upload_canned(&self, report: &[u8]) -> Result<(), String> {
        let url = self.leader.join("upload").map_err(|error| error.to_string())?;
        asking("worker: upload".into());
        let refused = match interop::post(&url, "application/dap-report", "", report) {
            Ok(_) => None,
            Err(Unsent::Refused(why)) => Some(why),
            Err(Unsent::Unreachable(why)) => return Err(why),
        };
        trace("report.replay", json!({"task_id": self.id, "refused": refused}));
        Ok(())
    }

    fn report(&self, measurement: u64, at: u64) -> Value {
        json!({
            "task_id": self.id,
            "leader": self.leader,
            "helper": self.helper,
            "vdaf": written(&self.vdaf),
            "measurement": measurement.to_string(),
            "time": at,
            "time_precision": PRECISION,
        })
    }

    // -- collecting ------------------------------------------------------------------------------------------------

    /// Return the IDs of the leader's batches in the order in which they were begun.
    pub fn batches(&self) -> Result<Vec<String>, String> {
        let answer = self.cell.command("worker", "fetch_batch_ids", &json!({"task_id": self.id}))?;
        serde_json::from_value(answer["batch_ids"].clone()).map_err(|error| format!("batch_ids: {error}"))
    }

    /// Have the collector begin a collection; return its handle.
    pub fn start(&self, query: &Query) -> Result<String, String> {
        let query = match query {
            Query::Interval(at, windows) => json!({
                "type": 1,
                "batch_interval_start": at - at % PRECISION,
                "batch_interval_duration": windows * PRECISION,
            }),
            Query::Batch(id) => json!({"type": 2, "subtype": 0, "batch_id": id}),
        };
        trace("collection.start", json!({"task_id": self.id, "query": query}));
        let asked = json!({"task_id": self.id, "agg_param": "", "query": query});
        let answer = self.cell.command("driver", "collect_start", &asked)?;
        answer["handle"].as_str().map(str::to_owned).ok_or_else(|| format!("the collection has no handle: {answer}"))
    }

    /// Return what a collection came to, nothing where it goes on after that time. Errors: it has failed.
    pub fn poll(&self, handle: &str, longest: Duration) -> Result<Option<Collected>, String> {
        let (deadline, mut pause) = (Instant::now() + longest, PAUSES.0);
        loop {
            let answer = self.cell.command("driver", "collect_poll", &json!({"handle": handle}))?;
            if answer["status"] == "complete" {
                let count = answer["report_count"].as_u64().ok_or_else(|| format!("no report_count: {answer}"))?;
                let collected = Collected { count, result: answer["result"].clone() };
                trace("collection.complete", json!({"report_count": collected.count, "result": collected.result}));
                return Ok(Some(collected));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            park_until(deadline.min(Instant::now() + pause));
            pause = PAUSES.1.min(pause * 2);
        }
    }

    /// Check that a collection is complete, and what it came to is what was measured.
    pub fn comes_to(&self, name: &str, handle: &str, measurements: &[u64]) -> Result<(), String> {
        let (began, needed) = (Instant::now(), Collected::of(&self.vdaf, measurements));
        match self.poll(handle, PATIENCE)? {
            Some(found) => {
                sample("collected after", began.elapsed().as_secs_f64());
                check(name, found == needed, &format!("it is {found}, {needed} was needed"));
            }
            None => {
                let why = format!("the collection is in progress after {} s, {needed} was needed", PATIENCE.as_secs());
                check(name, false, &why);
            }
        }
        Ok(())
    }

    /// Check that a collection is refused for that reason.
    pub fn is_refused(&self, name: &str, handle: &str, problem: &str) -> Result<(), String> {
        let found = match self.poll(handle, PATIENCE) {
            Ok(Some(found)) => format!("it was collected: {found}"),
            Ok(None) => "it is in progress".to_owned(),
            Err(why) => why,
        };
        check(name, found.ends_with(&format!(":{problem}")), &format!("{found}; {problem} was needed"));
        Ok(())
    }

    /// Check that a collection is in progress, and stays so.
    pub fn stays_in_progress(&self, name: &str, handle: &str) -> Result<(), String> {
        let found = self.poll(handle, STAYS)?;
        let why = found.as_ref().map_or_else(String::new, |found| format!("it was collected: {found}"));
        check(name, found.is_none(), &why);
        Ok(())
    }
}

fn token(random: &mut StdRng) -> String {
    Id(random.gen()).to_string()
}

/// Return the time, in seconds since the epoch.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
