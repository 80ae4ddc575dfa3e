"""A registry and its mirror from which nothing comes back: told in a pod's events and to a kubelet, within seconds."""

from __future__ import annotations

import asyncio
import datetime
import os
import re
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.support.controller import Controller
from tests.support.deaf import deaf
from tests.support.manifests import pod
from tests.support.registry import free_port
from tests.support.shim import STANDBY, running_shim

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(300)]

# All that the addresses are waited for together, of the 5 s after which a person is told. Where the rest of them goes
# depends on what else the machine does: it is printed.
TRIED_SECONDS = 4.0


@contextmanager
def nobody_there(controller: Controller, ports: tuple[int, int]) -> Generator[str]:
    """The reference of an image at two addresses that take no connection."""
    first, second = ports
    with deaf(controller.gateway, first) as host, deaf(controller.gateway, second):
        yield f"{host}/garden:1"


def seconds(event: dict[str, Any]) -> float:
    return datetime.datetime.fromisoformat(event["firstTimestamp"]).timestamp()


def check(said: str) -> None:
    """It tells of both addresses, which were waited for no longer than they may be."""
    waited = [float(one) for one in re.findall(r"cannot be reached \(no connection within ([\d.]+) s\)", said)]
    assert len(waited) == 2, said
    assert sum(waited) <= TRIED_SECONDS + 0.1


async def test_a_pull_that_reaches_nobody_is_told_soon(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    registry = f'[[registries]]\nhost = "GATEWAY:{ports[0]}"\nmirrors = ["http://GATEWAY:{ports[1]}"]\n'
    async with running_shim(tmp_path, STANDBY + registry) as shim:
        controller = shim.controller
        with nobody_there(controller, ports) as image:
            manifest = pod("deaf").replace("registry.demo/web:1", image)
            await controller.kubectl("apply", "-f", "-", stdin=manifest)
            async with asyncio.timeout(120):
                while not (failed := [one for one in await controller.events("deaf") if one["reason"] == "Failed"]):
                    await asyncio.sleep(0.2)
            check(failed[0]["message"])
            (began,) = [one for one in await controller.events("deaf") if one["reason"] == "Pulling"]
            took = seconds(failed[0]) - seconds(began)
            reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}"
            assert await controller.kubectl("get", "pod", "deaf", "-o", reason) in {"ErrImagePull", "ImagePullBackOff"}

            config = shim.config("behind")
            await shim.run(config)
            asked = cri.PullImageRequest(image=cri.ImageSpec(image=image), sandbox_config=config)
            start = time.monotonic()
            with pytest.raises(Fault) as raised:
                await call(shim.images.PullImage, asked, deadline=60)
            behind = time.monotonic() - start
            assert raised.value.kind is Kind.UNAVAILABLE
            check(str(raised.value))
        print(f"told in the pod's events after {took:.1f} s, to the kubelet after {behind:.1f} s")
