"""A cell that stays at home: calls on the turned connection, restarts of either side, and what breaks in mid-call."""

import asyncio
import contextlib
import resource
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from cellagent.boot.join import SERVER_NAME, client_context, join
from cellagent.link import redialling
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cri.v1 import runtime_grpc
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.door import accepting
from cellwire.rpc.reverse import TURNED, TurnedChannel
from controller.link import distrust, report_checks
from controller.link.port import ChangeKind, ConnectionChange, Link
from controller.model.names import CellName
from tests.component.link.conftest import Site, at_home, until

C1 = CellName("c-i-1")
LINE = 60_000
Said = TypeVar("Said", report_checks.Hello, report_checks.Heartbeat, report_checks.Happened)


def runtime(link: Link) -> runtime_grpc.RuntimeServiceStub:
    return runtime_grpc.RuntimeServiceStub(link.channel(C1))


async def echo(link: Link, text: str, deadline: float = 5) -> str:
    """A sandbox of this name is made, and its name told back."""
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name=text, uid=text))
    run = cri.RunPodSandboxRequest(config=config)
    sandbox = (await call(runtime(link).RunPodSandbox, run, deadline=deadline)).pod_sandbox_id
    asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
    return (await call(runtime(link).PodSandboxStatus, asked, deadline=deadline)).status.metadata.name


async def writer(link: Link, script: str) -> str:
    """A container that runs a script, each line of whose output is 60,000 zeros where it calls `line`."""
    run = cri.RunPodSandboxRequest(config=cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="w", uid="w")))
    sandbox = (await call(runtime(link).RunPodSandbox, run, deadline=5)).pod_sandbox_id
    config = cri.ContainerConfig(metadata=cri.ContainerMetadata(name="main"))
    config.command.extend(["sh", "-c", f"line() {{ printf '%0{LINE}d\\n' 0; }}; {script}"])
    made = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
    container = (await call(runtime(link).CreateContainer, made, deadline=5)).container_id
    await call(runtime(link).StartContainer, cri.StartContainerRequest(container_id=container), deadline=5)
    return container


def said(site: Site, kind: type[Said]) -> list[Said]:
    """What cells have said of one kind."""
    return [change.said for change in site.changes if isinstance(change.said, kind)]


async def test_a_cell_is_called_on_the_connection_that_it_dialled(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1") as (small, _):
        await until(link.connected)
        assert await echo(link, "hello") == "hello"
        nobody = cri.ContainerStatusRequest(container_id="nobody")
        with pytest.raises(Fault) as refused:
            await call(runtime(link).ContainerStatus, nobody, deadline=5)
        assert (refused.value.kind, refused.value.thing) == (Kind.NOT_FOUND, "container nobody")
        small.double.sandboxes_go.clear()
        with pytest.raises(Fault) as refused:
            await echo(link, "slow", deadline=0.1)
        assert refused.value.kind is Kind.TIMEOUT
        small.double.sandboxes_go.set()
        assert await echo(link, "again") == "again"


async def test_a_cell_whose_first_controller_is_frozen_is_soon_at_home_at_the_second(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redialling, "HEAD_START", 0.05)
    # The kernel takes the connection, and nobody answers.
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        async with site.open() as link:
            identity, metadata = await site.boot(link, "i-1")
            home = await join(identity, metadata)
            controllers = (f"127.0.0.1:{frozen.getsockname()[1]}", *home.controllers)
            async with at_home(identity, msgspec.structs.replace(home, controllers=controllers)):
                await until(link.connected, seconds=10)
                assert await echo(link, "hello") == "hello"


async def test_a_cell_keeps_its_place_at_a_busy_controller_while_another_connects_and_refuses_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redialling, "HEAD_START", 0.05)
    refused, arrived = asyncio.Event(), 0

    def refuse(channel: TurnedChannel) -> None:
        channel.close()
        refused.set()

    async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(1 << 16):
                writer.write(data)

    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        await refused.wait()
        there, back = await asyncio.open_connection("127.0.0.1", site.number)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(piped(reader, back))
            tasks.create_task(piped(there, writer))

    async with site.open() as link, await asyncio.start_server(busy, "127.0.0.1", 0) as door:
        context = link.authority.server_context((TURNED,))
        nobody: Any = {"servers": {}, "authority": b"", "familiar": lambda _: False, "mend": ""}
        async with accepting(("127.0.0.1", 0), context, turned=refuse, **nobody) as refuser:
            identity, metadata = await site.boot(link, "i-1")
            home = await join(identity, metadata)
            numbers = (door.sockets[0].getsockname()[1], refuser.number)
            controllers = tuple(f"127.0.0.1:{number}" for number in numbers)
            async with at_home(identity, msgspec.structs.replace(home, controllers=controllers)):
                await until(lambda: said(site, report_checks.Heartbeat))
                assert refused.is_set()
                assert arrived == 1, "it dialled once and kept its place"


