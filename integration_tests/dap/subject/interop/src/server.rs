//! A small HTTP server: requests are read whole and answered by a function, each in one of a few threads.

use crate::{log, reply_error};
use serde_json::Value;
use std::{io::Read, net::SocketAddr, sync::Arc};

const LARGEST: u64 = 64 << 20;
const THREADS: usize = 16;
const API: &str = "/internal/test/";

/// A request, read to its end.
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub content_type: String,
    /// The header `DAP-Auth-Token`.
    pub token: Option<String>,
    pub body: Vec<u8>,
}

/// An answer.
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn new(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("Content-Type", content_type.into())], body }
    }

    pub fn empty(status: u16) -> Self {
        Self { status, headers: vec![], body: vec![] }
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string().into_bytes())
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Where this process serves: `LISTEN`, `HOST:PORT`; port 8080 of all addresses, as the draft has it, without.
pub fn listen_address() -> SocketAddr {
    let text = std::env::var("LISTEN").unwrap_or_else(|_| "0.0.0.0:8080".into());
    text.parse().unwrap_or_else(|_| stop(2, &format!("LISTEN={text}: an address and a port were needed")))
}

/// Serve until told to stop by TERM. `command` answers those of the test API by the last part of their paths, or tells
/// that it knows none of that name; `other` answers all other requests.
pub fn serve<C, O>(name: &str, command: C, other: O) -> !
where
    C: Fn(&str, &Request) -> Option<Response> + Send + Sync + 'static,
    O: Fn(&Request) -> Response + Send + Sync + 'static,
{
    let address = listen_address();
    if crate::mutant("slow_start") {
        std::thread::park_timeout(std::time::Duration::from_secs(3));
    }
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
        .unwrap_or_else(|error| stop(3, &format!("signals: {error}")));
    let server = tiny_http::Server::http(address).unwrap_or_else(|error| stop(4, &format!("{address}: {error}")));
    let (server, answer) = (Arc::new(server), Arc::new(move |request: &Request| answer(request, &command, &other)));
    for _ in 0..THREADS {
        let (server, answer) = (Arc::clone(&server), Arc::clone(&answer));
        std::thread::spawn(move || {
            for incoming in server.incoming_requests() {
                handle(incoming, answer.as_ref());
            }
        });
    }
    log(format!("{name} serves at http://{address}"));
    signals.forever().find(|_| !crate::mutant("ignores_term"));
    stop(0, "told to stop")
}

fn answer(
    request: &Request,
    command: &impl Fn(&str, &Request) -> Option<Response>,
    other: &impl Fn(&Request) -> Response,
) -> Response {
    let Some(name) = request.path.strip_prefix(API) else { return other(request) };
    if crate::mutant("never_ready") && name == "ready" {
        return reply_error(503, "not yet");
    }
    if request.method != "POST" {
        return reply_error(405, "commands are POST").with("Allow", "POST");
    }
    let response = match name {
        "ready" => Response::json(200, &serde_json::json!({})),
        _ if request.body.starts_with(b"\xff") && crate::mutant("dies_on_garbage") => stop(3, "garbage"),
        name => command(name, request).unwrap_or_else(|| reply_error(404, &format!("there is no command {name}"))),
    };
    log(format!("{name}: {} {}", response.status, String::from_utf8_lossy(&response.body)));
    response
}

fn handle(mut incoming: tiny_http::Request, answer: &(impl Fn(&Request) -> Response + ?Sized)) {
    let header = |name: &'static str| {
        let found = incoming.headers().iter().find(|header| header.field.equiv(name));
        found.map(|header| header.value.as_str().to_owned())
    };
    let (path, query) = match incoming.url().split_once('?') {
        Some((path, query)) => (path.to_owned(), query.to_owned()),
        None => (incoming.url().to_owned(), String::new()),
    };
    let mut request = Request {
        method: incoming.method().to_string(),
        path,
        query,
        content_type: header("Content-Type").unwrap_or_default(),
        token: header("DAP-Auth-Token"),
        body: vec![],
    };
    let read = incoming.as_reader().take(LARGEST + 1).read_to_end(&mut request.body);
    let response = match read {
        Err(error) => reply_error(400, &format!("the body cannot be read: {error}")),
        Ok(count) if count as u64 > LARGEST => reply_error(413, "the body is too long"),
        Ok(_) => answer(&request),
    };
    let headers = response
        .headers
        .iter()
        .filter_map(|(name, value)| tiny_http::Header::from_bytes(name.as_bytes(), value.as_bytes()).ok());
    let sent = tiny_http::Response::new(
        response.status.into(),
        headers.collect(),
        response.body.as_slice(),
        Some(response.body.len()),
        None,
    );
    if let Err(error) = incoming.respond(sent) {
        log(format!("{} {}: not sent: {error}", request.method, request.path));
    }
}

fn stop(code: i32, why: &str) -> ! {
    log(why);
    eprintln!("{why}");
    std::process::exit(code)
}
