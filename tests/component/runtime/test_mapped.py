"""Pods whose root is nobody on the machine, and volumes that are images."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from tests.component.runtime.conftest import Agents, Client

OUTSIDE = 700_000
IDS = cri.IDMapping(container_id=0, host_id=OUTSIDE, length=65536)


async def supported(client: Client) -> bool:
    """Whether this machine's kernel can map files; the runtime finds out in its first moments."""
    for _ in range(50):
        told = await call(client.stub.Status, cri.StatusRequest(verbose=True), deadline=5)
        if told.runtime_handlers[0].features.user_namespaces:
            return True
        if "still" not in told.info["config"]:
            return False
        await asyncio.sleep(0.1)
    return False


async def test_root_of_a_pod_with_a_user_namespace_is_nobody_on_the_machine(agent: Agents, tmp_path: Path) -> None:
    async with agent() as client:
        if not await supported(client):
            pytest.skip("NOT RUN: this kernel cannot map files for a user namespace")
        config = client.sandbox_config()
        options = config.linux.security_context.namespace_options.userns_options
        options.MergeFrom(cri.UserNamespace(mode=cri.POD, uids=[IDS], gids=[IDS]))
        sandbox = await client.sandbox(config)
        volume = tmp_path / "volume"
        volume.mkdir(mode=0o700)
        (volume / "settings").write_text("green")
        mount = cri.Mount(container_path="/v", host_path=str(volume), uidMappings=[IDS], gidMappings=[IDS])
        tools = cri.Mount(
            container_path="/tools", image=cri.ImageSpec(image=client.image), readonly=True, image_sub_path="bin"
        )
        script = (
            "echo owner $(busybox stat -c %u:%g /tools/busybox);"
            "cat /proc/self/uid_map /v/settings; echo; touch /v/made /made && ls -ln /v/made;"
            "echo 10.9.9.9 me >> /etc/hosts && tail -n 1 /etc/hosts; ls / > /dev/null && exec sleep 60"
        )
        container = await client.create(sandbox, "sh", "-c", script, mounts=[mount, tools])
        await client.start(container)
        while "me" not in (said := await client.log(container)):
            await asyncio.sleep(0.05)

        assert str(OUTSIDE) in said
        assert "green" in said
        assert "owner 0:0" in said
        pid = next(one for one in Path("/proc").glob("[0-9]*") if f"/{container}" in _text(one / "cgroup"))
        assert f"Uid:\t{OUTSIDE}\t" in _text(pid / "status")
        # On the volume its files are root's, as the pod's root is the volume's.
        assert (volume / "made").stat().st_uid == 0


async def test_an_image_is_a_read_only_volume_told_by_its_id(agent: Agents) -> None:
    async with agent() as client:
        image = cri.ImageSpec(image=client.image)
        sandbox = await client.sandbox()
        mount = cri.Mount(container_path="/tools", image=image, readonly=True, image_sub_path="bin")
        container = await client.create(
            sandbox, "sh", "-c", "test -x /tools/sh && ! touch /tools/x && echo fine; exec sleep 60", mounts=[mount]
        )
        await client.start(container)
        while "fine" not in await client.log(container):
            await asyncio.sleep(0.05)
        (told,) = (await client.status(container)).mounts
        assert told.image.image_ref.startswith("sha256:")

        for wrong in (
            cri.Mount(container_path="/tools", image=image),
            cri.Mount(container_path="/tools", image=image, readonly=True, image_sub_path="no/such"),
        ):
            with pytest.raises(Fault) as caught:
                await client.create(sandbox, "true", name="other", mounts=[wrong])
            assert caught.value.kind is Kind.INVALID


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
