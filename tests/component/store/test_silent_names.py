"""A controller whose name server has fallen silent: it is told that etcd is out of reach, and it ends when asked to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SILENT = """
import socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.bind(("127.0.0.1", 53))
"""
WAITING = """
import pathlib
from cellwire.faults import Fault
from controller import process
from controller.store.etcd_gateway import EtcdSettings, connected
from hostkit.own_loop import beside

async def ask():
    async with connected(EtcdSettings(endpoints=("http://etcd.test:2379",), prefix="/x")) as gateway:
        await gateway.ask("kv/range", {}, 0.5)

async def main():
    for work in (ask, lambda: beside(ask, "lead")):
        try:
            await work()
        except Fault as fault:
            print(fault.kind.value)

process.run(main, pathlib.Path(sys.argv[2]), "info", "controller")
"""


def test_who_waits_for_a_name_that_nobody_answers_ends_at_once(tmp_path: Path) -> None:
    names = tmp_path / "resolv.conf"
    names.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-c", SILENT + WAITING]
    # The resolver gives up after 150 s.
    ended = subprocess.run(
        [*command, str(names), str(tmp_path / "state")], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.split() == ["unavailable", "unavailable"], ended.stderr
    assert ended.returncode == 0
