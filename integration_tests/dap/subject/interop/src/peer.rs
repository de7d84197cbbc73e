//! Requests to the other aggregator.

use std::{io::Read, sync::OnceLock, time::Duration};
use url::Url;

const PATIENCE: Duration = Duration::from_secs(30);
const LARGEST: u64 = 64 << 20;

/// Why a request came to nothing.
#[derive(Debug)]
pub enum Unsent {
    /// The other one is not there, or in trouble: it may answer later.
    Unreachable(String),
    /// It refused.
    Refused(String),
}

impl std::fmt::Display for Unsent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Refused(why) => formatter.write_str(why),
        }
    }
}

/// Post bytes with a token; return the media type of the answer and its body.
pub fn post(url: &Url, media_type: &str, token: &str, body: &[u8]) -> Result<(String, Vec<u8>), Unsent> {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    let agent = AGENT.get_or_init(|| ureq::AgentBuilder::new().timeout(PATIENCE).redirects(0).build());
    let request = agent.request_url("POST", url).set("Content-Type", media_type).set("DAP-Auth-Token", token);
    match request.send_bytes(body) {
        Ok(response) => {
            let media_type = response.content_type().to_owned();
            let mut answer = vec![];
            response
                .into_reader()
                .take(LARGEST)
                .read_to_end(&mut answer)
                .map_err(|error| Unsent::Unreachable(format!("{url}: {error}")))?;
            Ok((media_type, answer))
        }
        Err(ureq::Error::Status(status, response)) => {
            let said = format!("{url}: {status} {}", response.into_string().unwrap_or_default());
            Err(if status >= 500 { Unsent::Unreachable(said) } else { Unsent::Refused(said) })
        }
        Err(error) => Err(Unsent::Unreachable(error.to_string())),
    }
}
