//! What all conversations with the kernel over netlink (netlink(7)) have in common: a socket, and how an answer ends.
//!
//! Everything here blocks: the kernel works off a request while it is being sent, and waits meanwhile for whoever else is busy with
//! the same part of the network. So it is for threads that may wait, and for the dead-man.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// Or the kernel's reason.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// The kernel sends no longer datagram of a list than this, if the reader has room for it.
const LONGEST: usize = 32 * 1024;
/// How long an answer may take that the kernel has prepared already; only one that was lost takes longer.
const ANSWER_S: i64 = 2;

/// A conversation with one part of the kernel, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Conversation {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Conversation {
    pub(crate) fn open(with: SockProtocol) -> Result<Self> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, with)?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(ANSWER_S))?;
        Ok(Self { socket, buffer: vec![0; LONGEST] })
    }

    /// Sends one datagram, which the kernel works off before this returns.
    pub(crate) fn send(&self, datagram: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        repeat(|| sendto(self.socket.as_raw_fd(), datagram, &kernel, MsgFlags::empty())).map(drop)
    }

    /// Reads one datagram of an answer.
    pub(crate) fn receive(&mut self) -> Result<&[u8]> {
        let (socket, buffer) = (self.socket.as_raw_fd(), &mut self.buffer);
        let length = repeat(|| recv(socket, buffer, MsgFlags::MSG_TRUNC)).map_err(|errno| match errno {
            Errno::EAGAIN => Errno::ETIMEDOUT,
            other => other,
        })?;
        self.buffer.get(..length).ok_or(Errno::EMSGSIZE)
    }
}

/// The number that an answer ends with: zero, or an error below zero.
pub(crate) fn outcome(payload: &[u8]) -> Result<()> {
    match read_u32(payload, 0).ok_or(Errno::EBADMSG)?.cast_signed() {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.saturating_neg())),
    }
}

/// A number in the machine's own order.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Messages begin at multiples of four.
pub(crate) fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A call that a signal has interrupted is made again.
fn repeat<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_told_apart_from_an_error() {
        assert_eq!(outcome(&0i32.to_ne_bytes()), Ok(()));
        assert_eq!(outcome(&(-1i32).to_ne_bytes()), Err(Errno::EPERM));
        assert_eq!(outcome(&[]), Err(Errno::EBADMSG));
    }
}
