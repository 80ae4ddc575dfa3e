"""What is oldest of logs is given back to the disk, and nobody who copies or reads them loses his place."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from aiohttp import AddrInfoType, TCPConnector, web
from aiohttp.test_utils import TestClient, TestServer

from controller.api import pod_logs as api_logs
from controller.logs import cutting, reading
from controller.logs.copy import Copy
from controller.logs.lines import LinesWanted
from controller.logs.mirror import Grown
from controller.pods.engine import Pods
from controller.pods.log_files import CopiedLog, Logs
from hostkit import files

LINE = b"2026-11-20T10:00:00.%09dZ stdout F line %d\n"
MIB = 1 << 20


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(LINE % (number, number) for number in range(first, first + count))


def on_disk(*files: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in files)


def seen(path: Path, tail: int | None = None) -> list[bytes]:
    """The lines as `kubectl logs` shows them."""

    async def shown() -> bytes:
        with path.open("rb") as file:
            looking = reading.shown(file.fileno(), LinesWanted(), tail=tail, follow=False, complete=lambda: True)
            return b"".join([text async for text in looking])

    with ThreadPoolExecutor(1) as beside:  # the caller may have a loop of its own
        return beside.submit(asyncio.run, shown()).result().splitlines()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_bytes(lines(100_000))
    return path


def test_the_oldest_bytes_go_and_a_line_says_so(log: Path) -> None:
    size = log.stat().st_size
    given = cutting.within([log], MIB)
    assert on_disk(log) <= MIB + 8192
    assert log.stat().st_size == size
    said, *rest = seen(log)
    assert said.startswith(b"chinampa: the first %d bytes of this log were given up: %d are kept" % (given, MIB))
    first = int(rest[0].split()[1])
    assert rest == [b"line %d" % number for number in range(first, 100_000)]
    assert cutting.within([log], MIB) == 0


def test_a_log_that_grows_is_cut_again_and_its_copy_keeps_its_place(tmp_path: Path) -> None:
    path, copy, said = tmp_path / "0.log", Copy(tmp_path / "0.log", "k"), b""
    copy.open()
    for part in range(5):
        copy.write(lines(40_000, 40_000 * part))
        assert cutting.within([path], MIB)
        assert seen(path)[0] != said
        said = seen(path)[0]
    size = copy.offset
    copy.close()
    again = Copy(path, "k")
    again.open()
    again.close()
    assert again.offset == size == len(lines(200_000))
    assert seen(path)[-1] == b"line 199999"


def test_a_former_start_goes_before_this_one_but_for_its_end(tmp_path: Path, log: Path) -> None:
    former = tmp_path / "former.log"
    log.rename(former)
    log.write_bytes(lines(10_000))
    cutting.within([former, log], MIB)
    assert seen(log) == [b"line %d" % number for number in range(10_000)]
    cutting.within([former, log], 300_000)
    assert on_disk(former) <= cutting.KEPT_END + 8192
    assert seen(former)[-1] == b"line 99999"
    assert seen(log)[0].startswith(b"chinampa")
    assert cutting.within([tmp_path / "nowhere.log", former], 0) == 0


@pytest.mark.parametrize("text", [b"", lines(9), b"x" * MIB, b"\0" * MIB])
def test_what_is_small_or_has_no_lines_is_left_alone(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(text)
    assert cutting.within([path], 0) == 0
    assert path.read_bytes() == text


def test_a_disk_that_cannot_give_bytes_back_is_told_and_keeps_the_log_as_it_is(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr("hostkit.syscalls.punch_hole", refuses)
    with pytest.raises(OSError, match="not supported"):
        cutting.within([log], MIB)
    assert log.read_bytes() == lines(100_000)


@pytest.mark.parametrize(("tail", "shown"), [(0, 0), (1, 1), (100, 100), (10**6, None)])
def test_a_tail_of_a_cut_log_is_its_last_lines_and_no_zeros(log: Path, tail: int, shown: int | None) -> None:
    cutting.within([log], MIB)
    whole = seen(log)
    assert seen(log, tail) == whole[len(whole) - (len(whole) if shown is None else shown) :]


def test_looking_where_a_file_begins_leaves_its_reader_where_it_is(log: Path) -> None:
    cutting.within([log], MIB)
    with log.open("rb") as file:
        file.seek(5)
        assert files.first_data(file.fileno()) > 5
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 5


class Growing:
    """A mirror that tells of its growth after each of its parts."""

    async def copy(self, channel: object, container_id: str, path: Path, *, follow: bool, grown: Grown) -> None:
        with path.open("ab") as file:
            for part in self.parts():
                file.write(part)
                file.flush()
                await grown()
                self.most = max(self.most, on_disk(*path.parent.glob("*.log")))

    most = 0

    def parts(self) -> Iterator[bytes]:
        return (lines(10_000, 10_000 * part) for part in range(10))


async def test_a_pod_s_container_keeps_so_many_bytes_of_its_starts_while_they_grow(tmp_path: Path) -> None:
    mirror = Growing()
    logs = Logs(tmp_path, MIB)
    for start in range(3):
        path, _ = logs.begin("u", "c", start)
        await mirror.copy(lambda: None, "k", path, follow=True, grown=partial(logs.bound, path))
        await logs.bound(path)
    assert mirror.most < MIB + 100_000
    assert sorted(path.name for path in (tmp_path / "u" / "c").iterdir()) == [
        "1.log",
        "1.message",
        "2.log",
        "2.message",
    ]
    assert seen(logs.path("u", "c", 2))[-1] == b"line 99999"
    assert logs.tail(logs.path("u", "c", 1)).endswith("line 99999")


async def test_without_a_bound_all_is_kept(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    path, _ = logs.begin("u", "c", 0)
    await Growing().copy(lambda: None, "k", path, follow=True, grown=partial(logs.bound, path))
    assert logs.path("u", "c", 0).read_bytes() == lines(100_000)


class OnePod:
    """Pods, as the handler of logs needs them: one, with one log, of which all is here or not."""

    def __init__(self, path: Path, *, complete: Callable[[], bool] = lambda: True, ended: bool = False) -> None:
        self._log = CopiedLog(path, complete, ended)

    def find(self, namespace: str, name: str) -> str:
        return name

    def log_file(self, pod: str, container: str, *, previous: bool) -> CopiedLog:
        return self._log


def small(address: AddrInfoType) -> socket.socket:
    """A socket for which the kernel keeps little, so that whoever sends to it waits."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    return made