async def test_a_cell_says_hello_then_beats_and_its_events_come_through(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1") as (small, _):
        await until(lambda: len(said(site, report_checks.Heartbeat)) >= 2)
        small.events.put_nowait(wire.CellEvent(at=time.time(), reason="Pulled", message="an image"))
        await until(lambda: said(site, report_checks.Happened))
        assert site.changes[0].kind is ChangeKind.CONNECTED
        hello = site.changes[1].said
        assert isinstance(hello, report_checks.Hello)
        assert hello.cpu_millis >= 1000
        assert said(site, report_checks.Heartbeat)[0].agent_memory_bytes > 1 << 20
        assert said(site, report_checks.Happened)[0].message == "an image"


@pytest.mark.parametrize(
    "event",
    [
        wire.CellEvent(at=1.0, reason="not a word"),
        wire.CellEvent(at=float("nan"), reason="Pulled"),
        wire.CellEvent(at=1.0, reason="Pulled", message="x" * (1 << 20)),
    ],
)
async def test_a_cell_that_reports_nonsense_is_cut_off_and_others_are_heard(site: Site, event: wire.CellEvent) -> None:
    async with site.open() as link, site.cell(link, "i-1") as (bad, _), site.cell(link, "i-2"):
        await until(lambda: len(link.connected()) == 2)
        bad.events.put_nowait(event)
        await until(lambda: ConnectionChange(CellName("c-i-1"), ChangeKind.DISCONNECTED) in site.changes)
        heard = len(said(site, report_checks.Heartbeat))
        await until(lambda: len(said(site, report_checks.Heartbeat)) > heard + 2)
        assert [one.reason for one in said(site, report_checks.Happened)] == ["NotBelieved"], "which we say ourselves"


async def test_a_cell_that_was_not_believed_is_kept_out_when_it_dials_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distrust, "FIRST_SECONDS", 60.0)
    async with site.open() as link, site.cell(link, "i-1") as (bad, _), site.cell(link, "i-2"):
        await until(lambda: len(link.connected()) == 2)
        bad.events.put_nowait(wire.CellEvent(at=1.0, reason="not a word"))
        await until(lambda: link.untrue["kept-out"] > 0)
        assert link.untrue["ended"] == 1
        assert link.connected() == {CellName("c-i-2")}


