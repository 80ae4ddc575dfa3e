"""A cell's network in the whole way: what pods may reach, and that it stays so whoever meddles with it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from hostkit import programs
from tests.support.controller import Controller, running_controller
from tests.support.manifests import pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]
# busybox's nc ends with its input.
METADATA = "(printf 'GET /latest/ HTTP/1.0\\r\\n\\r\\n'; sleep 5) | nc -w 5 169.254.169.254 80"
SERVE = "mkdir -p /tmp/w; echo here > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
MEDDLING = ["nft flush ruleset", "ip rule del pref 0", "ip route del {pod}/32", "ip address add {pod}/32 dev eth0"]


async def inside(controller: Controller, *command: str) -> str:
    """Run a program in the network of the only cell, as whoever meddles with it would."""
    (record,) = [json.loads(path.read_text()) for path in (controller.cloud.root / "records").glob("*.json")]
    there = ["nsenter", f"--net=/proc/{record['pid']}/ns/net", *command]
    return (await programs.check(there)).decode()


async def test_what_is_taken_from_a_pods_network_comes_back(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod("web", SERVE))
        await controller.kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s", seconds=70)
        (cell,) = await controller.cells()
        address = cell["pod_address"]

        for command in MEDDLING:
            await inside(controller, *command.format(pod=address).split())

        async with asyncio.timeout(30):
            while await controller_asks(address) != "here":
                await asyncio.sleep(0.1)
            # What was taken first may be put right last.
            while "table inet" not in await inside(controller, "nft", "list", "ruleset"):
                await asyncio.sleep(0.1)
        assert await answer(controller, "web") == ""


async def test_a_pod_on_the_cells_own_network_is_kept_from_the_metadata_service_too(tmp_path: Path) -> None:
    host = pod("host").replace("spec:\n", "spec:\n  hostNetwork: true\n")
    allowed = pod("allowed", metadata="true").replace("spec:\n", "spec:\n  hostNetwork: true\n")
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=host + allowed)
        await controller.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s", seconds=70)

        assert await answer(controller, "host") == ""
        assert "401" in await answer(controller, "allowed")  # it answers, and wants a token


async def answer(controller: Controller, name: str) -> str:
    """What the metadata service says to a pod; "" where it cannot be reached, and nc says why."""
    status, said, errors = await controller.kubectl_raw("exec", name, "--", "sh", "-c", METADATA)
    assert status in {0, 1}, errors
    assert said or "nc:" in errors or "command terminated" in errors
    return said


async def controller_asks(address: str) -> str:
    """What the pod's web server says to this machine; "" where it is not reached."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(address, 8080)
            writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer.decode().rpartition("\r\n\r\n")[2].strip()
    except (OSError, TimeoutError):
        return ""
