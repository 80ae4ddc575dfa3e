"""The networks of a lone agent's pods: a bridge of its own, CNI plugins, or the machine's. Each in a small world."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cellagent.kernel import mounts, namespaces
from cellagent.network import links
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.component.runtime.conftest import AgentProcess, Client
from tests.support.netns import CELL, CELL6, WORLD, WORLD6, answering, ask, make_cell, within

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts are real here"),
    pytest.mark.timeout(300),
]
DNS = cri.DNSConfig(servers=["10.96.0.10", "fd00::10"], searches=["a.test", "b.test"], options=["ndots:5"])
FILES = "hostname; echo; cat /etc/hostname; echo; cat /etc/hosts; echo; cat /etc/resolv.conf"


class Place:
    """A machine with an agent, and the world that it has a cable to."""

    def __init__(self, agent: AgentProcess, folder: Path, world: Path, machine: Path) -> None:
        self.client: Client = agent.client
        self.world, self.machine = world, machine
        self._folder = folder

    def netns(self, sandbox: str) -> Path:
        """The network namespace of a sandbox."""
        return self._folder / "state/sandboxes" / sandbox / "ns/net"

    async def status(self, sandbox: str, *, verbose: bool = False) -> cri.PodSandboxStatusResponse:
        asked = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=verbose)
        return await call(self.client.stub.PodSandboxStatus, asked, deadline=10)

    async def trouble(self, sandbox: str) -> str:
        """What the agent finds wrong with the network of a sandbox."""
        return json.loads((await self.status(sandbox, verbose=True)).info["info"])["networkTrouble"]

    async def files(self, sandbox: str) -> list[str]:
        """Host name as the kernel has it, then /etc/hostname, hosts and resolv.conf, in a container."""
        linux = cri.LinuxContainerConfig()
        options = linux.security_context.namespace_options
        options.CopyFrom((await self.status(sandbox)).status.linux.namespaces.options)
        container = await self.client.create(sandbox, "sleep", "100", linux=linux)
        await self.client.start(container)
        said = await self.client.exec(container, "sh", "-c", FILES)
        return said.stdout.decode().split("\n\n", 3)


@asynccontextmanager
async def place(
    pulled: tuple[Path, str], folder: Path, plugins: Sequence[dict[str, object]] = ()
) -> AsyncGenerator[Place]:
    world, machine = await make_cell(folder, six=True)
    settings = folder / "net.d"
    settings.mkdir()
    if plugins:
        network = {"cniVersion": "1.0.0", "name": "places", "plugins": plugins}
        (settings / "10-places.conflist").write_text(json.dumps(network))
    command = ("nsenter", f"--net={machine}", sys.executable, "-m", "cellagent")
    agent = AgentProcess(*pulled, folder, command=command, more=("--cni-config", str(settings)))
    await agent.start()
    try:
        yield Place(agent, folder, world, machine)
        await agent.client.tidy()
    finally:
        await agent.end(signal.SIGTERM)
        for one in (*folder.glob("state/sandboxes/*/ns"), folder / "world/ns", folder / "cell/ns"):
            namespaces.remove(one)
        mounts.unmount_below(folder)


def plugins_of(folder: Path) -> list[dict[str, object]]:
    """Debian's plugins for pods with an address of each family."""
    ranges = [[{"subnet": "10.5.80.0/24"}], [{"subnet": "fd05::/64"}]]
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
    ipam = {"type": "host-local", "dataDir": str(folder / "held"), "ranges": ranges, "routes": routes}
    bridge: dict[str, object] = {
        "type": "bridge",
        "bridge": "places-cni",
        "isGateway": True,
        "ipMasq": True,
        "ipam": ipam,
    }
    return [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]


