"""The lead in a real etcd: what a busy loop, a frozen member and a lost answer do not cost, and what ends it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.store import etcd, lead
from controller.store.etcd_gateway import EtcdSettings
from controller.store.lead import Lead
from tests.support.etcd import running_etcd

SHORT = 2.0


async def test_a_loop_that_is_busy_for_longer_than_the_lease_leads_on(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as member:
        settings = EtcdSettings(endpoints=(member.endpoint,), prefix="/busy", lease=SHORT)
        async with etcd.running(settings) as store:
            await store.put("k", "a", b"1")
            time.sleep(3 * SHORT)  # noqa: ASYNC251  the loop stands still
            store.check_lead()
            await store.put("k", "a", b"2")


async def test_a_member_that_accepts_and_never_answers_costs_no_lead(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf, running_etcd(tmp_path) as member:
        endpoints = (f"http://127.0.0.1:{deaf.getsockname()[1]}", member.endpoint)
        settings = EtcdSettings(endpoints=endpoints, prefix="/deaf", lease=SHORT)
        async with etcd.running(settings) as store:
            # Its renewals begin with the deaf one; ours have found the other.
            await asyncio.sleep(2 * SHORT)
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


async def taken(monkeypatch: pytest.MonkeyPatch, *told: tuple[float, int | None]) -> tuple[Lead, Any]:
    gateway: Any = Answers(list(told))
    monkeypatch.setattr(lead, "_now", lambda: gateway.now)
    ours = Lead(gateway, EtcdSettings(endpoints=(), prefix="/x", lease=10.0), lambda: False)
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
    assert not gateway.told


async def test_one_whose_lease_etcd_ended_leads_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, gateway = await taken(monkeypatch, (0.1, 0))
    with pytest.raises(Fault, match="lease has run out"):
        await ours.renew(gateway)


async def test_a_loop_that_stands_still_for_too_long_lets_another_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead, "STANDSTILL_SECONDS", 0.0)
    with running_etcd(tmp_path) as member:
        settings = EtcdSettings(endpoints=(member.endpoint,), prefix="/still", lease=SHORT)
        with pytest.RaisesGroup(pytest.RaisesExc(Fault, match="has stood still"), flatten_subgroups=True):
            async with etcd.running(settings):
                time.sleep(3 * SHORT)  # noqa: ASYNC251  the loop stands still
                await asyncio.sleep(60)
