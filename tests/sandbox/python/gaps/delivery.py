"""EventBridge to Lambda: as Lambda's asynchronous queue delivers, and as faulty as a test asks for.

ministack runs a rule's target once and forgets a failure or a throttle. On AWS such an event waits in
Lambda's own queue: a failed one is tried again as often as the function's configuration says and then goes to
its destination for failures, a throttled one waits until it is too old. A rule may also invoke only what the
function's policy permits.

The file named by `BATON_SANDBOX_FAULTS` holds `{"duplicate": p, "drop": p, "delay": [least, most]}`,
probabilities and seconds; it is read at each event, so a test changes it while all runs. Unequal delays
reorder.
"""

import contextvars
import json
import os
import random
import threading
import time

from . import names

# Marks an event that AWS itself would have sent; only the sandbox's account script sets it.
FROM_AWS = "baton-sandbox-from-aws"

_rule_arn = contextvars.ContextVar("baton_sandbox_rule_arn", default="")


def faults():
    """The faults asked for now. A file that cannot be read is an error: a test without its faults would prove
    nothing.
    """
    path = os.environ.get("BATON_SANDBOX_FAULTS", "")
    if not path or not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as text:
        return json.load(text)


def in_background(work, *arguments):
    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work, *arguments), daemon=True).start()


class AsynchronousQueue:
    """Delivers one event to one function until it succeeded, failed for good or is too old."""

    def __init__(self, lambdas, function, event):
        self.lambdas, self.function, self.event = lambdas, function, event
        self.config = function.get("config") or function
        by_qualifier = function.get("event_invoke_configs") or {}
        asked = function.get("event_invoke_config") or by_qualifier.get("$LATEST") or {}
        retries = asked.get("MaximumRetryAttempts")
        self.retries = 2 if retries is None else int(retries)
        self.longest_age = int(asked.get("MaximumEventAgeInSeconds", 21600))
        on_failure = (asked.get("DestinationConfig") or {}).get("OnFailure") or {}
        dead_letters = self.config.get("DeadLetterConfig") or {}
        self.destination = on_failure.get("Destination") or dead_letters.get("TargetArn") or ""

    def deliver(self):
        account, region = self.lambdas._account_region_from_function_config(self.config)
        self.lambdas._request_account_id.set(account)
        self.lambdas._request_region.set(region)
        result = self.attempts()
        if result is not None and self.destination:
            name = self.config.get("FunctionName", "")
            self.lambdas._route_async_failure(self.destination, name, self.event, result)

    def attempts(self):
        """None once an attempt succeeded, else the last result."""
        least, most = (
            self.lambdas._LAMBDA_ASYNC_RETRY_BASE_SECONDS,
            self.lambdas._LAMBDA_ASYNC_RETRY_MAX_SECONDS,
        )
        started, wait, left = time.monotonic(), least, self.retries
        while True:
            result = self.lambdas._execute_function(self.function, self.event)
            if not result.get("error"):
                return None
            throttled = bool(result.get("throttle"))
            if not throttled and left == 0:
                return result
            if time.monotonic() - started + wait > self.longest_age:
                return result
            left -= 0 if throttled else 1
            time.sleep(wait)
            wait = min(wait * 2, most)


def _permitted(function, config):
    """Whether the function's own policy lets the rule that is being delivered invoke it."""
    rule = _rule_arn.get()
    evaluate = names.private("core.iam_evaluator", "evaluate_resource_policy", ["doc", "ctx", "service"])
    context = names.private("core.iam_evaluator", "EvalContext")
    account = rule.split(":")[4] if rule else ""
    asked = context(
        principal_arn="events.amazonaws.com",
        principal_type="Service",
        principal_account=account,
        action="lambda:InvokeFunction",
        resource_arn=config["FunctionArn"],
        region=config["FunctionArn"].split(":")[3],
        service_context={"aws:sourcearn": rule, "aws:sourceaccount": account},
    )
    return evaluate(function.get("policy"), asked, service="events.amazonaws.com").decision == "Allow"


def _to_lambda(lambdas, log):
    def dispatch(arn, payload):
        function, config, name = lambdas._get_func_record_for_ref(arn)
        if not function or not config:
            log.warning(
                "rule %s: there is no function %s, the event is lost as on AWS", _rule_arn.get(), name
            )
            return
        if not _permitted(function, config):
            log.warning(
                "rule %s may not invoke %s: its policy has no permission for it", _rule_arn.get(), name
            )
            return
        record = lambdas._execution_record_for_config(function, config)

        def once(asked):
            if asked.get("delay"):
                time.sleep(random.uniform(*asked["delay"]))
            AsynchronousQueue(lambdas, record, json.loads(payload)).deliver()

        asked = faults()
        if random.random() < asked.get("drop", 0):
            log.warning("an event for %s was dropped, as asked", name)
            return
        copies = 2 if random.random() < asked.get("duplicate", 0) else 1
        for _ in range(copies):
            in_background(once, asked)

    return lambda _original: dispatch


def _with_rule(rule_arn):
    def make(original):
        def invoke(target, event, rule, view=None):
            token = _rule_arn.set(rule_arn(rule.get("Name", ""), rule.get("EventBusName", "default")))
            try:
                return original(target, event, rule, view)
            finally:
                _rule_arn.reset(token)

        return invoke

    return make


def _events_of_aws(original):
    def put_events(data, allow_aws_source=False):
        entries = data.get("Entries") or []
        marked = bool(entries) and all(entry.get("TraceHeader") == FROM_AWS for entry in entries)
        return original(data, allow_aws_source or marked)

    return put_events


def install():
    lambdas = __import__("ministack.services.lambda_svc", fromlist=["lambda_svc"])
    for name in (
        "_account_region_from_function_config",
        "_request_account_id",
        "_request_region",
        "_route_async_failure",
        "_execute_function",
        "_get_func_record_for_ref",
        "_execution_record_for_config",
        "_LAMBDA_ASYNC_RETRY_BASE_SECONDS",
        "_LAMBDA_ASYNC_RETRY_MAX_SECONDS",
    ):
        names.private("services.lambda_svc", name)
    log = names.private("services.eventbridge", "logger")
    rule_arn = names.private("services.eventbridge", "_rule_arn", ["rule_name", "bus_name"])
    names.replace(
        "services.lambda_svc",
        "invoke_async_with_retry",
        ["func", "event"],
        lambda _original: lambda func, event: in_background(AsynchronousQueue(lambdas, func, event).deliver),
    )
    names.replace("services.eventbridge", "_dispatch_to_lambda", ["arn", "payload"], _to_lambda(lambdas, log))
    names.replace(
        "services.eventbridge", "_invoke_target", ["target", "event", "rule", "view"], _with_rule(rule_arn)
    )
    names.replace("services.eventbridge", "_put_events", ["data", "allow_aws_source"], _events_of_aws)
