//! The table of one cluster, as `nft list table inet baton_orders` shows it:
//!
//! ```text
//! set confirmed { typeof meta nfproto; flags timeout; elements = { ipv4 timeout 3s, ipv6 timeout 3s } }
//! chain confirmed { meta time < "2026-11-28 09:00:04" accept }
//! chain input {
//!     type filter hook input priority raw - 10; policy accept;
//!     meta nfproto @confirmed jump confirmed
//!     ip daddr @addresses4 drop
//!     ip6 daddr @addresses6 drop
//!     iifname "lo" accept
//!     tcp dport @tcp drop
//!     udp dport @udp drop
//! }
//! chain output { the same of what leaves: ip saddr, oifname, sport }
//! chain forward { meta nfproto @confirmed jump confirmed; iifname and oifname @interfaces, addresses of both ends: drop }
//! ```
//!
//! The drop of one table stands whatever others accept, so these chains may be at any priority. They come before connection
//! tracking: what is dropped keeps no connection alive there.

use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use nix::libc;

use super::kernel::{Message, nested, number, text};
use crate::config::Traffic;

/// Until when service traffic passes, said twice, and over as soon as either is: by the kernel's own count from the moment it
/// is told, and by the wall clock. See [`super`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// How long the element stands.
    pub lasts: Duration,
    /// Nanoseconds since 1970.
    pub until: u64,
}

/// Before connection tracking (-200) and what is to come before that (-300).
const PRIORITY: i32 = -310;
const CONFIRMED: &str = "confirmed";
const ADDRESSES_4: &str = "addresses4";
const ADDRESSES_6: &str = "addresses6";
const TCP: &str = "tcp";
const UDP: &str = "udp";
const INTERFACES: &str = "interfaces";

// Attributes of `linux/netfilter/nf_tables.h`, which libc does not have.
const LIST_ELEM: u16 = 1;
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_ID: u16 = 10;
const SET_USERDATA: u16 = 13;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
/// Since Linux 5.4.
const META_TIME_NS: u32 = 30;
const REGISTER: u32 = libc::NFT_REG_1 as u32;

/// What the elements of a set are: the number that nft knows it by, the length, and in whose order the bytes are (1: the
/// machine's, 2: the network's).
type Kind = (u32, u32, u8);
const FAMILY: Kind = (2, 1, 1);
const ADDRESS_4: Kind = (7, 4, 2);
const ADDRESS_6: Kind = (8, 16, 2);
const PORT: Kind = (13, 2, 2);
const INTERFACE: Kind = (41, 16, 1);

fn message(kind: libc::c_int, flags: u16, attributes: Vec<DefaultNla>) -> Message {
    Message { kind, flags, attributes }
}

/// Replaces whatever table of this name there is.
pub(super) fn replace(table: &str, traffic: &Traffic, opening: Option<Opening>) -> Vec<Message> {
    let mut messages = vec![new_table(table, 0), remove(table)];
    messages.extend(install(table, traffic, 0));
    messages.extend(opening.into_iter().flat_map(|opening| let_pass(table, opening)));
    messages
}

/// Makes the table where there is none, closed.
pub(super) fn make(table: &str, traffic: &Traffic) -> Vec<Message> {
    install(table, traffic, NLM_F_CREATE | NLM_F_EXCL)
}

/// Removes the table.
pub(super) fn remove(table: &str) -> Message {
    message(libc::NFT_MSG_DELTABLE, 0, vec![text(TABLE_NAME, table)])
}

/// Lets service traffic pass for a while, and no longer than that whatever it was told before.
pub(super) fn confirm(table: &str, opening: Opening) -> Vec<Message> {
    let mut messages = close(table);
    messages.extend(let_pass(table, opening));
    messages
}

/// Lets no service traffic pass.
pub(super) fn close(table: &str) -> Vec<Message> {
    let elements = vec![text(ELEMENTS_TABLE, table), text(ELEMENTS_SET, CONFIRMED)];
    let rules = vec![text(RULE_TABLE, table), text(RULE_CHAIN, CONFIRMED)];
    vec![message(libc::NFT_MSG_DELSETELEM, 0, elements), message(libc::NFT_MSG_DELRULE, 0, rules)]
}

