//! One line for each event, in the file that `LOG_FILE` names, else on standard error.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::{Mutex, OnceLock, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();

fn open() -> Option<Mutex<File>> {
    let path = std::env::var_os("LOG_FILE").filter(|path| !path.is_empty())?;
    match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => Some(Mutex::new(file)),
        Err(error) => {
            eprintln!("{}: {error}", path.to_string_lossy());
            None
        }
    }
}

/// Write a line. A log that cannot be written ends nothing.
pub fn log(text: impl AsRef<str>) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = format!("{}.{:03} {}\n", since.as_secs(), since.subsec_millis(), text.as_ref());
    let _ = match FILE.get_or_init(open) {
        Some(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}
