//! The region's Elastic IPs, and how many there may be.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::AccountAttributeName;
use baton_doctor::survey::AddressDetail;
use baton_protocol::ids::AllocationId;

use super::{Answer, failure, required, tagged, unreadable};

const ADDRESSES: &str = "ec2:DescribeAddresses";
const ATTRIBUTES: &str = "ec2:DescribeAccountAttributes";
/// EC2's name of the limit on Elastic IPs of a region.
const LIMIT: &str = "vpc-max-elastic-ips";

/// Every one of the region: their number counts against the quota.
pub(super) async fn addresses(ec2: &Client) -> Answer<BTreeMap<AllocationId, AddressDetail>> {
    let answer = ec2.describe_addresses().send().await.map_err(|error| failure(ADDRESSES, &error))?;
    let rows = answer.addresses().iter().map(|row| {
        let id = required(ADDRESSES, "the allocation of an address", row.allocation_id())?;
        Ok((id, AddressDetail { tagged: tagged(row.tags()) }))
    });
    rows.collect()
}

/// How many there may be.
pub(super) async fn quota(ec2: &Client) -> Answer<usize> {
    // The name is no variant of the SDK's, which knows those of old only.
    let request = ec2.describe_account_attributes().attribute_names(AccountAttributeName::from(LIMIT));
    let answer = request.send().await.map_err(|error| failure(ATTRIBUTES, &error))?;
    let rows = answer.account_attributes().iter().filter(|row| row.attribute_name() == Some(LIMIT));
    let value = rows.flat_map(|row| row.attribute_values()).find_map(|value| value.attribute_value());
    let value = value.ok_or_else(|| unreadable(ATTRIBUTES, format_args!("without {LIMIT}")))?;
    required(ATTRIBUTES, LIMIT, Some(value))
}
