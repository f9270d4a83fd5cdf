"""The network a cluster lives in: a VPC with three zones, instances, Elastic IPs and route tables.

Made once at the start and only read afterwards. Every read asks EC2 and returns what it says, so that a test
can compare it with what Baton recorded.
"""

VPC_CIDR = "10.0.0.0/16"
ZONES = "abc"
TAG = "baton:cluster"


class World:
    def __init__(self, ec2, region):
        self.ec2, self.region = ec2, region

    def make(self, cluster, nodes, addresses, route_tables, destination):
        tags = [{"Key": TAG, "Value": cluster}]
        vpc = self.ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"]
        subnets = [
            self.ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{self.region}{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate(ZONES)
        ]
        image = self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        instances = [
            self._instance(image, subnets[number % len(subnets)], number, tags) for number in range(nodes)
        ]
        made = [
            self._route_table(vpc, subnets[number % len(subnets)], destination, instances[0], tags)
            for number in range(route_tables)
        ]
        self._endpoint(vpc)
        return {
            "vpc": vpc,
            "subnets": subnets,
            "instances": instances,
            "addresses": [self._address(tags) for _ in range(addresses)],
            "route_tables": made,
            "destination": destination,
        }

    def _instance(self, image, subnet, number, tags):
        name = chr(ord("a") + number)
        named = [*tags, {"Key": "Name", "Value": name}]
        made = self.ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="t3.micro",
            SubnetId=subnet,
            TagSpecifications=[{"ResourceType": "instance", "Tags": named}],
        )["Instances"][0]
        interface = made["NetworkInterfaces"][0]
        self.ec2.create_tags(Resources=[interface["NetworkInterfaceId"]], Tags=tags)
        return {
            "name": name,
            "id": made["InstanceId"],
            "interface": interface["NetworkInterfaceId"],
            "private_ip": interface["PrivateIpAddress"],
            "zone": made["Placement"]["AvailabilityZone"],
            "subnet": subnet,
        }

    def _address(self, tags):
        made = self.ec2.allocate_address(
            Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}]
        )
        return {"allocation": made["AllocationId"], "public_ip": made["PublicIp"]}

    def _route_table(self, vpc, subnet, destination, instance, tags):
        table = self.ec2.create_route_table(
            VpcId=vpc, TagSpecifications=[{"ResourceType": "route-table", "Tags": tags}]
        )
        table = table["RouteTable"]["RouteTableId"]
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        self.ec2.create_route(
            RouteTableId=table, DestinationCidrBlock=destination, NetworkInterfaceId=instance["interface"]
        )
        return table

    def _endpoint(self, vpc):
        """Without a way to the table no cluster is registered; subnets without a table of their own follow the main one."""
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["RouteTables"]
        self.ec2.create_vpc_endpoint(
            VpcId=vpc,
            ServiceName=f"com.amazonaws.{self.region}.dynamodb",
            VpcEndpointType="Gateway",
            RouteTableIds=[table["RouteTableId"] for table in tables],
        )

    def addresses(self):
        return [
            {
                "allocation": address["AllocationId"],
                "public_ip": address["PublicIp"],
                "association": address.get("AssociationId") or None,
                "interface": address.get("NetworkInterfaceId") or None,
            }
            for address in self.ec2.describe_addresses()["Addresses"]
        ]

    def routes(self, destination):
        """Where each table that holds the destination sends it, and whether EC2 calls the route usable."""
        return [
            {
                "route_table": table["RouteTableId"],
                "interface": route.get("NetworkInterfaceId") or None,
                "state": route.get("State", ""),
            }
            for table in self.ec2.describe_route_tables()["RouteTables"]
            for route in table["Routes"]
            if route.get("DestinationCidrBlock") == destination
        ]

    def source_dest_check(self, interface):
        answer = self.ec2.describe_network_interface_attribute(
            NetworkInterfaceId=interface, Attribute="sourceDestCheck"
        )
        return answer["SourceDestCheck"]["Value"]

    def instance_states(self):
        return {
            instance["InstanceId"]: instance["State"]["Name"]
            for reservation in self.ec2.describe_instances()["Reservations"]
            for instance in reservation["Instances"]
        }
