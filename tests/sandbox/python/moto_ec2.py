"""Serves moto on a free port of the loopback and writes the port to the file named as the only argument.

Each request of Baton's own (of the SDK for Rust, that is; whoever looks on uses another one) is written to `moto.calls` beside that file, a line of JSON with its action and when it began and
ended. Before and after moto has answered, a request is treated as the list of faults in `moto.faults` says:

    {"action": "AssociateAddress", "about": "eipalloc-1", "times": 2, "how": "throttle"}

`how` is `throttle` or `deny` (refused before anything is done), `lose` (done, and the answer is lost) or `stale` (a
Describe answered as it was answered when the fault was set up, by the first request of the same text before). `about`, if
given, has to stand somewhere in the request. A fault strikes `times` times, or always without that. `{"action":
"DescribeAddresses", "delay_ms": 120}` makes every answer take longer.

moto has no `CompleteLifecycleAction`, so one is answered here: an action that is completed waits no more. The service is AWS's, and the
group and the hook are not looked at.

moto is STS as well, for roles of other accounts: it gives credentials of the account in the role's ARN, whoever asks and
whether there is such a role or not, so a refusal is a fault with the action `AssumeRole`.

moto forgets what an instance may have done to it by EC2 itself (`ModifyInstanceMaintenanceOptions`), and which options of its metadata
were not named in a change; both are kept here. One instance profile, `baton-nodes`, is there from the start, since IAM is ministack's.

A request with `DryRun` never reaches moto, which carries some of them out: it is answered as EC2 answers one that would be allowed.
"""

import inspect
import json
import os
import signal
import sys
import threading
import time
import urllib.parse

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidNetworkInterfaceIdError
from moto.ec2.models import ec2_backends
from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend
from moto.ec2.models.route_tables import RouteBackend
from moto.ec2.responses import EC2Response
from moto.ec2.utils import generate_route_id
from moto.iam.models import iam_backends
from moto.moto_server.threaded_moto_server import create_backend_app, make_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler

ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>'
    "</Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
)
COMPLETED = (
    '<CompleteLifecycleActionResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/">'
    "<CompleteLifecycleActionResult/><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId>"
    "</ResponseMetadata></CompleteLifecycleActionResponse>"
)
STS_ERROR = (
    '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>'
    "<Message>{message}</Message></Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ErrorResponse>"
)
STS_REFUSALS = {
    "throttle": ("400 Bad Request", "Throttling", "Rate exceeded"),
    "deny": ("403 Forbidden", "AccessDenied", "Not authorized to perform: sts:AssumeRole"),
    "lose": ("500 Internal Server Error", "InternalFailure", "An internal error has occurred"),
}
REFUSALS = {
    "throttle": ("503 Service Unavailable", "RequestLimitExceeded", "Request limit exceeded."),
    "deny": ("403 Forbidden", "UnauthorizedOperation", "You are not authorized to perform this operation."),
    "dry": ("412 Precondition Failed", "DryRunOperation", "Request would have succeeded, but DryRun flag is set."),
    "lose": ("500 Internal Server Error", "InternalError", "An internal error has occurred"),
}


def keep_prefix_lists():
    """Mends moto, which forgets the prefix list of a route that is made to an interface. EC2 keeps it."""
    create = RouteBackend.create_route
    signature = inspect.signature(create)

    def create_route(self, *given, **named):
        route = create(self, *given, **named)
        asked = signature.bind(self, *given, **named).arguments
        prefix_list = asked.get("destination_prefix_list_id")
        if prefix_list in self.managed_prefix_lists and route.destination_prefix_list is None:
            table, networks = asked["route_table_id"], ("destination_cidr_block", "destination_ipv6_cidr_block")
            routes = self.get_route_table(table)._routes
            del routes[route.id]
            route.destination_prefix_list = self.managed_prefix_lists[prefix_list]
            route.id = generate_route_id(table, *(asked.get(name) for name in networks), prefix_list)
            routes[route.id] = route
        return route

    RouteBackend.create_route = create_route


def share_interfaces():
    """Mends moto, for which an account's interfaces are nobody else's. Whoever owns a shared VPC leads its routes to those that
    participants have in it.
    """
    get = NetworkInterfaceBackend.get_network_interface

    def get_network_interface(self, eni_id):
        try:
            return get(self, eni_id)
        except InvalidNetworkInterfaceIdError:
            for account in list(ec2_backends):
                found = ec2_backends[account][self.region_name].enis.get(eni_id)
                if found:
                    return found
            raise

    NetworkInterfaceBackend.get_network_interface = get_network_interface


def keep_maintenance_options():
    """Gives moto the call, and an instance the option, which EC2 sets to `default` at its launch."""
    Instance.maintenance_options = {"AutoRecovery": "default"}

    def modify_instance_maintenance_options(self):
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        instance.maintenance_options = {"AutoRecovery": self._get_param("AutoRecovery")}
        return ActionResult({"InstanceId": instance.id, **instance.maintenance_options})

    EC2Response.modify_instance_maintenance_options = modify_instance_maintenance_options


