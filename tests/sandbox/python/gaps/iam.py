"""IAM: the condition keys that ministack leaves out, and policy variables, which it compares as text.

Without them `ForAllValues` on `dynamodb:LeadingKeys` passes every request, since an absent key is an empty
set, and `StringEquals` on `events:source` denies every one.

* `dynamodb:LeadingKeys`, `dynamodb:Attributes`, `dynamodb:ReturnValues`: from the request, per item of a
  transaction;
* `events:source`, `events:detail-type`: per entry of PutEvents;
* `sts:ExternalId`: for the policies of whoever takes on a role; for the role's own trust it is there already;
* `ec2:SourceInstanceARN`: the instance, where the session of an assumed role is named after one. AWS sets it
  for credentials that came through instance metadata; here only the sandbox's metadata service hands out such
  sessions;
* `aws:PrincipalArn`: of the session of an assumed role it is the role's ARN, not the session's;
* `${…}` in conditions and resources, with its `${key, 'default'}` form.
"""

import dataclasses
import json
import re
import urllib.parse

from . import condition_keys, names

_INSTANCE_SESSION = re.compile(r"^arn:([\w-]+):sts::(\d{12}):assumed-role/.+/(i-[0-9a-f]{8,17})$")
_SESSION = re.compile(r"^arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/[^/]+$")
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


class Checked(str):
    """A resource that is checked together with the condition keys of the one part of the request that names
    it.
    """

    keys = {}

    @classmethod
    def of(cls, resource, keys):
        checked = cls(resource)
        checked.keys = keys
        return checked


def _body(body):
    try:
        data = json.loads(body or b"{}")
    except (ValueError, TypeError):
        return {}
    return data if isinstance(data, dict) else {}


def partition_key_of(table, index):
    """The name of a table's or an index's partition key; `pk` for a table that is not there, where nothing
    can match.
    """
    tables = names.private("services.dynamodb", "_tables")
    found = tables.get(table.rsplit("/", 1)[-1]) or {}
    schema = found.get("KeySchema") or []
    for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes"):
        for candidate in found.get(kind) or []:
            if index and candidate.get("IndexName") == index:
                schema = candidate.get("KeySchema") or []
    return next((part["AttributeName"] for part in schema if part.get("KeyType") == "HASH"), "pk")


def _operation_keys(operation):
    table = operation.get("TableName")
    if not isinstance(table, str):
        return {}
    return condition_keys.of_operation(operation, partition_key_of(table, operation.get("IndexName")))


def _dynamodb_context(original):
    def context(body):
        request = _body(body)
        found = {key.lower(): value for key, value in original(body).items()}
        found.update(_operation_keys(request))
        if isinstance(request.get("RequestItems"), dict):
            found.update(condition_keys.of_batch(request, partition_key_of))
        return found

    return context


def _transaction_checks(original):
    members = names.private("core.iam_actions", "_DYNAMODB_TRANSACT_ITEM_ACTIONS")

    def checks(iam_action, body, region, account_id):
        plain = original(iam_action, body, region, account_id)
        if not plain:
            return plain
        # The same walk as the original's, so that both lists line up.
        operations = [
            item[member]
            for item in _body(body).get("TransactItems", [])
            if isinstance(item, dict)
            for member in members
            if isinstance(item.get(member), dict) and isinstance(item[member].get("TableName"), str)
        ]
        if len(operations) != len(plain):
            raise RuntimeError(
                "ministack checks other items of a transaction than the sandbox reads condition keys of"
            )
        return [
            (action, Checked.of(arn, _operation_keys(operation)))
            for (action, arn), operation in zip(plain, operations, strict=True)
        ]

    return checks


def _event_entries(body, region, account_id, bus_arns):
    """One check per entry: its bus with its own source and detail-type."""
    entries = [entry for entry in _body(body).get("Entries") or [] if isinstance(entry, dict)]
    checked = []
    for entry in entries:
        one = json.dumps({"Entries": [entry]}).encode()
        checked.extend(
            Checked.of(arn, condition_keys.of_event(entry)) for arn in bus_arns(one, region, account_id)
        )
    return checked


