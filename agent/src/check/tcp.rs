//! A check that opens a connection and closes it.

use std::io;

use tokio::net::TcpStream;

use super::Try;
use crate::config::Address;

/// Connects to any of the addresses that `address` stands for.
pub(super) async fn connect(address: &Address) -> io::Result<TcpStream> {
    match address {
        Address::Literal(literal) => TcpStream::connect(literal).await,
        Address::Named(name, port) => TcpStream::connect((name.as_str(), *port)).await,
    }
}

/// One try.
pub(super) async fn probe(address: &Address) -> Try {
    match connect(address).await {
        Ok(_) => Try::good(format!("{address} accepts connections")),
        Err(error) => Try::bad(format!("could not connect to {address}: {error}")),
    }
}
