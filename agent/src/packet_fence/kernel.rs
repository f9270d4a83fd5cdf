//! What is asked of nf_tables (`linux/netfilter/nf_tables.h`), by transactions: everything of one happens at one moment, or
//! nothing of it does.

use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkBuffer, NlasIterator,
};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockProtocol;

use crate::netlink::{Conversation, Result, aligned, outcome};

/// The length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// The length of `struct nfgenmsg`: family, version, and a number of two bytes in the network's order.
const GENERIC_HEADER: usize = 4;
const SUBSYSTEM: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
/// Both families of addresses in one table.
const INET: u8 = libc::NFPROTO_INET as u8;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// Datagrams of one list: far more tables than anybody has.
const DATAGRAMS_MOST: u32 = 1_000;

/// One change of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Of `NFT_MSG_*`.
    pub(super) kind: libc::c_int,
    pub(super) flags: u16,
    pub(super) attributes: Vec<DefaultNla>,
}

/// Makes all of the changes, or none. Blocks.
pub(super) fn commit(messages: &[Message]) -> Result<()> {
    let mut datagram = framed(0, libc::NFNL_MSG_BATCH_BEGIN as u16, 0, &generic_header(0, SUBSYSTEM))?;
    for (number, message) in (1..).zip(messages) {
        // A refused change answers in any case; that nothing was refused, the last one tells.
        let last = if number as usize == messages.len() { NLM_F_ACK } else { 0 };
        let kind = SUBSYSTEM << 8 | u16::try_from(message.kind).map_err(|_| Errno::EINVAL)?;
        let body = with(generic_header(INET, 0), &message.attributes);
        datagram.extend(framed(number, kind, message.flags | last, &body)?);
    }
    datagram.extend(framed(u32::MAX, libc::NFNL_MSG_BATCH_END as u16, 0, &generic_header(0, SUBSYSTEM))?);
    let mut conversation = Conversation::open(SockProtocol::NetlinkNetFilter)?;
    conversation.send(&datagram)?;
    for _ in 0..DATAGRAMS_MOST {
        for answer in messages_of(conversation.receive()?)? {
            if answer.kind == NLMSG_ERROR {
                outcome(answer.payload)?;
                if answer.number as usize == messages.len() {
                    return Ok(());
                }
            }
        }
    }
    Err(Errno::EOVERFLOW)
}

/// The names of all tables of both families in one. Blocks.
pub(super) fn tables() -> Result<Vec<String>> {
    let kind = SUBSYSTEM << 8 | libc::NFT_MSG_GETTABLE as u16;
    let mut conversation = Conversation::open(SockProtocol::NetlinkNetFilter)?;
    conversation.send(&framed(1, kind, NLM_F_DUMP, &generic_header(INET, 0))?)?;
    let mut names = Vec::new();
    for _ in 0..DATAGRAMS_MOST {
        for answer in messages_of(conversation.receive()?)? {
            match answer.kind {
                NLMSG_DONE | NLMSG_ERROR => return outcome(answer.payload).map(|()| names),
                _ => names.extend(name_in(answer.payload)),
            }
        }
    }
    Err(Errno::EOVERFLOW)
}

/// A message of an answer.
struct Answer<'a> {
    kind: u16,
    number: u32,
    payload: &'a [u8],
}

fn messages_of(mut datagram: &[u8]) -> Result<Vec<Answer<'_>>> {
    let mut answers = Vec::new();
    while !datagram.is_empty() {
        let message = NetlinkBuffer::new_checked(datagram).map_err(|_| Errno::EBADMSG)?;
        let (kind, number) = (message.message_type(), message.sequence_number());
        let length = message.length() as usize;
        answers.push(Answer { kind, number, payload: datagram.get(HEADER..length).ok_or(Errno::EBADMSG)? });
        datagram = &datagram[aligned(length).min(datagram.len())..];
    }
    Ok(answers)
}

fn name_in(payload: &[u8]) -> Option<String> {
    let attributes = NlasIterator::new(payload.get(GENERIC_HEADER..)?);
    let name = attributes.flatten().find(|attribute| attribute.kind() == TABLE_NAME)?;
    let name = name.value().strip_suffix(b"\0").unwrap_or_else(|| name.value());
    Some(String::from_utf8_lossy(name).into_owned())
}

fn generic_header(family: u8, number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![family, 0, high, low]
}

fn framed(number: u32, kind: u16, flags: u16, body: &[u8]) -> Result<Vec<u8>> {
    let length = HEADER + body.len();
    let mut message = vec![0; aligned(length)];
    let mut header = NetlinkBuffer::new(&mut message[..]);
    header.set_length(u32::try_from(length).map_err(|_| Errno::EMSGSIZE)?);
    header.set_message_type(kind);
    header.set_flags(NLM_F_REQUEST | flags);
    header.set_sequence_number(number);
    message[HEADER..length].copy_from_slice(body);
    Ok(message)
}

/// A number as nf_tables takes it.
pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

/// A name or a word.
pub(super) fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), b"\0"].concat())
}

/// Attributes in an attribute.
pub(super) fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, with(Vec::new(), attributes))
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

    #[test]
    fn a_change_is_framed_as_the_kernel_defines() {
        let body = with(generic_header(INET, 0), &[text(TABLE_NAME, "baton_a"), number(2, 0)]);
        let message = framed(7, 0xa00, NLM_F_ACK, &body).expect("short");
        // struct nlmsghdr: length, kind, flags, number, sender.
        let header = [&40u32.to_ne_bytes()[..], &0xa00u16.to_ne_bytes(), &5u16.to_ne_bytes()].concat();
        assert_eq!(message[..8], header);
        assert_eq!(message[8..16], [7u32.to_ne_bytes(), [0; 4]].concat());
        // struct nfgenmsg, then the name with its end, and the flags.
        assert_eq!(message[16..20], [1, 0, 0, 0]);
        assert_eq!(message[24..32], *b"baton_a\0");
        assert_eq!(message.len(), 40);
        let answers = messages_of(&message).expect("whole");
        assert_eq!(name_in(answers[0].payload), Some("baton_a".to_owned()));
        for cut in 1..message.len() {
            // Cut anywhere, it is an error or less, and never a panic.
            let _ = messages_of(&message[..cut]).map(|answers| answers.len());
            let _ = name_in(&message[..cut]);
        }
    }
}