def _external_id(body):
    """What whoever takes on a role tells STS; the key is absent where nothing is told."""
    given = urllib.parse.parse_qs((body or b"").decode("utf-8", "replace"))
    return {"sts:externalid": given["ExternalId"][0]} if "ExternalId" in given else {}


def _resource_arn(original, bus_arns):
    def arn(service, method, path, headers, body, query_params, region, account_id):
        resource = original(service, method, path, headers, body, query_params, region, account_id)
        if service == "sts":
            return Checked.of(resource, _external_id(body))
        # The first entry is checked as the request's resource, the others by `eventbridge_resource_arns`.
        entries = _event_entries(body, region, account_id, bus_arns) if service == "events" else []
        return entries[0] if entries else resource

    return arn


def _bus_arns(original):
    def arns(body, region, account_id):
        return _event_entries(body, region, account_id, original)

    return arns


def _enforce(original):
    def enforce(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        context = {**(service_context or {}), **getattr(resource_arn, "keys", {})}
        return original(access_key_id, iam_action, service, region, str(resource_arn), context)

    return enforce


def _principal_keys(original):
    def keys(credential):
        found = original(credential)
        session = _INSTANCE_SESSION.match(credential.principal_arn or "")
        if session:
            partition, account, instance = session.groups()
            region = names.private("core.responses", "get_region")()
            found["ec2:sourceinstancearn"] = f"arn:{partition}:ec2:{region}:{account}:instance/{instance}"
        return found

    return keys


def _global_keys(original):
    def resolve(key, ctx):
        session = _SESSION.match(ctx.principal_arn or "") if key.lower() == "aws:principalarn" else None
        if session:
            partition, account, role = session.groups()
            return f"arn:{partition}:iam::{account}:role/{role}"
        return original(key, ctx)

    return resolve


def substitute(text, value_of):
    """Puts the values of policy variables into a text. A variable without value stays as it is and so matches
    nothing.
    """

    def value(match):
        name, _, default = match.group(1).partition(",")
        if name in ("*", "?", "$"):
            return name
        found = value_of(name.strip())
        if found is None or isinstance(found, list):
            default = default.strip()
            return (
                default[1:-1] if default[:1] == default[-1:] == "'" and len(default) > 1 else match.group(0)
            )
        return str(found)

    return _VARIABLE.sub(value, text)


def _resolved(part, value_of):
    if isinstance(part, str):
        return substitute(part, value_of)
    if isinstance(part, list):
        return [_resolved(one, value_of) for one in part]
    if isinstance(part, dict):
        return {key: _resolved(one, value_of) for key, one in part.items()}
    return part


def _first_match(original):
    look_up = names.private("core.iam_evaluator", "_resolve_condition_key", ["key", "ctx"])

    def first_match(ctx, stmts, effect):
        for statement in stmts:
            resolved = dataclasses.replace(
                statement,
                **{
                    part: _resolved(getattr(statement, part), lambda key: look_up(key, ctx))
                    for part in ("resources", "not_resources", "conditions")
                },
            )
            if original(ctx, [resolved], effect):
                return statement
        return None

    return first_match


def install():
    actions, evaluator = "core.iam_actions", "core.iam_evaluator"
    bus_arns = names.private(actions, "eventbridge_resource_arns", ["body", "region", "account_id"])
    arn_parameters = ["service", "method", "path", "headers", "body", "query_params", "region", "account_id"]
    names.replace(actions, "dynamodb_service_context", ["body"], _dynamodb_context)
    names.replace(
        actions,
        "dynamodb_transaction_checks",
        ["iam_action", "body", "region", "account_id"],
        _transaction_checks,
    )
    names.replace(
        actions, "extract_resource_arn", arn_parameters, lambda original: _resource_arn(original, bus_arns)
    )
    names.replace(actions, "eventbridge_resource_arns", ["body", "region", "account_id"], _bus_arns)
    enforce_parameters = [
        "access_key_id",
        "iam_action",
        "service",
        "region",
        "resource_arn",
        "service_context",
    ]
    names.replace(evaluator, "enforce", enforce_parameters, _enforce)
    names.replace(evaluator, "_principal_keys", ["credential"], _principal_keys)
    names.replace(evaluator, "_resolve_condition_key", ["key", "ctx"], _global_keys)
    names.replace(evaluator, "_first_match", ["ctx", "stmts", "effect"], _first_match)
