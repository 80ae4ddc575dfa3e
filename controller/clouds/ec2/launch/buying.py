"""Which calls launch a batch: fleet after fleet over what was not refused, market after market, RunInstances where
fleets are not allowed. Remembers for a while what is not worth another try: full subnets, a market that fails.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.clouds.ec2.launch import attempts, launch_spec
from controller.clouds.ec2.launch.attempts import Attempt, CallRefusal, Frame
from controller.clouds.ec2.launch.launch_spec import Build, LaunchSpec
from controller.clouds.ec2.launch.launch_templates import LaunchTemplates
from controller.clouds.ec2.launch.sending import Order, Sender
from controller.clouds.ec2.network.environment import CurrentEnvironment
from controller.clouds.protocol import LaunchRequest, Unfulfilled
from controller.model.offer import LaunchType

log = structlog.get_logger()
_DENIED_SECONDS = 600.0
# A subnet without free addresses is tried after the others for so long, and a market in which EC2 only fails after the
# other, as the fleet does with offers.
_FULL_SECONDS = 180.0
_FAILING_SECONDS = 180.0
# A fleet tries a few of its options; RunInstances one a call, two calls a second.
_MOST_FLEETS = 5
_MOST_RUNS = 20
_NO_TEMPLATE = frozenset(
    {
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.NotFoundException",
    }
)
_PAUSE = 1.0


class LaunchBatch(msgspec.Struct, kw_only=True):
    """A batch of launches: the requests of one launch spec by token, and what came of it so far."""

    spec: LaunchSpec
    requests: Mapping[str, LaunchRequest]
    calls: int = 0
    batches: dict[str, tuple[str, ...]] = {}
    refused: list[CallRefusal] = []
    unfulfilled: dict[tuple[str, str, str], Unfulfilled] = {}


class Buyer:
    """See the module."""

    def __init__(
        self, settings: Ec2Settings, where: CurrentEnvironment, sender: Sender, templates: LaunchTemplates
    ) -> None:
        self._settings = settings
        self._where = where
        self._sender = sender
        self._templates = templates
        self._full: dict[str, float] = {}
        self._failing: dict[LaunchType, float] = {}
        self._fleets_after = 0.0 if settings.fleets else float("inf")

    async def buy(self, job: LaunchBatch, tokens: tuple[str, ...]) -> None:
        """Launch for these tokens, over all offers. Raises Fault where no other offer would help."""
        job.calls = 0
        offers = launch_spec.launchable(job.spec, job.requests[tokens[0]].offers)
        now = time.monotonic()
        full = [subnet for subnet, until in self._full.items() if until > now]
        failing = [market for market, until in self._failing.items() if until > now]
        # Steady: what fails is tried last, not never.
        ways = sorted(attempts.attempts(offers, self._where.now, full), key=lambda way: way.market in failing)
        for number, attempt in enumerate(ways):
            if not self._sender.undealt(tokens):
                return
            try:
                await self._by_either(job, attempt, tokens)
            except Fault as fault:
                others = any(way.market is not attempt.market for way in ways[number + 1 :])
                if fault.reason not in errors.UNCERTAIN or not others or not await self._sender.give_up(tokens):
                    raise
                log.warning("EC2 fails in one market; trying the other", market=attempt.market.value, cause=str(fault))
                self._failing[attempt.market] = time.monotonic() + _FAILING_SECONDS
                self._refused(job, attempt, (CallRefusal("", "", attempt.market, fault.reason, fault.cause),))

    async def _by_either(self, job: LaunchBatch, attempt: Attempt, tokens: tuple[str, ...]) -> None:
        if time.monotonic() >= self._fleets_after:
            try:
                await self._by_fleet(job, attempt, tokens)
            except Fault as fault:
                if fault.kind is not Kind.DENIED and fault.reason not in errors.NO_FLEETS:
                    raise
                log.warning("fleets are not allowed; launching by RunInstances", cause=str(fault))
                self._fleets_after = time.monotonic() + _DENIED_SECONDS
            else:
                return
        await self._by_run(job, attempt, tokens)

    async def _by_fleet(self, job: LaunchBatch, attempt: Attempt, tokens: tuple[str, ...]) -> None:
        at_first = len(self._sender.undealt(tokens))
        for _ in range(_MOST_FLEETS):
            missing = tuple(self._sender.undealt(tokens))
            if not missing or not attempt.options:
                return
            frames = await self._frames(job.spec, attempt)
            user_data = base64.b64encode(launch_spec.packed_user_data(job.spec.user_data)).decode()
            most = launch_spec.price(job.spec.max_price) if job.spec.max_price else ""
            parameters = attempts.fleet(attempt, frames, len(missing), user_data, most)
            try:
                answer = await self._new(job, "CreateFleet", parameters, missing)
            except Fault as fault:
                if fault.reason in _NO_TEMPLATE:
                    await self._without_template()
                    continue
                if fault.kind is not Kind.NO_CAPACITY or fault.reason in errors.NO_FLEETS:
                    raise
                # Of the whole call: another market may do.
                self._refused(job, attempt, (CallRefusal("", "", attempt.market, fault.reason, fault.cause),))
                return
            refused = attempts.refusals(answer, attempt.market)
            self._refused(job, attempt, refused)
            if any(each.code in _NO_TEMPLATE for each in refused):
                await self._without_template()
                continue
            self._require_hope(parameters, missing, refused)
            left = attempts.without(attempt, refused)
            if len(left.options) == len(attempt.options):
                return  # it has more of none of them
            attempt = left
        if len(self._sender.undealt(tokens)) == at_first:
            # So many in vain are a shortage of all: to ask for each would take hundreds of calls, of every pod.
            rest = (CallRefusal(each.type, each.subnet, attempt.market, attempts.SHORT) for each in attempt.options)
            self._refused(job, attempt, tuple(rest))

    def _require_hope(self, parameters: dict[str, Any], tokens: Sequence[str], refused: Sequence[CallRefusal]) -> None:
        """Raise Fault for a refusal of launching as such: another option or market would be refused no less."""
        if any(each.code in errors.THROTTLES for each in refused):
            self._sender.throttled("CreateFleet", parameters, len(tokens))
        if not self._sender.undealt(tokens):
            return
        for codes in (errors.DENIED, errors.THROTTLES):
            for each in refused:
                if each.code in codes:
                    raise errors.fault_of("ec2", "CreateFleet", each.code, each.message)

    async def _frames(self, its: LaunchSpec, attempt: Attempt) -> dict[Build, Frame]:
        templates = await self._templates.named(its, attempts.builds(attempt))
        return {
            build: Frame(name, launch_spec.beside(its, build, self._settings, self._where.now))
            for build, name in templates.items()
        }

    async def _without_template(self) -> None:
        """Somebody has deleted it, or EC2 does not know yet what it has made."""
        self._templates.forget()
        await asyncio.sleep(_PAUSE)

    async def _by_run(self, job: LaunchBatch, attempt: Attempt, tokens: tuple[str, ...]) -> None:
        left = attempt
        for _ in range(_MOST_RUNS):
            missing = tuple(self._sender.undealt(tokens))
            if not missing or not left.options:
                return
            option = left.options[0]
            data = launch_spec.launch_data(job.spec, option.build, self._settings, self._where.now)
            data["NetworkInterfaces"][0]["SubnetId"] = option.subnet
            data |= {"InstanceType": option.type, "MinCount": 1, "MaxCount": len(missing)}
            data["UserData"] = launch_spec.packed_user_data(job.spec.user_data)
            if attempt.market is LaunchType.SPOT:
                once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
                if job.spec.max_price:
                    once["MaxPrice"] = launch_spec.price(job.spec.max_price)
                data["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
            try:
                await self._new(job, "RunInstances", data, missing)
            except Fault as fault:
                refusal = CallRefusal(option.type, option.subnet, attempt.market, fault.reason, fault.cause)
                if not attempts.of_the_offer(refusal):
                    raise
                earlier = [each for each in job.refused if each.type == option.type and each.market is attempt.market]
                self._refused(job, attempt, (*earlier, refusal))
                left = attempts.without(left, (refusal,))
            else:
                left = msgspec.structs.replace(left, options=left.options[1:])

    async def _new(
        self, job: LaunchBatch, action: str, parameters: dict[str, Any], tokens: tuple[str, ...]
    ) -> dict[str, Any]:
        job.calls += 1
        order = Order(action=action, parameters=parameters, requests=job.requests, tokens=tokens, count=job.calls)
        answer, batch = await self._sender.new(order)
        if batch:
            job.batches[batch] = tokens
        return answer

    def _refused(self, job: LaunchBatch, attempt: Attempt, refused: Sequence[CallRefusal]) -> None:
        job.refused.extend(each for each in refused if each not in job.refused)
        self._full.update(dict.fromkeys(attempts.full_subnets(refused), time.monotonic() + _FULL_SECONDS))
        told = attempts.unfulfilled(refused, attempt.options, self._where.now)
        job.unfulfilled.update({(each.type, each.zone, each.launch_type): each for each in told})
