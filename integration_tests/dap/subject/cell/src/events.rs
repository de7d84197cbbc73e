//! Events of the test control protocol: one line of standard output for each.

use serde_json::{json, Value};
use std::{
    io::Write,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Mutex, PoisonError,
    },
    thread,
    time::Instant,
};

static FAILED: AtomicBool = AtomicBool::new(false);
static ASKED: Mutex<String> = Mutex::new(String::new());

/// The party is ready.
pub fn ready() {
    send("ready", json!({}));
}

/// The driver has done all, and all of it was right.
pub fn done() {
    send("done", json!({}));
}

/// Whether something holds that must; if it does not, `why` says what was found.
pub fn check(name: &str, ok: bool, why: &str) {
    FAILED.fetch_or(!ok, Ordering::Relaxed);
    send(
        "check",
        if ok { json!({"check_id": name, "ok": ok}) } else { json!({"check_id": name, "ok": ok, "why": why}) },
    );
}

/// Return whether all that was checked holds.
pub fn all_hold() -> bool {
    !FAILED.load(Ordering::Relaxed)
}

/// A number that is kept.
pub fn sample(name: &str, value: f64) {
    send("sample", json!({"name": name, "value": value}));
}

/// Something that was done or came, with what matters of it.
pub fn trace(name: &str, info: Value) {
    send(name, info);
}

/// Note who is asked for what: it is what is waited for until the next one is.
pub fn asking(what: String) {
    *ASKED.lock().unwrap_or_else(PoisonError::into_inner) = what;
}

/// Return who was asked for what at last.
pub fn asked() -> String {
    ASKED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Do nothing until then.
pub fn park_until(then: Instant) {
    while let Some(rest) = then.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        thread::park_timeout(rest);
    }
}

fn send(ty: &str, info: Value) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let event = json!({"id": NEXT.fetch_add(1, Ordering::Relaxed), "ty": ty, "in": info});
    let mut out = std::io::stdout().lock();
    // Whoever does not read it any more has ended the cell.
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}
