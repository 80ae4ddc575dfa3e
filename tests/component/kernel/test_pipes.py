"""A descriptor is closed once: a second close would close somebody else's file."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cellagent.runtime.sessions.command import kill_tree

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import asyncio, os, uvloop
from hostkit.pipes import handed_over
from hostkit.resolving_loop import ResolvingLoop

async def main():
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    reader = asyncio.StreamReader()
    pipe = handed_over(read, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    os.write(write, b"x")
    os.close(write)
    assert await reader.read() == b"x"
    transport.close()
    # Had the file object closed it at once, this would be given the same number, and the loop would close it again.
    mine = os.open("/dev/null", os.O_RDONLY)
    await asyncio.sleep(0.05)
    os.fstat(mine)
    del transport, pipe
    os.fstat(mine)
    try:
        os.fstat(read) if read != mine else None
    except OSError:
        print("closed once")
    # Between the loop's close and that of the file object, other threads open files of that number.
    again, _ = os.pipe()
    handed_over(again, "rb").close()
    try:
        os.fstat(again)
    except OSError:
        assert os.environ["LOOP"] == "asyncio"
    else:
        assert os.environ["LOOP"] != "asyncio"

LOOPS = {"ours": ResolvingLoop, "uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
with asyncio.Runner(loop_factory=LOOPS[os.environ["LOOP"]]) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["ours", "uvloop", "asyncio"])
async def test_a_pipe_given_to_the_loop_is_closed_once_and_by_it(loop: str) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}", "LOOP": loop}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def test_only_who_knows_how_gives_pipes_to_the_loop() -> None:
    rooms = ("cellagent", "controller", "hostkit", "images", "proto/cellwire")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    giving = {
        str(file.relative_to(ROOT)) for file in files if re.search(r"connect_(read|write)_pipe\(", file.read_text())
    }
    assert giving == {"hostkit/pipes.py", "hostkit/children.py"}


def test_a_tree_of_processes_is_killed_however_deep_it_is() -> None:
    depth = 150
    script = 'f() { if [ "$1" -gt 0 ]; then ( f $(($1 - 1)) ); wait; else echo deep; exec sleep 1000; fi; }; f "$0"'
    with subprocess.Popen(["sh", "-c", script, str(depth)], stdout=subprocess.PIPE) as top:
        assert top.stdout is not None
        assert top.stdout.readline() == b"deep\n"
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack()) + depth)
        try:
            kill_tree(top.pid)
        finally:
            sys.setrecursionlimit(limit)
        assert top.stdout.read() == b""  # nobody of them holds it any more
