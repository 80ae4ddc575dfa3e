"""What the commands that run on for ever load as they start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHIM = 'state = "/dev/null/state"\n[shim]\nsocket = "/dev/null/socket"\n[remote]\ncontrollers = ["127.0.0.1:1"]\n'


@pytest.mark.parametrize("command", ["controller", "shim"])
def test_what_draws_on_terminals_is_not_loaded_and_can_be_later(tmp_path: Path, command: str) -> None:
    (tmp_path / "c.toml").write_text(SHIM)
    code = (
        "import sys; from controller.cli import main; ended = main();"
        "print(ended, [name for name in ('structlog', 'rich') if name in sys.modules]); import rich.console"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--config", str(tmp_path / "c.toml")],
        capture_output=True, check=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.stdout.strip() == b"1 ['structlog']"
    assert b"/dev/null/state" in done.stderr
