//! Auto Scaling's word that it has launched an instance. Which group it is of says where to look; who is a node by now, EC2
//! is asked.

use baton_protocol::roster::Tag;
use serde::Deserialize;
use serde_json::Value;

/// Who sends it.
pub const SOURCE: &str = "aws.autoscaling";
/// Its `detail-type`.
pub const DETAIL_TYPE: &str = "EC2 Instance Launch Successful";

/// The part of the detail that is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Launched {
    auto_scaling_group_name: String,
}

/// The group, or why there is none.
pub(crate) fn read(detail: Value) -> Result<String, String> {
    let launched: Launched =
        serde_json::from_value(detail).map_err(|error| format!("malformed launch: {error}"))?;
    // No cluster can name another.
    let tag = Tag::of_group(launched.auto_scaling_group_name)
        .map_err(|error| format!("malformed launch: {error}"))?;
    Ok(tag.value().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::trigger::{self, Trigger};

    /// As in the documentation of Auto Scaling's events.
    fn sample() -> Value {
        json!({
            "version": "0", "id": "12345678-1234-1234-1234-123456789012", "detail-type": "EC2 Instance Launch Successful",
            "source": "aws.autoscaling", "account": "123456789012", "time": "2026-01-01T00:00:00Z",
            "region": "us-west-2",
            "resources": ["auto-scaling-group-arn", "instance-arn"],
            "detail": {
                "StatusCode": "InProgress", "Description": "Launching a new EC2 instance: i-12345678",
                "AutoScalingGroupName": "my-asg", "ActivityId": "87654321-4321-4321-4321-210987654321",
                "Details": { "Availability Zone": "us-west-2b", "Subnet ID": "subnet-12345678" },
                "RequestId": "12345678-1234-1234-1234-123456789012", "StatusMessage": "",
                "EndTime": "2026-01-01T00:00:00Z", "EC2InstanceId": "i-1234567890abcdef0",
                "StartTime": "2026-01-01T00:00:00Z", "Cause": "description-text",
                "Origin": "EC2", "Destination": "AutoScalingGroup"
            },
        })
    }

    #[test]
    fn a_launch_names_its_group() {
        assert_eq!(trigger::read(sample()), Trigger::Launch("my-asg".to_owned()));
    }

    #[test]
    fn a_launch_of_no_group_is_ignored() {
        for name in [json!(null), json!(7), json!(""), json!("*"), json!("x".repeat(300))] {
            let mut event = sample();
            event["detail"]["AutoScalingGroupName"] = name.clone();
            assert!(matches!(trigger::read(event), Trigger::Ignored(_)), "{name}");
        }
    }
}
