"""ResourceQuotas: who would exceed one is refused at creation, and each tells what is used of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal

import structlog

from cellwire.faults import Fault, Kind
from controller.objects import quota_rules as rules
from controller.objects.admission import How
from controller.objects.fields import Json
from controller.objects.kinds import QUOTAS
from controller.objects.library import Library
from controller.objects.resource import Resource

log = structlog.get_logger()
# Changes come in swarms; what is used is told once for those within this.
SETTLE = 0.2
# Prices of spot change without any object changing.
LOOK = 60.0
PriceOf = Callable[[Json], float]


class Quotas:
    """Counts what the objects of a namespace take."""

    def __init__(self, library: Library, prices: Callable[[], PriceOf]) -> None:
        self._library = library
        self._prices = prices

    def guard(self, resource: Resource, namespace: str, one: Json, how: How) -> None:
        """Raises Fault DENIED where a quota of the namespace would be exceeded."""
        del how
        for quota in self._of(namespace):
            if not rules.concerns(quota, resource.key, one):
                continue
            asked = rules.taken(resource.key, one, self._prices())
            if why := rules.refusal(quota, resource.key, one, self._used(quota), asked):
                thing = f'{resource.key} "{one["metadata"]["name"]}"'
                raise Fault(Kind.DENIED, thing, f"is forbidden: {why}")

    async def keep(self) -> None:
        """Have every quota tell what is used of it. Never returns."""
        revisions = self._library.revisions
        while True:
            seen = revisions.last
            for quota in self._of(""):
                try:
                    await self._tell(quota)
                except Fault as fault:
                    log.info("a quota is told again", quota=quota["metadata"]["name"], cause=str(fault))
                except Exception:
                    log.exception("what is used of a quota is not told", quota=quota["metadata"]["name"])
            try:
                async with asyncio.timeout(LOOK):
                    await revisions.after(seen)
            except TimeoutError:
                pass
            await asyncio.sleep(SETTLE)

    def _of(self, namespace: str) -> list[Json]:
        return self._library.objects(QUOTAS.key).list(namespace)

    def _used(self, quota: Json) -> dict[str, Decimal]:
        namespace = quota["metadata"]["namespace"]
        return rules.used(quota, self._objects(namespace, rules.bounds(quota)), self._prices())

    def _objects(self, namespace: str, bounded: dict[str, Decimal]) -> Iterator[tuple[str, Json]]:
        """The objects that count for any of this, those too that are being written just now."""
        keys = {name.removeprefix("count/") for name in bounded if name.startswith("count/")}
        keys |= {name.partition(".")[0] for name in bounded} & rules.PLAIN
        if bounded.keys() - rules.PLAIN:
            keys.add("pods")
        for resource in self._library.resources:
            if resource.key in keys and resource.namespaced:
                yield from ((resource.key, one) for one in self._library.there(resource, namespace))

    async def _tell(self, quota: Json) -> None:
        hard: Json = (quota.get("spec") or {}).get("hard") or {}
        used = {name: rules.written(name, amount, str(hard[name])) for name, amount in self._used(quota).items()}
        status = {"hard": hard, "used": used}
        if quota.get("status") == status:
            return
        metadata = quota["metadata"]
        await self._library.keeper(QUOTAS).change(
            metadata["namespace"], metadata["name"], lambda before: {**before, "status": status}
        )


def bound(library: Library, most: int) -> None:
    """From now on nobody makes more than so many objects in a namespace, nor of those that are in none; 0: no bound."""

    def guard(resource: Resource, namespace: str, one: Json, how: How) -> None:
        del how
        if 0 < most <= library.count(namespace):
            where = f"the namespace {namespace} has" if namespace else "there are outside namespaces"
            cause = f"is forbidden: {where} {most} objects, as many as there may be (api.most_objects)"
            mend = "delete some, or have the bound raised"
            raise Fault(Kind.DENIED, f'{resource.key} "{one["metadata"]["name"]}"', cause, mend)

    library.guards.append(guard)


@asynccontextmanager
async def running(library: Library, prices: Callable[[], PriceOf]) -> AsyncGenerator[None]:
    """Hold creations to the quotas until left; `prices` tells what pods cost."""
    quotas = Quotas(library, prices)
    library.guards.append(quotas.guard)
    async with asyncio.TaskGroup() as tasks:
        telling = tasks.create_task(quotas.keep(), name="what is used of quotas")
        try:
            yield
        finally:
            telling.cancel()
