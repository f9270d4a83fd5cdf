//! Calls that somebody made to EC2, as CloudTrail tells of them: which ids they name.
//!
//! Every call spells its parameters in its own way, and EC2 keeps adding calls. What an id is can be seen from the id
//! itself, so the parameters are searched for whatever looks like one; what became of the resource is not read from the
//! event. Who made the call does not matter either, but for the arbiter itself, whose calls the rule leaves out: one of them
//! that lands late is found by the second look.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

/// The `detail-type` of every event by which CloudTrail tells of a call.
pub const DETAIL_TYPE: &str = "AWS API Call via CloudTrail";

/// The calls after which a resource may be elsewhere, which the template's rule asks for. Others that name a resource lead to
/// a look as well: those that change the tags of route tables have a rule of their own.
pub const CALLS: &[&str] = &[
    "AssociateAddress",
    "CreateRoute",
    "DeleteNetworkInterface",
    "DeleteRoute",
    "DeleteRouteTable",
    "DisassociateAddress",
    "DisassociateRouteTable",
    "ModifyInstanceAttribute",
    "ModifyNetworkInterfaceAttribute",
    "ReleaseAddress",
    "ReplaceRoute",
    "ReplaceRouteTableAssociation",
    "UnassignPrivateIpAddresses",
];

/// What ids begin with that a lease can know: addresses, their associations, route tables and theirs, subnets, interfaces,
/// instances.
const PREFIXES: &[&str] = &["eipalloc-", "eipassoc-", "rtb-", "rtbassoc-", "subnet-", "eni-", "i-"];

/// EC2's longest id has 26 characters.
const LONGEST: usize = 32;
/// No call that moves anything names more.
const MOST: usize = 1_000;
/// Nor nests its parameters deeper.
const DEEPEST: usize = 8;

/// The part of the detail that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_source: String,
    event_name: String,
    #[serde(default)]
    request_parameters: Value,
    #[serde(default)]
    error_code: Option<String>,
}

/// A call to EC2 that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name, for people.
    pub name: String,
    /// The ids and addresses among its parameters; never empty.
    pub named: BTreeSet<String>,
}

/// Reads the detail of such an event; the error says why nothing follows from it.
pub fn read(detail: Value) -> Result<Call, String> {
    let detail: Detail =
        serde_json::from_value(detail).map_err(|error| format!("malformed call: {error}"))?;
    if detail.event_source != "ec2.amazonaws.com" {
        return Err("a call to another service than EC2".to_owned());
    }
    if detail.error_code.is_some() {
        return Err("a call that failed".to_owned());
    }
    let mut named = BTreeSet::new();
    collect(&detail.request_parameters, DEEPEST, &mut named);
    if named.is_empty() {
        return Err("a call that names nothing of a cluster's kind".to_owned());
    }
    Ok(Call { name: detail.event_name.chars().take(80).collect(), named })
}

fn collect(value: &Value, depth: usize, named: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if is_id(text) && named.len() < MOST => {
            named.insert(text.clone());
        }
        Value::Array(values) if depth > 0 => values.iter().for_each(|value| collect(value, depth - 1, named)),
        Value::Object(fields) if depth > 0 => {
            fields.values().for_each(|value| collect(value, depth - 1, named));
        }
        _ => {}
    }
}

fn is_id(text: &str) -> bool {
    let prefixed = PREFIXES.iter().any(|prefix| text.starts_with(prefix));
    text.len() <= LONGEST && (prefixed || text.parse::<std::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(name: &str, parameters: Value) -> Value {
        json!({
            "eventVersion": "1.10", "eventSource": "ec2.amazonaws.com", "eventName": name,
            "awsRegion": "eu-west-1", "readOnly": false, "managementEvent": true,
            "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::123456789012:assumed-role/admin/alice"},
            "requestParameters": parameters, "responseElements": {"_return": true},
        })
    }

    #[test]
    fn the_ids_of_a_call_are_found_wherever_they_stand() {
        for (name, parameters, ids) in [
            (
                "DisassociateAddress",
                json!({"associationId": "eipassoc-0123456789abcdef0"}),
                vec!["eipassoc-0123456789abcdef0"],
            ),
            (
                "AssociateAddress",
                json!({
                    "allocationId": "eipalloc-0123456789abcdef0", "networkInterfaceId": "eni-0123456789abcdef0",
                    "privateIpAddress": "10.0.1.10", "allowReassociation": true,
                }),
                vec!["10.0.1.10", "eipalloc-0123456789abcdef0", "eni-0123456789abcdef0"],
            ),
            (
                "ReplaceRoute",
                json!({"routeTableId": "rtb-0123456789abcdef0", "destinationCidrBlock": "10.9.0.1/32", "gatewayId": "igw-1"}),
                vec!["rtb-0123456789abcdef0"],
            ),
            (
                "ReplaceRouteTableAssociation",
                json!({"associationId": "rtbassoc-0123456789abcdef0", "routeTableId": "rtb-0123456789abcdef0"}),
                vec!["rtb-0123456789abcdef0", "rtbassoc-0123456789abcdef0"],
            ),
            (
                "DisassociateRouteTable",
                json!({"associationId": "rtbassoc-0123456789abcdef0"}),
                vec!["rtbassoc-0123456789abcdef0"],
            ),
            (
                "DeleteTags",
                json!({
                    "resourcesSet": {"items": [{"resourceId": "eni-0123456789abcdef0"}]},
                    "tagSet": {"items": [{"key": "baton:cluster"}]},
                }),
                vec!["eni-0123456789abcdef0"],
            ),
            (
                "ModifyInstanceAttribute",
                json!({"instanceId": "i-0123456789abcdef0", "sourceDestCheck": {"value": true}}),
                vec!["i-0123456789abcdef0"],
            ),
        ] {
            let found = read(call(name, parameters)).expect(name);
            assert_eq!(
                (found.name.as_str(), found.named.into_iter().collect::<Vec<_>>()),
                (name, ids.iter().map(ToString::to_string).collect())
            );
        }
    }

    #[test]
    fn a_call_that_failed_or_names_nothing_or_is_another_service_s_says_so() {
        let mut failed = call("ReplaceRoute", json!({"routeTableId": "rtb-01234567"}));
        failed["errorCode"] = json!("Client.UnauthorizedOperation");
        let mut other = call("ReplaceRoute", json!({"routeTableId": "rtb-01234567"}));
        other["eventSource"] = json!("s3.amazonaws.com");
        for (detail, why) in [
            (failed, "a call that failed"),
            (other, "a call to another service than EC2"),
            (call("CreateVpc", Value::Null), "a call that names nothing of a cluster's kind"),
            (json!({}), "malformed call: missing field `eventSource`"),
        ] {
            assert_eq!(read(detail).expect_err("nothing follows"), why);
        }
    }

    #[test]
    fn what_is_endless_is_not_read_to_its_end() {
        let mut nested = json!("i-01234567");
        for _ in 0..100 {
            nested = json!([nested]);
        }
        assert!(read(call("X", nested)).is_err(), "too deep");
        let long = format!("i-{}", "0".repeat(40));
        assert!(read(call("X", json!({"a": long}))).is_err(), "too long");
        let many: Vec<_> = (0..2 * MOST).map(|n| format!("i-{n:08x}")).collect();
        assert_eq!(read(call("X", json!(many))).expect("some").named.len(), MOST);
    }
}
