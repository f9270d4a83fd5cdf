"""Answers every invocation, and every request of CloudFormation with success.

Stands in for the functions where they are not what is tried.
"""

import json
import os
import urllib.request

NEXT = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"


def put(url, value, method):
    urllib.request.urlopen(urllib.request.Request(url, data=json.dumps(value).encode(), method=method))


def accept(event):
    cluster = event["ResourceProperties"]["Cluster"]
    # What was asked is given back as an attribute, so that a test can see it among the stack's outputs.
    asked = dict(event["ResourceProperties"])
    del asked["ServiceToken"], asked["Cluster"]
    put(event["ResponseURL"], {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId", cluster + "/uid-1"),
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "Data": {"Cluster": cluster, "Uid": json.dumps(asked, sort_keys=True), "Epoch": "1"},
    }, "PUT")


while True:
    try:
        invocation = urllib.request.urlopen(NEXT + "next")
    except OSError:
        raise SystemExit from None
    event = json.load(invocation)
    if "ResponseURL" in event:
        accept(event)
    put(NEXT + invocation.headers["Lambda-Runtime-Aws-Request-Id"] + "/response", {}, "POST")
