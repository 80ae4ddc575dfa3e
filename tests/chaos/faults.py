"""The faults: each does one kind of harm to one thing that runs, lets it last, and takes it back.

What ends an instance, or keeps it silent for longer than its lease, costs the pod on it; nothing else may.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from controller.clouds.local import instance_cgroups
from hostkit import pids
from tests.support.controller import Controller
from tests.support.etcd import Etcd
from tests.support.processes import command_line

LEASE = 30
"""Seconds after which the fleet takes a silent cell for lost, in these runs."""

LEAD = 10
"""Seconds after which a controller that etcd has not heard of leads no more, in these runs."""
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
"""Moves the wall clock of one process; Debian's package libfaketime, where it is installed."""

_TABLE = "inet chaos"


@dataclass
class World:
    """One controller and what is done to it. `costs` has the instances whose pods may be lost, with the fault; `told`
    is the log of the run.
    """

    controller: Controller
    chance: random.Random
    registry: int
    """The port at which images come from."""
    full: Path | None = None
    """The small disk on which the controller keeps its records, if it has one."""
    members: list[Etcd] = field(default_factory=list[Etcd])
    """Of the etcd in which the controller keeps its records, if it is there that it does."""
    clock: Path | None = None
    """The file that says how far the controller's wall clock is off, where that can be moved."""
    costs: dict[str, str] = field(default_factory=dict[str, str])
    told: list[str] = field(default_factory=list[str])
    controllers: asyncio.Lock = field(default_factory=asyncio.Lock)
    stores: asyncio.Lock = field(default_factory=asyncio.Lock)

    def instances(self) -> list[str]:
        """Those that run now."""
        return sorted(self._groups().instances())

    def processes(self, instance: str, words: bytes = b"") -> list[int]:
        """Of an instance, the first one first, whose command line has these words."""
        # Not by their numbers, which begin anew by and by.
        found = sorted(self._groups().pids(instance), key=lambda pid: (pids.started(pid), pid))
        return [pid for pid in found if words in command_line(pid)]

    def an_instance(self) -> str:
        """Any that runs an agent. Raises Nothing."""
        found = [one for one in self.instances() if self.processes(one, b"cellagent")]
        if not found:
            raise Nothing
        return self.chance.choice(found)

    def _groups(self) -> instance_cgroups.Groups:
        cloud = self.controller.cloud
        return instance_cgroups.Groups(cloud.cluster, cloud.cgroup_parent)


class Nothing(Exception):
    """There is nothing that this fault could hit."""


Harm = Callable[[World], Awaitable[str]]


async def kill_controller(world: World) -> str:
    """SIGKILL; another one starts within two seconds."""
    away = world.chance.uniform(0, 2)
    async with world.controllers:
        await world.controller.kill()
        await asyncio.sleep(away)
        await _start(world)
    return f"controller killed, away for {away:.1f} s"


async def restart_controller(world: World) -> str:
    """SIGTERM, as an upgrade does."""
    async with world.controllers:
        await world.controller.kill(signal.SIGTERM)
        await _start(world)
    return "controller ended and started"


async def freeze_controller(world: World) -> str:
    """SIGSTOP for some seconds; one time in six for longer than a lease, which costs it its lead in etcd."""
    long = world.chance.random() < 1 / 6
    seconds = LEASE + 5.0 if long else world.chance.uniform(1, 8 if not world.members else LEAD / 2)
    async with world.controllers:
        process = world.controller.process
        assert process is not None
        # Whose end is told by the look at what must hold at every moment.
        if process.returncode is not None:
            raise Nothing
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        if world.members and long:
            assert await process.wait() != 0, "it leads no more"
            await _start(world)
    return f"controller frozen for {seconds:.1f} s"


async def move_clock(world: World) -> str:
    """The controller's wall clock is up to an hour off for some seconds, then right again."""
    if world.clock is None:
        raise Nothing
    off, seconds = int(world.chance.choice((-1, 1)) * 10 ** world.chance.uniform(1, 3.55)), world.chance.uniform(2, 10)
    world.clock.write_text(f"{off:+d}\n")
    await asyncio.sleep(seconds)
    world.clock.write_text("+0\n")
    return f"clock of the controller off by {off} s for {seconds:.1f} s"


