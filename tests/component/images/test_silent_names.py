"""A pull whose name server has fallen silent ends when nobody waits for it any more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ORPHANED = """
import socket, subprocess, sys
from cellagent.images.pipe_frames import encoded
from cellagent.images.messages import PullRequest
from cellwire.platforms import Platform

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["mount", "--bind", sys.argv[1], "/etc/resolv.conf"], check=True)
deaf = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
deaf.bind(("127.0.0.1", 53))
pull = subprocess.Popen(
    [sys.executable, "-m", "cellagent.images.pull_process"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
)
wanted = PullRequest(reference="registry.test/web:1", work=sys.argv[2], platform=Platform("linux", "amd64"))
pull.stdin.write(encoded(wanted))
pull.stdin.flush()
deaf.recv(512)  # it asks for the registry's address
pull.stdin.close()
print("ended", pull.wait())
"""


def test_a_pull_that_nobody_waits_for_ends_though_it_has_asked_for_a_name_that_nobody_answers(tmp_path: Path) -> None:
    names = tmp_path / "resolv.conf"
    # The resolver gives up after 150 s.
    names.write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, "-c", ORPHANED]
    ended = subprocess.run(
        [*command, str(names), str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.split() == ["ended", "1"], ended.stderr
