"""A test that leaves something open does not keep its process from ending."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEAVING = """
import asyncio, uvloop
def test_it():
    loop = uvloop.new_event_loop()
    server = loop.run_until_complete(loop.create_unix_server(asyncio.Protocol, "s"))
    loop.close()
"""


def test_a_server_that_a_test_leaves_open_is_told_and_the_run_ends(tmp_path: Path) -> None:
    (tmp_path / "test_leaving.py").write_text(LEAVING)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    argv.append("test_leaving.py")
    done = subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=250)
    assert "unclosed resource <UnixServer" in done.stdout
    assert "1 passed" in done.stdout
