"""Launches cells' instances: many by one call, each exactly once.

A call whose answer is lost is kept and repeated as it was, with its token, before anything else is launched for the
same cells. What a former life of the controller launched is found in a list by the rosters in tags. So a repeated
request is the instance that the first one launched; and should EC2's list be late in showing one, that instance belongs
to no cell, cannot join, and is ended as an orphan.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import attempts, errors, form, roster
from controller.clouds.ec2.attempts import Attempt, Frame, Refusal
from controller.clouds.ec2.batch import Batcher
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.form import Build, Form, Place
from controller.clouds.ec2.listing import Listing, complete
from controller.clouds.ec2.naming import Naming
from controller.clouds.ec2.settings import TAG_BATCH, TAG_TOKEN, Ec2Settings
from controller.clouds.ec2.templates import Templates
from controller.clouds.protocol import Launched, LaunchRequest, Unfulfilled
from controller.model.instance import Instance
from controller.model.names import InstanceId
from controller.model.offer import LaunchType

log = structlog.get_logger()
# So long after the start, what is asked for may have been launched by a former life and not be listed yet.
_YOUNG_SECONDS = 60.0
_DENIED_SECONDS = 600.0
# A subnet without free addresses is tried after the others for so long, as the fleet does with offers.
_FULL_SECONDS = 180.0
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
# EC2 has carried a call with this token out before, but not with these parameters, or what that launched has ended.
_USED_TOKEN = frozenset({"IdempotentParameterMismatch", "IdempotentInstanceTerminated"})
_PAUSE = 1.0
_MOST_IN_VAIN = 10_000


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One launching call, to be repeated to the letter."""

    action: str
    parameters: dict[str, Any]
    batch: str
    tokens: tuple[str, ...]
    market: LaunchType


class Job(msgspec.Struct, kw_only=True):
    """What is being launched: the requests of one form by token, and what came of it so far."""

    form: Form
    requests: Mapping[str, LaunchRequest]
    calls: int = 0
    batches: dict[str, tuple[str, ...]] = {}
    refused: list[Refusal] = []
    unfulfilled: dict[tuple[str, str, str], Unfulfilled] = {}


