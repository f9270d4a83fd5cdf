"""The condition keys a request carries to DynamoDB and EventBridge, read from its body.

Pure functions of the body, so that they can be tested without a server. Key names are in lower case, as the
evaluator looks them up.
"""

import re

# A value, a step into a document, a list index, a placeholder or name, in this order of preference.
_TOKEN = re.compile(r":\w+|\.\s*[#\w]+|\[\d*\]|#?\w+(?:\s*\()?|\S")
_WORDS = frozenset("SET REMOVE ADD DELETE AND OR NOT BETWEEN IN".split())
_EXPRESSIONS = (
    "ProjectionExpression",
    "UpdateExpression",
    "ConditionExpression",
    "FilterExpression",
    "KeyConditionExpression",
)
# The parameters that came before expressions; each is a map from attribute name.
_LEGACY_MAPS = ("Expected", "AttributeUpdates", "KeyConditions", "QueryFilter", "ScanFilter")


def top_level_names(expression, placeholders):
    """The top-level attributes that an expression names, in order."""
    found = []
    for token in _TOKEN.findall(expression):
        name = token.rstrip("( \t\n")
        if token[0] in ":.[" or not re.fullmatch(r"#?\w+", name) or name.isdigit():
            continue
        # A name before a parenthesis is a function or a keyword; attributes cannot be called.
        if token != name or name.upper() in _WORDS:
            continue
        found.append(placeholders.get(name, name))
    return found


def _placeholders(request):
    names = request.get("ExpressionAttributeNames")
    return names if isinstance(names, dict) else {}


def attributes(request):
    """`dynamodb:Attributes`: every top-level attribute that one operation names, keys included."""
    found = []
    for part in ("Key", "Item", *_LEGACY_MAPS):
        if isinstance(request.get(part), dict):
            found.extend(request[part])
    for part in _EXPRESSIONS:
        if isinstance(request.get(part), str):
            found.extend(top_level_names(request[part], _placeholders(request)))
    found.extend(name for name in request.get("AttributesToGet") or [] if isinstance(name, str))
    return sorted(set(found))


def _plain(value):
    """The text of a typed attribute value, as policies compare it."""
    if isinstance(value, dict) and len(value) == 1:
        return str(next(iter(value.values())))
    return str(value)


def _query_key(request, partition_key):
    """The partition key's value that a Query asks for."""
    legacy = (request.get("KeyConditions") or {}).get(partition_key)
    if legacy:
        return [_plain(value) for value in legacy.get("AttributeValueList", [])]
    expression = request.get("KeyConditionExpression")
    if not isinstance(expression, str):
        return []
    values = request.get("ExpressionAttributeValues") or {}
    names = _placeholders(request)
    found = []
    for name, value in re.findall(r"([#\w]+)\s*=\s*(:\w+)", expression):
        if names.get(name, name) == partition_key and value in values:
            found.append(_plain(values[value]))
    return found


def leading_keys(request, partition_key):
    """`dynamodb:LeadingKeys`: the partition keys that one operation on one table touches."""
    for part in ("Key", "Item"):
        if isinstance(request.get(part), dict) and partition_key in request[part]:
            return [_plain(request[part][partition_key])]
    return _query_key(request, partition_key)


def of_operation(request, partition_key):
    """The keys of one operation on one table."""
    context = {}
    named = attributes(request)
    if named:
        context["dynamodb:attributes"] = named
    keys = leading_keys(request, partition_key)
    if keys:
        context["dynamodb:leadingkeys"] = keys
    for parameter in ("ReturnValues", "ReturnConsumedCapacity"):
        if isinstance(request.get(parameter), str):
            context[f"dynamodb:{parameter.lower()}"] = request[parameter]
    return context


def of_batch(request, partition_key_of):
    """The keys of BatchGetItem and BatchWriteItem; `partition_key_of` takes a table's name."""
    keys, named = [], []
    for table, asked in (request.get("RequestItems") or {}).items():
        if isinstance(asked, dict):
            parts = [{"Key": key} for key in asked.get("Keys") or []]
            named.extend(attributes({**asked, "Key": None}))
        else:
            parts = [
                operation
                for one in asked
                for operation in [one.get("PutRequest") or one.get("DeleteRequest") or {}]
            ]
        for part in parts:
            keys.extend(leading_keys(part, partition_key_of(table, None)))
            named.extend(attributes(part))
    context = {}
    if keys:
        context["dynamodb:leadingkeys"] = sorted(set(keys))
    if named:
        context["dynamodb:attributes"] = sorted(set(named))
    return context


def of_event(entry):
    """The keys of one entry of PutEvents."""
    context = {}
    for parameter, key in (("Source", "events:source"), ("DetailType", "events:detail-type")):
        if isinstance(entry.get(parameter), str):
            context[key] = entry[parameter]
    return context