async def test_a_cell_that_reports_without_end_is_cut_off(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1") as (bad, _):
        over = ConnectionChange(CellName("c-i-1"), ChangeKind.DISCONNECTED)
        async with asyncio.timeout(60):
            while over not in site.changes:
                while bad.events.qsize() < 300:
                    bad.events.put_nowait(wire.CellEvent(at=time.time(), reason="Pulling"))
                await asyncio.sleep(0.01)


async def test_a_cell_heeds_how_often_it_is_to_be_heard_from_its_next_heartbeat_on(site: Site) -> None:
    site.fleet.interval = 0.1
    async with site.open() as link, site.cell(link, "i-1"):
        await until(lambda: len(said(site, report_checks.Heartbeat)) >= 3)
        site.fleet.interval = 60.0
        # The one that learns of it, and perhaps one that was on its way.
        heard = len(said(site, report_checks.Heartbeat))
        await asyncio.sleep(1.0)
        assert len(said(site, report_checks.Heartbeat)) <= heard + 2
        assert await echo(link, "there")


async def test_a_cell_keeps_the_window_of_its_redials_that_it_was_told_last(site: Site) -> None:
    site.fleet.redial_window = 17.0
    async with site.open() as link, site.cell(link, "i-1") as (small, _):
        await until(lambda: small.window.seconds == 17.0)
        site.fleet.redial_window = 23.0
        await until(lambda: small.window.seconds == 23.0)
        site.fleet.redial_window = 0.0  # nothing is said, as by a controller that has just begun
        heard = len(said(site, report_checks.Heartbeat))
        await until(lambda: len(said(site, report_checks.Heartbeat)) >= heard + 3)
        assert small.window.seconds == 23.0


async def test_a_cell_of_which_nothing_is_asked_keeps_to_its_settings(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1"):
        await until(lambda: len(said(site, report_checks.Heartbeat)) >= 3)


async def test_a_cell_that_is_not_there_is_unreachable(site: Site) -> None:
    async with site.open() as link:
        with pytest.raises(Fault) as refused:
            link.channel(CellName("c-none"))
        assert refused.value.kind is Kind.UNREACHABLE


async def test_a_cell_redials_a_controller_that_was_restarted(site: Site) -> None:
    async with site.open() as first:
        cell = site.cell(first, "i-1")
        await cell.__aenter__()
        await until(first.connected)
    await asyncio.sleep(0.5)
    started = time.monotonic()
    async with site.open() as second:
        await until(second.connected, 10)
        assert await echo(second, "back") == "back"
        print(f"redialled after {time.monotonic() - started:.2f} s")
        await cell.__aexit__(None, None, None)
        await until(lambda: not second.connected())


async def test_a_cell_that_dials_while_the_port_closes_is_sent_away(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        from_port, to_port = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context(identity, TURNED).wrap_bio(from_port, to_port, server_hostname=SERVER_NAME)
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        writer.write(to_port.read())
        finished = False
        while not finished:
            from_port.write(await reader.read(1 << 16))
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                finished = True
    writer.write(to_port.read())
    try:
        async with asyncio.timeout(20):
            while await reader.read(1 << 16):
                pass
    finally:
        writer.close()


async def test_the_newest_connection_of_a_cell_wins(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1"):
        await until(link.connected)
        old = link.channel(C1)
        link.disconnect(C1)
        await until(lambda: bool(link.connected()) and link.channel(C1) is not old)
        assert await echo(link, "new") == "new"
        with pytest.raises(Fault) as refused:
            await call(cell_grpc.CellStub(old).ReadFile, wire.ReadFileRequest(), deadline=1)
        assert refused.value.kind is Kind.UNREACHABLE


async def test_a_connection_cut_in_mid_stream_settles_on_both_sides(site: Site) -> None:
    async with site.open() as link, site.cell(link, "i-1"):
        await until(link.connected)

        container = await writer(link, "line; line; sleep 100")

        async def read() -> None:
            async with cell_grpc.CellStub(link.channel(C1)).Logs.open() as stream:
                await stream.send_message(wire.LogsRequest(container_id=container, follow=True), end=True)
                await stream.recv_message()
                asyncio.get_running_loop().call_later(0.05, link.disconnect, C1)
                async for _ in stream:
                    pass

        async def asked_to_cancel() -> int:
            with pytest.raises(Fault) as refused, translate_errors():
                await read()
            assert refused.value.kind is Kind.UNREACHABLE
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        assert await asyncio.get_running_loop().create_task(asked_to_cancel()) == 0
        await until(link.connected)
        assert await echo(link, "well") == "well"


async def test_a_silent_stranger_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from cellwire.rpc import limits, reverse

    monkeypatch.setattr(limits, "FIRST_SECONDS", 0.2)
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        from cellagent.boot.join import client_context, join

        await join(identity, metadata)
        context = client_context(identity, reverse.CALLS)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", link.port, ssl=context, server_hostname="chinampa-controller"
        )
        started = time.monotonic()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1 << 20)
        assert time.monotonic() - started < 20
        writer.close()


async def test_a_cell_as_a_process_survives_its_own_restart_without_a_new_join(site: Site) -> None:
    """Also says what it costs: the times and sizes are printed with -s."""
    script = Path(__file__).with_name("small_agent.py")
    async with site.open() as link:
        _, metadata = await site.boot(link, "i-1")
        number = metadata._address[1]
        for life in ("first boot", "restart"):
            site.changes.clear()
            started = time.time()
            command = [sys.executable, str(script), str(site.folder / "state"), str(number), repr(started)]
            process = await asyncio.create_subprocess_exec(*command)
            try:
                await until(lambda: said(site, report_checks.Hello), 20)
                took = time.time() - started
                moments = {
                    name: round(at - started, 3) for name, at in said(site, report_checks.Hello)[0].moments.items()
                }
                assert await echo(link, life) == life
                pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
                rss = int(pages) * resource.getpagesize() / 1e6
                print(f"{life}: hello after {took:.3f} s {moments}, agent {rss:.1f} MB")
            finally:
                process.kill()
                await process.wait()
            await until(lambda: not link.connected())
        assert site.fleet.admitted == 1


async def test_a_long_stream_from_a_cell_arrives_whole(site: Site) -> None:
    async with site.open() as link:
        _, metadata = await site.boot(link, "i-1")
        script = Path(__file__).with_name("small_agent.py")
        command = [sys.executable, str(script), str(site.folder / "state"), str(metadata._address[1]), "0"]
        process = await asyncio.create_subprocess_exec(*command)
        try:
            await until(link.connected, 20)
            container, lines, got, ends = await writer(link, "for n in $(seq 1000); do line; done"), 0, 0, False
            with translate_errors():
                async with cell_grpc.CellStub(link.channel(C1)).Logs.open() as stream:
                    await stream.send_message(wire.LogsRequest(container_id=container, follow=True), end=True)
                    async for chunk in stream:
                        assert chunk.offset == got
                        got, lines, ends = got + len(chunk.data), lines + chunk.data.count(b"\n"), chunk.end
            assert (lines, got > 1000 * LINE, ends) == (1000, True, True)
        finally:
            process.kill()
            await process.wait()
