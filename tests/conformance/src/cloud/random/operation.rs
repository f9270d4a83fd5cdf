//! What a random sequence of looks and calls is made of.

use proptest::prelude::*;

use super::NODES;

/// Something to do. A number that no thing of the stage has stands for a thing that does not exist.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Associate an address.
    Associate {
        /// Which.
        address: usize,
        /// With whose interface.
        node: usize,
        /// With which of its private addresses.
        seat: Seat,
    },
    /// End an association: the last one that was made, an earlier one, or one that never was.
    Disassociate {
        /// Which, counted from the last one.
        back: usize,
    },
    /// Create a route.
    CreateRoute {
        /// In which table.
        table: usize,
        /// To which destination.
        to: usize,
        /// Through whose interface.
        node: usize,
    },
    /// Replace a route.
    ReplaceRoute {
        /// In which table.
        table: usize,
        /// To which destination.
        to: usize,
        /// Through whose interface.
        node: usize,
    },
    /// Replace an association of the subnet: the last one that was made, an earlier one, or one that never was.
    Swap {
        /// Which, counted from the last one.
        back: usize,
        /// By one with which table.
        table: usize,
    },
    /// Switch a node's source and destination check off.
    Forward(usize),
}

/// A private address of an interface.
#[derive(Debug, Clone, Copy)]
pub enum Seat {
    /// One that it has.
    Own(usize),
    /// One that it does not have.
    Strange,
}

/// Short sequences.
pub fn sequences() -> impl Strategy<Value = Vec<Act>> {
    proptest::collection::vec(act(), 4..14)
}

/// Mostly one that exists.
fn one() -> impl Strategy<Value = usize> {
    prop_oneof![9 => 0..NODES, 1 => Just(NODES)]
}

fn act() -> impl Strategy<Value = Act> {
    let seat = prop_oneof![
        4 => Just(Seat::Own(0)), 4 => Just(Seat::Own(1)), 1 => Just(Seat::Strange)
    ];
    prop_oneof![
        9 => (one(), one(), seat)
            .prop_map(|(address, node, seat)| Act::Associate { address, node, seat }),
        4 => prop_oneof![3 => Just(0usize), 2 => 1usize..4, 1 => Just(99)]
            .prop_map(|back| Act::Disassociate { back }),
        5 => (one(), 0usize..2, one()).prop_map(|(table, to, node)| Act::CreateRoute { table, to, node }),
        3 => (one(), 0usize..2, one()).prop_map(|(table, to, node)| Act::ReplaceRoute { table, to, node }),
        4 => (prop_oneof![5 => Just(0usize), 2 => 1usize..4, 1 => Just(99)], one())
            .prop_map(|(back, table)| Act::Swap { back, table }),
        2 => (0..=NODES).prop_map(Act::Forward),
    ]
}
