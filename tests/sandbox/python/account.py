"""The account as its administrator sees it: makes the world, deploys stacks, and observes what is really
there.

One JSON request per line on standard input, one JSON answer per line on standard output, each with the
request's id:

    {"id": 1, "do": "addresses"}  ->  {"id": 1, "ok": […]}   or   {"id": 1, "error": "…"}

It is also the part of AWS that moto leaves out: a thread sees an instance change its state, frees the
addresses of a terminated one and puts the event on the default bus, whoever caused the change. Observations
come from EC2's own answers and from nothing that Baton wrote. Ends at the end of its input.
"""

import base64
import json
import os
import queue
import sys
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from gaps.delivery import FROM_AWS
from world import World

ADMINISTRATOR = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
# The largest template that may travel inside the request; larger ones go through S3, as on AWS.
LARGEST_BODY = 51_200
BUCKET = "baton-sandbox"
POLL_SECONDS = 0.1
# The states that AWS announces on the way, which moto passes through at once.
ON_THE_WAY = {"stopped": "stopping", "terminated": "shutting-down", "running": "pending"}


class Refused(Exception):
    """The request cannot be carried out; the text goes to whoever asked."""


class Clients:
    def __init__(self, endpoint, ec2_endpoint, region):
        self.endpoints = {"ec2": ec2_endpoint}
        self.endpoint, self.region = endpoint, region
        self.cache = {}

    def of(self, service, credentials=None, endpoint=None):
        keys = credentials or ADMINISTRATOR
        is_usual = credentials is None and endpoint is None
        found = self.cache.get(service) if is_usual else None
        if found is None:
            found = boto3.session.Session().client(
                service,
                region_name=self.region,
                endpoint_url=endpoint or self.endpoints.get(service, self.endpoint),
                config=Config(
                    retries={"total_max_attempts": 1, "mode": "standard"},
                    connect_timeout=5,
                    read_timeout=120,
                    s3={"addressing_style": "path"},
                ),
                **keys,
            )
            if is_usual:
                self.cache[service] = found
        return found


