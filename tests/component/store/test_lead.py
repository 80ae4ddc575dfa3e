"""The lead: what a busy loop, a deaf member and a lost answer do not cost, and what ends it.

With a real etcd renewals are counted, and never seconds: its lease is so long that this machine may stand still too.
What depends on how much time has passed is told by a gateway with a clock of its own.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.store import etcd, lead
from controller.store.etcd_gateway import EtcdSettings, Gateway
from controller.store.lead import Lead
from tests.support.etcd import running_etcd

LONG = 15.0


@pytest.fixture
def renewed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each renewal that etcd has answered."""
    answered = list[None]()
    renew = Lead.renew

    async def counted(ours: Lead, gateway: Gateway) -> None:
        await renew(ours, gateway)
        answered.append(None)

    monkeypatch.setattr(Lead, "renew", counted)
    monkeypatch.setattr(lead, "RENEWALS", 60)
    return answered


def stand_still(until: Callable[[], bool]) -> None:
    """Let the loop stand still until then."""
    bound = time.monotonic() + 120
    while not until():
        assert time.monotonic() < bound, "it never came"
        time.sleep(0.01)


async def test_the_lease_is_renewed_while_the_loop_stands_still(tmp_path: Path, renewed: list[None]) -> None:
    with running_etcd(tmp_path) as member:
        settings = EtcdSettings(endpoints=(member.endpoint,), prefix="/busy", lease=LONG)
        async with etcd.running(settings) as store:
            await store.put("k", "a", b"1")
            stand_still(lambda: len(renewed) >= 3)
            store.check_lead()
            await store.put("k", "a", b"2")


async def test_a_member_that_accepts_and_never_answers_costs_no_lead(tmp_path: Path, renewed: list[None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, running_etcd(tmp_path) as member:
        endpoints = (f"http://127.0.0.1:{deaf.getsockname()[1]}", member.endpoint)
        settings = EtcdSettings(endpoints=endpoints, prefix="/deaf", lease=LONG)
        async with etcd.running(settings) as store:
            # Its renewals begin with the deaf one; ours have found the other.
            while len(renewed) < 2:
                store.check_lead()
                await asyncio.sleep(0.01)
            await store.put("k", "a", b"1")


class Answers:
    """A gateway whose keepalives end as told: seconds that pass, and the lease that etcd still has; None for none."""

    def __init__(self, told: list[tuple[float, int | None]]) -> None:
        self.told = told
        self.now = 100.0

    async def ask(
        self, path: str, body: Mapping[str, object], patience: float = 15.0, each: float = 5.0
    ) -> tuple[dict[str, Any], bool]:
        if path != "lease/keepalive":
            answers: dict[str, dict[str, Any]] = {
                "kv/range": {},
                "lease/grant": {"ID": "7"},
                "kv/txn": {"succeeded": True, "header": {"revision": "3"}},
            }
            return answers[path], False
        seconds, left = self.told.pop(0)
        self.now += seconds
        if left is None:
            raise Fault(Kind.UNAVAILABLE, "store etcd", "no answer")
        return {"result": {"TTL": str(left)} if left else {}}, False


async def taken(
    monkeypatch: pytest.MonkeyPatch, *told: tuple[float, int | None], lease: float = 10.0
) -> tuple[Lead, Any]:
    gateway: Any = Answers(list(told))
    monkeypatch.setattr(lead, "_now", lambda: gateway.now)
    ours = Lead(gateway, EtcdSettings(endpoints=(), prefix="/x", lease=lease), lambda: False)
    await ours.take()
    return ours, gateway


async def test_one_who_woke_late_leads_on_where_etcd_has_kept_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, gateway = await taken(monkeypatch, (11.0, None), (0.5, 10))
    await ours.renew(gateway)

    ours.check()
    gateway.now += 9.4  # counted from before the renewal was asked for
    ours.check()
    gateway.now += 0.2
    with pytest.raises(Fault, match="may have run out"):
        ours.check()


async def test_one_who_woke_late_and_is_not_answered_leads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, gateway = await taken(monkeypatch, (11.0, None), (3.3, None))
    with pytest.raises(Fault) as raised:
        await ours.renew(gateway)

    assert raised.value.reason == "LeadLost"
    assert "another controller" not in str(raised.value)
    assert not gateway.told


async def test_one_whose_lease_etcd_ended_leads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, gateway = await taken(monkeypatch, (0.1, 0))
    with pytest.raises(Fault, match="lease has run out"):
        await ours.renew(gateway)


@pytest.mark.parametrize("seconds", [lead.STANDSTILL_SECONDS - 1, lead.STANDSTILL_SECONDS + 1])
async def test_a_loop_that_stands_still_for_too_long_lets_another_lead(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    too_long = seconds > lead.STANDSTILL_SECONDS
    # Whoever has not stood still for too long yet is asked once more, and hears that the lease is over.
    ours, gateway = await taken(monkeypatch, (seconds, 1), (0.0, 0), lease=1.0)

    ended = threading.Event()

    @asynccontextmanager
    async def connected(_: EtcdSettings) -> AsyncGenerator[Any]:
        try:
            yield gateway
        finally:
            ended.set()

    monkeypatch.setattr(lead, "connected", connected)
    keeping = asyncio.get_running_loop().create_task(ours.keep())
    await asyncio.sleep(0)
    stand_still(ended.is_set)

    why = f"has stood still for {seconds:.0f} s" if too_long else "lease has run out"
    with pytest.RaisesGroup(pytest.RaisesExc(Fault, match=why)):
        await keeping
    assert len(gateway.told) == too_long
