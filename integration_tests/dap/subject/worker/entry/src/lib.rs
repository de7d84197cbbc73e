//! Daphne 0.2.0 as a Worker: its router, with the part of the test API that it has. Its Durable Objects are exported by
//! `daphne_worker` itself.

use daphne_worker::DaphneWorkerRouter;
use worker::{event, Context, Env, Request, Response, Result};

#[event(fetch, respond_with_errors)]
pub async fn main(request: Request, env: Env, _context: Context) -> Result<Response> {
    let router = DaphneWorkerRouter { enable_internal_test: true };
    router.handle_request(request, env).await
}