def keep_metadata_options():
    """Mends moto, which forgets every option of an instance's metadata that a change does not name. EC2 keeps it."""
    modify = InstanceBackend.modify_instance_metadata_options

    def modify_instance_metadata_options(self, instance_id, **named):
        before = self.get_instance(instance_id).metadata_options
        for name, kept in (("http_tokens", before.http_tokens), ("http_endpoint", before.http_endpoint)):
            named[name] = named.get(name) or kept
        return modify(self, instance_id, **named)

    InstanceBackend.modify_instance_metadata_options = modify_instance_metadata_options


def make_instance_profile():
    """An instance profile for instances to be given; its role is nobody's."""
    account = os.environ.get("MOTO_ACCOUNT_ID", "123456789012")
    iam_backends[account]["aws"].create_instance_profile(name="baton-nodes", path="/", role_names=[])


class Faults:
    """What a test asks for; read anew whenever the file has changed."""

    def __init__(self, path):
        self.path, self.stamp, self.list, self.struck = path, None, [], {}
        self.lock = threading.Lock()

    def _read(self):
        try:
            stamp = os.stat(self.path).st_mtime_ns
        except FileNotFoundError:
            stamp = None
        if stamp != self.stamp:
            self.stamp, self.struck = stamp, {}
            self.list = json.load(open(self.path, encoding="utf-8")) if stamp else []

    def of(self, action, text):
        """The delay in seconds and the fault that strikes, if one does."""
        with self.lock:
            self._read()
            mine = [(n, f) for n, f in enumerate(self.list) if f["action"] == action and f.get("about", "") in text]
            delay = sum(f.get("delay_ms", 0) for _, f in mine) / 1000
            for number, fault in mine:
                if "how" not in fault or self.struck.get(number, 0) >= fault.get("times", 1 << 30):
                    continue
                self.struck[number] = self.struck.get(number, 0) + 1
                return delay, fault["how"]
            return delay, None


class Layer:
    """Around moto: faults on the way in and out, and a record of each call."""

    def __init__(self, app, directory):
        self.app = app
        self.faults = Faults(os.path.join(directory, "moto.faults"))
        self.calls = open(os.path.join(directory, "moto.calls"), "a", encoding="utf-8", buffering=1)
        self.answers, self.completed = {}, set()

    def __call__(self, environ, start_response):
        begun = time.monotonic()
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = Body(body)
        text = urllib.parse.unquote_plus(body.decode("utf-8", "replace"))
        given = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
        action = given.get("Action")
        if not action or "aws-sdk-rust" not in environ.get("HTTP_USER_AGENT", ""):
            return self.app(environ, start_response)
        delay, how = self.faults.of(action, text)
        time.sleep(delay)
        try:
            dry = given.get("DryRun") == "true"
            return self.answer(environ, start_response, action, text, how, dry)
        finally:
            row = {"action": action, "begun": begun, "ended": time.monotonic(), "fault": how}
            self.calls.write(json.dumps(row) + "\n")

    def complete(self, start_response, text):
        given = dict(part.split("=", 1) for part in text.split("&"))
        if given["LifecycleActionToken"] in self.completed:
            message = "No active Lifecycle Action found with instance ID " + given["InstanceId"]
            body = ERROR.format(code="ValidationError", message=message).encode()
            status = "400 Bad Request"
        else:
            self.completed.add(given["LifecycleActionToken"])
            body, status = COMPLETED.encode(), "200 OK"
        start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def answer(self, environ, start_response, action, text, how, dry):
        if how == "stale" and text in self.answers:
            status, headers, chunks = self.answers[text]
            start_response(status, headers)
            return chunks
        if action == "AssumeRole" and how:
            return refuse(start_response, how, STS_REFUSALS, STS_ERROR)
        if how in ("throttle", "deny"):
            return refuse(start_response, how)
        if action == "CompleteLifecycleAction":
            return self.complete(start_response, text)
        if dry:
            return refuse(start_response, "dry")
        said = []
        chunks = list(self.app(environ, lambda status, headers, info=None: said.append((status, headers))))
        if how == "lose":
            return refuse(start_response, how)
        if action.startswith("Describe") and how != "stale":
            self.answers[text] = (*said[0], chunks)
        start_response(*said[0])
        return chunks


class Body:
    """A request's body, to be read again."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def read(self, size=-1):
        end = len(self.data) if size is None or size < 0 else self.at + size
        part, self.at = self.data[self.at : end], min(end, len(self.data))
        return part

    def readline(self, size=-1):
        return self.read(size)


def refuse(start_response, how, refusals=REFUSALS, error=ERROR):
    status, code, message = refusals[how]
    body = error.format(code=code, message=message).encode()
    start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]


def main():
    keep_prefix_lists()
    share_interfaces()
    keep_maintenance_options()
    keep_metadata_options()
    make_instance_profile()
    directory = os.path.dirname(os.path.abspath(sys.argv[1]))
    app = Layer(DomainDispatcherApplication(create_backend_app), directory)
    server = make_server("127.0.0.1", 0, app, True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Renamed into place, so that a reader never sees half a number.
    with open(sys.argv[1] + ".part", "w", encoding="ascii") as out:
        out.write(str(server.server_address[1]))
    os.rename(sys.argv[1] + ".part", sys.argv[1])
    signal.pause()


if __name__ == "__main__":
    main()