class Launcher:
    """See the module."""

    def __init__(
        self,
        settings: Ec2Settings,
        calls: Calls,
        place: Place,
        listing: Listing,
        naming: Naming,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._calls = calls
        self._place = place
        self._listing = listing
        self._naming = naming
        self._opened = time.monotonic()
        self._open: dict[str, Sent] = {}
        self._in_vain: dict[str, int] = {}
        self._repeating: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._full: dict[str, float] = {}
        self.templates = Templates(settings, calls, place)
        self._fleets_after = 0.0 if settings.fleets else float("inf")
        self._batches: Batcher[Form, LaunchRequest, Launched] = Batcher(
            tasks, self._run, settings.idle_seconds, settings.window_seconds, settings.most_batched
        )

    async def launch(self, request: LaunchRequest) -> Launched:
        """The outcome of one request, by a call that it shares with others. Raises nothing."""
        token = request.client_token
        try:
            found = self._listing.find(token)
            if found is not None and complete(found):
                return Launched(client_token=token, instance=_as(found, token))
            its = form.form_of(request, self._settings)
            form.packed_user_data(request.user_data)
            return (await self._batches.ask(its, {token: request}))[token]
        except Fault as fault:
            return _failed(token, fault)

    async def _run(self, its: Form, requests: Mapping[str, LaunchRequest]) -> dict[str, Launched]:
        job = Job(form=its, requests=requests)
        begun = time.monotonic()
        faults = await self._recall(sorted(requests), begun)
        wanted = [token for token in self._undealt(requests) if token not in faults]
        for tokens in roster.split(wanted, self._room(requests)):
            try:
                await self._launch(job, tokens)
            except Fault as fault:
                faults.update(dict.fromkeys(tokens, fault))
        faults.update(await self._learn(job))
        return {token: self._outcome(job, token, faults.get(token)) for token in requests}

    def _undealt(self, tokens: Sequence[str] | Mapping[str, LaunchRequest]) -> list[str]:
        return [token for token in sorted(tokens) if self._listing.deals.instance_of(token) is None]

    def _room(self, requests: Mapping[str, LaunchRequest]) -> int:
        """How many tags are left for a roster beside all that an instance will have."""
        most = max(len({*request.tags, *self._settings.own_tags}) for request in requests.values())
        return max(1, roster.MOST_TAGS - most - 2)

    def _outcome(self, job: Job, token: str, fault: Fault | None) -> Launched:
        # What a reservation has no room for, or is not of, others can buy.
        unfulfilled = () if job.form.capacity_reservation else tuple(job.unfulfilled.values())
        found = self._listing.find(token)
        if found is not None and complete(found):
            return Launched(client_token=token, instance=_as(found, token), unfulfilled=unfulfilled)
        if fault is not None:
            return _failed(token, fault, unfulfilled)
        if self._listing.deals.instance_of(token) is not None:
            cause = "its instance is launched, but EC2 does not tell its addresses yet"
            return _failed(token, Fault(Kind.UNAVAILABLE, "launch", cause, "it is asked again"), unfulfilled)
        kind, why = attempts.verdict(job.refused)
        if job.form.capacity_reservation and kind is Kind.NO_CAPACITY:
            kind = Kind.UNAVAILABLE
        return Launched(client_token=token, fault=why, fault_kind=kind.value, unfulfilled=unfulfilled)

    def close(self) -> None:
        """Give up what is on its way: who asked is told so, the next life finds what came of it."""
        self._batches.close()

    # What was launched before

    async def _recall(self, tokens: Sequence[str], begun: float) -> dict[str, Fault]:
        """Find what earlier calls launched for these; the faults of those of which that is not known."""
        faults: dict[str, Fault] = {}
        lost = {call.batch: call for token in tokens if (call := self._open.get(token))}
        for sent in lost.values():
            # One at a time for each call: cells of one may ask apart. Other launches do not wait for it.
            async with self._repeating.setdefault(sent.batch, asyncio.Lock()):
                if sent.tokens[0] not in self._open:
                    continue
                log.info("repeating a launch whose answer was lost", action=sent.action, cells=len(sent.tokens))
                try:
                    await self._send(sent)
                except Fault as fault:
                    if errors.uncertain(fault):
                        faults.update(dict.fromkeys(sent.tokens, fault))
        if begun - self._opened < _YOUNG_SECONDS and any(token not in faults for token in self._undealt(tokens)):
            try:
                await self._listing.all(begun)
            except Fault as fault:
                faults.update(dict.fromkeys(self._undealt(tokens), fault))
        return faults

    async def _learn(self, job: Job) -> dict[str, Fault]:
        """The addresses of what was launched, and its own tags."""
        faults: dict[str, Fault] = {}
        for batch, tokens in job.batches.items():
            try:
                await self._listing.look_up(batch, tokens)
            except Fault as fault:
                faults.update(dict.fromkeys(tokens, fault))
        lacking = [token for token in job.requests if not complete(self._listing.find(token))]
        if any(self._listing.deals.instance_of(token) for token in lacking):
            try:
                await self._listing.all()
            except Fault as fault:
                faults.update(dict.fromkeys(lacking, fault))
        for tokens in job.batches.values():
            for token in tokens if len(tokens) > 1 else ():
                instance = self._listing.deals.instance_of(token)
                if instance is not None:
                    own = {**self._settings.own_tags, TAG_TOKEN: token}
                    self._naming.add(instance, {**job.requests[token].tags, **own})
        return faults

    # Launching

    async def _launch(self, job: Job, tokens: tuple[str, ...]) -> None:
        """Launch for these tokens, over all offers. Raises Fault where no other offer would help."""
        job.calls = 0
        offers = form.launchable(job.form, job.requests[tokens[0]].offers)
        full = [subnet for subnet, until in self._full.items() if until > time.monotonic()]
        for attempt in attempts.attempts(offers, self._place, full):
            if not self._undealt(tokens):
                return
            if self._fleets():
                try:
                    await self._by_fleet(job, attempt, tokens)
                except Fault as fault:
                    if fault.kind is not Kind.DENIED and fault.reason not in errors.NO_FLEETS:
                        raise
                    log.warning("fleets are not allowed; launching by RunInstances", cause=str(fault))
                    self._fleets_after = time.monotonic() + _DENIED_SECONDS
                else:
                    continue
            await self._by_run(job, attempt, tokens)

    def _fleets(self) -> bool:
        return time.monotonic() >= self._fleets_after

    async def _by_fleet(self, job: Job, attempt: Attempt, tokens: tuple[str, ...]) -> None:
        at_first = len(self._undealt(tokens))
        for _ in range(_MOST_FLEETS):
            missing = tuple(self._undealt(tokens))
            if not missing or not attempt.options:
                return
            frames = await self._frames(job.form, attempt)
            user_data = base64.b64encode(form.packed_user_data(job.form.user_data)).decode()
            most = form.price(job.form.max_price) if job.form.max_price else ""
            parameters = attempts.fleet(attempt, frames, len(missing), user_data, most)
            try:
                answer = await self._new(job, "CreateFleet", parameters, missing, attempt.market)
            except Fault as fault:
                if fault.reason in _NO_TEMPLATE:
                    await self._without_template()
                    continue
                if fault.kind is not Kind.NO_CAPACITY or fault.reason in errors.NO_FLEETS:
                    raise
                # Of the whole call: another market may do.
                self._refused(job, attempt, (Refusal("", "", attempt.market, fault.reason, fault.cause),))
                return
            refused = attempts.refusals(answer, attempt.market)
            self._refused(job, attempt, refused)
            if any(each.code in _NO_TEMPLATE for each in refused):
                await self._without_template()
                continue
            if self._undealt(missing):
                _require_hope(refused)
            left = attempts.without(attempt, refused)
            if len(left.options) == len(attempt.options):
                return  # it has more of none of them
            attempt = left
        if len(self._undealt(tokens)) == at_first:
            # So many in vain are a shortage of all: to ask for each would take hundreds of calls, of every pod.
            rest = (Refusal(each.type, each.subnet, attempt.market, attempts.SHORT) for each in attempt.options)
            self._refused(job, attempt, tuple(rest))

    async def _frames(self, its: Form, attempt: Attempt) -> dict[Build, Frame]:
        templates = await self.templates.named(its, attempts.builds(attempt))
        return {
            build: Frame(name, form.beside(its, build, self._settings, self._place))
            for build, name in templates.items()
        }

    async def _without_template(self) -> None:
        """Somebody has deleted it, or EC2 does not know yet what it has made."""
        self.templates.forget()
        await asyncio.sleep(_PAUSE)

    async def _by_run(self, job: Job, attempt: Attempt, tokens: tuple[str, ...]) -> None:
        left = attempt
        for _ in range(_MOST_RUNS):
            missing = tuple(self._undealt(tokens))
            if not missing or not left.options:
                return
            option = left.options[0]
            data = form.launch_data(job.form, option.build, self._settings, self._place)
            data["NetworkInterfaces"][0]["SubnetId"] = option.subnet
            data |= {"InstanceType": option.type, "MinCount": 1, "MaxCount": len(missing)}
            data["UserData"] = form.packed_user_data(job.form.user_data)
            if attempt.market is LaunchType.SPOT:
                once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
                if job.form.max_price:
                    once["MaxPrice"] = form.price(job.form.max_price)
                data["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}
            try:
                await self._new(job, "RunInstances", data, missing, attempt.market)
            except Fault as fault:
                refusal = Refusal(option.type, option.subnet, attempt.market, fault.reason, fault.cause)
                if not attempts.of_the_offer(refusal):
                    raise
                earlier = [each for each in job.refused if each.type == option.type and each.market is attempt.market]
                self._refused(job, attempt, (*earlier, refusal))
                left = attempts.without(left, (refusal,))
            else:
                left = msgspec.structs.replace(left, options=left.options[1:])

    def _refused(self, job: Job, attempt: Attempt, refused: Sequence[Refusal]) -> None:
        job.refused.extend(each for each in refused if each not in job.refused)
        self._full.update(dict.fromkeys(attempts.full_subnets(refused), time.monotonic() + _FULL_SECONDS))
        told = attempts.unfulfilled(refused, attempt.options, self._place)
        job.unfulfilled.update({(each.type, each.zone, each.launch_type): each for each in told})

    async def _new(
        self, job: Job, action: str, parameters: dict[str, Any], tokens: tuple[str, ...], market: LaunchType
    ) -> dict[str, Any]:
        """A launching call for these tokens, with its token, tags and roster."""
        job.calls += 1
        sent = self._drawn_up(job, action, parameters, tokens, market, ())
        try:
            answer = await self._send(sent)
        except Fault as fault:
            if fault.reason not in _USED_TOKEN:
                raise
            # What an earlier call for these very cells launched must show in a list.
            log.warning("EC2 has launched for these cells before", cells=len(tokens), cause=fault.cause)
            await self._look_again()
            left = tuple(self._undealt(tokens))
            if not left:
                return {}
            if len(left) < len(tokens):
                raise Fault(
                    Kind.UNAVAILABLE, "launch", "some of the cells were launched before", "ask again"
                ) from fault
            sent = self._drawn_up(job, action, parameters, tokens, market, (parameters,))
            answer = await self._send(sent)
        job.batches[sent.batch] = tokens
        return answer

    def _drawn_up(  # each part is named where it is made
        self,
        job: Job,
        action: str,
        parameters: dict[str, Any],
        tokens: tuple[str, ...],
        market: LaunchType,
        salt: tuple[object, ...],
    ) -> Sent:
        # EC2 would give the answer to an earlier call again, even one that launched nothing.
        batch = form.digest(tokens, job.calls, salt, max(self._in_vain.get(token, 0) for token in tokens))
        alike = self._alike(job, tokens)
        own = {TAG_TOKEN: tokens[0]} if len(tokens) == 1 else roster.written(tokens)
        tags = form.tag_specifications({**alike, **own, TAG_BATCH: batch}, ["instance"])
        tags += form.tag_specifications(alike, ["volume", "network-interface"])
        if action == "CreateFleet":
            tags += form.tag_specifications(self._settings.own_tags, ["fleet"])
        whole = {**parameters, "ClientToken": batch, "TagSpecifications": tags}
        return Sent(action=action, parameters=whole, batch=batch, tokens=tokens, market=market)

    def _alike(self, job: Job, tokens: Sequence[str]) -> dict[str, str]:
        """The tags that all of these have."""
        return {**form.common(job.requests[token] for token in tokens), **self._settings.own_tags}

    async def _send(self, sent: Sent) -> dict[str, Any]:
        """Make the call and deal its instances. Kept as open until its outcome is known."""
        self._naming.wait()
        self._open.update(dict.fromkeys(sent.tokens, sent))
        try:
            answer = await self._calls.call("ec2", sent.action, resources=len(sent.tokens), **sent.parameters)
        except Fault as fault:
            if not errors.uncertain(fault):
                self._closed(sent)
            raise
        self._listing.deals.deal(sent.tokens, _instances_in(answer))
        if sent.action == "RunInstances":
            self._listing.absorb(answer.get("Instances") or ())
        elif not answer.get("Errors") and self._undealt(sent.tokens):
            # Neither instances nor reasons: so EC2 may answer a call that it has carried out before. To take it for
            # a refusal would launch all again, in the dearer market.
            log.warning("a fleet's answer leaves out cells; looking for their instances", cells=len(sent.tokens))
            await self._look_again()
        self._closed(sent)
        for token in self._undealt(sent.tokens):
            self._in_vain[token] = self._in_vain.pop(token, 0) + 1
        while len(self._in_vain) > _MOST_IN_VAIN:
            del self._in_vain[next(iter(self._in_vain))]
        return answer

    async def _look_again(self) -> None:
        """Find what was launched in a list, which may lag behind a launch by a moment. Raises Fault."""
        await asyncio.sleep(2 * _PAUSE)
        await self._listing.all()

    def _closed(self, sent: Sent) -> None:
        for token in sent.tokens:
            if self._open.get(token) is sent:
                del self._open[token]


def _require_hope(refused: Sequence[Refusal]) -> None:
    """Raise Fault for a refusal of launching as such: another option or market would be refused no less."""
    for codes in (errors.DENIED, errors.THROTTLES):
        for each in refused:
            if each.code in codes:
                raise errors.fault_of("ec2", "CreateFleet", each.code, each.message)


def _instances_in(answer: Mapping[str, Any]) -> list[InstanceId]:
    """Instance ids in the answer of either launching call."""
    found: list[InstanceId] = []
    for each in answer.get("Instances") or ():
        found.extend(InstanceId(str(one)) for one in each.get("InstanceIds") or [each.get("InstanceId")] if one)
    return found


def _as(instance: Instance, token: str) -> Instance:
    """With its token, which its description may not have said yet."""
    return instance if instance.client_token == token else msgspec.structs.replace(instance, client_token=token)


def _failed(token: str, fault: Fault, unfulfilled: tuple[Unfulfilled, ...] = ()) -> Launched:
    # A group, an image, a key that is not there: asking again does not make it.
    kind = Kind.INVALID if fault.kind is Kind.NOT_FOUND else fault.kind
    return Launched(client_token=token, fault=str(fault), fault_kind=kind.value, unfulfilled=unfulfilled)
