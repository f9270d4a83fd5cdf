//! A check that sends a GET request of HTTP/1.1 over a connection of its own.
//!
//! The status alone counts. Redirects are not followed, because another host's health is not this node's, and
//! the body is not read.

use std::pin::pin;

use futures_util::future::{Either, select};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::{Try, tcp};
use crate::config::Address;

const AGENT: &str = concat!("baton-agent/", env!("CARGO_PKG_VERSION"));

/// The longest head of an answer that is read.
const HEAD_LONGEST: usize = 16 * 1024;

/// One try.
pub(super) async fn probe(address: &Address, host: &str, target: &str, expect: &[u16]) -> Try {
    match ask(address, host, target).await {
        Ok(status) if accepted(status, expect) => Try::good(format!("answered {}", status.as_u16())),
        Ok(status) => Try::bad(format!("expected {}, found {}", expected(expect), status.as_u16())),
        Err(reason) => Try::bad(reason),
    }
}

async fn ask(address: &Address, host: &str, target: &str) -> Result<StatusCode, String> {
    let stream =
        tcp::connect(address).await.map_err(|error| format!("could not connect to {address}: {error}"))?;
    let request = Request::get(target)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("could not make a request: {error}"))?;
    let broken = |error: hyper::Error| format!("no answer from {address}: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LONGEST)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // The connection makes progress only while it is polled. When the answer's head is there, both are
    // dropped.
    let answer = pin!(sender.send_request(request));
    let connection = pin!(connection);
    match select(answer, connection).await {
        Either::Left((answer, _)) => Ok(answer.map_err(broken)?.status()),
        // The connection may end in the same moment in which it delivers the answer.
        Either::Right((_, answer)) => Ok(answer.await.map_err(broken)?.status()),
    }
}

fn accepted(status: StatusCode, expect: &[u16]) -> bool {
    if expect.is_empty() { status.is_success() } else { expect.contains(&status.as_u16()) }
}

fn expected(expect: &[u16]) -> String {
    if expect.is_empty() {
        return "200 to 299".to_owned();
    }
    let statuses: Vec<_> = expect.iter().map(ToString::to_string).collect();
    statuses.join(" or ")
}
