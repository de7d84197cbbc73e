//! One line for each event, on standard error and in the file that `LOG_FILE` names.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::{Mutex, OnceLock},
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
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(file) = FILE.get_or_init(open) {
        if let Ok(mut file) = file.lock() {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