async def kill_member(world: World) -> str:
    """One member of etcd is away for a while, with what it knew."""
    if not world.members:
        raise Nothing
    member, away = world.chance.choice(world.members), world.chance.uniform(0, 8)
    async with world.stores:
        member.kill()
        await asyncio.sleep(away)
        await asyncio.to_thread(member.start)
    return f"a member of etcd killed, away for {away:.1f} s"


async def freeze_member(world: World) -> str:
    """One member of etcd stands still: it takes connections, and does not answer."""
    if not world.members:
        raise Nothing
    member, seconds = world.chance.choice(world.members), world.chance.uniform(1, 12)
    async with world.stores:
        member.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        member.signal(signal.SIGCONT)
        await asyncio.to_thread(member.answering)
    return f"a member of etcd frozen for {seconds:.1f} s"


async def kill_agent(world: World) -> str:
    """SIGKILL of all processes of an agent, its pull included."""
    instance = world.an_instance()
    _signal(world.processes(instance, b"cellagent\0run"), signal.SIGKILL)
    return f"agent of {instance} killed"


async def freeze_agent(world: World) -> str:
    """SIGSTOP for less than a lease."""
    instance, seconds = world.an_instance(), world.chance.uniform(1, LEASE / 3)
    stopped = world.processes(instance, b"cellagent")
    _signal(stopped, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    _signal(stopped, signal.SIGCONT)
    return f"agent of {instance} frozen for {seconds:.1f} s"


async def lose_agent(world: World) -> str:
    """SIGSTOP for longer than a lease: the cell is lost, and its pod with it."""
    instance = world.an_instance()
    world.costs[instance] = "its agent was frozen for longer than its lease"
    stopped = world.processes(instance, b"cellagent")
    _signal(stopped, signal.SIGSTOP)
    await asyncio.sleep(LEASE + 10)
    _signal(stopped, signal.SIGCONT)
    return f"agent of {instance} frozen for longer than its lease"


async def kill_pull(world: World) -> str:
    """SIGKILL of a pull, or of one that unpacks."""
    pulls = [(one, pid) for one in world.instances() for pid in world.processes(one, b"cellagent\0pull")]
    pulls += [(one, pid) for one in world.instances() for pid in world.processes(one, b"cellagent.images")]
    if not pulls:
        raise Nothing
    instance, pid = world.chance.choice(pulls)
    _signal([pid], signal.SIGKILL)
    return f"pull on {instance} killed"


async def kill_instance(world: World) -> str:
    """The first process of an instance, and so all of them."""
    instance = world.an_instance()
    world.costs[instance] = "its instance was ended"
    _signal(world.processes(instance)[:1], signal.SIGKILL)
    return f"{instance} ended"


async def kill_conmon(world: World) -> str:
    """SIGKILL of what holds a container's pipes and its exit code: the container is over, and says so."""
    instance = world.an_instance()
    holders = world.processes(instance, b"conmon\0")
    if not holders:
        raise Nothing
    world.costs[instance] = "its conmon was killed"
    _signal(holders, signal.SIGKILL)
    return f"conmon on {instance} killed"


async def cut_link(world: World) -> str:
    """Nothing goes out, comes in, or both, for less than a lease."""
    instance, seconds = world.an_instance(), world.chance.uniform(1, LEASE / 3)
    hooks = world.chance.choice((("output",), ("input",), ("input", "output")))
    await _filtered(world, instance, hooks, "drop", seconds)
    return f"{instance} without {' and '.join(hooks)} for {seconds:.1f} s"


async def halve_link(world: World) -> str:
    """Every second packet is dropped."""
    instance, seconds = world.an_instance(), world.chance.uniform(1, LEASE / 3)
    await _filtered(world, instance, ("input", "output"), "numgen random mod 2 == 0 drop", seconds)
    return f"{instance} with half its packets for {seconds:.1f} s"


async def slow_link(world: World) -> str:
    """Forty packets a second."""
    instance, seconds = world.an_instance(), world.chance.uniform(1, LEASE / 3)
    await _filtered(world, instance, ("output",), "limit rate over 40/second drop", seconds)
    return f"{instance} with forty packets a second for {seconds:.1f} s"


async def narrow_link(world: World) -> str:
    """Little goes through at a time, and what waits is late instead of lost: by up to two seconds."""
    instance, seconds = world.an_instance(), world.chance.uniform(1, LEASE / 3)
    (pid, *_) = world.processes(instance) or [0]
    outward = _device(pid)
    rate = world.chance.choice(("64kbit", "256kbit", "1mbit"))
    if not outward or not _tc(pid, "add", "dev", outward, "root", "tbf", "rate", rate, "burst", "8kb", "latency", "2s"):
        raise Nothing
    await asyncio.sleep(seconds)
    _tc(pid, "del", "dev", outward, "root")
    return f"{instance} with {rate} for {seconds:.1f} s"


async def reset_link(world: World) -> str:
    """The connection is broken by resets for a moment."""
    instance = world.an_instance()
    await _filtered(world, instance, ("input",), "meta l4proto tcp reject with tcp reset", 0.5)
    return f"{instance} reset"


async def close_registry(world: World) -> str:
    """The registry refuses connections for a while."""
    seconds = world.chance.uniform(1, 6)
    _nft(
        f"table {_TABLE} {{\nchain registry {{\ntype filter hook input priority -10\n"
        f"tcp dport {world.registry} reject with tcp reset\n}}\n}}\n"
    )
    await asyncio.sleep(seconds)
    _nft(f"delete table {_TABLE}")
    return f"registry away for {seconds:.1f} s"


async def fill_disk(world: World) -> str:
    """No byte is free where the controller keeps its records."""
    if world.full is None:
        raise Nothing
    seconds, ballast = world.chance.uniform(1, 4), world.full / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    await asyncio.sleep(seconds)
    ballast.unlink(missing_ok=True)
    return f"disk of the records full for {seconds:.1f} s"


FAULTS: dict[Harm, int] = {
    kill_controller: 5,
    restart_controller: 2,
    freeze_controller: 3,
    move_clock: 3,
    kill_member: 4,
    freeze_member: 4,
    kill_agent: 6,
    freeze_agent: 4,
    lose_agent: 1,
    kill_pull: 4,
    kill_instance: 3,
    kill_conmon: 2,
    cut_link: 5,
    halve_link: 3,
    slow_link: 2,
    narrow_link: 3,
    reset_link: 4,
    close_registry: 3,
    fill_disk: 2,
}
"""How often each comes, beside the others."""


async def _start(world: World) -> None:
    """As systemd would: again, where it ended because there was no room for what it must write before it begins."""
    while True:
        try:
            await world.controller.start()
        except AssertionError:
            if not re.search("no space (is )?left", world.controller.words().splitlines()[-1], re.IGNORECASE):
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def _filtered(world: World, instance: str, hooks: tuple[str, ...], rule: str, seconds: float) -> None:
    (pid, *_) = world.processes(instance) or [0]
    if not pid:
        raise Nothing
    # The link and what it carries, and not what the instance's processes say to each other.
    chains = "".join(
        f"chain {hook} {{\ntype filter hook {hook} priority -10\n"
        f"{'iif' if hook == 'input' else 'oif'} != lo {rule}\n}}\n"
        for hook in hooks
    )
    if not _nft(f"table {_TABLE} {{\n{chains}}}\n", pid):
        raise Nothing
    await asyncio.sleep(seconds)
    _nft(f"delete table {_TABLE}", pid)


def _nft(rules: str, pid: int = 0) -> bool:
    """Whether it was taken; an instance that has ended takes none."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"] if pid else []
    return subprocess.run([*inside, "nft", "-f", "-"], input=rules.encode(), check=False).returncode == 0


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _device(pid: int) -> str:
    """The device by which an instance reaches others; "" where it has ended."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "route", "show", "default"]
    found = subprocess.run(command, capture_output=True, check=False)
    routes: list[dict[str, str]] = json.loads(found.stdout or b"[]") if found.returncode == 0 else []
    return routes[0]["dev"] if routes else ""


def _tc(pid: int, verb: str, *words: str) -> bool:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "tc", "qdisc", verb, *words]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
