//! Elastic IPs: where they are, who sits on an interface, and the two halves of compare-and-swap.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Address, Filter};
use baton_protocol::ec2::{AddressSeen, CloudFailure, Effect, Seat};
use baton_protocol::ids::{AllocationId, AssociationId, InterfaceId};
use baton_protocol::resource::Placement;
use futures_util::future::try_join_all;

use super::{Mode, asked_for, filters, optional, required, text};
use crate::error::{failure, unreadable};

const DESCRIBE: &str = "DescribeAddresses";

/// Where these addresses are.
pub(super) async fn addresses(
    client: &Client,
    ids: &[AllocationId],
) -> Result<BTreeMap<AllocationId, AddressSeen>, CloudFailure> {
    let mut seen = BTreeMap::new();
    for row in described(client, filters("allocation-id", ids)).await? {
        if let Some(id) = asked_for(DESCRIBE, ids, row.allocation_id()) {
            let address = address(&id, &row)?;
            seen.insert(id, address);
        }
    }
    Ok(seen)
}

/// Which addresses sit on these interfaces.
pub(super) async fn seats(client: &Client, interfaces: &[InterfaceId]) -> Result<Vec<Seat>, CloudFailure> {
    let rows = described(client, filters("network-interface-id", interfaces)).await?;
    let mut seats = Vec::new();
    for row in &rows {
        seats.extend(seat(interfaces, row)?);
    }
    Ok(seats)
}

async fn described(client: &Client, filters: Vec<Filter>) -> Result<Vec<Address>, CloudFailure> {
    // DescribeAddresses has no pages: one answer holds everything that fits the filter.
    let answers =
        try_join_all(filters.into_iter().map(|filter| client.describe_addresses().filters(filter).send()))
            .await
            .map_err(|error| failure(DESCRIBE, error))?;
    Ok(answers.into_iter().flat_map(|answer| answer.addresses.unwrap_or_default()).collect())
}

fn address(id: &AllocationId, row: &Address) -> Result<AddressSeen, CloudFailure> {
    let public_ip = required(DESCRIBE, "the public address", row.public_ip())?;
    let interface: Option<InterfaceId> = optional(DESCRIBE, "the interface", row.network_interface_id())?;
    let private_ip = optional(DESCRIBE, "the private address", row.private_ip_address())?;
    let association: Option<AssociationId> = optional(DESCRIBE, "the association", row.association_id())?;
    if association.is_none() && (interface.is_some() || text(row.instance_id()).is_some()) {
        // Taking such an address for free would be wrong, and without an id it cannot be freed by compare-and-swap.
        return Err(unreadable(DESCRIBE, format_args!("{id} is in use and has no association id")));
    }
    let placement =
        interface.zip(private_ip).map(|(interface, private_ip)| Placement { interface, private_ip });
    Ok(AddressSeen { public_ip, association: association.map(|association| (association, placement)) })
}

/// The seat a row describes. A row that cannot be read is never left out: the seat would look free, and whoever then
/// takes it evicts the address that sits there.
fn seat(interfaces: &[InterfaceId], row: &Address) -> Result<Option<Seat>, CloudFailure> {
    let Some(interface) = optional::<InterfaceId>(DESCRIBE, "the interface", row.network_interface_id())?
    else {
        tracing::warn!(action = DESCRIBE, "EC2 answered with an address on no interface; left out");
        return Ok(None);
    };
    let Some(interface) = asked_for(DESCRIBE, interfaces, Some(interface.as_str())) else {
        return Ok(None);
    };
    let allocation = required(DESCRIBE, "the allocation", row.allocation_id())?;
    let private_ip = required(DESCRIBE, "the private address", row.private_ip_address())?;
    Ok(Some(Seat { allocation, placement: Placement { interface, private_ip } }))
}

/// Ends one association.
pub(super) async fn disassociate(
    client: &Client,
    association: &AssociationId,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    client
        .disassociate_address()
        .association_id(association.as_str())
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map(|_| Effect::Done)
        .map_err(|error| failure("DisassociateAddress", error))
}

