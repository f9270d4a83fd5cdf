//! Network interfaces: whether they forward, and on which instance they are.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{AttachmentStatus, AttributeBooleanValue, Filter, NetworkInterface, Tag};
use baton_protocol::ec2::{CloudFailure, Effect, InterfaceSeen};
use baton_protocol::ids::InterfaceId;
use futures_util::future::try_join_all;

use super::{Mode, asked_for, filters, optional, pages};
use crate::error::{failure, unreadable};

const DESCRIBE: &str = "DescribeNetworkInterfaces";

/// As many interfaces as one filter can name, and more than EC2's smallest page.
const PAGE: i32 = 200;

/// The state of these interfaces.
pub(super) async fn interfaces(
    client: &Client,
    ids: &[InterfaceId],
) -> Result<BTreeMap<InterfaceId, InterfaceSeen>, CloudFailure> {
    let mut seen = BTreeMap::new();
    let rows = try_join_all(
        filters("network-interface-id", ids).into_iter().map(|filter| described(client, filter)),
    );
    for row in rows.await?.into_iter().flatten() {
        if let Some(id) = asked_for(DESCRIBE, ids, row.network_interface_id()) {
            let interface = interface_seen(&id, &row)?;
            seen.insert(id, interface);
        }
    }
    Ok(seen)
}

/// The tags of these interfaces.
pub(super) async fn tags(
    client: &Client,
    ids: &[InterfaceId],
) -> Result<BTreeMap<InterfaceId, BTreeMap<String, String>>, CloudFailure> {
    let mut seen = BTreeMap::new();
    let rows = try_join_all(
        filters("network-interface-id", ids).into_iter().map(|filter| described(client, filter)),
    );
    for row in rows.await?.into_iter().flatten() {
        if let Some(id) = asked_for(DESCRIBE, ids, row.network_interface_id()) {
            let tags = row.tag_set().iter();
            let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
            seen.insert(id, tags.filter_map(pair).collect());
        }
    }
    Ok(seen)
}

async fn described(client: &Client, filter: Filter) -> Result<Vec<NetworkInterface>, CloudFailure> {
    let pages = pages!(DESCRIBE, client.describe_network_interfaces().filters(filter), PAGE);
    Ok(pages.into_iter().flat_map(|page| page.network_interfaces.unwrap_or_default()).collect())
}

fn interface_seen(id: &InterfaceId, row: &NetworkInterface) -> Result<InterfaceSeen, CloudFailure> {
    let source_dest_check = row
        .source_dest_check()
        .ok_or_else(|| unreadable(DESCRIBE, format_args!("{id} without its source/destination check")))?;
    let attached = row
        .attachment()
        .filter(|attachment| {
            !matches!(attachment.status(), Some(AttachmentStatus::Detached | AttachmentStatus::Detaching))
        })
        .and_then(|attachment| attachment.instance_id());
    Ok(InterfaceSeen { source_dest_check, instance: optional(DESCRIBE, "the instance", attached)? })
}

/// Lets an interface forward.
pub(super) async fn disable_source_dest_check(
    client: &Client,
    interface: &InterfaceId,
    mode: Mode,
) -> Result<Effect, CloudFailure> {
    client
        .modify_network_interface_attribute()
        .network_interface_id(interface.as_str())
        .source_dest_check(AttributeBooleanValue::builder().value(false).build())
        .set_dry_run(mode.dry_run())
        .send()
        .await
        .map(|_| Effect::Done)
        .map_err(|error| failure("ModifyNetworkInterfaceAttribute", error))
}

#[cfg(test)]
mod tests {
    use baton_protocol::ids::InstanceId;

    use super::*;
    use crate::ec2::canned::Canned;

    const INTERFACE: &str = "eni-0123456789abcdef0";
    const INSTANCE: &str = "i-0123456789abcdef0";

    fn interface() -> InterfaceId {
        InterfaceId::new(INTERFACE).expect("valid")
    }

    fn body(inner: &str) -> String {
        format!(
            "<DescribeNetworkInterfacesResponse><networkInterfaceSet><item>\
             <networkInterfaceId>{INTERFACE}</networkInterfaceId>{inner}</item></networkInterfaceSet>\
             </DescribeNetworkInterfacesResponse>"
        )
    }

    #[tokio::test]
    async fn an_interface_is_on_the_instance_it_is_attached_to() {
        for (status, instance) in
            [("attached", Some(INSTANCE)), ("attaching", Some(INSTANCE)), ("detaching", None)]
        {
            let inner = format!(
                "<sourceDestCheck>true</sourceDestCheck><attachment><instanceId>{INSTANCE}</instanceId>\
                 <status>{status}</status></attachment>"
            );
            let canned = Canned::answers([(200, body(&inner))]);
            let seen = interfaces(&canned.client(), &[interface()]).await.expect("readable");
            let instance = instance.map(|id| InstanceId::new(id).expect("valid"));
            assert_eq!(seen[&interface()], InterfaceSeen { source_dest_check: true, instance }, "{status}");
            assert_eq!(canned.requests()[0]["Filter.1.Name"], "network-interface-id");
        }
    }

    #[tokio::test]
    async fn the_tags_of_an_interface_are_read_and_of_no_other() {
        let inner = "<tagSet><item><key>side</key><value>public</value></item><item><key>empty</key><value/></item>\
             </tagSet>";
        let canned = Canned::answers([(200, body(inner)), (200, body(inner))]);
        let seen = tags(&canned.client(), &[interface()]).await.expect("readable");
        let expected = [("empty", ""), ("side", "public")];
        assert!(seen[&interface()].iter().map(|(key, value)| (&**key, &**value)).eq(expected), "{seen:?}");
        let other = InterfaceId::new("eni-0fffffffffffffff0").expect("valid");
        assert_eq!(tags(&canned.client(), &[other]).await, Ok(BTreeMap::new()));
    }

    #[tokio::test]
    async fn an_interface_without_its_check_or_with_a_strange_instance_is_unknown() {
        for inner in [
            "",
            "<sourceDestCheck>true</sourceDestCheck><attachment><instanceId>nonsense</instanceId></attachment>",
        ] {
            let canned = Canned::answers([(200, body(inner))]);
            let seen = interfaces(&canned.client(), &[interface()]).await;
            assert!(matches!(seen, Err(CloudFailure::Unknown(_))), "{inner}: {seen:?}");
        }
    }

    #[tokio::test]
    async fn the_check_is_switched_off_and_nothing_else_is_changed() {
        let answer = "<ModifyNetworkInterfaceAttributeResponse><return>true</return></ModifyNetworkInterfaceAttributeResponse>";
        let canned = Canned::answers([(200, answer.to_owned())]);
        disable_source_dest_check(&canned.client(), &interface(), Mode::InEarnest).await.expect("applied");
        let request = &canned.requests()[0];
        let given: Vec<_> = request.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(
            given,
            [
                ("Action", "ModifyNetworkInterfaceAttribute"),
                ("NetworkInterfaceId", INTERFACE),
                ("SourceDestCheck.Value", "false"),
                ("Version", "2016-11-15"),
            ]
        );
    }
}
