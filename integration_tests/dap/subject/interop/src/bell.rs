//! How a worker learns that there may be something to do.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Bell {
    rung: Mutex<u64>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Call `work` each time that it rang, for good. Work that says that it went wrong is done again by itself, after
    /// a pause that grows.
    pub fn serve(&self, mut work: impl FnMut() -> bool) -> ! {
        let (mut heard, mut pause) = (0, None);
        loop {
            heard = self.wait(heard, pause);
            let went_well = work();
            pause = if went_well { None } else { Some(pause.map_or(FIRST_PAUSE, |last| LONGEST_PAUSE.min(last * 2))) };
        }
    }

    fn wait(&self, heard: u64, pause: Option<Duration>) -> u64 {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        match pause {
            None => *self.changed.wait_while(rung, |rung| *rung == heard).unwrap_or_else(PoisonError::into_inner),
            Some(pause) => {
                let waited = self.changed.wait_timeout_while(rung, pause, |rung| *rung == heard);
                *waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}
