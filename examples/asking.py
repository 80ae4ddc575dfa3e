"""The two commands of the demonstration, kubectl and our own, and what failed of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from examples.site import Site

HERE = Path(__file__).resolve().parent.parent
SITE = Site(HERE)
FOLDER = SITE.folder
BIN = HERE / ".venv" / "bin"
KUBECONFIG = FOLDER / "state" / "kubeconfig"


class Failed(Exception):
    """A step did not do what it must."""


def kubectl(*arguments: str) -> str:
    """Run kubectl against the controller; its output."""
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={KUBECONFIG}", *arguments], capture_output=True, text=True, timeout=90, check=False
    )
    if done.returncode:
        raise Failed(f"kubectl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def kubectl_status(*arguments: str) -> int:
    """Run kubectl; only how it ended."""
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


def chinampa(*arguments: str) -> str:
    """Run our own command against the controller."""
    done = subprocess.run(
        [BIN / "chinampa", *arguments, "--config", str(FOLDER / "controller.toml")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise Failed(f"chinampa {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def until(ready: Callable[[], object], seconds: float, otherwise: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.1)
    raise Failed(otherwise)
