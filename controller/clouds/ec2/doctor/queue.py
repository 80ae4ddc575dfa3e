"""The queue of notices: what fills it, and whether an event that is sent arrives.

Nobody but AWS may send events of its own sources. So the event is of the source "chinampa.doctor", which a rule beside
the others sends to the same queue (docs/ec2.md); what keeps it away keeps a spot warning away.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, cast

from cellwire.faults import Fault
from controller.clouds.ec2.calls import Door
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.notices import eventbridge
from controller.model.finding import Finding, Verdict, of_fault

# A controller that runs reads the queue too and may be first: it then leaves the next event to us.
_TRIES = 6
_WAIT_SECONDS = 5


async def look(settings: Ec2Settings, calls: Door) -> Finding:
    """Send events until one is seen to come. Raises nothing."""
    thing = "queue of notices"
    if not settings.queue_url:
        cause = "none is configured: spot interruptions come without a warning"
        return Finding(Verdict.NOTE, thing, cause, "make one (docs/ec2.md) and set cloud.ec2.queue_url")
    try:
        asked = await calls.call("sqs", "GetQueueAttributes", QueueUrl=settings.queue_url, AttributeNames=["QueueArn"])
        arn = str(asked["Attributes"]["QueueArn"])
        rules = await calls.call("events", "ListRuleNamesByTarget", TargetArn=arn)
        names = cast("list[str]", rules.get("RuleNames") or [])
        if not names:
            return Finding(Verdict.LACKS, thing, "no rule of EventBridge sends to it", "make the rules of docs/ec2.md")
        if await _seen(settings, calls):
            return Finding(Verdict.OK, thing, f"an event came; rules: {', '.join(sorted(names))}")
    except Fault as fault:
        return of_fault(thing, fault)
    cause = f"an event of the source {eventbridge.DOCTOR} was sent and did not come within {_TRIES * _WAIT_SECONDS} s"
    mend = "let the queue's policy allow events.amazonaws.com by aws:SourceArn, and make the rule for that source"
    return Finding(Verdict.LACKS, thing, cause, mend)


async def _seen(settings: Ec2Settings, calls: Door) -> bool:
    mark = secrets.token_hex(8)
    detail = json.dumps({"mark": mark, "cluster": settings.cluster})
    event = {"Source": eventbridge.DOCTOR, "DetailType": "Chinampa Doctor", "Detail": detail}
    for _ in range(_TRIES):
        await calls.call("events", "PutEvents", Entries=[event])
        answer = await calls.call(
            "sqs",
            "ReceiveMessage",
            QueueUrl=settings.queue_url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=_WAIT_SECONDS,
            VisibilityTimeout=0,
        )
        for message in cast("list[dict[str, Any]]", answer.get("Messages") or []):
            if mark in str(message.get("Body")):
                handle = str(message["ReceiptHandle"])
                await calls.call("sqs", "DeleteMessage", QueueUrl=settings.queue_url, ReceiptHandle=handle)
                return True
    return False
