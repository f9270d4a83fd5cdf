//! What is asked of the kernel about interfaces and their addresses, by rtnetlink (rtnetlink(7)).
//!
//! Everything here blocks, for as long as somebody else holds the kernel's lock on the network: the kernel works
//! off a request while it is being sent. So it is for threads that may wait, and for the dead-man.

use std::net::IpAddr;

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL,
    NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NlasIterator,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Conversation, Result, aligned, outcome, read_u32};

/// A list that changed while it was made is asked for again, at most this often.
const LISTS_MOST: u32 = 4;
/// Datagrams of one answer: a machine with a hundred thousand addresses.
const DATAGRAMS_MOST: u32 = 1_000;

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;
/// The length of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
const IFF_UP: u32 = libc::IFF_UP as u32;
/// Lifetimes of an address that has no end.
const FOR_EVER: u32 = u32::MAX;

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    index: u32,
    pub(super) up: bool,
}

/// A conversation with the kernel, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Kernel {
    conversation: Conversation,
    sequence: u32,
}

impl Kernel {
    pub(super) fn open() -> Result<Self> {
        Ok(Self { conversation: Conversation::open(SockProtocol::NetlinkRoute)?, sequence: 0 })
    }

    /// The interface of this name, if there is one.
    pub(super) fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let body = with(link_header(0, 0, 0), &[text(libc::IFLA_IFNAME, name)]);
        match self.ask(libc::RTM_GETLINK, NLM_F_ACK, &body) {
            Ok(found) => Ok(found.iter().find_map(|body| read_link(body))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Makes an interface of this name that leads nowhere, and sets it up. One that is there is left as it is. A kernel without
    /// dummy interfaces may have bridges, and one without ports is the same to an address.
    pub(super) fn make_link(&mut self, name: &str) -> Result<()> {
        let made = match self.make(name, "dummy") {
            Err(Errno::EOPNOTSUPP) => self.make(name, "bridge"),
            made => made,
        };
        unless(made, Errno::EEXIST)
    }

    fn make(&mut self, name: &str, kind: &str) -> Result<()> {
        let kind = text(libc::IFLA_INFO_KIND, kind);
        let info = DefaultNla::new(libc::IFLA_LINKINFO | NLA_F_NESTED, with(Vec::new(), &[kind]));
        let body = with(link_header(0, IFF_UP, IFF_UP), &[text(libc::IFLA_IFNAME, name), info]);
        self.ask(libc::RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body).map(drop)
    }

    /// Sets an interface up.
    pub(super) fn set_up(&mut self, link: Link) -> Result<()> {
        let body = link_header(link.index, IFF_UP, IFF_UP);
        self.ask(libc::RTM_NEWLINK, NLM_F_ACK, &body).map(drop)
    }

    /// The addresses of an interface that are a whole prefix each: /32 and /128.
    pub(super) fn addresses(&mut self, link: Link) -> Result<Vec<IpAddr>> {
        let any = vec![0; ADDRESS_HEADER];
        let mut found = self.ask(libc::RTM_GETADDR, NLM_F_DUMP, &any);
        for _ in 1..LISTS_MOST {
            if found != Err(Errno::EINTR) {
                break;
            }
            found = self.ask(libc::RTM_GETADDR, NLM_F_DUMP, &any);
        }
        Ok(found?.iter().filter_map(|body| read_address(body, link.index)).collect())
    }

    /// Adds an address; one that is there is fine.
    pub(super) fn add(&mut self, link: Link, address: IpAddr) -> Result<()> {
        let mut attributes = both(address).to_vec();
        if address.is_ipv6() {
            // Never preferred: what the node itself begins leaves from the node's own address, and what a service answers
            // from this one. IPv4 goes by the interface. RFC 6724, section 5, rule 3.
            let lifetimes = [0, FOR_EVER, 0, 0].map(u32::to_ne_bytes).concat();
            attributes.push(DefaultNla::new(libc::IFA_CACHEINFO, lifetimes));
        }
        let body = with(address_header(link.index, address), &attributes);
        let added = self.ask(libc::RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, &body);
        unless(added, Errno::EEXIST)
    }

    /// Removes an address; one that is not there is fine, and so is an interface that is not.
    pub(super) fn remove(&mut self, link: Link, address: IpAddr) -> Result<()> {
        let body = with(address_header(link.index, address), &both(address));
        let removed = self.ask(libc::RTM_DELADDR, NLM_F_ACK, &body);
        unless(unless(removed, Errno::EADDRNOTAVAIL), Errno::ENODEV)
    }

    /// Sends one request and reads the whole answer: the bodies of what came, up to the end or the acknowledgement.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = HEADER + body.len();
        let mut request = vec![0; length];
        let mut header = NetlinkBuffer::new(&mut request[..]);
        header.set_length(u32::try_from(length).map_err(|_| Errno::EMSGSIZE)?);
        header.set_message_type(kind);
        header.set_flags(NLM_F_REQUEST | flags);
        header.set_sequence_number(self.sequence);
        request[HEADER..].copy_from_slice(body);
        self.conversation.send(&request)?;
        let mut found = Vec::new();
        for _ in 0..DATAGRAMS_MOST {
            if self.read(&mut found)? {
                return Ok(found);
            }
        }
        Err(Errno::EOVERFLOW)
    }

    /// Reads one datagram; whether the answer has come to its end.
    fn read(&mut self, found: &mut Vec<Vec<u8>>) -> Result<bool> {
        let mut rest = self.conversation.receive()?;
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| Errno::EBADMSG)?;
            // What is left of an answer that was given up is not this one's.
            if message.sequence_number() == self.sequence {
                if message.flags() & NLM_F_DUMP_INTR != 0 {
                    return Err(Errno::EINTR);
                }
                match message.message_type() {
                    NLMSG_DONE | NLMSG_ERROR => return outcome(message.payload()).map(|()| true),
                    _ => found.push(message.payload().to_vec()),
                }
            }
            rest = &rest[aligned(message.length() as usize).min(rest.len())..];
        }
        Ok(false)
    }
}

