"""What every store promises, whichever it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.store import etcd, sqlite
from controller.store.etcd_gateway import EtcdSettings
from controller.store.record_store import Store
from tests.support.etcd import running_etcd
from tests.support.memory_store import MemoryStore

Open = Callable[[], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def in_memory(path: Path) -> AsyncGenerator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def in_sqlite(path: Path) -> AsyncGenerator[Store]:
    async with sqlite.running(path / "store.db") as store:
        yield store


OPENERS = {"sqlite": in_sqlite, "memory": in_memory}


@pytest.fixture(scope="module")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with running_etcd(tmp_path_factory.mktemp("etcd")) as member:
        yield member.endpoint


@pytest.fixture(params=[*sorted(OPENERS), "etcd"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    if request.param == "etcd":
        endpoint: str = request.getfixturevalue("etcd_endpoint")
        return lambda: etcd.running(EtcdSettings(endpoints=(endpoint,), prefix=f"/chinampa/{tmp_path.name}"))
    return lambda: OPENERS[request.param](tmp_path)


async def test_what_was_put_is_got_and_listed_by_key(opened: Open) -> None:
    async with opened() as store:
        second = await store.put("cells", "b", b"2")
        first = await store.put("cells", "a", b"1")
        await store.put("pods", "c", b"3")

        found = await store.get("cells", "a")
        assert found is not None
        assert (found.key, found.value, found.revision) == ("a", b"1", first)
        assert [(each.key, each.revision) for each in await store.list("cells")] == [("a", first), ("b", second)]
        assert await store.get("cells", "c") is None


async def test_revisions_rise_with_every_write_to_the_store(opened: Open) -> None:
    async with opened() as store:
        revisions = [await store.put("k", "a", b""), await store.put("j", "b", b"")]
        await store.delete("k", "a")
        revisions += [await store.put("k", "a", b""), await store.put("k", "a", b"")]

        assert revisions == sorted(set(revisions))


async def test_a_write_that_expects_another_revision_is_refused_and_changes_nothing(opened: Open) -> None:
    async with opened() as store:
        revision = await store.put("k", "a", b"1", expected=0)
        for wrong in (0, revision + 1):
            with pytest.raises(Fault) as raised:
                await store.put("k", "a", b"2", expected=wrong)
            assert raised.value.kind is Kind.EXISTS
        with pytest.raises(Fault):
            await store.put("k", "absent", b"2", expected=revision)

        assert (await store.list("k"))[0].value == b"1"
        assert await store.put("k", "a", b"2", expected=revision) > revision


async def test_of_many_writers_that_expect_the_same_revision_one_wins(opened: Open) -> None:
    async with opened() as store:
        won: list[int] = []

        async def write(number: int) -> None:
            try:
                await store.put("k", "a", str(number).encode(), expected=0)
                won.append(number)
            except Fault as fault:
                assert fault.kind is Kind.EXISTS

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(write(number))

        assert len(won) == 1
        assert (await store.list("k"))[0].value == str(won[0]).encode()


async def test_deleting_the_absent_is_no_error(opened: Open) -> None:
    async with opened() as store:
        await store.delete("k", "absent")
        await store.put("k", "a", b"")
        await store.delete("k", "a")

        assert await store.list("k") == ()
        await store.put("k", "a", b"", expected=0)


async def test_the_file_keeps_everything_over_a_restart_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    async with in_sqlite(tmp_path) as store:
        revision = await store.put("k", "a", b"1")
        await store.delete("k", "never")
    async with in_sqlite(tmp_path) as store:
        found = await store.get("k", "a")
        assert found is not None
        assert (found.value, found.revision) == (b"1", revision)
        assert await store.put("k", "b", b"") > revision + 1
        assert [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077] == []


async def test_a_write_whose_caller_was_cancelled_is_done_all_the_same(tmp_path: Path) -> None:
    async with in_sqlite(tmp_path) as store:
        writing = asyncio.create_task(store.put("k", "a", b"1"))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await store.put("k", "b", b"2")

        assert [each.key for each in await store.list("k")] == ["a", "b"]


async def test_a_file_that_is_no_store_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(Fault, match=r"store\.db") as raised:
        async with in_sqlite(tmp_path):
            pass
    assert raised.value.kind is Kind.BROKEN
