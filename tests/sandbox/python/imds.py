"""Instance metadata, version 2 unless told otherwise, for any number of nodes, each on its own port of the loopback.

`imds.py CONFIG READY`: CONFIG is `[{"instance": "i-…", "role": "arn:…", "notices": "…/notices.json"}, …]`;
once all listen, READY is written with their ports in the same order. The role may be empty: the instance has
no profile then.

Of what EC2 knows, what may change is asked of EC2 at each request, so a moved address shows where it is. Credentials
are those of the role, under a session named after the instance, as the instance profile gives. `notices` may name a file
`{"spot/instance-action": "…"}` whose entries appear below meta-data while it holds them. With `"tokens": false`
it is the service of a legacy host, version 1: it gives no token, and refuses whoever sends one.
"""

import datetime
import json
import os
import secrets
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.config import Config

LONGEST_TTL = 21_600
ADMINISTRATOR = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
SESSION_SECONDS = 3_600


def client(service, endpoint):
    return boto3.session.Session().client(
        service,
        region_name=os.environ["AWS_REGION"],
        endpoint_url=endpoint,
        config=Config(
            retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=2, read_timeout=10
        ),
        **ADMINISTRATOR,
    )


class Node:
    def __init__(self, ec2, sts, config):
        self.ec2, self.sts = ec2, sts
        self.instance, self.role = config["instance"], config.get("role") or ""
        self.notices_file = config.get("notices") or ""
        self.gives_tokens = config.get("tokens", True)
        self.tokens = {}
        self.lock = threading.Lock()
        self.credentials = None
        # What an instance is does not change while it runs. It is told at once, as EC2's own service tells it: an agent
        # waits a second for each page, and whoever stands in for EC2 may be busy for longer.
        self.fixed = self.identity(self.described())

    # Tokens.

    def new_token(self, ttl):
        token = secrets.token_urlsafe(40)
        with self.lock:
            self.tokens[token] = time.monotonic() + ttl
        return token

    def accepts(self, token):
        with self.lock:
            return time.monotonic() < self.tokens.get(token, 0)

    # Content.

    def described(self):
        return self.ec2.describe_instances(InstanceIds=[self.instance])["Reservations"][0]

    def identity(self, found):
        """The paths below /latest that stay as they are, with their texts."""
        instance = found["Instances"][0]
        zone = instance["Placement"]["AvailabilityZone"]
        region = os.environ["AWS_REGION"]
        short = f"{region.replace('-', '')[:3]}{region[-1]}"
        paths = {
            "meta-data/ami-id": instance["ImageId"],
            "meta-data/instance-id": self.instance,
            "meta-data/instance-type": instance["InstanceType"],
            "meta-data/local-ipv4": instance["PrivateIpAddress"],
            "meta-data/placement/availability-zone": zone,
            "meta-data/placement/availability-zone-id": f"{short}-az{ord(zone[-1]) - 96}",
            "meta-data/placement/region": region,
            "meta-data/services/domain": "amazonaws.com",
            "meta-data/services/partition": "aws",
        }
        document = {
            "accountId": found["OwnerId"],
            "architecture": instance.get("Architecture", "x86_64"),
            "availabilityZone": zone,
            "imageId": instance["ImageId"],
            "instanceId": self.instance,
            "instanceType": instance["InstanceType"],
            "pendingTime": instance["LaunchTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "privateIp": instance["PrivateIpAddress"],
            "region": region,
            "version": "2017-09-30",
        }
        paths["dynamic/instance-identity/document"] = json.dumps(document, indent=2)
        if self.role:
            # The content is made only when it is asked for; see `read`.
            paths[f"meta-data/iam/security-credentials/{self.role.rsplit('/', 1)[-1]}"] = None
        return paths

    def tree(self):
        """Every path below /latest with its text."""
        paths = dict(self.fixed)
        self.add_interfaces(paths, self.described()["Instances"][0])
        paths.update({f"meta-data/{path}": text for path, text in self.notices().items()})
        return paths

    def add_interfaces(self, paths, instance):
        owned = {}
        for address in self.ec2.describe_addresses()["Addresses"]:
            if address.get("NetworkInterfaceId"):
                owned.setdefault(address["NetworkInterfaceId"], []).append(address)
        for interface in instance["NetworkInterfaces"]:
            mac = interface["MacAddress"]
            index = interface["Attachment"]["DeviceIndex"]
            if index == 0:
                paths["meta-data/mac"] = mac
            below = f"meta-data/network/interfaces/macs/{mac}"
            privates = [one["PrivateIpAddress"] for one in interface.get("PrivateIpAddresses", [])]
            paths[f"{below}/device-number"] = str(index)
            paths[f"{below}/interface-id"] = interface["NetworkInterfaceId"]
            paths[f"{below}/local-ipv4s"] = "\n".join(privates or [interface["PrivateIpAddress"]])
            paths[f"{below}/mac"] = mac
            paths[f"{below}/subnet-id"] = interface["SubnetId"]
            paths[f"{below}/vpc-id"] = interface["VpcId"]
            addresses = owned.get(interface["NetworkInterfaceId"], [])
            # Without a public address EC2 has no such entries at all.
            if addresses:
                paths[f"{below}/public-ipv4s"] = "\n".join(one["PublicIp"] for one in addresses)
                if index == 0:
                    paths["meta-data/public-ipv4"] = addresses[0]["PublicIp"]
            for one in addresses:
                target = one.get("PrivateIpAddress") or interface["PrivateIpAddress"]
                paths[f"{below}/ipv4-associations/{one['PublicIp']}"] = target

    def notices(self):
        if not self.notices_file or not os.path.exists(self.notices_file):
            return {}
        with open(self.notices_file, encoding="utf-8") as text:
            return json.load(text)

    def role_credentials(self):
        with self.lock:
            held = self.credentials
            # Renewed at half their life, long before any client thinks of it.
            if held is None or held[0] < time.monotonic():
                made = self.sts.assume_role(
                    RoleArn=self.role, RoleSessionName=self.instance, DurationSeconds=SESSION_SECONDS
                )["Credentials"]
                held = self.credentials = (time.monotonic() + SESSION_SECONDS / 2, made)
        made = held[1]
        stamp = "%Y-%m-%dT%H:%M:%SZ"
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": datetime.datetime.now(datetime.timezone.utc).strftime(stamp),
                "Type": "AWS-HMAC",
                "AccessKeyId": made["AccessKeyId"],
                "SecretAccessKey": made["SecretAccessKey"],
                "Token": made["SessionToken"],
                "Expiration": made["Expiration"].strftime(stamp),
            },
            indent=2,
        )

    def read(self, path):
        """The text at a path, a listing of what lies below it, or None."""
        path = path.strip("/")
        is_fixed = path in self.fixed or path.startswith("meta-data/iam/")
        tree = self.fixed if is_fixed else self.tree()
        if path in tree:
            return self.role_credentials() if tree[path] is None else tree[path]
        below = path + "/" if path else ""
        children = set()
        for name in tree:
            if name.startswith(below):
                child, slash, _ = name[len(below) :].partition("/")
                children.add(child + slash)
        return "\n".join(sorted(children)) if children else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    node = None

    def do_PUT(self):
        if not self.node.gives_tokens:
            return self.answer(405, "")
        if self.path != "/latest/api/token":
            return self.answer(404, "")
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        # EC2 refuses what came through a proxy, and a lifetime it does not offer.
        if self.headers.get("X-Forwarded-For"):
            return self.answer(403, "")
        if not ttl.isdigit() or not 1 <= int(ttl) <= LONGEST_TTL:
            return self.answer(400, "")
        return self.answer(200, self.node.new_token(int(ttl)), {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": ttl})

    def do_GET(self):
        token = self.headers.get("X-aws-ec2-metadata-token")
        if not (self.node.accepts(token or "") if self.node.gives_tokens else token is None):
            return self.answer(401, "")
        if not self.path.startswith("/latest/"):
            return self.answer(404, "")
        try:
            text = self.node.read(self.path.removeprefix("/latest/"))
        except (
            Exception
        ) as error:  # Whatever EC2 or STS said: the caller sees a failing service, the log the reason.
            print(f"{self.node.instance} {self.path}: {error}", file=sys.stderr, flush=True)
            return self.answer(500, "")
        return self.answer(404, "") if text is None else self.answer(200, text)

    def answer(self, status, text, headers=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


def main():
    with open(sys.argv[1], encoding="utf-8") as text:
        configs = json.load(text)
    ec2 = client("ec2", os.environ["AWS_ENDPOINT_URL_EC2"])
    sts = client("sts", os.environ["AWS_ENDPOINT_URL"])
    ports = []
    for config in configs:
        handler = type("NodeHandler", (Handler,), {"node": Node(ec2, sts, config)})
        server = Server(("127.0.0.1", 0), handler)
        ports.append(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with open(sys.argv[2] + ".part", "w", encoding="ascii") as out:
        json.dump(ports, out)
    os.rename(sys.argv[2] + ".part", sys.argv[2])
    threading.Event().wait()


if __name__ == "__main__":
    main()
