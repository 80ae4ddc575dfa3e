"""A pod that names, as a hostPath, what the worker's kubelet keeps of another pod sees its own cell's path instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.call import call
from tests.support.shim import running_shim

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]


async def test_another_pods_secret_is_not_read_and_its_termination_message_not_written(tmp_path: Path) -> None:
    async with running_shim(tmp_path) as shim:
        shim.config("victim")
        secret = shim.volume("victim", "secret", "keys")
        secret.write({"key": b"of the victim"})
        message = tmp_path / "pods/victim/containers/c/0a1b"
        message.parent.mkdir(parents=True)
        message.touch()
        climbing = (
            f"{shim.pods_folder}/evil/volumes/kubernetes.io~secret/../../../victim/volumes/kubernetes.io~secret/keys"
        )
        mounts = [
            cri.Mount(host_path=str(secret.folder), container_path="/a"),
            cri.Mount(host_path=climbing, container_path="/b"),
            cri.Mount(host_path=str(message), container_path="/c"),
        ]
        sandbox, container = await shim.pod(
            "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done", mounts=mounts, uid="evil"
        )
        assert "of the victim" not in await shim.said(container, "cat /a/* /b/* /a/..data/* /b/..data/* 2>&1")
        await shim.said(container, "echo overwritten > /c; echo overwritten > /c/c")
        stop = cri.StopContainerRequest(container_id=container, timeout=10)
        await call(shim.runtime.StopContainer, stop, deadline=60)
        assert (await shim.status(container)).state == cri.CONTAINER_EXITED
        assert message.read_bytes() == b""
        await shim.remove(sandbox)
