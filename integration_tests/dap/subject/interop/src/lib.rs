//! What every subject of the DAP system shares: the interoperation test API of draft-dcook-ppm-dap-interop-test-design,
//! as it is spoken on HTTP, and nothing of DAP itself.

mod api;
mod base64url;
mod bell;
mod log;
mod peer;
mod server;
mod vdaf;

pub use api::{parse, reply, reply_error, AddAuthenticationToken, AddTask, BatchQuery, EndpointForTask, Reply, Role};
pub use base64url::{Bytes, Id};
pub use bell::Bell;
pub use log::log;
pub use peer::{post, Unsent};
pub use server::{listen_address, serve, Request, Response};
pub use vdaf::{Measurement, Vdaf};

/// Whether this process is to be the broken subject of that name (`DAP_MUTANT`), which a test must notice.
pub fn mutant(name: &str) -> bool {
    std::env::var("DAP_MUTANT").is_ok_and(|chosen| chosen == name)
}
