"""Exec, attach, port-forward and ExecSync against real containers."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import time

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.stream.session import Exited, Session, SessionRequest, Stderr, Stdout
from tests.component.runtime.conftest import Agents, with_both_runtimes

pytestmark = with_both_runtimes


async def everything(session: Session) -> tuple[bytes, bytes, int]:
    said: dict[type, bytearray] = {Stdout: bytearray(), Stderr: bytearray()}
    async for item in session.output():
        if isinstance(item, Exited):
            return bytes(said[Stdout]), bytes(said[Stderr]), item.code
        said[type(item)] += item.data
    raise AssertionError("no exit code came")


def in_namespaces(pid: int) -> bool:
    return os.path.lexists(f"/proc/{pid}/ns/mnt")


async def test_exec_sync_gives_both_streams_and_the_exit_code(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        done = await client.exec(container, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 7)


async def test_a_command_that_cannot_be_started_gives_127_and_says_why(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        done = await client.exec(container, "no-such-program")
        assert done.exit_code == 127
        assert b"no-such-program" in done.stderr


async def test_exec_sync_kills_the_command_at_its_deadline(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        begun = time.monotonic()
        with pytest.raises(Fault) as caught:
            await client.exec(container, "sh", "-c", "sleep 77 & sleep 78", timeout=1)
        assert caught.value.kind is Kind.TIMEOUT
        assert time.monotonic() - begun < 40
        left = await client.exec(container, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr -d '\\0'")
        assert b"sleep78" not in left.stdout
        assert b"sleep77" not in left.stdout


TALKER = "(while true; do echo more; sleep 0.02; done) &"


@pytest.mark.parametrize("behind", ["sleep 1000 &", TALKER], ids=["silent", "talking"])
async def test_exec_sync_ends_with_its_command_though_a_child_of_that_holds_its_output(
    agent: Agents, behind: str
) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        done = await client.exec(container, "sh", "-c", f"{behind} echo started; echo err >&2; exit 5")
        assert done.exit_code == 5
        assert b"started\n" in done.stdout
        assert done.stderr == b"err\n"


@pytest.mark.parametrize("tty", [False, True], ids=["pipes", "terminal"])
@pytest.mark.parametrize("behind", ["sleep 1000 &", TALKER], ids=["silent", "talking"])
async def test_an_exec_session_ends_with_its_command_though_a_child_of_that_holds_its_output(
    agent: Agents, behind: str, *, tty: bool
) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        request = SessionRequest(container, ("sh", "-c", f"{behind} echo started; exit 5"), tty=tty, stderr=not tty)
        async with client.room.backend.exec(request) as session:
            out, _, code = await everything(session)
        assert code == 5
        assert b"started" in out


async def test_a_slow_reader_gets_all_that_a_command_said_though_a_child_of_that_holds_its_output(
    agent: Agents,
) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        # Less than a pipe holds, so that the command has ended before anybody reads.
        script = "sleep 1000 & dd if=/dev/zero bs=1k count=60 2>/dev/null; echo last >&2"
        async with client.room.backend.exec(SessionRequest(container, ("sh", "-c", script))) as session:
            await asyncio.sleep(1)
            out, err, code = await everything(session)
        assert (len(out), err, code) == (60 << 10, b"last\n", 0)


async def test_what_a_child_says_right_after_its_command_is_kept(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        done = await client.exec(container, "sh", "-c", "(sleep 0.02; echo late) & echo early")
        assert done.stdout == b"early\nlate\n"


async def test_exec_in_a_container_that_is_just_ending_says_so(agent: Agents) -> None:
    async with agent() as client:
        for tty in (False, True):
            container = await client.run("sleep", "100")
            pid = await client.pid(container)
            os.kill(pid, signal.SIGKILL)
            while in_namespaces(pid):
                pass  # without a turn of the loop, in which the agent would hear of it
            request = SessionRequest(container, ("true",), tty=tty, stderr=not tty)
            async with client.room.backend.exec(request) as session:
                with pytest.raises(Fault, match="container main: the container has just ended") as caught:
                    await everything(session)
            assert caught.value.kind is Kind.PRECONDITION


async def test_a_command_that_cannot_be_started_on_a_terminal_gives_127_and_says_why(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        request = SessionRequest(container, ("no-such-program",), tty=True, stderr=False)
        async with client.room.backend.exec(request) as session:
            out, _, code = await everything(session)
        assert code == 127
        assert out.count(b"no-such-program") == 1


async def test_a_container_ends_with_its_first_process_though_a_child_of_that_holds_its_log(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.security_context.namespace_options.pid = cri.POD
        sandbox = await client.sandbox(config)
        linux = cri.LinuxContainerConfig()
        linux.security_context.namespace_options.pid = cri.POD
        container = await client.create(sandbox, "sh", "-c", "sleep 1000 & echo started; exit 5", linux=linux)
        await client.start(container)
        status = await client.exited(container)
        assert status.exit_code == 5
        assert "started" in await client.log(container)


async def test_exec_sync_in_a_container_that_does_not_run_is_refused(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("true")
        await client.exited(container)
        with pytest.raises(Fault) as caught:
            await client.exec(container, "true")
        assert caught.value.kind is Kind.PRECONDITION


async def test_exec_passes_any_bytes_both_ways_and_closes_stdin(agent: Agents) -> None:
    data = bytes(range(256)) * 16384
    async with agent() as client:
        container = await client.run("sleep", "100")
        request = SessionRequest(container, ("sh", "-c", "cat; exit 9"), stdin=True)
        async with client.room.backend.exec(request) as session:

            async def feed() -> None:
                for start in range(0, len(data), 65536):
                    await session.write_stdin(data[start : start + 65536])
                await session.close_stdin()

            async with asyncio.TaskGroup() as group:
                group.create_task(feed())
                out, _, code = await everything(session)
        assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
        assert code == 9


async def test_exec_on_a_terminal_has_a_size_that_can_change(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        request = SessionRequest(container, ("sh",), tty=True, stdin=True, stderr=False)
        async with client.room.backend.exec(request) as session:
            await session.resize(101, 33)
            await session.write_stdin(b"sleep 0.3; stty size; exit 4\n")
            out, _, code = await everything(session)
        assert b"33 101" in out
        assert code == 4


async def test_leaving_an_exec_session_ends_its_command(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        async with client.room.backend.exec(SessionRequest(container, ("sleep", "4321"))):
            await asyncio.sleep(0.3)
        left = await client.exec(container, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr -d '\\0'")
        assert b"sleep4321" not in left.stdout


async def test_a_slow_reader_holds_the_command(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sleep", "100")
        request = SessionRequest(container, ("sh", "-c", "dd if=/dev/zero bs=1M count=50 2>/dev/null"))
        async with client.room.backend.exec(request) as session:
            await asyncio.sleep(0.5)
            out, _, code = await everything(session)
        assert (len(out), code) == (50 << 20, 0)


async def test_attach_reaches_the_process_itself(agent: Agents) -> None:
    async with agent() as client:
        script = "read line; echo got $line; echo err >&2; exit 6"
        container = await client.run("sh", "-c", script, stdin=True, stdin_once=True)
        async with client.room.backend.attach(SessionRequest(container, stdin=True)) as session:
            await session.write_stdin(b"hello\n")
            out, err, code = await everything(session)
        assert (out, err, code) == (b"got hello\n", b"err\n", 6)


async def test_attach_half_closes_stdin_of_a_container_made_for_it(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("cat", stdin=True, stdin_once=True)
        async with client.room.backend.attach(SessionRequest(container, stdin=True)) as session:
            await session.write_stdin(b"abc")
            await session.close_stdin()
            out, _, code = await everything(session)
        assert (out, code) == (b"abc", 0)


@pytest.mark.parametrize(("tty", "once"), [(True, False), (True, True), (False, False)])
async def test_the_end_of_a_clients_input_parts_it_from_a_container_that_goes_on(
    agent: Agents, *, tty: bool, once: bool
) -> None:
    async with agent() as client:
        container = await client.run("cat", stdin=True, stdin_once=once, tty=tty)
        for word in (b"first", b"second"):
            request = SessionRequest(container, tty=tty, stdin=True, stderr=not tty)
            async with client.room.backend.attach(request) as session:
                await session.write_stdin(word + b"\n")
                said = session.output()
                async for item in said:
                    if isinstance(item, Stdout) and word in item.data:
                        break
                await session.close_stdin()
                left = [item async for item in said]
            assert left[-1] == Exited(0)
        assert (await client.status(container)).state == cri.CONTAINER_RUNNING


async def test_attach_to_a_terminal_can_resize_it(agent: Agents) -> None:
    async with agent() as client:
        container = await client.run("sh", stdin=True, tty=True)
        request = SessionRequest(container, tty=True, stdin=True, stderr=False)
        async with client.room.backend.attach(request) as session:
            await session.resize(91, 44)
            await session.write_stdin(b"sleep 0.3; stty size; exit 0\n")
            out, _, _ = await everything(session)
        assert b"44 91" in out


async def test_port_forward_dials_inside_the_pod(agent: Agents) -> None:
    async with agent() as client:
        config = client.sandbox_config()
        config.linux.security_context.namespace_options.network = cri.POD
        sandbox = await client.sandbox(config)
        container = await client.create(sandbox, "nc", "-ll", "-p", "8080", "-e", "cat")
        await client.start(container)
        await asyncio.sleep(0.3)
        async with client.room.backend.port_forward(sandbox, 8080) as tunnel:
            await tunnel.write(b"ping")
            await tunnel.close_writing()
            assert b"".join([part async for part in tunnel.received()]) == b"ping"
        with pytest.raises(Fault) as caught:
            async with client.room.backend.port_forward(sandbox, 81):
                pass
        assert caught.value.kind is Kind.UNAVAILABLE