fn let_pass(table: &str, opening: Opening) -> Vec<Message> {
    let lasts = u64::try_from(opening.lasts.as_millis()).unwrap_or(u64::MAX);
    let timeout = DefaultNla::new(ELEMENT_TIMEOUT, lasts.to_be_bytes().to_vec());
    let families = [libc::NFPROTO_IPV4, libc::NFPROTO_IPV6].map(|family| vec![family as u8]);
    let until = vec![
        load(META_TIME_NS),
        expression(
            "byteorder",
            &[
                number(1, REGISTER),
                number(2, REGISTER),
                number(3, libc::NFT_BYTEORDER_HTON as u32),
                number(4, 8),
                number(5, 8),
            ],
        ),
        compare(libc::NFT_CMP_LT, opening.until.to_be_bytes().to_vec()),
        verdict(libc::NF_ACCEPT, None),
    ];
    vec![elements(table, CONFIRMED, families.to_vec(), Some(&timeout)), rule(table, CONFIRMED, until)]
}

fn new_table(table: &str, flags: u16) -> Message {
    message(libc::NFT_MSG_NEWTABLE, flags, vec![text(TABLE_NAME, table), number(TABLE_FLAGS, 0)])
}

fn install(table: &str, traffic: &Traffic, flags: u16) -> Vec<Message> {
    let Traffic { addresses, tcp, udp, forward } = traffic;
    let bytes = |address: &IpAddr| match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    let of_family = |four: bool| addresses.iter().filter(|a| a.is_ipv4() == four).map(bytes).collect();
    let ports = |ports: &[u16]| ports.iter().map(|port| port.to_be_bytes().to_vec()).collect();
    let sets: [(&str, Kind, Vec<Vec<u8>>); 5] = [
        (ADDRESSES_4, ADDRESS_4, of_family(true)),
        (ADDRESSES_6, ADDRESS_6, of_family(false)),
        (TCP, PORT, ports(tcp)),
        (UDP, PORT, ports(udp)),
        (INTERFACES, INTERFACE, forward.iter().map(|name| padded(name)).collect()),
    ];
    let mut messages = vec![new_table(table, flags)];
    messages.push(message(
        libc::NFT_MSG_NEWCHAIN,
        NLM_F_CREATE,
        vec![text(CHAIN_TABLE, table), text(CHAIN_NAME, CONFIRMED)],
    ));
    messages.push(set(table, CONFIRMED, 1, FAMILY, libc::NFT_SET_TIMEOUT as u32));
    for (id, (name, kind, values)) in (2..).zip(sets) {
        messages.push(set(table, name, id, kind, 0));
        if !values.is_empty() {
            messages.push(elements(table, name, values, None));
        }
    }
    for (name, hook, rules) in [
        ("input", libc::NF_INET_LOCAL_IN, local(End::Destination)),
        ("forward", libc::NF_INET_FORWARD, forwarded()),
        ("output", libc::NF_INET_LOCAL_OUT, local(End::Source)),
    ] {
        messages.push(base_chain(table, name, hook));
        messages.extend(rules.into_iter().map(|expressions| rule(table, name, expressions)));
    }
    messages
}

/// Which end of a packet is this node's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// What is for this node, or from it.
fn local(end: End) -> Vec<Vec<DefaultNla>> {
    let interface =
        if end == End::Destination { libc::NFT_META_IIFNAME } else { libc::NFT_META_OIFNAME } as u32;
    let drop = || verdict(libc::NF_DROP, None);
    let port = |protocol: libc::c_int, set: &str| {
        let offset = if end == End::Destination { 2 } else { 0 };
        vec![
            load(libc::NFT_META_L4PROTO as u32),
            compare(libc::NFT_CMP_EQ, vec![protocol as u8]),
            payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2),
            lookup(set),
            drop(),
        ]
    };
    let mut rules = vec![while_confirmed()];
    rules.extend(addressed(end));
    // What the node says to itself is no client's, unless it is for an address that may be another node's by now.
    rules.push(vec![
        load(interface),
        compare(libc::NFT_CMP_EQ, padded("lo")),
        verdict(libc::NF_ACCEPT, None),
    ]);
    rules.extend([port(libc::IPPROTO_TCP, TCP), port(libc::IPPROTO_UDP, UDP)]);
    rules
}

/// What only passes through this node.
fn forwarded() -> Vec<Vec<DefaultNla>> {
    let drop = || verdict(libc::NF_DROP, None);
    let through = |key: libc::c_int| vec![load(key as u32), lookup(INTERFACES), drop()];
    let mut rules = vec![while_confirmed()];
    rules.extend([through(libc::NFT_META_IIFNAME), through(libc::NFT_META_OIFNAME)]);
    rules.extend(addressed(End::Source));
    rules.extend(addressed(End::Destination));
    rules
}

fn while_confirmed() -> Vec<DefaultNla> {
    let family = load(libc::NFT_META_NFPROTO as u32);
    vec![family, lookup(CONFIRMED), verdict(libc::NFT_JUMP, Some(CONFIRMED))]
}

