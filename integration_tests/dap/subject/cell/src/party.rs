//! The party's own program: a child of this process, which lives as long as this one and no longer.

use crate::{
    cell::{parameter, variable, Cell},
    events::park_until,
};
use serde_json::json;
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{exit, Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Party {
    cell: Cell,
    role: String,
    child: Arc<Mutex<Child>>,
}

impl Party {
    /// Start the program of a role. Errors: it is not known which one, or it cannot be started.
    pub fn start(cell: Cell, role: &str) -> Result<Self, String> {
        let (program, variable) = program(role)?;
        let here = env::current_exe().map_err(|error| error.to_string())?;
        let signals = Signals::new([SIGCHLD, SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
        let child = Command::new(here.with_file_name(&program))
            .envs(variable)
            .env("DAP_MUTANT", parameter("mutant").unwrap_or_default())
            .env("LISTEN", cell.address(role)?.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null()) // ours has events only
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let party = Self { cell, role: role.to_owned(), child: Arc::new(Mutex::new(child)) };
        let watching = party.clone();
        thread::spawn(move || watching.watch(signals));
        Ok(party)
    }

    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Wait until the program answers. Errors: it does not in time.
    pub fn wait_ready(&self, longest: Duration) -> Result<(), String> {
        let deadline = Instant::now() + longest;
        loop {
            match self.cell.command(&self.role, "ready", &json!({})) {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() >= deadline => return Err(why),
                Err(_) => park_until(Instant::now() + PAUSE),
            }
        }
    }

    /// End the program, and then this process.
    pub fn end(&self, code: i32) -> ! {
        let mut child = self.child(); // held to the end, so that nobody takes that for an end of its own
        let _ = child.kill().and_then(|()| child.wait());
        exit(code)
    }

    /// End as the program does, or when told to.
    fn watch(&self, mut signals: Signals) {
        for signal in signals.forever() {
            if signal != SIGCHLD {
                self.end(0);
            }
            let child = &mut *self.child();
            if let Ok(Some(status)) = child.try_wait() {
                eprintln!("{}: its program has ended: {status}", self.role);
                exit(status.code().filter(|code| *code != 0).unwrap_or_else(|| 128 + status.signal().unwrap_or(1)));
            }
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a program is told beside: name and value.
type Variable = Option<(&'static str, &'static str)>;

/// Return the program that takes a role, and what it is told. The test's own roles are the test's to choose.
fn program(role: &str) -> Result<(String, Variable), String> {
    match role {
        "worker" | "driver" => Ok((variable("DAP_PROGRAM")?, None)),
        "helper" => Ok((format!("dap-{}", parameter("helper")?), None)),
        "client" => match parameter("client").unwrap_or_else(|_| "janus".into()).as_str() {
            "janus" => Ok(("dap-client".into(), None)),
            "janus-other" => Ok(("dap-client".into(), Some(("AAD_LENGTH_PREFIX", "false")))),
            other => Err(format!("there is no client {other}")),
        },
        other => Err(format!("there is no role {other}")),
    }
}
