"""A real etcd for tests: Debian's etcd-server, one member, on loopback."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.registry import free_port


class Etcd:
    """One member that can be killed and started again with what it knew."""

    def __init__(self, folder: Path, name: str = "one") -> None:
        self._folder = folder
        self._name = name
        self.endpoint, self._peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._peers = self.peer
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def peer(self) -> str:
        """As the others are told of it."""
        return f"{self._name}={self._peer}"

    def among(self, members: Sequence[Etcd]) -> None:
        """Be one of these, before the first start."""
        self._peers = ",".join(one.peer for one in members)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn()
        self.answering()

    def spawn(self) -> None:
        """Start it."""
        flags = {
            "name": self._name,
            "data-dir": self._folder / "data",
            "listen-client-urls": self.endpoint,
            "advertise-client-urls": self.endpoint,
            "listen-peer-urls": self._peer,
            "initial-advertise-peer-urls": self._peer,
            "initial-cluster": self._peers,
            "log-level": "error",
        }
        with (self._folder / "log").open("ab") as log:
            command = ["etcd", *(f"--{key}={value}" for key, value in flags.items()), "--unsafe-no-fsync"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def answering(self) -> None:
        """Wait until it answers, which takes most of the members."""
        assert self._process is not None
        until = time.monotonic() + 60
        while not self._healthy():
            assert time.monotonic() < until, (self._folder / "log").read_text()
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send it one."""
        assert self._process is not None
        self._process.send_signal(number)

    def renice(self, niceness: int) -> None:
        """Have it run before or after other work."""
        assert self._process is not None
        for thread in Path(f"/proc/{self._process.pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_etcds(folder: Path, names: Sequence[str]) -> Generator[list[Etcd]]:
    """Members of one etcd, up and answering."""
    members = [Etcd(folder / name, name) for name in names]
    try:
        for name, member in zip(names, members, strict=True):
            (folder / name).mkdir(parents=True)
            member.among(members)
            member.spawn()
        for member in members:
            member.answering()
        yield members
    finally:
        for member in members:
            member.kill()


@contextmanager
def running_etcd(folder: Path) -> Generator[Etcd]:
    """etcd, up and answering."""
    member = Etcd(folder)
    member.start()
    try:
        yield member
    finally:
        member.kill()
