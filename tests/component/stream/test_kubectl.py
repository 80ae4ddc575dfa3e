"""The real kubectl, over WebSocket and over SPDY, against sessions in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from pathlib import Path

import pytest

from tests.support.kubectl import binary, certificate, environment, kubectl, pod_api
from tests.support.sessions import MemoryBackend

pytestmark = [
    pytest.mark.skipif(binary() is None, reason="no kubectl on this machine: set KUBE_BIN to a folder with one"),
    pytest.mark.parametrize("websockets", [True, False], ids=["websocket", "spdy"]),
]
MIB = 1 << 20


async def test_output_and_exit_code_arrive(tmp_path: Path, websockets: bool) -> None:
    async with pod_api(MemoryBackend()) as api:
        assert await kubectl(api, tmp_path, "exec", "web", "--", "echo", "hi", websockets=websockets) == (0, b"hi", b"")
        code, out, err = await kubectl(api, tmp_path, "exec", "web", "--", "complain", "7", websockets=websockets)
        assert (code, out) == (7, b"")
        assert err.startswith(b"oh dear")
        assert api.dialects == (["v5.channel.k8s.io"] if websockets else ["SPDY/3.1"]) * 2


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
async def test_standard_input_is_carried_whole_and_its_end_too(tmp_path: Path, websockets: bool, tls: bool) -> None:
    sent = os.urandom(20 * MIB)
    async with pod_api(MemoryBackend(), certificate(tmp_path) if tls else None) as api:
        arguments = ("exec", "-i", "web", "--", "cat")
        code, out, err = await kubectl(api, tmp_path, *arguments, stdin=sent, websockets=websockets)
        assert code == 0
        # kubectl notes, now and then, the empty message by which a server says that it is there.
        assert [line for line in err.splitlines() if b"Unknown stream id 1, discarding message" not in line] == []
        assert hashlib.sha256(out).digest() == hashlib.sha256(sent).digest()


async def test_a_session_that_cannot_be_run_says_why(tmp_path: Path, websockets: bool) -> None:
    async with pod_api(MemoryBackend()) as api:
        code, out, err = await kubectl(api, tmp_path, "exec", "web", "--", "break", websockets=websockets)
        assert (code, out) == (1, b"half")
        assert b"container c: it vanished; look for it" in err


async def test_attach_ends_well_whatever_the_exit_code(tmp_path: Path, websockets: bool) -> None:
    async with pod_api(MemoryBackend()) as api:
        code, out, err = await kubectl(api, tmp_path, "attach", "-i", "web", stdin=b"ahoy", websockets=websockets)
        assert (code, out) == (0, b"ahoy"), err


async def test_several_connections_are_forwarded_and_a_refused_port_hurts_no_other(
    tmp_path: Path, websockets: bool
) -> None:
    program = binary()
    assert program is not None
    backend = MemoryBackend()
    async with pod_api(backend) as api:
        process = await asyncio.create_subprocess_exec(
            program,
            f"--server={api.base}",
            *("port-forward", "pod/web", ":7", ":1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(tmp_path, websockets=websockets),
        )
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            ports: dict[int, int] = {}
            while len(ports) < 2:
                line = (await process.stdout.readline()).decode()
                if found := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)", line):
                    ports[int(found[2])] = int(found[1])
            sent = os.urandom(MIB)
            async with asyncio.TaskGroup() as tasks:
                echoes = [tasks.create_task(_echo(ports[7], sent)) for _ in range(5)]
            assert all(echo.result() == sent for echo in echoes)
            assert await _echo(ports[1], b"x") == b""
            assert b"the connection was refused" in await process.stderr.readline()
            assert api.dialects == (["SPDY/3.1+portforward.k8s.io"] if websockets else ["SPDY/3.1"])
        finally:
            process.kill()
            await process.wait()


async def _echo(port: int, data: bytes) -> bytes:
    """What comes back of `data` sent to an echoing port, up to as many bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.readexactly(len(data))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
    finally:
        writer.close()
