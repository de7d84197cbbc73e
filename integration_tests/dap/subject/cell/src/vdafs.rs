//! What measurements come to, by plain arithmetic: none of the parties computes it.

use interop::Vdaf;
use serde_json::{json, Value};

/// A VDAF as the test API of draft 02 writes it.
pub fn written(vdaf: &Vdaf) -> Value {
    match vdaf {
        Vdaf::Count => json!({"type": "Prio3Aes128Count"}),
        Vdaf::Sum { bits } => json!({"type": "Prio3Aes128Sum", "bits": bits.to_string()}),
        Vdaf::Histogram { buckets } => {
            let buckets: Vec<String> = buckets.iter().map(u64::to_string).collect();
            json!({"type": "Prio3Aes128Histogram", "buckets": buckets})
        }
    }
}

/// What a collection of measurements must say: how many reports, and the aggregate as the API writes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Collected {
    pub count: u64,
    pub result: Value,
}

impl Collected {
    pub fn of(vdaf: &Vdaf, measurements: &[u64]) -> Self {
        Self { count: measurements.len() as u64, result: aggregate(vdaf, measurements) }
    }
}

impl std::fmt::Display for Collected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let result = self.result.to_string().replace('"', "");
        write!(formatter, "{result} of {} reports", self.count)
    }
}

fn aggregate(vdaf: &Vdaf, measurements: &[u64]) -> Value {
    match vdaf {
        Vdaf::Count | Vdaf::Sum { .. } => {
            let sum: u128 = measurements.iter().copied().map(u128::from).sum();
            json!(sum.to_string())
        }
        Vdaf::Histogram { buckets } => {
            let mut counts = vec![0_u64; buckets.len() + 1];
            for measured in measurements {
                counts[buckets.iter().filter(|boundary| measured > boundary).count()] += 1;
            }
            json!(counts.iter().map(u64::to_string).collect::<Vec<_>>())
        }
    }
}
