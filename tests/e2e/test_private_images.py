"""Images that want a login, on real cells: as containers and as volumes, of the registry itself and of its mirrors."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from examples import image
from tests.support.controller import Controller, running_controller
from tests.support.oci import layer, push_image
from tests.support.registry import PASSWORD, USER, free_port, running_registry

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: NOTHING here ran"),
    pytest.mark.skipif(shutil.which("docker-registry") is None, reason="docker-registry is missing: NOTHING here ran"),
    pytest.mark.timeout(300),
]


def pod(name: str, main: str, volume: str = "", *secrets: str) -> dict[str, Any]:
    """A pod of an image, with another as its volume; both are pulled by these secrets."""
    container: dict[str, Any] = {"name": "main", "image": main, "command": ["sh", "-c", "cat /www/index.html"]}
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Never"}
    if volume:
        container |= {"command": ["cat", "/v/told"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}
        spec["volumes"] = [{"name": "v", "image": {"reference": volume}}]
    spec["imagePullSecrets"] = [{"name": one} for one in secrets]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def secret(controller: Controller, name: str, host: str, password: str) -> None:
    """`kubectl create secret docker-registry`, over one that is there too."""
    command = ("create", "secret", "docker-registry", name, f"--docker-server={host}", f"--docker-username={USER}")
    made = await controller.kubectl(*command, f"--docker-password={password}", "--dry-run=client", "-o", "json")
    await controller.kubectl("apply", "-f", "-", stdin=made)


async def events(controller: Controller, name: str) -> str:
    return "\n".join(f"{one['reason']}: {one['message']}" for one in await controller.events(name))


async def told(controller: Controller, name: str, *words: str) -> str:
    """The pod's events, once they have all these words."""
    async with asyncio.timeout(120):
        said = await events(controller, name)
        while not all(word in said for word in words):
            await asyncio.sleep(0.3)
            said = await events(controller, name)
    return said


async def succeeded(controller: Controller, name: str) -> str:
    """What the pod wrote, once it has ended well."""
    wait = ("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", "--timeout=150s")
    await controller.kubectl(*wait, seconds=160)
    await controller.logged(name, "\n")
    return await controller.kubectl("logs", name)


async def test_private_images_and_volumes_come_by_the_pods_secrets_and_a_secret_may_be_mended(tmp_path: Path) -> None:
    port = free_port()
    there = f"GATEWAY:{port}"
    registries = (
        f'[[registries]]\nhost = "{there}"\nplain_http = true\n'
        f'[[registries]]\nhost = "shown.demo"\nmirrors = ["http://{there}"]\nmirror_logins = true\n'
        f'[[registries]]\nhost = "shy.demo"\nmirrors = ["http://{there}"]\n'
    )
    async with (
        running_controller(tmp_path, registries) as controller,
        running_registry("basic", host=controller.gateway, port=port) as registry,
    ):
        runs = layer(image.layer(Path("/bin/busybox")))
        await push_image(registry, "team/web:1", [runs], {"Env": ["PATH=/bin"]}, auth="basic")
        await push_image(registry, "team/data:1", [layer({"told": b"by a private volume\n"})], auth="basic")
        for host in (registry, "shown.demo", "shy.demo"):
            await secret(controller, host.partition(":")[0], host, PASSWORD)
        own, web, data = controller.gateway, "team/web:1", "team/data:1"
        await secret(controller, "late", registry, "wrong")
        pods = [
            pod("direct", f"{registry}/{web}", f"{registry}/{data}", own),
            pod("mirrored", f"shown.demo/{web}", f"shown.demo/{data}", "shown.demo"),
            pod("shy", f"shy.demo/{web}", "", "shy.demo"),
            pod("nobody", "registry.demo/web:1", f"{registry}/{data}"),
            pod("late", f"{registry}/{web}", f"{registry}/{data}", "late"),
        ]
        await controller.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": pods})
        )

        said = await told(
            controller, "late", f'Failed to pull image "{registry}/{web}"', "BackOff: Back-off pulling image"
        )
        assert "correct the pod's imagePullSecret" in said
        assert "wrong" not in said
        shown = json.loads(await controller.kubectl("get", "pod", "late", "-o", "json"))
        waiting = shown["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] in {"ErrImagePull", "ImagePullBackOff"}
        await secret(controller, "late", registry, PASSWORD)
        assert await succeeded(controller, "direct") == "by a private volume\n"
        assert await succeeded(controller, "mirrored") == "by a private volume\n"
        await told(controller, "shy", "mirrors of shy.demo are shown pods' logins only where its mirror_logins is set")
        said = await told(
            controller, "nobody", f'Failed to pull image "{registry}/{data}"', "give the pod an imagePullSec"
        )
        assert "wants a user and a password, and none were given" in said
        assert await succeeded(controller, "late") == "by a private volume\n"