@pytest.mark.parametrize("mode", ["bridge", "plugins"])
async def test_a_pod_has_an_address_of_each_family_its_host_ports_and_its_names(
    pulled: tuple[Path, str], tmp_path: Path, mode: str
) -> None:
    async with place(pulled, tmp_path, plugins_of(tmp_path) if mode == "plugins" else ()) as here:
        mapped = [
            cri.PortMapping(container_port=80, host_port=18080),
            cri.PortMapping(container_port=53, host_port=18053, protocol=cri.UDP),
            cri.PortMapping(container_port=81, host_port=18081, host_ip=CELL),
        ]
        sandbox = await here.client.sandbox(here.client.sandbox_config(port_mappings=mapped, dns_config=DNS))
        network = (await here.status(sandbox)).status.network
        four, (six,) = network.ip, [one.ip for one in network.additional_ips]
        assert four.startswith("10.5.80." if mode == "plugins" else "10.4.0.")
        assert ":" in six

        pod = here.netns(sandbox)
        with answering(here.world, WORLD, 80), answering(here.world, WORLD6, 80):
            # By the machine's own addresses: the world knows no others.
            assert (await ask(pod, WORLD, 80), await ask(pod, WORLD6, 80)) == (CELL, CELL6)
        with answering(pod, "0.0.0.0", 80), answering(pod, six, 80), answering(pod, "0.0.0.0", 81):
            assert await ask(here.machine, four, 80)
            assert await ask(here.machine, six, 80)
            assert await ask(here.world, CELL, 18080) == WORLD
            assert await ask(here.world, CELL6, 18080) == WORLD6
            assert await ask(here.world, CELL, 18081) == WORLD
            assert await ask(here.machine, "127.0.0.1", 18080)
            with pytest.raises(OSError, match=r"refused|timed out"):
                await ask(here.world, CELL6, 18081)
        with answering(pod, "0.0.0.0", 53, udp=True), answering(pod, six, 53, udp=True):
            assert await ask(here.world, CELL, 18053, udp=True) == WORLD
            assert await ask(here.world, CELL6, 18053, udp=True) == WORLD6

        name, file, hosts, resolver = await here.files(sandbox)
        assert (name, file) == ("garden", "garden")
        assert f"{four}\tgarden\n{six}\tgarden" in hosts
        assert resolver == "search a.test b.test\nnameserver 10.96.0.10\nnameserver fd00::10\noptions ndots:5\n"


async def test_a_pod_on_the_machines_network_has_its_names_and_the_servers_that_it_asks_for(
    pulled: tuple[Path, str], tmp_path: Path
) -> None:
    async with place(pulled, tmp_path) as here:
        config = here.client.sandbox_config(dns_config=DNS)
        config.hostname = ""
        config.linux.security_context.namespace_options.network = cri.NODE
        sandbox = await here.client.sandbox(config)
        # A kubelet knows its own machine's address.
        assert (await here.status(sandbox)).status.network.ip == ""
        name, file, hosts, resolver = await here.files(sandbox)
        assert name == file == socket.gethostname()
        assert hosts.rstrip("\n") == Path("/etc/hosts").read_text().rstrip("\n")
        assert "nameserver 10.96.0.10" in resolver


async def test_a_network_that_is_not_as_it_was_made_is_told(pulled: tuple[Path, str], tmp_path: Path) -> None:
    async with place(pulled, tmp_path) as here:
        sandbox = await here.client.sandbox()
        assert await here.trouble(sandbox) == ""
        await within(here.machine, lambda: links.batch([f"link del {links.cable(sandbox)}"]))
        assert "its cable is gone" in await here.trouble(sandbox)


async def test_plugins_are_asked_whether_a_network_is_as_they_made_it(pulled: tuple[Path, str], tmp_path: Path) -> None:
    async with place(pulled, tmp_path, plugins_of(tmp_path)) as here:
        # Debian's port mapping plugin fails its own check of host ports, so there are none here.
        sandbox = await here.client.sandbox()
        assert await here.trouble(sandbox) == ""
        address = (await here.status(sandbox)).status.network.ip
        await links.batch([f"address del {address}/24 dev eth0"], here.netns(sandbox))
        assert "CNI plugin bridge (CHECK)" in await here.trouble(sandbox)


async def test_a_node_whose_plugins_cannot_be_used_is_not_ready_and_says_why(
    pulled: tuple[Path, str], tmp_path: Path
) -> None:
    async with place(pulled, tmp_path, [{"type": "no-such-plugin"}]) as here:
        told = (await call(here.client.stub.Status, cri.StatusRequest(), deadline=5)).status
        ready = {one.type: (one.status, one.message) for one in told.conditions}
        assert ready["RuntimeReady"] == (True, "")
        assert ready["NetworkReady"][0] is False
        assert "CNI plugin no-such-plugin" in ready["NetworkReady"][1]
