//! Where on each node the addresses and the routes go: `Addresses`, `AddressInterface` and `RouteInterface`.

use baton_protocol::choice::{Choices, InterfaceChoice, LARGEST_INDEX, SeatChoice, Tag};
use baton_protocol::ids::AllocationId;
use serde_json::Value;

use super::At;

/// How an interface is described, in an entry or in a property of its own.
const DESCRIPTIONS: [&str; 2] = ["DeviceIndex", "InterfaceTag"];

/// The addresses in their order, and what was chosen of where they and the routes go.
pub(super) fn addresses_and_choices(root: &At<'_>, wrong: &mut Vec<String>) -> (Vec<AllocationId>, Choices) {
    let whole = |at: At<'_>, wrong: &mut Vec<String>| {
        at.value?;
        at.object(&DESCRIPTIONS, wrong)?;
        let chosen = interface(&at, wrong)?;
        chosen.or_else(|| at.expected("DeviceIndex or InterfaceTag", wrong))
    };
    let usual = whole(root.field("AddressInterface"), wrong);
    let routes = whole(root.field("RouteInterface"), wrong);
    let mut choices = Choices { routes: elsewhere(routes), ..Choices::default() };
    let usual = elsewhere(usual);
    let mut addresses = Vec::new();
    let mut next = 0;
    for entry in root.field("Addresses").optional_list(wrong) {
        let Some((allocation, own)) = address(&entry, wrong) else { continue };
        let seat = own.or_else(|| {
            let interface = usual.clone()?;
            let private_ip = next;
            next += 1;
            Some(SeatChoice { interface, private_ip })
        });
        if let Some(seat) = seat {
            choices.seats.insert(allocation.clone(), seat);
        }
        addresses.push(allocation);
    }
    (addresses, choices)
}

/// What is written of the primary interface where it is all there is: nothing, as before there was a choice.
fn elsewhere(chosen: Option<InterfaceChoice>) -> Option<InterfaceChoice> {
    chosen.filter(|chosen| *chosen != InterfaceChoice::PRIMARY)
}

/// An entry: the id alone, or a map that may say where the address goes.
fn address(at: &At<'_>, wrong: &mut Vec<String>) -> Option<(AllocationId, Option<SeatChoice>)> {
    if !matches!(at.value, Some(Value::Object(_))) {
        return Some((at.id(wrong)?, None));
    }
    at.object(&["AllocationId", DESCRIPTIONS[0], DESCRIPTIONS[1], "PrivateIpIndex"], wrong)?;
    let allocation = at.field("AllocationId").id(wrong);
    let interface = interface(at, wrong);
    let place = at.field("PrivateIpIndex");
    let private_ip = if place.value.is_some() { index(&place, wrong).map(Some) } else { Some(None) };
    let seat = match (interface?, private_ip?) {
        (None, None) => None,
        // The primary address, and the primary interface, are what is meant where only the other is named.
        (interface, private_ip) => Some(SeatChoice {
            interface: interface.unwrap_or(InterfaceChoice::PRIMARY),
            private_ip: private_ip.unwrap_or(0),
        }),
    };
    Some((allocation?, seat))
}

