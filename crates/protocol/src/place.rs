//! Where on an instance everything goes that a cluster asks for: what its [`Choices`] come to there.
//!
//! Of an instance that nobody has named, nobody has looked whether it has what was chosen. Without the interface, or with two
//! that fit, there is no place for it, and the instance cannot be a node: the primary interface is no substitute, since on a
//! firewall that is another side.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::choice::{Choices, InterfaceChoice};
use crate::ids::{AllocationId, InterfaceId};
use crate::resource::Placement;

/// An interface of an instance, as EC2 shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Which one.
    pub id: InterfaceId,
    /// Under which it is attached; 0 for the primary one.
    pub device_index: i32,
    /// Its private IPv4 addresses, the primary first.
    pub private_ips: Vec<Ipv4Addr>,
    /// Its tags; none where nobody asked for them, so that nothing is found by one.
    pub tags: BTreeMap<String, String>,
}

/// Where everything goes on one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The interface that routes lead to.
    pub interface: InterfaceId,
    /// Where each Elastic IP goes.
    pub placements: BTreeMap<AllocationId, Placement>,
}

/// Where everything goes on an instance with these interfaces, or why something has no place there, for people.
pub fn places<'a>(
    choices: &'a Choices,
    addresses: impl IntoIterator<Item = &'a AllocationId>,
    interfaces: &[Interface],
) -> Result<Places, String> {
    let interface = find(choices.route_interface(), interfaces)?.id.clone();
    let mut placements: BTreeMap<AllocationId, Placement> = BTreeMap::new();
    for (allocation, seat) in choices.seats(addresses) {
        let there = find(&seat.interface, interfaces)?;
        let place = usize::from(seat.private_ip);
        let Some(private_ip) = there.private_ips.get(place) else {
            let found = there.private_ips.len();
            return Err(format!("{} has {found} private addresses, expected {}", there.id, place + 1));
        };
        let placement = Placement { interface: there.id.clone(), private_ip: *private_ip };
        // Two descriptions may mean one interface here and two elsewhere. EC2 would take the one away for the other.
        if let Some((other, _)) = placements.iter().find(|(_, taken)| **taken == placement) {
            return Err(format!("{other} and {allocation} both go to {private_ip} on {}", there.id));
        }
        placements.insert(allocation.clone(), placement);
    }
    Ok(Places { interface, placements })
}

/// The one interface that was chosen.
fn find<'i>(choice: &InterfaceChoice, interfaces: &'i [Interface]) -> Result<&'i Interface, String> {
    let fits = |interface: &&Interface| choice.fits(interface.device_index, &interface.tags);
    let found: Vec<_> = interfaces.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(format!("it has no interface with {choice}")),
        _ => {
            let found: Vec<_> = found.iter().map(|interface| interface.id.to_string()).collect();
            Err(format!("several of its interfaces have {choice}: {}", found.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::{SeatChoice, Tag};
    use crate::testing::{allocation, interface};

    fn on(n: u8, device_index: i32, side: &str) -> Interface {
        Interface {
            id: interface(n),
            device_index,
            private_ips: vec![Ipv4Addr::new(10, 0, n, 10), Ipv4Addr::new(10, 0, n, 11)],
            tags: [("side".to_owned(), side.to_owned())].into(),
        }
    }

    fn side(value: &str) -> InterfaceChoice {
        InterfaceChoice::Tag(Tag::new("side", value).expect("valid"))
    }

    fn seat(interface: InterfaceChoice, private_ip: u16) -> SeatChoice {
        SeatChoice { interface, private_ip }
    }

    fn at(n: u8, last: u8) -> Placement {
        Placement { interface: interface(n), private_ip: Ipv4Addr::new(10, 0, n, last) }
    }

    #[test]
    fn without_a_choice_everything_goes_to_the_primary_interface_wherever_it_is_in_the_list() {
        let there = [on(2, 1, "in"), on(1, 0, "out")];
        let found = places(&Choices::default(), &[allocation(1), allocation(2)], &there).expect("a place");
        assert_eq!(found.interface, interface(1));
        assert_eq!(found.placements, [(allocation(1), at(1, 10)), (allocation(2), at(1, 11))].into());
    }

    #[test]
    fn what_was_chosen_is_found_by_device_index_and_by_tag() {
        let choices = Choices {
            seats: [
                (allocation(1), seat(InterfaceChoice::Device(1), 1)),
                (allocation(2), seat(side("out"), 0)),
            ]
            .into(),
            routes: Some(side("in")),
            ..Choices::default()
        };
        let there = [on(1, 0, "out"), on(2, 1, "in")];
        let found = places(&choices, &[allocation(1), allocation(2)], &there).expect("a place");
        assert_eq!(found.interface, interface(2));
        assert_eq!(found.placements, [(allocation(1), at(2, 11)), (allocation(2), at(1, 10))].into());
    }

    #[test]
    fn what_is_not_there_is_there_twice_or_is_taken_has_no_place() {
        let of = |choices: &Choices, there: &[Interface]| {
            places(choices, &[allocation(1), allocation(2)], there).expect_err("no place")
        };
        let routes = |choice| Choices { routes: Some(choice), ..Choices::default() };
        let there = [on(1, 0, "out"), on(2, 1, "in")];
        assert_eq!(
            of(&routes(InterfaceChoice::Device(2)), &there),
            "it has no interface with device index 2"
        );
        assert_eq!(of(&routes(side("lan")), &there), "it has no interface with the tag side=lan");
        let twice = of(&routes(side("in")), &[on(1, 0, "in"), on(2, 1, "in")]);
        assert_eq!(
            twice,
            format!("several of its interfaces have the tag side=in: {}, {}", interface(1), interface(2))
        );
        let mut untold = there.clone();
        untold[1].tags.clear();
        assert_eq!(of(&routes(side("in")), &untold), "it has no interface with the tag side=in");
        let seats = |one: SeatChoice, two: SeatChoice| Choices {
            seats: [(allocation(1), one), (allocation(2), two)].into(),
            ..Choices::default()
        };
        let short = of(&seats(seat(side("in"), 0), seat(side("in"), 2)), &there);
        assert_eq!(short, format!("{} has 2 private addresses, expected 3", interface(2)));
        let shared = of(&seats(seat(side("in"), 1), seat(InterfaceChoice::Device(1), 1)), &there);
        let both =
            format!("{} and {} both go to 10.0.2.11 on {}", allocation(1), allocation(2), interface(2));
        assert_eq!(shared, both);
    }
}
