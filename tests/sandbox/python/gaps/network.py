"""CloudFormation's EC2 resources, made where EC2 is.

ministack has an EC2 of its own, which knows no Elastic IP of a cluster and which no function asks. So that a template may hold a
network, its resources are made in moto by the calls of EC2's API that CloudFormation makes; those types alone that the examples
in infra/ use. A property that is not handled fails its resource, and is never passed over.
"""

import base64
import os

import boto3

from gaps import names


def ec2():
    return boto3.client(
        "ec2",
        region_name=os.environ["AWS_DEFAULT_REGION"],
        endpoint_url=os.environ["AWS_ENDPOINT_URL_EC2"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


class Properties(dict):
    """Hands out each property once, so that what nobody took is known."""

    def take(self, name, default=None):
        return self.pop(name, default)

    def must(self, name):
        if name not in self:
            raise ValueError(f"{name} is missing")
        return self.pop(name)

    def tags(self, kind):
        tags = self.pop("Tags", [])
        return [{"ResourceType": kind, "Tags": tags}] if tags else []


def flag(value):
    return {"true": True, "false": False}[str(value).lower()]


def made(create, delete):
    """A handler: `create(client, properties)` gives id and attributes, `delete(client, id, properties)` undoes it."""

    def handle(_logical_id, properties, _stack):
        left = Properties(properties)
        answer = create(ec2(), left)
        if left:
            raise ValueError(f"the sandbox does not know these properties: {', '.join(sorted(left))}")
        return answer

    return {
        "create": handle,
        "delete": lambda physical_id, properties: delete(ec2(), physical_id, properties),
    }


def vpc(client, given):
    network = given.must("CidrBlock")
    vpc_id = client.create_vpc(CidrBlock=network, TagSpecifications=given.tags("vpc"))["Vpc"]["VpcId"]
    for name in ("EnableDnsSupport", "EnableDnsHostnames"):
        if (value := given.take(name)) is not None:
            client.modify_vpc_attribute(VpcId=vpc_id, **{name: {"Value": flag(value)}})
    return vpc_id, {"VpcId": vpc_id, "CidrBlock": network}


def internet_gateway(client, given):
    gateway = client.create_internet_gateway(TagSpecifications=given.tags("internet-gateway"))["InternetGateway"]
    return gateway["InternetGatewayId"], {}


def attachment(client, given):
    both = {"VpcId": given.must("VpcId"), "InternetGatewayId": given.must("InternetGatewayId")}
    client.attach_internet_gateway(**both)
    return f"IGW|{both['VpcId']}", {}


def detach(client, _id, given):
    client.detach_internet_gateway(VpcId=given["VpcId"], InternetGatewayId=given["InternetGatewayId"])


def route_table(client, given):
    table = client.create_route_table(
        VpcId=given.must("VpcId"), TagSpecifications=given.tags("route-table")
    )["RouteTable"]["RouteTableId"]
    return table, {"RouteTableId": table}


def route(client, given):
    names_of = ("RouteTableId", "DestinationCidrBlock", "GatewayId")
    parameters = {name: given.must(name) for name in names_of}
    client.create_route(**parameters)
    return f"{parameters['RouteTableId']}|{parameters['DestinationCidrBlock']}", {}


def unroute(client, _id, given):
    client.delete_route(
        RouteTableId=given["RouteTableId"], DestinationCidrBlock=given["DestinationCidrBlock"]
    )


def endpoint(client, given):
    found = client.create_vpc_endpoint(
        VpcId=given.must("VpcId"),
        ServiceName=given.must("ServiceName"),
        VpcEndpointType=given.must("VpcEndpointType"),
        RouteTableIds=given.must("RouteTableIds"),
        TagSpecifications=given.tags("vpc-endpoint"),
    )["VpcEndpoint"]
    return found["VpcEndpointId"], {}


def subnet(client, given):
    found = client.create_subnet(
        VpcId=given.must("VpcId"),
        CidrBlock=given.must("CidrBlock"),
        AvailabilityZone=given.must("AvailabilityZone"),
        TagSpecifications=given.tags("subnet"),
    )["Subnet"]
    return found["SubnetId"], {"SubnetId": found["SubnetId"]}


def association(client, given):
    found = client.associate_route_table(
        SubnetId=given.must("SubnetId"), RouteTableId=given.must("RouteTableId")
    )["AssociationId"]
    return found, {"Id": found}


def permission(rule):
    rule = dict(rule)
    network = {"CidrIp": rule.pop("CidrIp"), "Description": rule.pop("Description", "")}
    ports = {"FromPort": int(rule.pop("FromPort")), "ToPort": int(rule.pop("ToPort"))}
    found = {"IpProtocol": rule.pop("IpProtocol"), "IpRanges": [network], **ports}
    if rule:
        raise ValueError(f"the sandbox does not know this of a rule: {', '.join(rule)}")
    return found


def security_group(client, given):
    group = client.create_security_group(
        GroupName=f"example-{os.urandom(4).hex()}",
        Description=given.must("GroupDescription"),
        VpcId=given.must("VpcId"),
        TagSpecifications=given.tags("security-group"),
    )["GroupId"]
    # A group is made with a rule that lets everything out; CloudFormation takes it away where others are given.
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    client.revoke_security_group_egress(GroupId=group, IpPermissions=everything)
    for name, allow in (
        ("SecurityGroupIngress", client.authorize_security_group_ingress),
        ("SecurityGroupEgress", client.authorize_security_group_egress),
    ):
        allow(GroupId=group, IpPermissions=[permission(rule) for rule in given.must(name)])
    return group, {"GroupId": group}


def address(client, given):
    found = client.allocate_address(Domain=given.must("Domain"), TagSpecifications=given.tags("elastic-ip"))
    return found["PublicIp"], {"AllocationId": found["AllocationId"], "PublicIp": found["PublicIp"]}


def release(client, public_ip, _given):
    found = client.describe_addresses(PublicIps=[public_ip])["Addresses"][0]
    if found.get("AssociationId"):
        client.disassociate_address(AssociationId=found["AssociationId"])
    client.release_address(AllocationId=found["AllocationId"])


def interface(client, given):
    found = client.create_network_interface(
        SubnetId=given.must("SubnetId"),
        Groups=given.must("GroupSet"),
        TagSpecifications=given.tags("network-interface"),
    )["NetworkInterface"]["NetworkInterfaceId"]
    if (check := given.take("SourceDestCheck")) is not None:
        client.modify_network_interface_attribute(
            NetworkInterfaceId=found, SourceDestCheck={"Value": flag(check)}
        )
    return found, {"Id": found}


LAUNCHES = {}


def launch_template(_client, given):
    """Kept here: moto reads only a part of what EC2 takes in one. The instance is launched with what it says."""
    found = f"lt-{os.urandom(8).hex()}0"
    LAUNCHES[found] = given.must("LaunchTemplateData")
    return found, {"LaunchTemplateId": found, "LatestVersionNumber": "1", "DefaultVersionNumber": "1"}


def instance(client, given):
    data = Properties(LAUNCHES[given.must("LaunchTemplate")["LaunchTemplateId"]])
    interfaces = [
        {"NetworkInterfaceId": one["NetworkInterfaceId"], "DeviceIndex": int(one["DeviceIndex"])}
        for one in given.must("NetworkInterfaces")
    ]
    options = data.take("MetadataOptions", {})
    if "HttpPutResponseHopLimit" in options:
        options = {**options, "HttpPutResponseHopLimit": int(options["HttpPutResponseHopLimit"])}
    data.take("MaintenanceOptions")
    # IAM is ministack's, and moto knows none of its profiles.
    if not data.must("IamInstanceProfile").get("Arn"):
        raise ValueError("the instance profile has no ARN")
    first = client.describe_network_interfaces(NetworkInterfaceIds=[interfaces[0]["NetworkInterfaceId"]])
    found = client.run_instances(
        ImageId=data.must("ImageId"),
        InstanceType=data.must("InstanceType"),
        MetadataOptions=options,
        # The SDK encodes it once more.
        UserData=base64.b64decode(data.must("UserData")).decode(),
        MinCount=1,
        MaxCount=1,
        # An instance is where its interface is; moto asks to be told.
        Placement={"AvailabilityZone": first["NetworkInterfaces"][0]["AvailabilityZone"]},
        NetworkInterfaces=interfaces,
        TagSpecifications=given.tags("instance"),
    )["Instances"][0]
    if data:
        raise ValueError(f"the sandbox does not know this of a launch template: {', '.join(sorted(data))}")
    return found["InstanceId"], {"PrivateIp": found.get("PrivateIpAddress", "")}


TYPES = {
    "VPC": made(vpc, lambda client, found, _given: client.delete_vpc(VpcId=found)),
    "InternetGateway": made(
        internet_gateway, lambda client, found, _given: client.delete_internet_gateway(InternetGatewayId=found)
    ),
    "VPCGatewayAttachment": made(attachment, detach),
    "RouteTable": made(
        route_table, lambda client, found, _given: client.delete_route_table(RouteTableId=found)
    ),
    "Route": made(route, unroute),
    "VPCEndpoint": made(
        endpoint, lambda client, found, _given: client.delete_vpc_endpoints(VpcEndpointIds=[found])
    ),
    "Subnet": made(subnet, lambda client, found, _given: client.delete_subnet(SubnetId=found)),
    "SubnetRouteTableAssociation": made(
        association, lambda client, found, _given: client.disassociate_route_table(AssociationId=found)
    ),
    "SecurityGroup": made(
        security_group, lambda client, found, _given: client.delete_security_group(GroupId=found)
    ),
    "EIP": made(address, release),
    "NetworkInterface": made(
        interface, lambda client, found, _given: client.delete_network_interface(NetworkInterfaceId=found)
    ),
    "LaunchTemplate": made(launch_template, lambda _client, found, _given: LAUNCHES.pop(found)),
    "Instance": made(
        instance, lambda client, found, _given: client.terminate_instances(InstanceIds=[found])
    ),
}


def install():
    handlers = names.private("services.cloudformation.provisioners", "_RESOURCE_HANDLERS")
    for name, handler in TYPES.items():
        handlers[f"AWS::EC2::{name}"] = handler
