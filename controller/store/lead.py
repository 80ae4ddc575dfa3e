"""The lead of one cluster's controllers: a key in etcd that lives as long as its lease.

The lease is renewed in a thread of its own, so that a leader whose loop or machine is busy leads on. What counts is how
long etcd keeps the lease, by the last renewal that it answered. A loop that stands still does not lead for ever: it is
given so long, and then another may.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable

import structlog

from cellwire.faults import Fault, Kind
from controller.store.etcd_gateway import EtcdSettings, Gateway, coded, compare, connected, first, plain, ranged
from controller.store.record_store import LEAD_LOST
from hostkit.own_loop import beside

log = structlog.get_logger()
CAMPAIGN_SECONDS = 1.0
REVOKE_SECONDS = 2.0
RENEWALS = 3
"""In the time of one lease: two may fail."""
STANDSTILL_SECONDS = 60.0
"""A loop that has not turned for so long leads no more: cells and kubectl have long found it dead."""
_TURN_SECONDS = 1.0
# Where etcd did not say so, there may be nobody whom it would let lead.
UNSURE = "whoever etcd lets lead goes on; see that a majority of its members run"


class Lead:
    """Taken, kept and left by one who leads."""

    def __init__(self, gateway: Gateway, settings: EtcdSettings, stopped: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._settings = settings
        self._stopped = stopped
        self._ttl = max(int(settings.lease), 1)
        self._lease = 0
        self.key = f"{settings.prefix}/leader"
        self.revision = 0
        """At which our key was made; no other key of that name ever has the same."""
        self._until = 0.0
        self._turned = 0.0

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
        granted, _ = await self._gateway.ask("lease/grant", {"TTL": str(self._ttl)})
        self._until = begun + self._ttl
        self._lease = int(granted["ID"])
        put = {"requestPut": {"key": coded(self.key), "value": coded(name), "lease": str(self._lease)}}
        body = {"compare": [compare(self.key, "CREATE", 0)], "success": [put], "failure": [ranged(self.key)]}
        answer, _ = await self._gateway.ask("kv/txn", body)
        if answer.get("succeeded"):
            self.revision = int(answer["header"]["revision"])
            return True
        holder = first(answer)
        # The answer to an earlier try may have been lost on its way to us.
        if holder is not None and int(holder.get("lease", 0)) == self._lease:
            self.revision = int(holder["create_revision"])
            return True
        await self.leave()
        return False

    async def keep(self) -> None:
        """Keep the lead. Raises Fault UNAVAILABLE once it is lost."""
        self._turned = _now()
        async with asyncio.TaskGroup() as tasks:
            turning = tasks.create_task(self._turn(), name="turns of the loop")
            try:
                await beside(self._keep_beside, "lead")
            finally:
                turning.cancel()

    async def _turn(self) -> None:
        while True:
            self._turned = _now()
            await asyncio.sleep(_TURN_SECONDS)

    async def _keep_beside(self) -> None:
        async with connected(self._settings) as gateway:
            while True:
                await self.renew(gateway)
                await asyncio.sleep(self._ttl / RENEWALS)
                if _now() - self._turned > max(STANDSTILL_SECONDS, self._ttl):
                    cause = f"this controller's loop has stood still for {_now() - self._turned:.0f} s"
                    raise deposed(self.key, cause, UNSURE)

    async def renew(self, gateway: Gateway) -> None:
        """Renew the lease, or raise Fault UNAVAILABLE if it is lost.

        etcd may keep it for longer than we know: who wakes up late, or whose last answer was lost, asks once more.
        """
        asked, last = _now(), False
        while True:
            begun = _now()
            patience = self._ttl / 3 if last else max(self._until - begun, 0.0)
            try:
                # One member that stands still may not take the time that the others have.
                answer, _ = await gateway.ask("lease/keepalive", {"ID": str(self._lease)}, patience, self._ttl / 4)
            except Fault as fault:
                if last or fault.kind is not Kind.UNAVAILABLE:
                    raise deposed(self.key, f"{fault.thing}: {fault.cause} ({_now() - asked:.1f} s)", UNSURE) from fault
                last = True
                continue
            if not int(answer.get("result", {}).get("TTL", 0)):
                raise deposed(self.key, "its lease has run out")
            self._until = begun + self._ttl
            return

    def check(self) -> None:
        """Raise Fault UNAVAILABLE where the lease may have run out, by our own clock: this process was stopped, or its
        machine, and what it was about to do is another's to decide.
        """
        if _now() >= self._until:
            raise deposed(self.key, "its lease may have run out meanwhile", UNSURE)

    async def leave(self) -> None:
        """Let another lead at once."""
        if not self._lease:
            return
        try:
            await self._gateway.ask("lease/revoke", {"ID": str(self._lease)}, REVOKE_SECONDS)
            self._lease = 0
        except Fault as fault:
            log.info("the lease runs out by itself", cause=str(fault))


def deposed(key: str, cause: str, mend: str = "another controller takes over") -> Fault:
    """The lead is lost, or may be."""
    return Fault(Kind.UNAVAILABLE, f"lead {key}", cause, mend, reason=LEAD_LOST)


def _now() -> float:
    """Seconds, counted while the machine sleeps too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