/// Drops what has one of the addresses at this end.
fn addressed(end: End) -> [Vec<DefaultNla>; 2] {
    let is_source = end == End::Source;
    let of = |family: libc::c_int, offset: u32, length: u32, set: &str| {
        vec![
            load(libc::NFT_META_NFPROTO as u32),
            compare(libc::NFT_CMP_EQ, vec![family as u8]),
            payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, length),
            lookup(set),
            verdict(libc::NF_DROP, None),
        ]
    };
    // RFC 791, section 3.1; RFC 8200, section 3.
    let (four, six) = if is_source { (12, 8) } else { (16, 24) };
    [of(libc::NFPROTO_IPV4, four, 4, ADDRESSES_4), of(libc::NFPROTO_IPV6, six, 16, ADDRESSES_6)]
}

fn base_chain(table: &str, name: &str, hook: libc::c_int) -> Message {
    let hook = nested(CHAIN_HOOK, &[number(1, hook as u32), number(2, PRIORITY.cast_unsigned())]);
    let policy = number(CHAIN_POLICY, libc::NF_ACCEPT as u32);
    let names = [text(CHAIN_TABLE, table), text(CHAIN_NAME, name), text(CHAIN_TYPE, "filter")];
    message(libc::NFT_MSG_NEWCHAIN, NLM_F_CREATE, names.into_iter().chain([hook, policy]).collect())
}

fn set(table: &str, name: &str, id: u32, (kind, length, order): Kind, flags: u32) -> Message {
    let attributes = vec![
        text(SET_TABLE, table),
        text(SET_NAME, name),
        number(SET_FLAGS, flags),
        number(SET_KEY_TYPE, kind),
        number(SET_KEY_LEN, length),
        number(SET_ID, id),
        // For nft only, which would else show the bytes in the wrong order.
        DefaultNla::new(SET_USERDATA, vec![0, 4, order, 0, 0, 0]),
    ];
    message(libc::NFT_MSG_NEWSET, NLM_F_CREATE, attributes)
}

fn elements(table: &str, set: &str, values: Vec<Vec<u8>>, timeout: Option<&DefaultNla>) -> Message {
    let element = |value| {
        let key = nested(ELEMENT_KEY, &[DefaultNla::new(DATA_VALUE, value)]);
        nested(LIST_ELEM, &[vec![key], timeout.cloned().into_iter().collect()].concat())
    };
    let list: Vec<_> = values.into_iter().map(element).collect();
    let attributes = vec![text(ELEMENTS_TABLE, table), text(ELEMENTS_SET, set), nested(ELEMENTS, &list)];
    message(libc::NFT_MSG_NEWSETELEM, NLM_F_CREATE, attributes)
}

fn rule(table: &str, chain: &str, expressions: Vec<DefaultNla>) -> Message {
    let expressions = nested(RULE_EXPRESSIONS, &expressions);
    let attributes = vec![text(RULE_TABLE, table), text(RULE_CHAIN, chain), expressions];
    message(libc::NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, attributes)
}

fn expression(name: &str, data: &[DefaultNla]) -> DefaultNla {
    nested(LIST_ELEM, &[text(1, name), nested(2, data)])
}

fn load(key: u32) -> DefaultNla {
    expression("meta", &[number(2, key), number(1, REGISTER)])
}

fn payload(base: libc::c_int, offset: u32, length: u32) -> DefaultNla {
    let place = [number(2, base as u32), number(3, offset), number(4, length)];
    expression("payload", &[&[number(1, REGISTER)], &place[..]].concat())
}

fn compare(how: libc::c_int, value: Vec<u8>) -> DefaultNla {
    let value = nested(3, &[DefaultNla::new(DATA_VALUE, value)]);
    expression("cmp", &[number(1, REGISTER), number(2, how as u32), value])
}

fn lookup(set: &str) -> DefaultNla {
    expression("lookup", &[text(1, set), number(2, REGISTER)])
}

fn verdict(code: libc::c_int, chain: Option<&str>) -> DefaultNla {
    let chain = chain.map(|chain| text(2, chain));
    let verdict = [vec![number(1, code.cast_unsigned())], chain.into_iter().collect()].concat();
    let data = nested(2, &[nested(DATA_VERDICT, &verdict)]);
    expression("immediate", &[number(1, libc::NFT_REG_VERDICT as u32), data])
}

/// The name of an interface, as the kernel compares it.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(libc::IFNAMSIZ, 0);
    bytes
}
