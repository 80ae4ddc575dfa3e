"""The store in a real etcd: who leads, what a lost lead means, and etcd's own troubles."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from cellwire.faults import Fault, Kind
from controller.store import etcd, etcd_gateway, lead
from controller.store.etcd_gateway import EtcdSettings
from tests.support.etcd import Etcd, running_etcd


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Generator[Etcd]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as found:
        yield found


@pytest.fixture
def settings(member: Etcd, request: pytest.FixtureRequest) -> EtcdSettings:
    return EtcdSettings(endpoints=(member.endpoint,), prefix=f"/chinampa/{request.node.name}", lease=2.0)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lead, "CAMPAIGN_SECONDS", 0.05)


def ask(member: Etcd, path: str, **body: object) -> dict[str, Any]:
    request = urllib.request.Request(f"{member.endpoint}/v3/{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def forget_leader(member: Etcd, settings: EtcdSettings) -> None:
    ask(member, "kv/deleterange", key=base64.b64encode(f"{settings.prefix}/leader".encode()).decode())


async def test_a_second_controller_waits_until_the_first_has_left(settings: EtcdSettings) -> None:
    order: list[str] = []

    async def second() -> None:
        async with etcd.running(settings) as store:
            order.append("second leads")
            found = await store.get("k", "a")
            assert found is not None
            await store.put("k", "a", b"2", expected=found.revision)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        async with etcd.running(settings) as store:
            await store.put("k", "a", b"1")
            tasks.create_task(second())
            await asyncio.sleep(0.5)
            order.append("first leaves")

    assert order == ["first leaves", "second leads"]


async def test_one_who_waits_for_the_lead_can_be_stopped(settings: EtcdSettings) -> None:
    async with etcd.running(settings):
        with pytest.raises(Fault, match="asked to stop while another led"):
            async with asyncio.timeout(20), etcd.running(settings, lambda: True):
                pass


async def test_one_who_lost_the_lead_changes_nothing(member: Etcd, settings: EtcdSettings) -> None:
    async with etcd.running(settings) as store:
        await store.put("k", "a", b"1")
        forget_leader(member, settings)
        for work in (store.put("k", "a", b"2"), store.put("k", "b", b"2", expected=0), store.delete("k", "a")):
            with pytest.raises(Fault) as raised:
                await work
            assert raised.value.reason == "LeadLost"
        forget_leader(member, settings)

        assert [(each.key, each.value) for each in await store.list("k")] == [("a", b"1")]


async def test_one_who_lost_the_lead_to_another_cannot_write_over_its_records(
    member: Etcd, settings: EtcdSettings
) -> None:
    async with etcd.running(settings) as first:
        forget_leader(member, settings)
        async with etcd.running(settings) as second:
            await second.put("k", "a", b"second")
            with pytest.raises(Fault, match="another has it"):
                await first.put("k", "a", b"first")
            found = await second.get("k", "a")

            assert found is not None
            assert found.value == b"second"


async def test_a_lease_that_ran_out_ends_the_work_with_a_fault(member: Etcd, settings: EtcdSettings) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Fault, match="lease has run out"), flatten_subgroups=True):
        async with asyncio.timeout(20), etcd.running(settings):
            for lease in ask(member, "lease/leases").get("leases", []):
                ask(member, "lease/revoke", ID=lease["ID"])
            await asyncio.sleep(15)


async def test_a_kind_is_listed_whole_whatever_the_pages_and_without_its_neighbours(
    settings: EtcdSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd, "PAGE", 3)
    async with etcd.running(settings) as store:
        for number in range(10):
            await store.put("pods", f"default/web-{number}", b"x")
        for neighbour in ("pod", "pods0", "podsa", "pods/x"):
            await store.put(neighbour, "other", b"y")

        listed = [each.key for each in await store.list("pods")]
        assert [key for key in listed if key != "x/other"] == [f"default/web-{number}" for number in range(10)]


async def test_bytes_of_any_kind_and_size_come_back(settings: EtcdSettings) -> None:
    async with etcd.running(settings) as store:
        for value in (b"", bytes(range(256)), b"\0" * 500_000):
            await store.put("k", "a", value)
            found = await store.get("k", "a")
            assert found is not None
            assert found.value == value


async def test_a_write_whose_caller_was_cancelled_is_done_all_the_same(settings: EtcdSettings) -> None:
    async with etcd.running(settings) as store:
        writing = asyncio.create_task(store.put("k", "a", b"1"))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    async with etcd.running(settings) as store:
        assert [each.key for each in await store.list("k")] == ["a"]


async def test_a_closed_store_takes_no_more_writes(settings: EtcdSettings) -> None:
    async with etcd.running(settings) as store:
        pass
    with pytest.raises(Fault, match="it is being closed"):
        await store.put("k", "a", b"1")


async def test_writes_wait_while_etcd_is_started_again(tmp_path: Path) -> None:
    with running_etcd(tmp_path) as member:
        settings = EtcdSettings(endpoints=("http://127.0.0.1:1", member.endpoint), prefix="/c", lease=30.0)
        async with etcd.running(settings) as store:
            revision = await store.put("k", "a", b"1", expected=0)
            member.kill()
            writing = asyncio.create_task(store.put("k", "a", b"2", expected=revision))
            await asyncio.sleep(0.3)
            assert not writing.done()
            await asyncio.to_thread(member.start)

            assert await writing > revision


async def test_an_etcd_that_is_not_there_is_told_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_gateway.Gateway.ask, "__defaults__", (0.3, 0.3))
    with pytest.raises(Fault) as raised:
        async with etcd.running(EtcdSettings(endpoints=("http://127.0.0.1:1",), prefix="/c")):
            pass

    assert raised.value.kind is Kind.UNAVAILABLE
    assert "127.0.0.1:1" in str(raised.value)


async def test_tls_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    settings = EtcdSettings(endpoints=("https://127.0.0.1:1",), prefix="/c", certificate=tmp_path / "none.pem")
    with pytest.raises(Fault, match="TLS files"):
        async with etcd.running(settings):
            pass


async def test_an_etcd_without_room_is_told_with_what_frees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_etcd(tmp_path) as member:
        settings = EtcdSettings(endpoints=(member.endpoint,), prefix="/c")
        async with etcd.running(settings) as store:
            # Nothing that is tried again would help before somebody has done something.
            monkeypatch.setattr(etcd_gateway.Gateway.ask, "__defaults__", (3600.0, 3600.0))
            number = ask(member, "maintenance/status")["header"]["member_id"]
            ask(member, "maintenance/alarm", action="ACTIVATE", memberID=number, alarm="NOSPACE")
            with pytest.raises(Fault, match="space exceeded") as raised:
                await store.put("k", "a", b"1")
            assert "alarm disarm" in raised.value.mend
            ask(member, "maintenance/alarm", action="DEACTIVATE", memberID=number, alarm="NOSPACE")
            await store.put("k", "a", b"1")
