"""All looks, in the order in which one thing needs another."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from cryptography import x509

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import identity_document
from controller.clouds.ec2.calls import Calls, Door
from controller.clouds.ec2.doctor import network_findings, rights
from controller.clouds.ec2.doctor.network_findings import Network
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.notices import eventbridge
from controller.model.finding import Finding, Verdict, of_fault

_MACHINES = {"amd64": "x86_64", "arm64": "arm64"}
_SOON_DAYS = 60
# Limits of vCPUs, "Amazon EC2 service quotas"; a new account has 5 and 0.
_QUOTAS = (
    ("L-1216C47A", "on-demand, standard families", False),
    ("L-34B43A08", "spot, standard families", False),
    ("L-DB2E81BA", "on-demand, G and VT (GPUs)", True),
    ("L-3819A6DF", "spot, G and VT (GPUs)", True),
)
# A controller that runs reads the queue too and may be first: it then leaves the next event to us.
_TRIES = 6
_WAIT_SECONDS = 5


class DesiredSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings would launch by themselves: vCPUs of warm cells, those with GPUs apart."""

    cpus: float = 0.0
    gpu_cpus: float = 0.0


async def findings(
    settings: Ec2Settings, calls: Calls, homes: Sequence[str], wanted: DesiredSetup
) -> AsyncIterator[Finding]:
    """Everything that there is to say; `homes` are the addresses that cells dial. Raises nothing."""
    try:
        who = await calls.call("sts", "GetCallerIdentity")
    except Fault as fault:
        yield of_fault("credentials", fault)
        return
    yield Finding(Verdict.OK, "credentials", f"{who.get('Arn')}, account {who['Account']}")
    if settings.account and settings.account != str(who["Account"]):
        cause = f"cloud.ec2.account is {settings.account}, the credentials are of {who['Account']}"
        yield Finding(Verdict.LACKS, "account", cause, "leave the setting out, or use the other account's credentials")
    for each in certificates(settings, datetime.now(UTC)):
        yield each
    async for each in _images(settings, calls):
        yield each
    seen = Network()
    async for each in network_findings.look(settings, calls, homes, seen):
        yield each
    async for each in rights.look(settings, calls, seen):
        yield each
    async for each in _quotas(settings, calls, wanted):
        yield each
    yield await queue_finding(settings, calls)


def certificates(settings: Ec2Settings, now: datetime) -> Iterator[Finding]:
    """Whether identity documents can be checked, and for how long."""
    try:
        identity_document.keys_in(settings.certificates)
    except Fault as fault:
        yield of_fault("certificates", fault)
        return
    assert settings.certificates is not None
    for path in sorted(settings.certificates.glob("*.pem")):
        for each in x509.load_pem_x509_certificates(path.read_bytes()):
            days = (each.not_valid_after_utc - now).days
            until = f"{path.name}, good until {each.not_valid_after_utc:%Y-%m-%d}"
            mend = "replace it by the one that the EC2 user guide lists now"
            verdict = Verdict.LACKS if days < 0 else Verdict.NOTE if days < _SOON_DAYS else Verdict.OK
            yield Finding(verdict, "certificates", until, "" if verdict == Verdict.OK else mend)


async def _images(settings: Ec2Settings, calls: Calls) -> AsyncIterator[Finding]:
    if not settings.images:
        yield Finding(
            Verdict.LACKS, "machine images", "none is named", "set cloud.ec2.image_amd64 or cloud.ec2.image_arm64"
        )
    for architecture, image in settings.images.items():
        thing = f"image {image}"
        if not image.startswith("ami-"):
            yield Finding(Verdict.NOTE, thing, "no id of an image: it is looked for when the controller starts")
            continue
        try:
            answer = await calls.call("ec2", "DescribeImages", ImageIds=[image])
        except Fault as fault:
            yield of_fault(thing, fault)
            continue
        found = next(iter(answer.get("Images") or ()), None)
        yield described(thing, architecture, found, settings.region)


def described(thing: str, architecture: str, found: dict[str, Any] | None, region: str) -> Finding:
    """Of one image, as EC2 describes it."""
    if found is None:
        return Finding(Verdict.LACKS, thing, f"{region} has none of that id", "name one that this account may launch")
    if found.get("State") not in {None, "available"}:
        return Finding(Verdict.LACKS, thing, f"it is {found.get('State')}", "wait for it, or name another")
    if found.get("Architecture") != _MACHINES[architecture]:
        cause = f"it is for {found.get('Architecture')}"
        return Finding(Verdict.LACKS, thing, cause, f"name one for {architecture}, or move it to the other setting")
    return Finding(Verdict.OK, thing, f"{found.get('Name') or 'without a name'}, {architecture}")


async def _quotas(settings: Ec2Settings, calls: Calls, wanted: DesiredSetup) -> AsyncIterator[Finding]:
    for code, of, gpus in _QUOTAS:
        if of.startswith("spot") and not settings.spot:
            continue
        thing = f"vCPUs {of}"
        try:
            answer = await calls.call("service-quotas", "GetServiceQuota", ServiceCode="ec2", QuotaCode=code)
        except Fault as fault:
            verdict = Verdict.NOTE if fault.kind in {Kind.DENIED, Kind.NOT_FOUND} else Verdict.LACKS
            yield Finding(verdict, thing, f"the limit cannot be asked: {fault.cause}", fault.mend)
            continue
        yield limit(thing, float(answer["Quota"]["Value"]), wanted.gpu_cpus if gpus else wanted.cpus, gpus=gpus)


def limit(thing: str, most: float, needed: float, *, gpus: bool) -> Finding:
    """Whether a limit of the account's holds what the settings keep ready."""
    mend = "ask AWS for more (Service Quotas)"
    if most < needed:
        return Finding(Verdict.LACKS, thing, f"{most:g} are allowed, warm cells alone take {math.ceil(needed)}", mend)
    if most == 0:
        return Finding(Verdict.NOTE, thing, "0 are allowed: no such pod will run", mend)
    if most <= 32 and not gpus:
        return Finding(Verdict.NOTE, thing, f"{most:g} are allowed, as a new account has", mend)
    return Finding(Verdict.OK, thing, f"{most:g}")


async def queue_finding(settings: Ec2Settings, calls: Door) -> Finding:
    """The queue of notices: what fills it, and whether an event that is sent arrives. Raises nothing.

    Nobody but AWS may send events of its own sources. So the event is of the source "chinampa.doctor", which a rule
    beside the others sends to the same queue (docs/ec2.md); what keeps it away keeps a spot warning away.
    """
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
