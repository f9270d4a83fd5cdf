"""Answers whether policies allow requests: reads one JSON object, prints a JSON list.

    {"region": "eu-west-1", "account": "123456789012",
     "questions": [{"policies": [{…}], "action": "ec2:ReplaceRoute", "resource": "arn:…", "keys": {"aws:ResourceTag/x": "y"}}]}

The evaluation is ministack's, with the policy variables that the sandbox adds to it; `keys` are the condition keys of the request, and one
that is not there is absent. What a policy names and nobody asks about here cannot be told from this.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../sandbox/python"))

from gaps import iam, names  # noqa: E402

names.check_version()
iam.install()
from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document  # noqa: E402


def answer(question, region, account):
    context = EvalContext(
        principal_arn=f"arn:aws:sts::{account}:assumed-role/somebody/session",
        principal_type="AssumedRole",
        principal_account=account,
        action=question["action"],
        resource_arn=question["resource"],
        region=question.get("region", region),
        source_ip="127.0.0.1",
        secure_transport=True,
        # As ministack has it for requests: where no tag is named the key is absent, and not an empty list.
        service_context={
            "aws:tagkeys": None,
            **{key.lower(): value for key, value in question.get("keys", {}).items()},
        },
    )
    return evaluate(context, [parse_policy_document(policy) for policy in question["policies"]]).decision


asked = json.load(sys.stdin)
json.dump([answer(one, asked["region"], asked["account"]) for one in asked["questions"]], sys.stdout)