fn unless<T>(outcome: Result<T>, fine: Errno) -> Result<()> {
    match outcome {
        Err(errno) if errno != fine => Err(errno),
        _ => Ok(()),
    }
}

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut header = vec![0; LINK_HEADER];
    for (place, value) in [(4, index), (8, flags), (12, change)] {
        header[place..place + 4].copy_from_slice(&value.to_ne_bytes());
    }
    header
}

fn read_link(body: &[u8]) -> Option<Link> {
    Some(Link { index: read_u32(body, 4)?, up: read_u32(body, 8)? & IFF_UP != 0 })
}

fn address_header(index: u32, address: IpAddr) -> Vec<u8> {
    let (family, prefix) = whole_prefix(address);
    // Duplicate address detection asks the wire, where nobody can answer for an address that a route leads to; until it had
    // ended no service could bind.
    let flags = if address.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
    let mut header = vec![family, prefix, flags, libc::RT_SCOPE_UNIVERSE];
    header.extend(index.to_ne_bytes());
    header
}

/// The address that a body tells of, if it is one of this interface and a whole prefix.
fn read_address(body: &[u8], index: u32) -> Option<IpAddr> {
    if read_u32(body, 4)? != index {
        return None;
    }
    let (mut local, mut address) = (None, None);
    for attribute in NlasIterator::new(body.get(ADDRESS_HEADER..)?).flatten() {
        match attribute.kind() {
            libc::IFA_LOCAL => local = read_ip(attribute.value()),
            libc::IFA_ADDRESS => address = read_ip(attribute.value()),
            _ => {}
        }
    }
    // IFA_ADDRESS is the other end where there is another end.
    let found = local.or(address)?;
    (whole_prefix(found).1 == *body.get(1)?).then_some(found)
}

fn whole_prefix(address: IpAddr) -> (u8, u8) {
    match address {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    }
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn both(address: IpAddr) -> [DefaultNla; 2] {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    [libc::IFA_LOCAL, libc::IFA_ADDRESS].map(|kind| DefaultNla::new(kind, bytes.clone()))
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), b"\0"].concat())
}

fn with(mut header: Vec<u8>, attributes: &[DefaultNla]) -> Vec<u8> {
    let start = header.len();
    header.resize(start + attributes.buffer_len(), 0);
    attributes.emit(&mut header[start..]);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_request_to_add_is_what_the_kernel_defines() {
        let address = ip("10.9.0.1");
        let body = with(address_header(7, address), &both(address));
        let index = 7u32.to_ne_bytes();
        let attribute = |kind: u16| [8u16.to_ne_bytes(), kind.to_ne_bytes(), [10, 9], [0, 1]].concat();
        let expected = [&[2, 32, 0, 0][..], &index[..], &attribute(2), &attribute(1)].concat();
        assert_eq!(body, expected);
        let six = address_header(7, ip("2001:db8::1"));
        assert_eq!(six[..4], [10, 128, 2, 0], "no duplicate address detection");
    }

    #[test]
    fn what_the_kernel_tells_is_read_by_interface_and_prefix() {
        for text in ["10.9.0.1", "2001:db8::1"] {
            let address = ip(text);
            let body = with(address_header(7, address), &both(address));
            assert_eq!(read_address(&body, 7), Some(address));
            assert_eq!(read_address(&body, 8), None);
            let mut wider = body.clone();
            wider[1] = 24;
            assert_eq!(read_address(&wider, 7), None);
            for cut in 0..body.len() {
                // Cut anywhere, it is another answer or none, and never a panic.
                let _ = read_address(&body[..cut], 7);
            }
        }
    }

    #[test]
    fn the_other_end_of_a_tunnel_is_not_an_address_of_this_one() {
        let (mine, other) = (ip("10.9.0.1"), ip("10.9.0.2"));
        let [local, _] = both(mine);
        let [_, address] = both(other);
        let body = with(address_header(7, mine), &[address, local]);
        assert_eq!(read_address(&body, 7), Some(mine));
    }
}