def client_of(pods: OnePod) -> TestClient[web.Request, web.Application]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await api_logs.log(request, cast("Pods", pods))

    app = web.Application()
    app.router.add_get("/{namespace}/{name}/log", handle)
    return TestClient(TestServer(app), connector=TCPConnector(socket_factory=small))


async def test_a_reader_that_is_slower_than_the_log_grows_goes_on_with_what_is_kept(log: Path) -> None:
    log.write_bytes(lines(400_000))

    async with client_of(OnePod(log)) as client:
        reply = await client.get("/default/web/log?follow=true")
        text = await reply.content.readuntil(b"\n")
        await asyncio.sleep(0.1)  # the rest waits for us
        given = cutting.within([log], MIB)
        text += await reply.content.read()
    assert b"\0" not in text
    assert b"the first %d bytes of this log were given up" % given in text
    assert text.startswith(b"line 0\n")
    assert text.endswith(b"line 399999\n")
    assert text.count(b"\n") < 400_000


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "running"])
async def test_the_last_bytes_of_a_container_that_has_ended_are_waited_for(
    log: Path, monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    monkeypatch.setattr(api_logs, "LAST_BYTES_SECONDS", 300.0)
    log.write_bytes(lines(10))
    whole = False
    async with client_of(OnePod(log, complete=lambda: whole, ended=ended)) as client:
        reply = await client.get("/default/web/log")
        text = await reply.content.readuntil(b"line 9\n")
        log.write_bytes(lines(12))
        whole = True
        text += await reply.content.read()
    assert text.endswith(b"line 11\n" if ended else b"line 9\n")


async def test_a_log_whose_last_bytes_do_not_come_is_shown_without_them(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_logs, "LAST_BYTES_SECONDS", 0.05)
    log.write_bytes(lines(10))
    async with client_of(OnePod(log, complete=lambda: False, ended=True)) as client:
        assert (await (await client.get("/default/web/log")).read()).endswith(b"line 9\n")
