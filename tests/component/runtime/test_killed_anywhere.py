"""An agent that is killed at any step of a sandbox's beginning or end leaves nothing once it is back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellagent.kernel import mounts, namespaces
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from cellwire.rpc.call import call
from tests.component.runtime.conftest import BRIDGE, OCI_RUNTIME, AgentProcess, with_both_runtimes
from tests.support.dying_agent import revoke
from tests.support.files import below
from tests.support.netns import listing

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts are real here"),
    pytest.mark.timeout(400),
]
# Far more steps than there are.
MOST = 400
PLUGINS = (
    {"type": "bridge", "bridge": "any-cni", "isGateway": True, "ipMasq": True},
    {"type": "portmap", "capabilities": {"portMappings": True}},
)
RANGES = [[{"subnet": "10.5.80.0/24"}], [{"subnet": "fd05::/64"}]]
PORTS = (
    cri.PortMapping(container_port=80, host_port=18080),
    cri.PortMapping(container_port=53, host_port=18053, protocol=cri.UDP),
)


class Machine:
    """A network namespace with an agent in it that dies on order, and a list of what there is in it."""

    def __init__(self, agent: AgentProcess, folder: Path, netns: Path) -> None:
        self.agent = agent
        self._folder = folder
        self._netns = netns
        self._order = folder / "order"
        self._step = 0

    def config(self) -> cri.PodSandboxConfig:
        config = self.agent.client.sandbox_config(port_mappings=PORTS)
        config.linux.security_context.namespace_options.pid = cri.POD
        return config

    async def before(self) -> Counter[str]:
        """What there is after a first life: a bridge of plugins, and the chains that they make, stay for the next."""
        await self.agent.client.sandbox(self.config())
        await self.agent.client.tidy()
        async with asyncio.timeout(20):
            # The agent's own bridge goes a moment after its last pod, and the program that takes it away after that.
            found, before = await self.left(), None
            while found != before or BRIDGE in "".join(found):
                await asyncio.sleep(0.2)
                found, before = await self.left(), found
        return found

    async def every_step(
        self,
        before: Counter[str],
        work: Callable[[], Awaitable[object]],
        back: Callable[[], Awaitable[object]] | None = None,
    ) -> int:
        """Do the work until the agent is not killed in it any more, each time a step later, and `back` once the agent
        is. How many steps it has.
        """
        for step in range(1, MOST):
            died = await self.killed_at(step, work)
            if back is not None:
                await back()
            await self.agent.client.tidy()
            await self.settled(before)
            if not died:
                return step
        raise AssertionError("there is no end to it")

    async def killed_at(self, step: int, work: Callable[[], Awaitable[object]]) -> bool:
        """Do the work, with the agent killed in it at this step and started again. Whether it has so many."""
        self._step = step
        failed = False
        try:
            await work()
        except Fault:
            failed = True
        await asyncio.to_thread(revoke, self._order)
        # Also after it has answered.
        died = await self.agent.died()
        assert died or not failed
        if died:
            await self.agent.start()
        return died

    def doom(self) -> None:
        """From now on steps count."""
        self._order.write_text(str(self._step))

    async def left(self) -> Counter[str]:
        """What there is of pods: links and rules, leases, mounts and processes."""
        state = self._folder / "state"
        files = [one for one in below(state) if one.is_file() and one.name[0] != "." and one.name != "lock"]
        files += (one for one in below(self._folder / "held") if one.name.startswith("10."))
        mine = _inode(self._netns)
        processes = [one.name for one in Path("/proc").glob("[0-9]*") if _inode(one / "ns/net") == mine]
        said = [*map(str, files), *map(str, mounts.mounted_below(state)), f"{len(processes)} processes"]
        # The plugins' own bridge stays and comes to itself by and by; rules count what they have seen.
        links = [line for line in await listing(self._netns) if f"{PLUGINS[0]['bridge']} " not in line]
        return Counter(said) + Counter(re.sub(r" counter packets \d+ bytes \d+", "", line) for line in links)

    async def settled(self, wanted: Counter[str]) -> None:
        """Wait until there is what there was before."""
        found = await self.left()
        for _ in range(1200):
            if found == wanted:
                return
            await asyncio.sleep(0.05)
            found = await self.left()
        raise AssertionError(f"left: {found - wanted}; gone: {wanted - found}")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


@asynccontextmanager
async def machine(
    pulled: tuple[Path, str], folder: Path, mode: str, programs: Sequence[Path] = (), oci_runtime: str = OCI_RUNTIME
) -> AsyncGenerator[Machine]:
    ns = folder / "ns"
    netns = (await namespaces.create(ns, ["net"]))["net"]
    settings = folder / "net.d"
    settings.mkdir()
    if mode == "cni":
        ipam = {"type": "host-local", "dataDir": str(folder / "held"), "ranges": RANGES}
        plugins = [{**PLUGINS[0], "ipam": ipam}, PLUGINS[1]]
        network = {"cniVersion": "1.0.0", "name": "any", "plugins": plugins}
        (settings / "10-any.conflist").write_text(json.dumps(network))
    command = ("nsenter", f"--net={netns}", sys.executable, "-m", "tests.support.dying_agent", str(folder / "order"))
    more = ["--cni-config", str(settings), *(word for one in programs for word in ("--cni-programs", str(one)))]
    agent = AgentProcess(*pulled, folder, command=command, more=more, oci_runtime=oci_runtime)
    await agent.start()
    try:
        yield Machine(agent, folder, netns)
        await agent.client.tidy()
    finally:
        await agent.end(signal.SIGTERM)
        for one in folder.glob("state/sandboxes/*/ns"):
            namespaces.remove(one)
        mounts.unmount_below(folder)
        namespaces.remove(ns)


@pytest.mark.parametrize("mode", ["bridge", "cni"])
async def test_an_agent_killed_at_any_step_of_a_sandboxs_life_leaves_nothing(
    pulled: tuple[Path, str], tmp_path: Path, mode: str
) -> None:
    async with machine(pulled, tmp_path, mode) as here:

        async def begin() -> None:
            here.doom()
            await here.agent.client.sandbox(here.config())

        async def end() -> None:
            sandbox = await here.agent.client.sandbox(here.config())
            here.doom()
            asked = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox)
            await call(here.agent.client.stub.StopPodSandbox, asked, deadline=30)

        before = await here.before()
        print("steps of a beginning:", await here.every_step(before, begin))
        print("steps of an end:", await here.every_step(before, end))


@with_both_runtimes
async def test_a_container_whose_agent_is_killed_at_any_step_of_its_start_runs_once(
    pulled: tuple[Path, str], tmp_path: Path, oci_runtime: str
) -> None:
    async with machine(pulled, tmp_path, "bridge", oci_runtime=oci_runtime) as here:
        seen: Counter[str] = Counter()
        died, step = True, 0
        while died:
            step += 1
            client = here.agent.client
            container = await client.create(await client.sandbox(), "sh", "-c", "echo once; exit 7")

            async def start(container: str = container) -> None:
                here.doom()
                await here.agent.client.start(container)

            died = await here.killed_at(step, start)
            client = here.agent.client
            state = (await client.status(container)).state
            seen[cri.ContainerState.Name(state)] += died
            if state == cri.CONTAINER_CREATED:
                await client.start(container)
            ended = await client.exited(container)
            assert (ended.exit_code, ended.reason, ended.message) == (7, "Error", "")
            assert [line.split(" ", 3)[3] for line in (await client.log(container)).splitlines()] == ["once"]
            await client.tidy()
        print("where the agent was killed:", dict(seen))
        # Before it was let run, and after.
        assert seen["CONTAINER_CREATED"]
        assert seen["CONTAINER_RUNNING"] + seen["CONTAINER_EXITED"]


async def test_an_agent_killed_at_any_step_of_a_containers_making_has_it_whole_or_not_at_all(
    pulled: tuple[Path, str], tmp_path: Path
) -> None:
    async with machine(pulled, tmp_path, "bridge") as here:

        async def make() -> None:
            sandbox = await here.agent.client.sandbox(here.config())
            here.doom()
            await here.agent.client.create(sandbox, "sleep", "100")

        async def starts() -> None:
            asked = cri.ListContainersRequest()
            for one in (await call(here.agent.client.stub.ListContainers, asked, deadline=10)).containers:
                await here.agent.client.start(one.id)

        before = await here.before()
        print("steps of a container's making:", await here.every_step(before, make, starts))


async def test_a_plugin_that_outlives_its_agent_is_waited_for_before_its_pod_is_taken_away(
    pulled: tuple[Path, str], tmp_path: Path
) -> None:
    slow, there = tmp_path / "slow", Path("/usr/lib/cni")
    slow.mkdir()
    begun, held = tmp_path / "begun", tmp_path / "an address"
    async with machine(pulled, tmp_path, "cni", (slow, there)) as here:
        before = await here.before()
        # As one that asks for an address far away: it gets one long after its agent has gone and come back.
        script = (
            f"case $CNI_COMMAND in ADD) touch {begun}; sleep 2; touch '{held}';; DEL) rm -f '{held}';; esac\n"
            f"exec {there}/bridge\n"
        )
        (slow / "bridge").write_text(f"#!/bin/sh\n{script}")
        (slow / "bridge").chmod(0o755)
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(_refused(here.agent.client.sandbox(here.config())))
            while not begun.exists():
                await asyncio.sleep(0.02)
            os.kill(here.agent.pid, signal.SIGKILL)
            assert await asking
        await here.agent.start()
        await here.settled(before)
        # Also not later.
        await asyncio.sleep(2.5)
        assert await here.left() == before
        assert not held.exists()


async def _refused(work: Awaitable[object]) -> bool:
    try:
        await work
    except Fault:
        return True
    return False
