//! What a role is told of its cell, and how it speaks to the parties in it.

use crate::events::asking;
use rand::{rngs::StdRng, SeedableRng};
use serde_json::Value;
use std::{
    collections::HashMap,
    env,
    fmt::Display,
    net::{SocketAddr, ToSocketAddrs},
};
use url::Url;

const PORT: u16 = 8080;

/// The cell, by the variables of its runner.
#[derive(Clone, Debug)]
pub struct Cell {
    peers: HashMap<String, String>,
    seed: u64,
}

impl Cell {
    /// Errors: a variable is missing, or cannot be read.
    pub fn told() -> Result<Self, String> {
        let peers = variable("INTEROP_PEERS")?;
        let peers = peers.split_whitespace().filter_map(|pair| pair.split_once('='));
        let peers = peers.map(|(role, host)| (role.to_owned(), host.to_owned())).collect();
        let seed = variable("INTEROP_SEED")?.parse().map_err(|error| format!("INTEROP_SEED: {error}"))?;
        Ok(Self { peers, seed })
    }

    /// Return `HOST:PORT` of a role's party, as all roles reach it.
    pub fn place(&self, role: &str) -> Result<String, String> {
        let host = self.peers.get(role).ok_or_else(|| format!("INTEROP_PEERS has no {role}"))?;
        Ok(format!("{host}:{PORT}"))
    }

    /// Return where a role's party listens.
    pub fn address(&self, role: &str) -> Result<SocketAddr, String> {
        let place = self.place(role)?;
        let mut found = place.to_socket_addrs().map_err(|error| format!("{place}: {error}"))?;
        found.find(SocketAddr::is_ipv4).ok_or_else(|| format!("{place} has no address"))
    }

    /// Give the party of a role a command and return its answer. Errors: it was refused, or came to nothing.
    pub fn command(&self, role: &str, name: &str, values: &Value) -> Result<Value, String> {
        let failed = |why: &dyn Display| format!("{role}: {name}: {why}");
        let url = Url::parse(&format!("http://{}/internal/test/{name}", self.place(role)?)).map_err(|e| failed(&e))?;
        asking(format!("{role}: {name}"));
        let sent = interop::post(&url, "application/json", "", values.to_string().as_bytes());
        let (_, answer) = sent.map_err(|unsent| failed(&unsent))?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| failed(&error))?;
        if answer["status"] == "error" {
            return Err(failed(&answer["error"].as_str().unwrap_or("no reason")));
        }
        Ok(answer)
    }

    /// Random numbers that are the same in each run of this cell.
    pub fn random(&self) -> StdRng {
        StdRng::seed_from_u64(self.seed)
    }
}

/// Return a parameter of the test. Errors: the test has none of that name.
pub fn parameter(name: &str) -> Result<String, String> {
    variable(&format!("INTEROP_PARAM_{}", name.to_uppercase()))
}

/// Return a variable. Errors: it is not set.
pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set"))
}
