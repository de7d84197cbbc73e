//! VDAFs and measurements as the test API writes them: every number is a text in base 10.

use serde_json::Value;

/// The functions that all subjects here can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vdaf {
    /// How many of the measurements, each 0 or 1, are 1.
    Count,
    /// The sum of measurements below 2 to the power of `bits`.
    Sum { bits: u32 },
    /// How many measurements are in each bucket: up to the first boundary, up to the second, ..., above the last.
    Histogram { buckets: Vec<u64> },
}

/// What a client measures.
pub type Measurement = u128;

impl Vdaf {
    /// Read the object that the API has for a VDAF, by the names of any of its drafts.
    ///
    /// Errors: a sentence that says what is not supported, or wrong.
    pub fn read(value: &Value) -> Result<Self, String> {
        let name = value["type"].as_str().ok_or("vdaf has no type")?;
        match name {
            "Prio3Aes128Count" | "Prio3Count" => Ok(Self::Count),
            "Prio3Aes128Sum" | "Prio3Sum" => {
                let bits = number(&value["bits"]).ok_or("bits is no number in base 10, as a string")?;
                match u32::try_from(bits) {
                    Ok(bits @ 1..=64) => Ok(Self::Sum { bits }),
                    _ => Err(format!("{bits} bits are not supported; 1 to 64 are")),
                }
            }
            "Prio3Aes128Histogram" | "Prio3Histogram" => {
                let boundaries = value["buckets"].as_array().ok_or("buckets is no list")?;
                let buckets: Option<Vec<u64>> =
                    boundaries.iter().map(|one| number(one).and_then(|one| u64::try_from(one).ok())).collect();
                let buckets = buckets.ok_or("buckets are no numbers in base 10, as strings")?;
                if buckets.is_empty() || !buckets.windows(2).all(|pair| pair[0] < pair[1]) {
                    return Err("buckets do not ascend".into());
                }
                Ok(Self::Histogram { buckets })
            }
            other => Err(format!("VDAF {other} is not supported")),
        }
    }

    /// Read a measurement. Errors: it is none of this VDAF.
    pub fn measurement(&self, value: &Value) -> Result<Measurement, String> {
        let measured =
            number(value).ok_or_else(|| format!("measurement {value} is no number in base 10, as a string"))?;
        let most = match self {
            Self::Count => 1,
            Self::Sum { bits } => (1_u128 << bits) - 1,
            Self::Histogram { .. } => u128::from(u64::MAX),
        };
        if measured > most {
            return Err(format!("measurement {measured} is more than {most}"));
        }
        Ok(measured)
    }
}

fn number(value: &Value) -> Option<u128> {
    let text = value.as_str()?;
    // "+1" would be read as well, and is no number in base 10 that anybody writes.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
