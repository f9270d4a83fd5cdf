//! The IAM actions behind each question and change, so that a test can hold the templates to exactly these.
//!
//! [`Call::action`] names a call as EC2 does; here everything carries the `ec2:` that a policy needs.

use baton_protocol::ec2::{Call, Look};

/// What the looks need. None of them can be limited to a resource by IAM.
pub const LOOK_ACTIONS: &[&str] = &[
    "ec2:DescribeAddresses",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
];

/// What the calls need; each can be limited to tagged resources.
pub const CALL_ACTIONS: &[&str] = &[
    "ec2:AssociateAddress",
    "ec2:CreateRoute",
    "ec2:DisassociateAddress",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ReplaceRoute",
    "ec2:ReplaceRouteTableAssociation",
];

/// What fencing needs, where the control plane allows it; it can be limited to tagged instances.
pub const FENCE_ACTIONS: &[&str] = &["ec2:StopInstances"];

/// What checking a registration needs besides [`LOOK_ACTIONS`]: [`crate::Cloud::instances`], [`crate::Cloud::tagged`],
/// [`crate::Cloud::subnets`], [`crate::Cloud::interface_tags`], [`crate::Cloud::tables_of`] and [`crate::Cloud::vpc_networks`].
pub const REGISTRATION_ACTIONS: &[&str] = &[
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
];

/// What a role of another account needs for its route tables (`RouteTablesRoleArn`): the looks and calls of tables, and what
/// checking a registration needs of the subnets and networks beside them.
pub const TABLE_ACTIONS: &[&str] = &[
    "ec2:CreateRoute",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ec2:ReplaceRoute",
    "ec2:ReplaceRouteTableAssociation",
];

/// What taking on that role needs ([`crate::Cloud::through`]).
pub const ASSUME_ACTION: &str = "sts:AssumeRole";

/// Every action this crate can ask of EC2, in order, each once.
pub const ACTIONS: &[&str] = &[
    "ec2:AssociateAddress",
    "ec2:CreateRoute",
    "ec2:DescribeAddresses",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
    "ec2:DisassociateAddress",
    "ec2:ModifyNetworkInterfaceAttribute",
    "ec2:ReplaceRoute",
    "ec2:ReplaceRouteTableAssociation",
    "ec2:StopInstances",
];

/// The action a look needs.
pub fn look_action(look: &Look) -> &'static str {
    match look {
        Look::Addresses(_) | Look::Seats(_) => "ec2:DescribeAddresses",
        Look::Tables(_) | Look::Subnets(_) => "ec2:DescribeRouteTables",
        Look::Interfaces(_) => "ec2:DescribeNetworkInterfaces",
        Look::Instance(_) => "ec2:DescribeInstances",
    }
}

/// The action a call needs.
pub fn call_action(call: &Call) -> &'static str {
    match call {
        Call::Disassociate { .. } => "ec2:DisassociateAddress",
        Call::Associate { .. } => "ec2:AssociateAddress",
        Call::ReplaceRoute { .. } => "ec2:ReplaceRoute",
        Call::CreateRoute { .. } => "ec2:CreateRoute",
        Call::ReplaceTableAssociation { .. } => "ec2:ReplaceRouteTableAssociation",
        Call::DisableSourceDestCheck { .. } => "ec2:ModifyNetworkInterfaceAttribute",
        Call::Stop { .. } => "ec2:StopInstances",
    }
}

/// An action without its `ec2:`, as EC2 and error messages name it.
pub(crate) fn bare(action: &'static str) -> &'static str {
    action.strip_prefix("ec2:").unwrap_or(action)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use baton_protocol::ids::{
        AllocationId, AssociationId, InstanceId, InterfaceId, RouteTableId, SubnetId, TableAssociationId,
    };
    use baton_protocol::resource::{Destination, Placement, Route};

    use super::*;

    fn every_look() -> Vec<Look> {
        vec![
            Look::Addresses(vec![]),
            Look::Seats(vec![]),
            Look::Tables(vec![]),
            Look::Subnets(vec![]),
            Look::Interfaces(vec![]),
            Look::Instance(InstanceId::new("i-01234567").expect("valid")),
        ]
    }

    fn every_call() -> Vec<Call> {
        let allocation = AllocationId::new("eipalloc-01234567").expect("valid");
        let association = AssociationId::new("eipassoc-01234567").expect("valid");
        let interface = InterfaceId::new("eni-01234567").expect("valid");
        let table = RouteTableId::new("rtb-01234567").expect("valid");
        let swap = Call::ReplaceTableAssociation {
            subnet: SubnetId::new("subnet-01234567").expect("valid"),
            association: TableAssociationId::new("rtbassoc-01234567").expect("valid"),
            table: table.clone(),
        };
        let route = Route { table, destination: Destination::new("10.9.0.1/32").expect("valid") };
        let placement = Placement { interface: interface.clone(), private_ip: [10, 0, 0, 1].into() };
        vec![
            Call::Disassociate { allocation: allocation.clone(), association },
            Call::Associate { allocation, placement },
            Call::ReplaceRoute { route: route.clone(), interface: interface.clone() },
            Call::CreateRoute { route, interface: interface.clone() },
            swap,
            Call::DisableSourceDestCheck { interface },
            Call::Stop { instance: InstanceId::new("i-01234567").expect("valid") },
        ]
    }

    #[test]
    fn the_lists_are_what_the_looks_and_calls_need_and_nothing_more() {
        let looks: BTreeSet<_> = every_look().iter().map(look_action).collect();
        assert_eq!(looks, LOOK_ACTIONS.iter().copied().collect());
        let calls: BTreeSet<_> = every_call().iter().map(call_action).collect();
        assert_eq!(calls, CALL_ACTIONS.iter().chain(FENCE_ACTIONS).copied().collect());
        let all: BTreeSet<_> =
            [LOOK_ACTIONS, CALL_ACTIONS, FENCE_ACTIONS, REGISTRATION_ACTIONS].concat().into_iter().collect();
        assert_eq!(ACTIONS, all.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_role_of_another_account_needs_what_is_asked_and_changed_of_tables() {
        let looks = every_look().into_iter().filter(Look::is_of_tables).map(|look| look_action(&look));
        let calls = every_call().into_iter().filter(Call::is_of_tables).map(|call| call_action(&call));
        // A registration looks at these as well, and at instances and interfaces, which are the account's own.
        let registration = REGISTRATION_ACTIONS.iter().copied();
        let own = ["ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces"];
        let registration = registration.filter(|action| !own.contains(action));
        let needed: BTreeSet<_> = looks.chain(calls).chain(registration).collect();
        assert_eq!(TABLE_ACTIONS, needed.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_call_has_the_same_name_for_ec2_and_for_iam() {
        for call in every_call() {
            assert_eq!(bare(call_action(&call)), call.action());
        }
    }
}