/// The interface that a map describes, if it describes one; the outer `None`: it does so wrongly.
fn interface(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Option<InterfaceChoice>> {
    let [device, by_tag] = DESCRIPTIONS.map(|name| at.field(name));
    match (device.value, by_tag.value) {
        (None, None) => Some(None),
        (Some(_), None) => index(&device, wrong).map(|index| Some(InterfaceChoice::Device(index))),
        (None, Some(_)) => tag(&by_tag, wrong).map(|tag| Some(InterfaceChoice::Tag(tag))),
        (Some(_), Some(_)) => by_tag.expected("nothing, as DeviceIndex names the interface", wrong),
    }
}

/// A map of a key and a value.
pub(super) fn tag(at: &At<'_>, wrong: &mut Vec<String>) -> Option<Tag> {
    at.object(&["Key", "Value"], wrong)?;
    let [key, value] = ["Key", "Value"].map(|name| {
        let at = at.field(name);
        match at.value {
            Some(Value::String(text)) => Some(text.clone()),
            _ => at.expected("text", wrong),
        }
    });
    Tag::new(key?, value?).map_err(|error| wrong.push(format!("{}: {error}", at.path))).ok()
}

fn index(at: &At<'_>, wrong: &mut Vec<String>) -> Option<u16> {
    let found = at.number(wrong)?;
    let fits = u16::try_from(found).ok().filter(|index| *index <= LARGEST_INDEX);
    fits.or_else(|| at.expected(&format!("0 to {LARGEST_INDEX}"), wrong))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(properties: Value) -> Result<(Vec<String>, Choices), Vec<String>> {
        let mut wrong = Vec::new();
        let root = At { path: String::new(), value: Some(&properties) };
        let (addresses, choices) = addresses_and_choices(&root, &mut wrong);
        let addresses = addresses.iter().map(ToString::to_string).collect();
        if wrong.is_empty() { Ok((addresses, choices)) } else { Err(wrong) }
    }

    fn id(n: u8) -> String {
        format!("eipalloc-0000000{n}")
    }

    fn seat(interface: InterfaceChoice, private_ip: u16) -> SeatChoice {
        SeatChoice { interface, private_ip }
    }

    #[test]
    fn an_id_and_a_map_with_nothing_else_are_the_same_and_choose_nothing() {
        let plain = read(json!({ "Addresses": [id(1), id(2)] }));
        assert_eq!(plain, Ok((vec![id(1), id(2)], Choices::default())));
        assert_eq!(read(json!({ "Addresses": [{ "AllocationId": id(1) }, id(2)] })), plain);
        let primary = json!({
            "Addresses": [id(1), id(2)],
            "AddressInterface": { "DeviceIndex": "0" }, "RouteInterface": { "DeviceIndex": 0 },
        });
        assert_eq!(read(primary), plain);
    }

    #[test]
    fn an_entry_names_an_interface_or_a_private_address_or_both() {
        let tag = InterfaceChoice::Tag(Tag::new("side", "public").expect("valid"));
        let (_, choices) = read(json!({
            "Addresses": [
                { "AllocationId": id(1), "DeviceIndex": "1" },
                { "AllocationId": id(2), "PrivateIpIndex": 3 },
                { "AllocationId": id(3), "InterfaceTag": { "Key": "side", "Value": "public" }, "PrivateIpIndex": "2" },
                id(4),
            ],
            "RouteInterface": { "InterfaceTag": { "Key": "side", "Value": "public" } },
        }))
        .expect("good");
        assert_eq!(choices.routes, Some(tag.clone()));
        let seats: Vec<_> = choices.seats.values().cloned().collect();
        let device = InterfaceChoice::Device;
        assert_eq!(seats, [seat(device(1), 0), seat(device(0), 3), seat(tag, 2)]);
    }

    #[test]
    fn those_without_a_place_of_their_own_go_in_their_order_to_the_interface_that_was_chosen_for_them() {
        let (_, choices) = read(json!({
            "Addresses": [id(1), { "AllocationId": id(2), "DeviceIndex": 0 }, id(3)],
            "AddressInterface": { "DeviceIndex": 1 },
        }))
        .expect("good");
        let device = InterfaceChoice::Device;
        let seats: Vec<_> = choices.seats.into_values().collect();
        assert_eq!(seats, [seat(device(1), 0), seat(device(0), 0), seat(device(1), 1)]);
    }

    #[test]
    fn every_mistake_is_told_with_its_path() {
        let entry = |extra: Value| {
            let mut entry = json!({ "AllocationId": id(1) });
            entry.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
            read(json!({ "Addresses": [entry] })).expect_err("wrong")
        };
        for (extra, told) in [
            (json!({ "DeviceIndex": 64 }), "Addresses[0].DeviceIndex: expected 0 to 63, found 64"),
            (
                json!({ "PrivateIpIndex": "x" }),
                "Addresses[0].PrivateIpIndex: expected a whole number, found `x`",
            ),
            (
                json!({ "DeviceIndex": 1, "InterfaceTag": { "Key": "a", "Value": "b" } }),
                "Addresses[0].InterfaceTag: expected nothing, as DeviceIndex names the interface, found a map",
            ),
            (json!({ "InterfaceTag": "a=b" }), "Addresses[0].InterfaceTag: expected a map, found `a=b`"),
            (
                json!({ "InterfaceTag": { "Key": "a" } }),
                "Addresses[0].InterfaceTag.Value: expected text, found nothing",
            ),
            (
                json!({ "InterfaceTag": { "Key": "", "Value": "b" } }),
                "Addresses[0].InterfaceTag: expected the key of a tag: 1 to 128 characters, found ``",
            ),
            (
                json!({ "Interface": 1 }),
                "Addresses[0].Interface: expected one of AllocationId, DeviceIndex, InterfaceTag, PrivateIpIndex, found a \
                 property of this name",
            ),
        ] {
            assert_eq!(entry(extra), [told]);
        }
        let nothing = read(json!({ "RouteInterface": {} })).expect_err("wrong");
        assert_eq!(nothing, ["RouteInterface: expected DeviceIndex or InterfaceTag, found a map"]);
        let missing = read(json!({ "Addresses": [{ "DeviceIndex": 1 }] })).expect_err("wrong");
        assert_eq!(missing, ["Addresses[0].AllocationId: expected text, found nothing"]);
    }
}
