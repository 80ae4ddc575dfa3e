"""Control groups of version 2 as an agent finds them where it does not own the whole machine, as in a container.

Version 2 is mounted over everything else in a mount namespace of the test's own, so that this runs on any machine.
"""

from __future__ import annotations

import errno
import secrets
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from cellagent.kernel import cgroups
from hostkit import programs

HERE = Path(__file__).resolve().parents[3]
UNIFIED = cgroups.hierarchies().get("") or cgroups.hierarchies().get(cgroups.BESIDE)
BEGIN = 'echo $$ > "$0/cgroup.procs"; exec unshare --cgroup --mount sh -c "$1" sh "$2" "$3"'
# The agent is not alone there: a shell and a bystander are in the same group.
INSIDE = 'mount -t cgroup2 none /sys/fs/cgroup; sleep 60 & "$1" -c "$2"; code=$?; kill $!; exit $code'

pytestmark = pytest.mark.skipif(UNIFIED is None, reason="NOT RUN: this machine has no control groups of version 2")


@pytest.fixture
def top() -> Generator[Path]:
    """A group of this test's own with every controller that version 2 has here."""
    assert UNIFIED is not None
    knob = UNIFIED / "cgroup.subtree_control"
    before = knob.read_text().split()
    fresh = [name for name in (UNIFIED / "cgroup.controllers").read_text().split() if name not in before]
    knob.write_text(" ".join(f"+{name}" for name in fresh))
    folder = UNIFIED / f"chk-{secrets.token_hex(4)}"
    folder.mkdir()
    yield folder
    for group in [*sorted((one for one in folder.rglob("*") if one.is_dir()), reverse=True), folder]:
        _remove(group)
    knob.write_text(" ".join(f"-{name}" for name in fresh))


def _remove(group: Path) -> None:
    """Once the kernel has let go of who was killed in it."""
    for _ in range(1000):
        try:
            return group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.01)
    raise AssertionError(f"{group} is still in use by {(group / 'cgroup.procs').read_text().split()}")


async def said_in(top: Path, program: str) -> list[str]:
    """What a Python program says whose control group namespace begins at `top`, with processes in it."""
    argv = ["sh", "-c", BEGIN, str(top), INSIDE, sys.executable, program]
    environment = {**programs.ENVIRONMENT, "PYTHONPATH": f"{HERE}:{HERE}/proto"}
    done = await programs.run(argv, deadline=50, env=environment)
    assert done.returncode == 0, done.words
    return done.stdout.decode().splitlines()


async def test_an_agent_in_a_container_makes_room_for_its_pods_beside_itself(top: Path) -> None:
    offered = (top / "cgroup.controllers").read_text().split()
    program = (
        "from cellagent.kernel import cgroups\n"
        "cgroups.make_room()\n"
        "cgroups.make_room()\n"
        "pod = cgroups.own_parent() + '/pod1'\n"
        "cgroups.ControlGroup(pod).create(inner=True)\n"
        "print(pod, len(cgroups.ControlGroup('/init').pids()))\n"
        "print((cgroups.ROOT / pod.strip('/') / 'cgroup.subtree_control').read_text())\n"
    )
    first, second, *_ = await said_in(top, program)
    assert first == "/pods/pod1 3"
    assert sorted(second.split()) == sorted(offered)


@pytest.mark.skipif(cgroups.layout() is not cgroups.Layout.V2, reason="NOT RUN: version 2 limits no memory here")
async def test_controllers_that_are_not_handed_on_are_named(top: Path) -> None:
    program = (
        "from cellagent.kernel import cgroups\n"
        "from cellwire.faults import Fault\n"
        "try:\n"
        "    cgroups.ControlGroup('/pods/pod1').create(inner=True)\n"
        "except Fault as fault:\n"
        "    print(fault)\n"
        "for one in ('pods/pod1', 'pods'):\n"
        "    (cgroups.ROOT / one).rmdir()\n"
    )
    (said,) = await said_in(top, program)
    assert "do not hand on cpu, memory, pids" in said
