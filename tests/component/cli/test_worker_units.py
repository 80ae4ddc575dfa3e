"""The units that `chinampa worker init` writes, read by systemd itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from controller.cli import worker_command
from hostkit import programs
from tests.support.controller import ROOT

SETTINGS = """
[shim]
socket = "/run/chinampa/shim.sock"
worker = "/run/chinampa/worker.sock"
[kubernetes]
kubeconfig = "/etc/chinampa/node.kubeconfig"
node = "n"
[worker]
cpu = 8
"""
UNITS = ("chinampa-controller.service", "chinampa-kubelet.service", "chinampa-worker-agent.service")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="NOT RUN: there is no systemd-analyze here")
async def test_systemd_has_nothing_to_say_against_a_workers_units(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(SETTINGS)
    made = CliRunner().invoke(
        worker_command.command, ["init", "--config", str(tmp_path / "c.toml"), "--to", str(tmp_path)]
    )
    assert made.exit_code == 0, made.output
    folder = tmp_path / "etc/systemd/system"
    shutil.copy(ROOT / "deploy/systemd/chinampa-controller.service", folder)
    paths = [str(folder / name) for name in UNITS]
    done = await programs.run(["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", *paths])
    # What they start is not installed here; all else that is said is a fault.
    said = [line for line in done.stderr.decode().splitlines() if "is not executable: No such file" not in line]
    assert said == []
