//! A port that is known before its server starts, and that nobody else can take meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt,
};

use crate::SandboxError;

/// Holds a port of the loopback by a socket that is bound and never listens. A server that sets
/// `SO_REUSEADDR`, as Python's do, can still bind it; without one, connections are refused at once.
#[derive(Debug)]
pub(crate) struct Reservation {
    _socket: OwnedFd,
    address: SocketAddr,
}

impl Reservation {
    pub(crate) fn new() -> Result<Self, SandboxError> {
        let made = || -> nix::Result<(OwnedFd, u16)> {
            let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
            let port = getsockname::<SockaddrIn>(socket.as_raw_fd())?.port();
            Ok((socket, port))
        };
        let (socket, port) =
            made().map_err(|errno| SandboxError::io("reserving a port of the loopback")(errno.into()))?;
        Ok(Self { _socket: socket, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