/// Associates a free address. Reassociation is forbidden outright: at EC2 its absence means permission.
pub(super) async fn associate(
    client: &Client,
    allocation: &AllocationId,
    placement: &Placement,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    const ACTION: &str = "AssociateAddress";
    let answer = client
        .associate_address()
        .allocation_id(allocation.as_str())
        .network_interface_id(placement.interface.as_str())
        .private_ip_address(placement.private_ip.to_string())
        .allow_reassociation(false)
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map_err(|error| failure(ACTION, error))?;
    required(ACTION, "the association", answer.association_id()).map(Effect::Associated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::{Canned, error_body};

    const ALLOCATION: &str = "eipalloc-0123456789abcdef0";
    const INTERFACE: &str = "eni-0123456789abcdef0";

    fn row(fields: &[(&str, &str)]) -> String {
        let fields: String = fields.iter().map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
        format!("<item>{fields}</item>")
    }

    fn body(rows: &[String]) -> String {
        format!(
            "<DescribeAddressesResponse><addressesSet>{}</addressesSet></DescribeAddressesResponse>",
            rows.concat()
        )
    }

    fn allocation() -> AllocationId {
        AllocationId::new(ALLOCATION).expect("valid")
    }

    fn interface() -> InterfaceId {
        InterfaceId::new(INTERFACE).expect("valid")
    }

    #[tokio::test]
    async fn addresses_are_asked_for_by_filter_and_read_with_their_placement() {
        let placed = row(&[
            ("allocationId", ALLOCATION),
            ("publicIp", "198.51.100.7"),
            ("associationId", "eipassoc-0123456789abcdef0"),
            ("networkInterfaceId", INTERFACE),
            ("privateIpAddress", "10.0.1.10"),
        ]);
        let foreign = row(&[("allocationId", "eipalloc-0fffffffffffffff0"), ("publicIp", "198.51.100.8")]);
        let canned = Canned::answers([(200, body(&[placed, foreign]))]);
        let seen = addresses(&canned.client(), &[allocation()]).await.expect("readable");
        let request = &canned.requests()[0];
        assert_eq!(request["Action"], "DescribeAddresses");
        assert_eq!(
            (&*request["Filter.1.Name"], &*request["Filter.1.Value.1"]),
            ("allocation-id", ALLOCATION)
        );
        assert!(!request.contains_key("AllocationId.1"));
        let placement = Placement { interface: interface(), private_ip: [10, 0, 1, 10].into() };
        let association = AssociationId::new("eipassoc-0123456789abcdef0").expect("valid");
        let expected = AddressSeen {
            public_ip: [198, 51, 100, 7].into(),
            association: Some((association, Some(placement))),
        };
        assert_eq!(seen, BTreeMap::from([(allocation(), expected)]));
    }

    #[tokio::test]
    async fn empty_texts_mean_that_an_address_is_free() {
        let free = row(&[
            ("allocationId", ALLOCATION),
            ("publicIp", "198.51.100.7"),
            ("instanceId", ""),
            ("networkInterfaceId", ""),
        ]);
        let canned = Canned::answers([(200, body(&[free]))]);
        let seen = addresses(&canned.client(), &[allocation()]).await.expect("readable");
        assert_eq!(seen[&allocation()].association, None);
    }

    #[tokio::test]
    async fn an_address_in_use_without_an_association_id_is_unknown_and_not_free() {
        for used in [("networkInterfaceId", INTERFACE), ("instanceId", "i-0123456789abcdef0")] {
            let odd = row(&[("allocationId", ALLOCATION), ("publicIp", "198.51.100.7"), used]);
            let canned = Canned::answers([(200, body(&[odd]))]);
            let seen = addresses(&canned.client(), &[allocation()]).await;
            assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{used:?}: {seen:?}");
        }
    }

    #[tokio::test]
    async fn a_seat_that_cannot_be_read_is_unknown_and_not_free() {
        let good = [
            ("allocationId", ALLOCATION),
            ("networkInterfaceId", INTERFACE),
            ("privateIpAddress", "10.0.1.10"),
        ];
        for broken in 0..good.len() {
            let mut fields = good;
            fields[broken].1 = "nonsense";
            let canned = Canned::answers([(200, body(&[row(&fields)]))]);
            let seen = seats(&canned.client(), &[interface()]).await;
            assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{fields:?}: {seen:?}");
        }
        let elsewhere = row(&[("allocationId", ALLOCATION), ("networkInterfaceId", "eni-0aaaaaaaaaaaaaaa0")]);
        let canned = Canned::answers([(200, body(&[row(&good), elsewhere]))]);
        let seen = seats(&canned.client(), &[interface()]).await.expect("readable");
        let placement = Placement { interface: interface(), private_ip: [10, 0, 1, 10].into() };
        assert_eq!(seen, [Seat { allocation: allocation(), placement }]);
        let request = &canned.requests()[0];
        assert_eq!(
            (&*request["Filter.1.Name"], &*request["Filter.1.Value.1"]),
            ("network-interface-id", INTERFACE)
        );
    }

    #[tokio::test]
    async fn asking_for_nothing_asks_nothing() {
        let canned = Canned::answers([]);
        assert_eq!(addresses(&canned.client(), &[]).await, Ok(BTreeMap::new()));
        assert_eq!(seats(&canned.client(), &[]).await, Ok(vec![]));
        assert!(canned.requests().is_empty());
    }

    #[tokio::test]
    async fn an_association_names_its_seat_and_never_takes_an_address_from_anybody() {
        let answer = "<AssociateAddressResponse><return>true</return>\
            <associationId>eipassoc-0123456789abcdef1</associationId></AssociateAddressResponse>";
        let canned = Canned::answers([(200, answer.to_owned())]);
        let placement = Placement { interface: interface(), private_ip: [10, 0, 1, 10].into() };
        let effect =
            associate(&canned.client(), &allocation(), &placement, Mode::InEarnest).await.expect("applied");
        let association = AssociationId::new("eipassoc-0123456789abcdef1").expect("valid");
        assert_eq!(effect, Effect::Associated(association));
        let request = &canned.requests()[0];
        for (name, value) in [
            ("Action", "AssociateAddress"),
            ("AllocationId", ALLOCATION),
            ("NetworkInterfaceId", INTERFACE),
            ("PrivateIpAddress", "10.0.1.10"),
            ("AllowReassociation", "false"),
        ] {
            assert_eq!(request[name], value, "{name}");
        }
        assert!(!request.contains_key("InstanceId"));
    }

    #[tokio::test]
    async fn what_ec2_answers_to_a_call_is_told_apart() {
        let no_id = "<AssociateAddressResponse><return>true</return></AssociateAddressResponse>".to_owned();
        let placement = Placement { interface: interface(), private_ip: [10, 0, 1, 10].into() };
        for (status, body, expected) in [
            (400, error_body("Resource.AlreadyAssociated", "taken"), "AlreadyAssociated"),
            (503, error_body("RequestLimitExceeded", "slow down"), "Throttled"),
            (403, error_body("UnauthorizedOperation", "no"), "Denied"),
            (400, error_body("InvalidNetworkInterfaceID.NotFound", "eni"), "NotFound"),
            (500, error_body("InternalError", "oops"), "Unknown"),
            (400, "not xml".to_owned(), "Unknown"),
            (502, String::new(), "Unknown"),
            (200, "<half".to_owned(), "Unknown"),
            (200, no_id, "Unknown"),
        ] {
            let canned = Canned::answers([(status, body.clone())]);
            let failure = associate(&canned.client(), &allocation(), &placement, Mode::InEarnest)
                .await
                .expect_err("a failure");
            let name = format!("{failure:?}");
            assert!(name.starts_with(expected), "{status} {body}: {name}");
            assert_eq!(canned.requests().len(), 1, "nothing is tried twice");
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_leaves_a_call_unknown() {
        let canned = Canned::answers([]);
        let association = AssociationId::new("eipassoc-0123456789abcdef1").expect("valid");
        let failure =
            disassociate(&canned.client(), &association, Mode::InEarnest).await.expect_err("a failure");
        assert!(matches!(failure, CloudFailure::Unknown(_)), "{failure:?}");
        assert_eq!(canned.requests()[0]["AssociationId"], association.as_str());
    }
}
