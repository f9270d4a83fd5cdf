//! The networks of a VPC, which decide where a route may be looked for.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::types::{Vpc, VpcCidrBlockState, VpcCidrBlockStateCode};
use baton_protocol::ec2::CloudFailure;
use baton_protocol::resource::Destination;

use super::{filter, pages, text};
use crate::error::unreadable;

const DESCRIBE: &str = "DescribeVpcs";

/// More than one VPC fits no filter on an id; this is a size EC2 accepts.
const PAGE: i32 = 100;

/// Every network of a VPC, of both families.
pub(super) async fn vpc_networks(client: &Client, vpc: &str) -> Result<Vec<Destination>, CloudFailure> {
    let pages = pages!(DESCRIBE, client.describe_vpcs().filters(filter("vpc-id", &[vpc])), PAGE);
    let rows = pages.into_iter().flat_map(|page| page.vpcs.unwrap_or_default());
    for row in rows {
        if row.vpc_id() == Some(vpc) {
            return networks(&row);
        }
    }
    Err(CloudFailure::NotFound(format!("InvalidVpcID.NotFound: EC2 knows no VPC `{vpc}`")))
}

fn networks(row: &Vpc) -> Result<Vec<Destination>, CloudFailure> {
    let v4 = row
        .cidr_block_association_set()
        .iter()
        .filter(|block| counts(block.cidr_block_state()))
        .map(|block| block.cidr_block());
    let v6 = row
        .ipv6_cidr_block_association_set()
        .iter()
        .filter(|block| counts(block.ipv6_cidr_block_state()))
        .map(|block| block.ipv6_cidr_block());
    // A network that cannot be read is not left out: a destination inside it would pass for one outside the VPC.
    let mut networks = v4
        .chain(v6)
        .chain(std::iter::once(row.cidr_block()).filter(|block| text(*block).is_some()))
        .map(|block| Destination::new(block.unwrap_or_default()).map_err(|error| unreadable(DESCRIBE, error)))
        .collect::<Result<Vec<Destination>, _>>()?;
    networks.sort();
    networks.dedup();
    Ok(networks)
}

/// Whether a network is the VPC's, or may be from one moment to the next.
fn counts(state: Option<&VpcCidrBlockState>) -> bool {
    !matches!(
        state.and_then(|state| state.state()),
        Some(VpcCidrBlockStateCode::Disassociated | VpcCidrBlockStateCode::Failed)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ec2::canned::Canned;

    fn body(blocks: &str) -> String {
        format!(
            "<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId><cidrBlock>10.0.0.0/16</cidrBlock>{blocks}\
             </item></vpcSet></DescribeVpcsResponse>"
        )
    }

    #[tokio::test]
    async fn a_vpc_has_its_networks_of_both_families_and_not_its_former_ones() {
        let blocks = "<cidrBlockAssociationSet>\
            <item><cidrBlock>10.0.0.0/16</cidrBlock>\
            <cidrBlockState><state>associated</state></cidrBlockState></item>\
            <item><cidrBlock>10.2.0.0/16</cidrBlock>\
            <cidrBlockState><state>associating</state></cidrBlockState></item>\
            <item><cidrBlock>10.3.0.0/16</cidrBlock>\
            <cidrBlockState><state>disassociated</state></cidrBlockState></item>\
            </cidrBlockAssociationSet><ipv6CidrBlockAssociationSet><item>\
            <ipv6CidrBlock>2001:db8::/56</ipv6CidrBlock>\
            <ipv6CidrBlockState><state>associated</state></ipv6CidrBlockState>\
            </item></ipv6CidrBlockAssociationSet>";
        let canned = Canned::answers([(200, body(blocks))]);
        let networks = vpc_networks(&canned.client(), "vpc-1").await.expect("readable");
        let networks: Vec<_> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/16", "10.2.0.0/16", "2001:db8::/56"]);
    }

    #[tokio::test]
    async fn a_vpc_that_is_missing_is_not_found_and_one_that_is_garbled_is_unknown() {
        let canned = Canned::answers([(200, body(""))]);
        let other = vpc_networks(&canned.client(), "vpc-2").await;
        assert!(matches!(other, Err(CloudFailure::NotFound(_))), "{other:?}");
        let garbled =
            "<cidrBlockAssociationSet><item><cidrBlock>ten</cidrBlock></item></cidrBlockAssociationSet>";
        let canned = Canned::answers([(200, body(garbled))]);
        let garbled = vpc_networks(&canned.client(), "vpc-1").await;
        assert!(matches!(garbled, Err(CloudFailure::Unknown(_))), "{garbled:?}");
    }
}
