//! What a fresh account lacks and no `--fix` makes: agents' roles, a trail, a security group's peers.

use serde_json::json;

use super::text;
use crate::rig::{Rig, Trouble};

/// The instance profile that is there from the start.
pub(super) const PROFILE: &str = "arn:aws:iam::123456789012:instance-profile/baton-nodes";
/// The trail.
pub(super) const TRAIL: &str = "baton";

/// Makes the account whole where only its owner can.
pub(super) fn furnish(rig: &Rig) -> Result<(), Trouble> {
    let account = rig.sandbox().account();
    for instance in &rig.sandbox().world().instances {
        let given = json!({ "InstanceId": instance.id, "IamInstanceProfile": { "Arn": PROFILE } });
        account.call("ec2", "associate_iam_instance_profile", &given)?;
        // Nothing has told for two weeks who goes without a token, so `--fix` would not require one.
        let given = json!({ "InstanceId": instance.id, "HttpTokens": "required", "HttpEndpoint": "enabled" });
        account.call("ec2", "modify_instance_metadata_options", &given)?;
    }
    account.call("cloudtrail", "create_trail", &json!({ "Name": TRAIL, "S3BucketName": "trails" }))?;
    account.call("cloudtrail", "start_logging", &json!({ "Name": TRAIL }))?;
    Ok(())
}

/// One instance more, in a subnet.
pub(super) fn launch(rig: &Rig, subnet: &str, hibernation: bool) -> Result<String, Trouble> {
    let account = rig.sandbox().account();
    let image = account.call("ec2", "describe_images", &json!({ "Owners": ["amazon"] }))?;
    let tags = json!([{ "Key": "baton:cluster", "Value": "orders" }]);
    let given = json!({
        "ImageId": text(&image["Images"][0]["ImageId"]), "MinCount": 1, "MaxCount": 1,
        "InstanceType": "t3.micro", "SubnetId": subnet,
        "HibernationOptions": { "Configured": hibernation },
        "MetadataOptions": { "HttpTokens": "required", "HttpEndpoint": "enabled" },
        "TagSpecifications": [{ "ResourceType": "instance", "Tags": tags }],
    });
    let made = account.call("ec2", "run_instances", &given)?;
    let id = text(&made["Instances"][0]["InstanceId"]);
    let interface = &made["Instances"][0]["NetworkInterfaces"][0]["NetworkInterfaceId"];
    account.call("ec2", "create_tags", &json!({ "Resources": [interface], "Tags": tags }))?;
    let given = json!({ "InstanceId": id, "IamInstanceProfile": { "Arn": PROFILE } });
    account.call("ec2", "associate_iam_instance_profile", &given)?;
    Ok(id)
}
