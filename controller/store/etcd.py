"""The store in etcd, for several controllers of which one leads.

A store is opened by taking the lead, which may mean waiting until another has given it up. Every write is a transaction
that also asks whether the lead is still ours: one who lost it, and has not noticed, changes nothing. Who notices ends
with a fault. A write whose caller was cancelled is done all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from cellwire.faults import Fault, Kind
from controller.store.etcd_gateway import EtcdSettings, Gateway, Json, coded, compare, connected, first, plain, ranged
from controller.store.lead import Lead, deposed
from controller.store.record_store import Stored
from hostkit.tasks import Finishing

T = TypeVar("T")
# Records of one answer: a few megabytes.
PAGE = 1000


class EtcdStore:
    """See `controller.store.record_store.Store`. `tasks` outlives every caller."""

    def __init__(self, gateway: Gateway, settings: EtcdSettings, lead: Lead, tasks: asyncio.TaskGroup) -> None:
        self._gateway = gateway
        self._prefix = f"{settings.prefix}/records"
        self._lead = lead
        self._finishing = Finishing(tasks)
        self._closed = False

    async def get(self, kind: str, key: str) -> Stored | None:
        """One record, or None."""
        answer, _ = await self._gateway.ask("kv/range", {"key": coded(self._key(kind, key))})
        found = answer.get("kvs")
        return self._stored(kind, found[0]) if found else None

    async def list(self, kind: str) -> tuple[Stored, ...]:
        """All records of a kind, by key, as they were at one moment."""
        begin, end = self._key(kind, "").encode(), self._key(kind, "")[:-1].encode() + b"0"
        found: list[Stored] = []
        revision = "0"
        while True:
            body = {"key": coded(begin), "range_end": coded(end), "limit": str(PAGE), "revision": revision}
            answer, _ = await self._gateway.ask("kv/range", body)
            page = answer.get("kvs", [])
            found += [self._stored(kind, each) for each in page]
            if not answer.get("more"):
                return tuple(found)
            revision = answer["header"]["revision"] if revision == "0" else revision
            begin = plain(page[-1]["key"]) + b"\0"

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        """Write; returns the new revision."""
        return await self._owned(self._put(kind, key, value, expected))

    async def delete(self, kind: str, key: str) -> None:
        """Remove; the absent is no error."""
        await self._owned(self._delete(self._key(kind, key)))

    def check_lead(self) -> None:
        """See `record_store.Store`."""
        self._lead.check()

    def close(self) -> None:
        """Take no more writes; those accepted are finished."""
        self._closed = True

    async def _put(self, kind: str, key: str, value: bytes, expected: int | None) -> int:
        where = self._key(kind, key)
        conditions = [self._ours()]
        if expected is not None:
            conditions.append(compare(where, "MOD", expected))
        put = {"requestPut": {"key": coded(where), "value": coded(value)}}
        answer, repeated = await self._transaction(conditions, put, where)
        if answer.get("succeeded"):
            return int(answer["header"]["revision"])
        found = first(answer)
        present = int(found["mod_revision"]) if found else 0
        # A try that was cut off may have written it; nobody else writes while we lead.
        if repeated and found is not None and plain(found.get("value")) == value:
            return present
        thing = f"record {kind}/{key}"
        raise Fault(Kind.EXISTS, thing, f"it is at revision {present}, not {expected}", "read it again")

    async def _delete(self, where: str) -> None:
        await self._transaction([self._ours()], {"requestDeleteRange": {"key": coded(where)}}, where)

    async def _transaction(self, conditions: list[Json], change: Json, where: str) -> tuple[Json, bool]:
        """The answer; where a comparison failed, the record is its first response. Raises Fault if we lead no more."""
        body = {"compare": conditions, "success": [change], "failure": [ranged(where), ranged(self._lead.key)]}
        answer, repeated = await self._gateway.ask("kv/txn", body)
        if not answer.get("succeeded"):
            leader = first(answer, 1)
            if leader is None or int(leader["create_revision"]) != self._lead.revision:
                raise deposed(self._lead.key, "another has it" if leader else "its lease has run out")
        return answer, repeated

    async def _owned(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise Fault(Kind.UNAVAILABLE, "store etcd", "it is being closed")
        return await self._finishing.done(work)

    def _ours(self) -> Json:
        return compare(self._lead.key, "CREATE", self._lead.revision)

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}/{kind}/{key}"

    def _stored(self, kind: str, found: Json) -> Stored:
        key = plain(found["key"]).decode().removeprefix(self._key(kind, ""))
        return Stored(key, plain(found.get("value")), int(found["mod_revision"]))


@asynccontextmanager
async def running(settings: EtcdSettings, stopped: Callable[[], bool] = lambda: False) -> AsyncGenerator[EtcdStore]:
    """The store, open and ours. Waits while another leads, unless `stopped`; a lost lead ends the body with a Fault."""
    async with connected(settings) as gateway:
        lead = Lead(gateway, settings, stopped)
        try:
            await lead.take()
            # Writes outlive the work, and the lead outlives the writes.
            async with asyncio.TaskGroup() as keeping:
                keeper = keeping.create_task(lead.keep(), name="lead")
                await asyncio.sleep(0)  # the body may be busy from its first line
                try:
                    async with asyncio.TaskGroup() as writing:
                        store = EtcdStore(gateway, settings, lead, writing)
                        try:
                            yield store
                        finally:
                            store.close()
                finally:
                    keeper.cancel()
        finally:
            await lead.leave()
