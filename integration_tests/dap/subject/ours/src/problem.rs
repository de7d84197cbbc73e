//! Why a request is refused, as draft 02 names it.

use interop::Response;
use serde_json::json;

/// The last part of the problem's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem(pub &'static str);

pub const UNRECOGNIZED_MESSAGE: Problem = Problem("unrecognizedMessage");
pub const UNRECOGNIZED_TASK: Problem = Problem("unrecognizedTask");
pub const UNRECOGNIZED_JOB: Problem = Problem("unrecognizedAggregationJob");
pub const MISSING_TASK_ID: Problem = Problem("missingTaskID");
pub const OUTDATED_CONFIG: Problem = Problem("outdatedConfig");
pub const REPORT_TOO_LATE: Problem = Problem("reportTooLate");
pub const REPORT_TOO_EARLY: Problem = Problem("reportTooEarly");
pub const BATCH_INVALID: Problem = Problem("batchInvalid");
pub const BATCH_MISMATCH: Problem = Problem("batchMismatch");
pub const BATCH_OVERLAP: Problem = Problem("batchOverlap");
pub const TOO_MANY_QUERIES: Problem = Problem("batchQueriedTooManyTimes");
pub const INVALID_BATCH_SIZE: Problem = Problem("invalidBatchSize");
pub const UNAUTHORIZED: Problem = Problem("unauthorizedRequest");

impl Problem {
    pub fn response(self) -> Response {
        let status = if self == UNAUTHORIZED { 403 } else { 400 };
        let document = json!({"type": format!("urn:ietf:params:ppm:dap:error:{}", self.0), "status": status});
        let status = if interop::mutant("errors_are_200") { 200 } else { status };
        Response::new(status, "application/problem+json", document.to_string().into_bytes())
    }
}

impl From<prio::codec::CodecError> for Problem {
    fn from(_: prio::codec::CodecError) -> Self {
        UNRECOGNIZED_MESSAGE
    }
}
