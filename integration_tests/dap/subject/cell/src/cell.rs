//! What a role is told of its cell.

use rand::{rngs::StdRng, SeedableRng};
use std::{
    collections::HashMap,
    env,
    net::{SocketAddr, ToSocketAddrs},
};

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