class Bridge(threading.Thread):
    """What AWS does by itself when an instance changes its state."""

    def __init__(self, clients, account_id):
        super().__init__(daemon=True)
        self.clients, self.account_id = clients, account_id
        self.states = {}
        self.lock = threading.Lock()

    def run(self):
        while True:
            try:
                self.look()
            except (BotoCoreError, ClientError) as error:
                print(f"bridge: {error}", file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)

    def look(self):
        with self.lock:
            pages = self.clients.of("ec2").get_paginator("describe_instances").paginate()
            for instance in (i for page in pages for r in page["Reservations"] for i in r["Instances"]):
                name, state = instance["InstanceId"], instance["State"]["Name"]
                before = self.states.get(name)
                # An instance seen for the first time has been there, as far as we know.
                if before not in (None, state):
                    self.changed(name, state)
                self.states[name] = state

    def changed(self, instance, state):
        if state == "terminated":
            self.free_addresses(instance)
        if state in ON_THE_WAY:
            self.announce(instance, ON_THE_WAY[state])
        self.announce(instance, state)

    def free_addresses(self, instance):
        """moto leaves a terminated instance its addresses; EC2 takes them away with the interface."""
        ec2 = self.clients.of("ec2")
        ours = {
            i["NetworkInterfaceId"]
            for i in ec2.describe_network_interfaces(
                Filters=[{"Name": "attachment.instance-id", "Values": [instance]}]
            )["NetworkInterfaces"]
        }
        for address in ec2.describe_addresses()["Addresses"]:
            if address.get("InstanceId") == instance or address.get("NetworkInterfaceId") in ours:
                if address.get("AssociationId"):
                    ec2.disassociate_address(AssociationId=address["AssociationId"])

    def announce(self, instance, state):
        answer = self.clients.of("events").put_events(
            Entries=[
                {
                    "Source": "aws.ec2",
                    "DetailType": "EC2 Instance State-change Notification",
                    "Detail": json.dumps({"instance-id": instance, "state": state}),
                    "Resources": [f"arn:aws:ec2:{self.clients.region}:{self.account_id}:instance/{instance}"],
                    "TraceHeader": FROM_AWS,
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise Refused(f"the default bus refused the event of {instance}: {answer['Entries']}")


class Account:
    def __init__(self, clients, account_id):
        self.clients = clients
        self.bridge = Bridge(clients, account_id)
        self.world = World(clients.of("ec2"), clients.region)

    def ping(self):
        return self.clients.of("sts").get_caller_identity()["Account"]

    def make_world(self, cluster, nodes, addresses, route_tables, destination):
        made = self.world.make(cluster, nodes, addresses, route_tables, destination)
        self.bridge.look()
        if not self.bridge.is_alive():
            self.bridge.start()
        return made

    # What is there, by EC2's word alone.

    def addresses(self):
        return self.world.addresses()

    def routes(self, destination):
        return self.world.routes(destination)

    def source_dest_check(self, interface):
        return self.world.source_dest_check(interface)

    def instance_states(self):
        return self.world.instance_states()

    # What happens to instances.

    def stop_instance(self, instance):
        self.clients.of("ec2").stop_instances(InstanceIds=[instance])
        self.bridge.look()

    def start_instance(self, instance):
        self.clients.of("ec2").start_instances(InstanceIds=[instance])
        self.bridge.look()

    def terminate_instance(self, instance):
        self.clients.of("ec2").terminate_instances(InstanceIds=[instance])
        self.bridge.look()

    def announce(self, instance, state):
        self.bridge.announce(instance, state)

    # Deployment.

    def put_file(self, key, path):
        s3 = self.clients.of("s3")
        try:
            s3.head_bucket(Bucket=BUCKET)
        except ClientError:
            s3.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": self.clients.region}
            )
        with open(path, "rb") as body:
            s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return {"bucket": BUCKET, "key": key}

    def _template(self, path):
        with open(path, encoding="utf-8") as text:
            body = text.read()
        if len(body.encode()) <= LARGEST_BODY:
            return {"TemplateBody": body}
        at = self.put_file(f"templates/{os.path.basename(path)}", path)
        return {"TemplateURL": f"{self.clients.endpoint}/{at['bucket']}/{at['key']}"}

    def create_stack(self, stack, template, parameters):
        self.clients.of("cloudformation").create_stack(
            StackName=stack, **self._deployment(template, parameters)
        )
        return self._settled(stack)

    def update_stack(self, stack, template, parameters):
        self.clients.of("cloudformation").update_stack(
            StackName=stack, **self._deployment(template, parameters)
        )
        return self._settled(stack)

    def delete_stack(self, stack):
        cloudformation = self.clients.of("cloudformation")
        # By id, since a deleted stack is no longer found by its name.
        found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
        cloudformation.delete_stack(StackName=found)
        return self._settled(found)

    def _deployment(self, template, parameters):
        given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]
        return {**self._template(template), "Parameters": given, "Capabilities": capabilities}

    def _settled(self, stack, limit=300):
        cloudformation = self.clients.of("cloudformation")
        end = time.monotonic() + limit
        while True:
            found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            if not found["StackStatus"].endswith("_IN_PROGRESS"):
                break
            if time.monotonic() > end:
                raise Refused(f"stack {stack} is still {found['StackStatus']} after {limit} s")
            time.sleep(0.05)
        events = cloudformation.describe_stack_events(StackName=found["StackId"])["StackEvents"]
        failures = [
            {
                "resource": event["LogicalResourceId"],
                "status": event["ResourceStatus"],
                "reason": event.get("ResourceStatusReason", ""),
            }
            for event in reversed(events)
            if event["ResourceStatus"].endswith("FAILED")
        ]
        outputs = {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}
        return {
            "status": found["StackStatus"],
            "reason": found.get("StackStatusReason", ""),
            "failures": failures,
            "outputs": outputs,
        }

    def stack_resources(self, stack):
        pages = (
            self.clients.of("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        )
        return {
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
            for page in pages
            for one in page["StackResourceSummaries"]
        }

    # What was written and said.

    def function_logs(self, function):
        logs = self.clients.of("logs")
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{function}")
            return [event["message"].rstrip("\n") for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            return []

    def scan(self, table):
        pages = (
            self.clients.of("dynamodb").get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
        )
        return [item for page in pages for item in page["Items"]]

    # Anything else.

    def call(self, service, operation, parameters):
        return self._call(self.clients.of(service), operation, parameters)

    def call_as(self, role, session, service, operation, parameters):
        """One call under a role's session, and whether IAM let it through; other failures are the caller's to
        judge.
        """
        assumed = self.clients.of("sts").assume_role(RoleArn=role, RoleSessionName=session)["Credentials"]
        client = self.clients.of(
            service,
            {
                "aws_access_key_id": assumed["AccessKeyId"],
                "aws_secret_access_key": assumed["SecretAccessKey"],
                "aws_session_token": assumed["SessionToken"],
            },
        )
        try:
            return {"allowed": True, "answer": self._call(client, operation, parameters)}
        except ClientError as error:
            said = error.response.get("Error", {})
            denied = said.get("Code", "").startswith(("AccessDenied", "UnauthorizedOperation"))
            return {"allowed": not denied, "code": said.get("Code", ""), "message": said.get("Message", "")}

    def call_in(self, account, service, operation, parameters):
        """One call to EC2's stand-in as the administrator of another account."""
        sts = self.clients.of("sts", endpoint=self.clients.endpoints["ec2"])
        role = f"arn:aws:iam::{account}:role/administrator"
        given = sts.assume_role(RoleArn=role, RoleSessionName="administrator")["Credentials"]
        keys = {
            "aws_access_key_id": given["AccessKeyId"],
            "aws_secret_access_key": given["SecretAccessKey"],
            "aws_session_token": given["SessionToken"],
        }
        return self._call(self.clients.of(service, keys), operation, parameters)

    def _call(self, client, operation, parameters):
        answer = getattr(client, operation)(**parameters)
        answer.pop("ResponseMetadata", None)
        return answer


def readable(value):
    """What JSON cannot say: times as text, bytes in base64, streams read to their end."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if hasattr(value, "read"):
        return readable(value.read())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def read_requests(into):
    """Reads on a thread of its own: at the end of input the process ends, whatever it is waiting for."""
    for line in sys.stdin:
        into.put(line)
    os._exit(0)


def main():
    environment = os.environ
    clients = Clients(
        environment["AWS_ENDPOINT_URL"], environment["AWS_ENDPOINT_URL_EC2"], environment["AWS_REGION"]
    )
    account = Account(clients, environment["BATON_SANDBOX_ACCOUNT"])
    requests = queue.Queue()
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        answer = {"id": request.pop("id")}
        doing = request.pop("do")
        try:
            if doing.startswith("_") or not callable(getattr(Account, doing, None)):
                raise Refused(f"there is no request `{doing}`")
            answer["ok"] = getattr(account, doing)(**request)
        except (Refused, BotoCoreError, ClientError, OSError, TypeError, KeyError, ValueError) as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer, default=readable), flush=True)


if __name__ == "__main__":
    main()
