//! `dap-cell TEST ROLE`: a party of DAP as a role in a cell of the matrix `dap`.
//!
//! It starts the party's own program beside it, says that it is ready when that one is, and ends it. As the driver, whose
//! program is the collector, it tells all parties what the test is about, by the interoperation test API, and says
//! whether what was collected is what was measured.

mod cell;
mod events;
mod party;
mod task;
mod tests;
mod vdafs;

use cell::Cell;
use party::Party;
use std::{
    env,
    process::exit,
    thread,
    time::{Duration, Instant},
};

const UNKNOWN: i32 = 127;
/// Time for a program to be ready. It was made before: this is no time for a compiler.
const START: Duration = Duration::from_secs(20);
/// Time for all that a driver does: below the time-out of each test, so that it says itself what it waits for.
const DRIVE: Duration = Duration::from_secs(40);

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let [test, role] = words.as_slice() else {
        eprintln!("dap-cell TEST ROLE was needed");
        exit(2);
    };
    let Some(run) = tests::named(test) else {
        eprintln!("there is no test {test}");
        exit(UNKNOWN);
    };
    let party = match Cell::told().and_then(|cell| Party::start(cell, role)) {
        Ok(party) => party,
        Err(why) => {
            eprintln!("{role}: {why}");
            exit(2);
        }
    };
    if let Err(why) = party.wait_ready(START) {
        eprintln!("{role}: {why}");
        party.end(3);
    }
    events::ready();
    if role == "driver" {
        party.end(drive(&party, run));
    }
    loop {
        thread::park(); // until a signal, or the end of the program, ends this process
    }
}

/// Run the test and return the exit code: so that who runs a cell by its script sees by that what came of it.
fn drive(party: &Party, run: tests::Test) -> i32 {
    let watched = party.clone();
    thread::spawn(move || {
        events::park_until(Instant::now() + DRIVE);
        events::check("ends", false, &format!("after {} s it waits for {}", DRIVE.as_secs(), events::asked()));
        watched.end(1);
    });
    if let Err(why) = run(party.cell()) {
        events::check("goes on", false, &why);
    }
    if !events::all_hold() {
        return 1;
    }
    events::done();
    0
}
