//! What of a cluster is chosen by a description and not by an id: the interface and the private address that an Elastic IP
//! goes to, the interface that routes lead to, and the tables that hold them ([`crate::tables`]).
//!
//! A description means something else on each node, so what it comes to is found out when the cluster is registered and
//! stands in the lease as ids, which is all that a move goes by. The description itself is kept beside it, so that a request
//! that asks for another one is known for a change, whatever state the nodes are in (ADR 0029).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{AllocationId, IdError};
use crate::resource::Destination;
use crate::tables::TableChoice;

/// No interface has a larger device index, nor a private address a larger place on it: no instance type takes more than 50
/// addresses on one interface, or as many interfaces (Amazon EC2, Maximum IP addresses per network interface).
pub const LARGEST_INDEX: u16 = 63;
/// EC2's limit on the key of a tag, in characters (Amazon EC2, Tag restrictions).
const LONGEST_KEY: usize = 128;
/// EC2's limit on the value of a tag, in characters.
const LONGEST_VALUE: usize = 256;

/// A tag that something is found by: this key with this very value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(String, String)", into = "(String, String)")]
pub struct Tag {
    key: String,
    value: String,
}

impl Tag {
    /// A tag as EC2 would have it.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Result<Self, IdError> {
        let (key, value) = (key.into(), value.into());
        let fits = |text: &str, longest| text.chars().count() <= longest && !text.contains(char::is_control);
        if key.is_empty() || !fits(&key, LONGEST_KEY) {
            return Err(IdError::new("the key of a tag: 1 to 128 characters", &key));
        }
        if !fits(&value, LONGEST_VALUE) {
            return Err(IdError::new("the value of a tag: at most 256 characters", &value));
        }
        Ok(Self { key, value })
    }

    /// Whether these tags have it.
    pub fn is_in(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(&self.key) == Some(&self.value)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl TryFrom<(String, String)> for Tag {
    type Error = IdError;
    fn try_from((key, value): (String, String)) -> Result<Self, IdError> {
        Self::new(key, value)
    }
}

impl From<Tag> for (String, String) {
    fn from(tag: Tag) -> Self {
        (tag.key, tag.value)
    }
}

/// How the interface of a node is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceChoice {
    /// By the device index it is attached under.
    Device(u16),
    /// By a tag, which one of the node's interfaces has and no other.
    Tag(Tag),
}

impl InterfaceChoice {
    /// The interface that every instance is started with.
    pub const PRIMARY: Self = Self::Device(0);

    /// Whether it means an interface that is attached so and has these tags.
    pub fn fits(&self, device_index: i32, tags: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Device(index) => device_index == i32::from(*index),
            Self::Tag(tag) => tag.is_in(tags),
        }
    }
}

impl fmt::Display for InterfaceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(index) => write!(f, "device index {index}"),
            Self::Tag(tag) => write!(f, "the tag {tag}"),
        }
    }
}

/// Where on a node an Elastic IP goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeatChoice {
    /// The interface.
    pub interface: InterfaceChoice,
    /// Which of its private addresses: 0 for the primary one.
    pub private_ip: u16,
}

/// What was chosen. Nothing, for a cluster that goes by the primary interface alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// Where the addresses go that were given a place of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seats: BTreeMap<AllocationId, SeatChoice>,
    /// The interface that routes lead to; none: the primary one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<InterfaceChoice>,
    /// The destinations whose tables are described.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableChoice>,
    /// The nodes' VPC, where those tables are looked for; known once it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc: Option<String>,
}

impl Choices {
    /// Whether nothing was chosen.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an interface is to be found by a tag.
    pub fn by_tag(&self) -> bool {
        let seats = self.seats.values().map(|seat| &seat.interface);
        seats.chain(&self.routes).any(|choice| matches!(choice, InterfaceChoice::Tag(_)))
    }

    /// Whether both put everything to the same places of a node, whatever tables they describe.
    pub fn places_as(&self, other: &Self) -> bool {
        (&self.seats, &self.routes) == (&other.seats, &other.routes)
    }

    /// Whether the tables of this destination are described.
    pub fn describe(&self, destination: &Destination) -> bool {
        self.tables.iter().any(|choice| choice.destination == *destination)
    }

    /// The interface that routes lead to.
    pub fn route_interface(&self) -> &InterfaceChoice {
        self.routes.as_ref().unwrap_or(&InterfaceChoice::PRIMARY)
    }

    /// Where each of these addresses goes. Those without a place of their own go, in their order, to the private addresses of
    /// the primary interface.
    pub fn seats<'a>(
        &'a self,
        addresses: impl IntoIterator<Item = &'a AllocationId>,
    ) -> Vec<(&'a AllocationId, SeatChoice)> {
        let mut next = 0_u16;
        let seat = |allocation: &'a AllocationId| {
            let seat = self.seats.get(allocation).cloned().unwrap_or_else(|| {
                let private_ip = next;
                next = next.saturating_add(1);
                SeatChoice { interface: InterfaceChoice::PRIMARY, private_ip }
            });
            (allocation, seat)
        };
        addresses.into_iter().map(seat).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::allocation;

    fn seat(device: u16, private_ip: u16) -> SeatChoice {
        SeatChoice { interface: InterfaceChoice::Device(device), private_ip }
    }

    #[test]
    fn addresses_without_a_place_of_their_own_go_to_the_primary_interface_in_their_order() {
        let all = [allocation(1), allocation(2), allocation(3)];
        let plain = Choices::default();
        let found: Vec<_> = plain.seats(&all).into_iter().map(|(_, seat)| seat).collect();
        assert_eq!(found, [seat(0, 0), seat(0, 1), seat(0, 2)]);
        let chosen = Choices { seats: [(allocation(1), seat(1, 4))].into(), ..Choices::default() };
        let found: Vec<_> = chosen.seats(&all).into_iter().map(|(_, seat)| seat).collect();
        assert_eq!(found, [seat(1, 4), seat(0, 0), seat(0, 1)]);
    }

    #[test]
    fn what_was_chosen_is_read_as_it_was_written_and_nothing_is_written_of_nothing() {
        let tag = Tag::new("side", "public").expect("valid");
        let chosen = Choices {
            seats: [(allocation(1), seat(1, 4))].into(),
            routes: Some(InterfaceChoice::Tag(tag)),
            ..Choices::default()
        };
        let text = serde_json::to_string(&chosen).expect("can be written");
        assert_eq!(
            text,
            r#"{"seats":{"eipalloc-00000001":{"interface":{"device":1},"private_ip":4}},"routes":{"tag":["side","public"]}}"#
        );
        assert_eq!(serde_json::from_str::<Choices>(&text).expect("can be read"), chosen);
        assert_eq!(serde_json::to_string(&Choices::default()).expect("can be written"), "{}");
    }

    #[test]
    fn a_tag_is_one_that_ec2_would_have() {
        assert!(Tag::new("a", "").is_ok() && Tag::new("k".repeat(128), "v".repeat(256)).is_ok());
        for (key, value) in [("", "v".to_owned()), (&"k".repeat(129), String::new()), ("k", "v".repeat(257))]
        {
            assert!(Tag::new(key, value).is_err());
        }
        assert!(Tag::new("a\n", "").is_err());
        let tags = [("side".to_owned(), "public".to_owned())].into();
        let has = |value| Tag::new("side", value).expect("valid").is_in(&tags);
        assert_eq!((has("public"), has("Public"), has("*")), (true, false, false));
    }
}
