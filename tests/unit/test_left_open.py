"""A test that leaves something open fails, and does not keep its process from ending."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OF_ITS_OWN = """
import asyncio, uvloop
def test_it():
    loop = uvloop.new_event_loop()
    server = loop.run_until_complete(loop.create_unix_server(asyncio.Protocol, "s"))
    loop.close()
"""
OF_A_FIXTURE = """
import asyncio, uvloop
def pytest_asyncio_loop_factories(config, item):
    return {"uvloop": uvloop.new_event_loop}
async def test_it():
    await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, "s")
"""
BESIDE_ANOTHER_FAULT = f"""{OF_A_FIXTURE}
import pytest
class Fails:
    def __del__(self):
        raise ValueError("found by the collector")
@pytest.fixture(autouse=True)
def failing():
    yield
    Fails()
"""
A_PROGRAM = """
import asyncio, subprocess
def test_it():
    loop = asyncio.new_event_loop()
    program = loop.run_until_complete(asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE))
    loop.close()
"""
ITS_MOUNTS = """
from cellagent.kernel import threads
def test_it():
    threads.leave("mnt")
"""
SERVER, PROGRAM = "unclosed resource <UnixServer", "a program runs on and its loop is closed: ('cat',)"
LEAVING = [
    (OF_ITS_OWN, SERVER, "FAILED"),
    (OF_A_FIXTURE, SERVER, "ERROR"),
    (BESIDE_ANOTHER_FAULT, SERVER, "ERROR"),
    (A_PROGRAM, PROGRAM, "FAILED"),
    pytest.param(
        ITS_MOUNTS,
        "the process lives in another mnt namespace",
        "FAILED",
        marks=pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root leaves its mounts"),
    ),
]


@pytest.mark.parametrize(("leaving", "left", "outcome"), LEAVING)
def test_what_a_test_leaves_open_is_told_and_the_run_ends(
    tmp_path: Path, leaving: str, left: str, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_text(leaving)
    (tmp_path / "test_leaving.py").write_text(leaving)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    argv += ["-p", "tests.support.left_open", "test_leaving.py"]
    there = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/proto"}
    done = subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=250, env=there)
    assert left in done.stdout
    assert f"LeftOpenError: {left.partition(' <')[0]}" in done.stdout
    assert any(line.startswith(f"{outcome} ") for line in done.stdout.splitlines())
