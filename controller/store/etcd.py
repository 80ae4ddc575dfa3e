"""The store in etcd, for several controllers of which one leads.

A store is opened by taking the lead, which may mean waiting until another has given it up. Every write is a transaction
that also asks whether the lead is still ours: one who lost it, and has not noticed, changes nothing. Who notices ends
with a fault. A write whose caller was cancelled is done all the same.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import structlog

from cellwire.faults import Fault, Kind
from controller.store.etcd_gateway import MOST_CONNECTIONS, EtcdSettings, Gateway, Json, coded, context, plain
from controller.store.protocol import Stored
from hostkit.tasks import Finishing

log = structlog.get_logger()
T = TypeVar("T")
# Records of one answer: a few megabytes.
PAGE = 1000
CAMPAIGN_SECONDS = 1.0
REVOKE_SECONDS = 2.0


class Lead:
    """The lead of one cluster's controllers: a key that lives as long as its lease."""

    def __init__(self, gateway: Gateway, settings: EtcdSettings, stopped: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._stopped = stopped
        self._ttl = settings.lease
        self._lease = 0
        self.key = f"{settings.prefix}/leader"
        self.revision = 0
        """At which our key was made; no other key of that name ever has the same."""
        self._until = 0.0

    async def take(self) -> None:
        """Wait until nobody leads, and lead."""
        name = f"{socket.gethostname()} (process {os.getpid()})"
        told = ""
        while not await self._taken(name):
            if self._stopped():
                raise Fault(Kind.UNAVAILABLE, f"lead {self.key}", "asked to stop while another led")
            answer, _ = await self._gateway.ask("kv/range", {"key": coded(self.key)})
            leader = plain(answer["kvs"][0].get("value")).decode(errors="replace") if answer.get("kvs") else told
            if leader != told:
                told = leader
                log.info("another controller leads; waiting", leader=leader)
            await asyncio.sleep(CAMPAIGN_SECONDS)

    async def _taken(self, name: str) -> bool:
        held, _ = await self._gateway.ask("kv/range", {"key": coded(self.key)})
        if held.get("kvs"):
            return False
        begun = _now()
        granted, _ = await self._gateway.ask("lease/grant", {"TTL": str(max(int(self._ttl), 1))})
        self._until = begun + max(int(self._ttl), 1)
        self._lease = int(granted["ID"])
        put = {"requestPut": {"key": coded(self.key), "value": coded(name), "lease": str(self._lease)}}
        body = {"compare": [_compare(self.key, "CREATE", 0)], "success": [put], "failure": [_range(self.key)]}
        answer, _ = await self._gateway.ask("kv/txn", body)
        if answer.get("succeeded"):
            self.revision = int(answer["header"]["revision"])
            return True
        holder = _first(answer)
        # The answer to an earlier try may have been lost on its way to us.
        if holder is not None and int(holder.get("lease", 0)) == self._lease:
            self.revision = int(holder["create_revision"])
            return True
        await self.leave()
        return False

    async def keep(self) -> None:
        """Keep the lead. Raises Fault UNAVAILABLE once it is lost."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            begun = _now()
            try:
                answer, _ = await self._gateway.ask("lease/keepalive", {"ID": str(self._lease)}, self._ttl / 2)
            except Fault as fault:
                raise _deposed(self.key, str(fault)) from fault
            if not int(answer.get("result", {}).get("TTL", 0)):
                raise _deposed(self.key, "its lease has run out")
            self._until = begun + max(int(self._ttl), 1)

    def check(self) -> None:
        """Raise Fault UNAVAILABLE where the lease may have run out, by our own clock: this process was stopped, or its
        machine, and what it was about to do is another's to decide.
        """
        if _now() >= self._until:
            raise _deposed(self.key, "its lease may have run out meanwhile")

    async def leave(self) -> None:
        """Let another lead at once."""
        if not self._lease:
            return
        try:
            await self._gateway.ask("lease/revoke", {"ID": str(self._lease)}, REVOKE_SECONDS)
            self._lease = 0
        except Fault as fault:
            log.info("the lease runs out by itself", cause=str(fault))


class EtcdStore:
    """See `controller.store.protocol.Store`. `tasks` outlives every caller."""

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
        """See the protocol."""
        self._lead.check()

    def close(self) -> None:
        """Take no more writes; those accepted are finished."""
        self._closed = True

    async def _put(self, kind: str, key: str, value: bytes, expected: int | None) -> int:
        where = self._key(kind, key)
        compare = [self._ours()]
        if expected is not None:
            compare.append(_compare(where, "MOD", expected))
        put = {"requestPut": {"key": coded(where), "value": coded(value)}}
        answer, repeated = await self._transaction(compare, put, where)
        if answer.get("succeeded"):
            return int(answer["header"]["revision"])
        found = _first(answer)
        present = int(found["mod_revision"]) if found else 0
        # A try that was cut off may have written it; nobody else writes while we lead.
        if repeated and found is not None and plain(found.get("value")) == value:
            return present
        thing = f"record {kind}/{key}"
        raise Fault(Kind.EXISTS, thing, f"it is at revision {present}, not {expected}", "read it again")

    async def _delete(self, where: str) -> None:
        await self._transaction([self._ours()], {"requestDeleteRange": {"key": coded(where)}}, where)

    async def _transaction(self, compare: list[Json], change: Json, where: str) -> tuple[Json, bool]:
        """The answer; where a comparison failed, the record is its first response. Raises Fault if we lead no more."""
        body = {"compare": compare, "success": [change], "failure": [_range(where), _range(self._lead.key)]}
        answer, repeated = await self._gateway.ask("kv/txn", body)
        if not answer.get("succeeded"):
            leader = _first(answer, 1)
            if leader is None or int(leader["create_revision"]) != self._lead.revision:
                raise _deposed(self._lead.key, "another has it" if leader else "its lease has run out")
        return answer, repeated

    async def _owned(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise Fault(Kind.UNAVAILABLE, "store etcd", "it is being closed")
        return await self._finishing.done(work)

    def _ours(self) -> Json:
        return _compare(self._lead.key, "CREATE", self._lead.revision)

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}/{kind}/{key}"

    def _stored(self, kind: str, found: Json) -> Stored:
        key = plain(found["key"]).decode().removeprefix(self._key(kind, ""))
        return Stored(key, plain(found.get("value")), int(found["mod_revision"]))


def _compare(key: str, target: str, revision: int) -> Json:
    field = "create_revision" if target == "CREATE" else "mod_revision"
    return {"key": coded(key), "target": target, "result": "EQUAL", field: str(revision)}


def _range(key: str) -> Json:
    return {"requestRange": {"key": coded(key)}}


def _first(answer: Json, response: int = 0) -> Json | None:
    """The record in one response of a transaction; None where there is none."""
    found = answer["responses"][response]["response_range"].get("kvs")
    return found[0] if found else None


def _now() -> float:
    """Seconds, counted while the machine sleeps too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _deposed(key: str, cause: str) -> Fault:
    return Fault(Kind.UNAVAILABLE, f"lead {key}", cause, "another controller takes over", reason="LeadLost")


@asynccontextmanager
async def running(settings: EtcdSettings, stopped: Callable[[], bool] = lambda: False) -> AsyncGenerator[EtcdStore]:
    """The store, open and ours. Waits while another leads, unless `stopped`; a lost lead ends the body with a Fault."""
    tls = context(settings) if any(each.startswith("https") for each in settings.endpoints) else False
    connector = aiohttp.TCPConnector(limit=MOST_CONNECTIONS, ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:
        gateway = Gateway(session, settings.endpoints)
        lead = Lead(gateway, settings, stopped)
        try:
            await lead.take()
            # Writes outlive the work, and the lead outlives the writes.
            async with asyncio.TaskGroup() as keeping:
                keeper = keeping.create_task(lead.keep(), name="lead")
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
