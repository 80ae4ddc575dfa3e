"""A program that runs from a sealed file in memory: under its name, by any child, and never changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cellagent.kernel import oci
from cellwire.faults import Fault

BUSYBOX = Path("/bin/busybox")


def test_it_runs_from_memory_and_nobody_can_write_to_it(tmp_path: Path) -> None:
    with oci.in_memory(BUSYBOX, tmp_path) as program:
        shown = subprocess.run([program, "readlink", "/proc/self/exe"], capture_output=True, check=True, text=True)
        assert shown.stdout.startswith("/memfd:busybox")
        with pytest.raises(PermissionError):
            program.write_bytes(b"x")
        assert program.read_bytes() == BUSYBOX.read_bytes()
    assert not list(tmp_path.iterdir())


def test_one_that_an_earlier_process_has_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "busybox").symlink_to("/proc/1/fd/999")
    with oci.in_memory(BUSYBOX, tmp_path) as program:
        assert subprocess.run([program, "true"], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("strace") is None or shutil.which("crun") is None, reason="NOT RUN: strace, crun")
def test_crun_begins_once_where_it_would_have_copied_itself(tmp_path: Path) -> None:
    def begun(program: Path) -> int:
        words = tmp_path / "words"
        traced = ["strace", "-f", "-e", "trace=execve,execveat", "-o", words, program, "--version"]
        subprocess.run(traced, stdout=subprocess.DEVNULL, check=True)
        return words.read_text().count("exec")

    path = Path(shutil.which("crun") or "")
    (tmp_path / "state").mkdir()
    with oci.in_memory(path, tmp_path / "state") as program:
        assert oci.tried(program) == program
        assert (begun(path), begun(program)) == (2, 1)


def test_one_that_does_not_run_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(Fault, match="it is broken"):
        oci.tried(broken)
