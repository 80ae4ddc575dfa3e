"""Launches cells' instances: what is asked for within a moment by as few calls as may be, each instance exactly once.

`buying` decides which calls, `sending` makes each of them once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.batcher import Batcher
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import TAG_TOKEN, Ec2Settings
from controller.clouds.ec2.instances import roster
from controller.clouds.ec2.instances.instance_list import InstanceList, complete
from controller.clouds.ec2.instances.tagging import Tagging
from controller.clouds.ec2.launch import attempts, launch_spec
from controller.clouds.ec2.launch.buying import Buyer, LaunchBatch
from controller.clouds.ec2.launch.launch_spec import LaunchSpec
from controller.clouds.ec2.launch.launch_templates import LaunchTemplates
from controller.clouds.ec2.launch.sending import Sender
from controller.clouds.ec2.network.environment import CurrentEnvironment
from controller.clouds.protocol import LaunchOutcome, LaunchRequest, Unfulfilled
from controller.model.instance import Instance


class Launcher:
    """See the module."""

    def __init__(
        self,
        settings: Ec2Settings,
        calls: Calls,
        where: CurrentEnvironment,
        listing: InstanceList,
        naming: Tagging,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._settings = settings
        self._listing = listing
        self._naming = naming
        self.templates = LaunchTemplates(settings, calls, where)
        self._sender = Sender(settings, calls, listing, naming)
        self._buyer = Buyer(settings, where, self._sender, self.templates)
        self._batches: Batcher[LaunchSpec, LaunchRequest, LaunchOutcome] = Batcher(
            tasks, self._run, settings.idle_seconds, settings.window_seconds, settings.most_batched
        )

    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        """The outcome of one request, by a call that it shares with others. Raises nothing."""
        token = request.client_token
        try:
            found = self._listing.find(token)
            if found is not None and complete(found):
                return LaunchOutcome(client_token=token, instance=_as(found, token))
            its = launch_spec.spec_of(request, self._settings)
            launch_spec.packed_user_data(request.user_data)
            return (await self._batches.ask(its, {token: request}))[token]
        except Fault as fault:
            return _failed(token, fault)

    def close(self) -> None:
        """Give up what is on its way: who asked is told so, the next life finds what came of it."""
        self._batches.close()

    async def _run(self, its: LaunchSpec, requests: Mapping[str, LaunchRequest]) -> dict[str, LaunchOutcome]:
        job = LaunchBatch(spec=its, requests=requests)
        faults = await self._sender.recall(sorted(requests), time.monotonic())
        wanted = [token for token in self._sender.undealt(requests) if token not in faults]
        for tokens in roster.split(wanted, self._room(requests)):
            try:
                await self._buyer.buy(job, tokens)
            except Fault as fault:
                faults.update(dict.fromkeys(tokens, fault))
        faults.update(await self._learn(job))
        return {token: self._outcome(job, token, faults.get(token)) for token in requests}

    def _room(self, requests: Mapping[str, LaunchRequest]) -> int:
        """How many tags are left for a roster beside all that an instance will have."""
        most = max(len({*request.tags, *self._settings.own_tags}) for request in requests.values())
        return max(1, roster.MOST_TAGS - most - 2)

    async def _learn(self, job: LaunchBatch) -> dict[str, Fault]:
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

    def _outcome(self, job: LaunchBatch, token: str, fault: Fault | None) -> LaunchOutcome:
        # What a reservation has no room for, or is not of, others can buy.
        unfulfilled = () if job.spec.capacity_reservation else tuple(job.unfulfilled.values())
        found = self._listing.find(token)
        if found is not None and complete(found):
            return LaunchOutcome(client_token=token, instance=_as(found, token), unfulfilled=unfulfilled)
        if fault is not None:
            return _failed(token, fault, unfulfilled)
        if self._listing.deals.instance_of(token) is not None:
            cause = "its instance is launched, but EC2 does not tell its addresses yet"
            return _failed(token, Fault(Kind.UNAVAILABLE, "launch", cause, "it is asked again"), unfulfilled)
        why = attempts.verdict(job.refused)
        if job.spec.capacity_reservation and why.kind is Kind.NO_CAPACITY:
            why = Fault(Kind.UNAVAILABLE, why.thing, why.cause, why.mend)
        return LaunchOutcome(client_token=token, fault=why, unfulfilled=unfulfilled)


def _as(instance: Instance, token: str) -> Instance:
    """With its token, which its description may not have said yet."""
    return instance if instance.client_token == token else msgspec.structs.replace(instance, client_token=token)


def _failed(token: str, fault: Fault, unfulfilled: tuple[Unfulfilled, ...] = ()) -> LaunchOutcome:
    # A group, an image, a key that is not there: asking again does not make it.
    if fault.kind is Kind.NOT_FOUND:
        fault = Fault(Kind.INVALID, fault.thing, fault.cause, fault.mend)
    return LaunchOutcome(client_token=token, fault=fault, unfulfilled=unfulfilled)
