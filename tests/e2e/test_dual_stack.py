"""Services and pods with addresses of both families, with plain kubectl and real cells."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.test_services import CLIENT, apply, inside, pages, service, workload
from tests.support.controller import Controller, running_controller

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(240),
]
RANGE = "fd00:10:96::"
CELLS = "fd00:c1::"


async def test_a_service_of_two_families_is_reached_by_both(tmp_path: Path) -> None:
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("NOT RUN: this kernel has no IPv6")
    more = f'subnet6 = "{CELLS}/64"\n[services]\naddresses6 = "{RANGE}/112"\n'
    async with running_controller(tmp_path, more) as controller:
        both = {"ipFamilyPolicy": "RequireDualStack"}
        await apply(
            controller,
            CLIENT,
            workload("Deployment", "web", 2),
            service("web", "web", **both),
            service("six", "web", ipFamilies=["IPv6"]),
            service("each", "web", clusterIP="None", **both),
        )
        await controller.kubectl("rollout", "status", "deployment/web", "--timeout=120s", seconds=130)
        await controller.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=60s", seconds=70)
        names = await controller.kubectl("get", "pods", "-l", "app=web", "-o", "name")
        web = set(names.replace("pod/", "").split())
        listed = "jsonpath={range .items[*]}{.status.podIPs[*].ip}{'\\n'}{end}"
        addresses = (await controller.kubectl("get", "pods", "-l", "app=web", "-o", listed)).split("\n")
        own = [each.split()[1] for each in addresses if each]
        assert len(own) == 2
        assert all(each.startswith(CELLS) for each in own)

        four, six = (await controller.kubectl("get", "svc", "web", "-o", "jsonpath={.spec.clusterIPs[*]}")).split()
        assert six.startswith(RANGE)
        only = await controller.kubectl("get", "service", "six", "-o", "jsonpath={.spec.clusterIP}")
        assert await pages(controller, four, 4) <= web
        assert await dialled(controller, six) == web
        assert await dialled(controller, only) == web
        # By the pods' own addresses, too.
        assert {page for each in own for page in await dialled(controller, each, 1, 8080)} == web

        assert six in await inside(controller, "nslookup -type=aaaa web.default.svc.cluster.local")
        asked = await inside(controller, "nslookup -type=aaaa each.default.svc.cluster.local")
        assert all(each in asked for each in own)
        assert four in await inside(controller, "nslookup -type=a web.default.svc.cluster.local")


async def dialled(controller: Controller, where: str, times: int = 12, port: int = 80) -> set[str]:
    """Who answers at an address of IPv6, each time dialled anew."""
    ask = f"(printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'; sleep 0.3) | nc -w 3 {where} {port} | tail -n1"
    said = await inside(controller, f"for i in $(seq {times}); do ({ask}) || echo none; done 2>&1")
    return {line for line in said.split("\n") if line.strip()}
