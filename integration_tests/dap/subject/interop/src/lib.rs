//! What every subject of the DAP system shares: the interoperation test API of draft-dcook-ppm-dap-interop-test-design,
//! as it is spoken on HTTP, and nothing of DAP itself.

mod api;
mod base64url;
mod bell;
mod log;
mod peer;
mod server;
mod vdaf;

use std::sync::OnceLock;

pub use api::{parse, reply, reply_error, AddAuthenticationToken, AddTask, BatchQuery, EndpointForTask, Reply, Role};
pub use base64url::{Bytes, Id};
pub use bell::Bell;
pub use log::log;
pub use peer::{post, Unsent};
pub use server::{listen_address, serve, Request, Response};
pub use vdaf::{Measurement, Vdaf};

/// Whether this process is to be the broken subject of that name, which a test must notice: `DAP_MUTANT` has it behind
/// the name of a package that it would be in if it were one, and `ours_` where it is about `dap-ours`.
pub fn mutant(name: &str) -> bool {
    static CHOSEN: OnceLock<String> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| {
        let told = std::env::var("DAP_MUTANT").unwrap_or_default();
        let name = told.rsplit('.').next().unwrap_or_default();
        name.strip_prefix("ours_").unwrap_or(name).to_owned()
    });
    chosen == name
}
