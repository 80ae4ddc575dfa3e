"""Notices, from what EventBridge and DescribeInstanceStatus tell of instances. Pure.

Shapes: "Events for Amazon EC2" and "Spot Instance interruption notices" (EC2 user guide), "EventBridge event schema"
(AWS Health user guide), DescribeInstanceStatus (API reference). What tells of no instance is no notice; what is not an
event at all is refused, so that whoever reads the queue can throw it away aloud.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Notice
from controller.model.cell import NoticeKind
from controller.model.names import InstanceId

# Of events by which `chinampa doctor --cloud` sees whether the queue is filled.
DOCTOR = "chinampa.doctor"
# A spot instance is interrupted two minutes after the warning is emitted.
WARNING_SECONDS = 120.0
_MESSAGE_LIMIT = 500
_INSTANCE = re.compile(r"\bi-(?:[0-9a-f]{17}|[0-9a-f]{8})\b", re.ASCII)
# Scheduled events after which nothing that ran on the instance runs any more. One that is only disturbed
# ("system-maintenance", say) goes on.
_ENDING_CODES = frozenset({"instance-stop", "instance-retirement", "instance-reboot", "system-reboot"})
_ENDING_WORDS = ("RETIREMENT", "STOP", "TERMINAT", "REBOOT")
_OVER = ("[Completed]", "[Canceled]")


def read(body: str) -> tuple[Notice, ...]:
    """Notices of one message of the queue; none for an event that is not about instances. Raises Fault INVALID."""
    event = _event(body)
    kind = str(event["detail-type"])
    parse = _PARSERS.get((str(event["source"]), kind))
    if parse is None:
        return ()
    detail = event.get("detail")
    if not isinstance(detail, dict):
        raise Fault(Kind.INVALID, kind, "it has no detail")
    return tuple(parse(event, cast("dict[str, Any]", detail)))


def is_of_doctor(body: str) -> bool:
    """Whether somebody examines the queue, and waits for an event of their own there."""
    try:
        return _event(body)["source"] == DOCTOR
    except Fault:
        return False


def _event(body: str) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Fault(Kind.INVALID, "message", f"it is not JSON: {error}") from error
    if not isinstance(event, dict) or not {"source", "detail-type"} <= event.keys():
        raise Fault(Kind.INVALID, "message", "it is no event of EventBridge", "send nothing else to this queue")
    return cast("dict[str, Any]", event)


def _interruption(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterable[Notice]:
    emitted = _moment(event.get("time"))
    at = emitted + WARNING_SECONDS if emitted else 0.0
    action = str(detail.get("instance-action") or "terminate")
    message = _short(f"AWS takes the spot instance: {action}")
    yield Notice(instance=_instance(detail), kind=NoticeKind.INTERRUPTION, at=at, message=message, ends=True)


def _reclaimed(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterable[Notice]:
    """The owner of an interruptible capacity reservation takes it back, or a capacity block ends."""
    emitted = _moment(event.get("time"))
    at = _moment(detail.get("instance-termination-time")) or (emitted + WARNING_SECONDS if emitted else 0.0)
    message = _short(f"the capacity reservation of the instance ends: {detail.get('instance-action') or 'terminate'}")
    yield Notice(instance=_instance(detail), kind=NoticeKind.INTERRUPTION, at=at, message=message, ends=True)


def _rebalance(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterable[Notice]:
    del event
    message = "AWS expects to take this spot instance soon"
    yield Notice(instance=_instance(detail), kind=NoticeKind.REBALANCE, at=0.0, message=message)


def _state(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterable[Notice]:
    state = str(detail.get("state") or "")
    yield Notice(
        instance=_instance(detail),
        kind=NoticeKind.STATE_CHANGE,
        at=_moment(event.get("time")),
        message=_short(state or "changed"),
    )


def _health(event: Mapping[str, Any], detail: Mapping[str, Any]) -> Iterable[Notice]:
    """Scheduled changes and issues of EC2, one notice for each instance that they name."""
    category = str(detail.get("eventTypeCategory") or "")
    if detail.get("service") != "EC2" or category not in {"scheduledChange", "issue"}:
        return
    if str(detail.get("statusCode") or "open") == "closed":
        return
    found = dict[str, None]()
    for entity in _items(detail.get("affectedEntities")):
        found.update(dict.fromkeys(_INSTANCE.findall(str(entity.get("entityValue") or ""))))
    for resource in _listed(event.get("resources")):
        found.update(dict.fromkeys(_INSTANCE.findall(str(resource))))
    at = _moment(detail.get("startTime")) if category == "scheduledChange" else 0.0
    told = next((str(each.get("latestDescription") or "") for each in _items(detail.get("eventDescription"))), "")
    code = str(detail.get("eventTypeCode") or category)
    message = _short(f"{code}: {told}" if told else code)
    ends = category == "scheduledChange" and any(word in code.upper() for word in _ENDING_WORDS)
    for instance in found:
        yield Notice(instance=InstanceId(instance), kind=NoticeKind.MAINTENANCE, at=at, message=message, ends=ends)


_PARSERS: dict[tuple[str, str], Callable[[Mapping[str, Any], Mapping[str, Any]], Iterable[Notice]]] = {
    ("aws.ec2", "EC2 Spot Instance Interruption Warning"): _interruption,
    # The user guide has had both names for one event.
    ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"): _reclaimed,
    ("aws.ec2", "EC2 Interruptible Capacity Reservation Instance Interruption Warning"): _reclaimed,
    ("aws.ec2", "EC2 Instance Rebalance Recommendation"): _rebalance,
    ("aws.ec2", "EC2 Instance State-change Notification"): _state,
    ("aws.health", "AWS Health Event"): _health,
}
# Source and detail-type of what a rule of EventBridge should send.
UNDERSTOOD = frozenset(_PARSERS)


_CHECKS = (
    ("SystemStatus", "system"),
    ("InstanceStatus", "instance"),
    ("AttachedEbsStatus", "attached EBS"),
    ("ApplicationStatus", "application"),
)


def of_status(status: Mapping[str, Any]) -> tuple[Notice, ...]:
    """Notices of one entry of DescribeInstanceStatus: failed checks and scheduled events."""
    instance = InstanceId(str(status.get("InstanceId") or ""))
    found: list[Notice] = []
    for key, what in _CHECKS:
        if str((status.get(key) or {}).get("Status") or "") == "impaired":
            message = f"the {what} status check fails"
            found.append(Notice(instance=instance, kind=NoticeKind.MAINTENANCE, at=0.0, message=message, impaired=True))
    for event in _items(status.get("Events")):
        told = str(event.get("Description") or "")
        if told.startswith(_OVER):
            continue
        code = str(event.get("Code") or "event")
        at = _moment(event.get("NotBefore"))
        message = _short(f"{code}: {told}" if told else code)
        ends = code in _ENDING_CODES
        found.append(Notice(instance=instance, kind=NoticeKind.MAINTENANCE, at=at, message=message, ends=ends))
    return tuple(found)


def _instance(detail: Mapping[str, Any]) -> InstanceId:
    told = str(detail.get("instance-id") or "")
    if not _INSTANCE.fullmatch(told):
        raise Fault(Kind.INVALID, "event", "it names no instance")
    return InstanceId(told)


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _items(value: object) -> list[Mapping[str, Any]]:
    return [cast("Mapping[str, Any]", item) for item in _listed(value) if isinstance(item, Mapping)]


def _moment(value: object) -> float:
    """Unix seconds of an ISO 8601 time, an HTTP date or a datetime; 0 for anything else."""
    if isinstance(value, str):
        value = _read_moment(value)
    if not isinstance(value, datetime):
        return 0.0
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    try:
        seconds = value.timestamp()
    except (OverflowError, ValueError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _read_moment(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            return parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _short(text: str) -> str:
    return " ".join(text.split())[:_MESSAGE_LIMIT]
