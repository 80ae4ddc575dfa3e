"""Folders of an NFS server on the baked disk, mounted by its kernel's own client.

Minutes long, so it is asked for by name (`make test-image`). The kernel of the machine that tests may have no client;
the image's has.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.image.test_boot import DISK, NOT_HERE, PATIENT
from tests.support import file_server
from tests.support.ec2_controller import running_on_ec2
from tests.support.qemu_machines import Hardware

LACKING = NOT_HERE or file_server.lacking()
pytestmark = [
    pytest.mark.skipif(bool(LACKING), reason=f"NOT RUN: {LACKING}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: bridges need root"),
    pytest.mark.timeout(1500),
]
# What the server has is read, what the cell writes is the server's, and each sees at once what the other renames.
SCRIPT = """
cat /claimed/given
mkdir /named/made && echo written > /named/made/by-cell && mv /named/made/by-cell /named/from-cell
touch /shown/x 2>/dev/null || echo refused
until [ -e /claimed/go ]; do sleep 0.2; done
cat /claimed/go; grep -E ' /(claimed|named|shown) ' /proc/mounts
"""


def manifests(server: str) -> list[dict[str, Any]]:
    """A volume and its claim, and a pod that has that, the folder itself, and the folder read-only."""
    source, modes = {"server": server, "path": "/data"}, {"accessModes": ["ReadWriteMany"]}
    volume = {**modes, "capacity": {"storage": "5Gi"}, "mountOptions": ["nfsvers=4.1", "hard"], "nfs": source}
    claim = {**modes, "resources": {"requests": {"storage": "1Gi"}}}
    folders = {
        "claimed": {"persistentVolumeClaim": {"claimName": "data"}},
        "named": {"nfs": source},
        "shown": {"nfs": {**source, "readOnly": True}},
    }
    container = {
        "name": "main",
        "image": "registry.demo/web:1",
        "command": ["sh", "-c", SCRIPT],
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in folders],
        "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}},
    }
    volumes = [{"name": name, **each} for name, each in folders.items()]
    spec = {"containers": [container], "volumes": volumes, "restartPolicy": "Never"}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "data"}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": claim},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reads"}, "spec": spec},
    ]


async def test_a_pod_reads_and_writes_folders_of_an_nfs_server(tmp_path: Path) -> None:
    async with running_on_ec2(tmp_path, real=1, fleet=PATIENT, hardware=Hardware(DISK)) as world:
        gateway = world.instances.settings.subnet.replace(".0/24", ".1")
        async with file_server.running_file_server(tmp_path / "nfs", gateway, "/data") as exported:
            (exported / "given").write_text("of the server\n")
            kubectl = world.controller.kubectl
            made = {"kind": "List", "apiVersion": "v1", "items": manifests(gateway)}
            await kubectl("apply", "-f", "-", stdin=json.dumps(made))
            async with asyncio.timeout(1000):
                while not (exported / "from-cell").exists():
                    status = json.loads(await kubectl("get", "pod", "reads", "-o", "json"))["status"]
                    assert status["phase"] not in {"Failed", "Succeeded"}, await kubectl("logs", "reads")
                    await asyncio.sleep(1)
            assert (exported / "from-cell").read_text() == "written\n"
            (exported / "going").write_text("seen\n")
            (exported / "going").rename(exported / "go")
            succeeded = "--for=jsonpath={.status.phase}=Succeeded"
            await kubectl("wait", succeeded, "pod/reads", "--timeout=180s", seconds=190)
            said = (await kubectl("logs", "reads")).splitlines()
            print("\n" + "\n".join(said))
            assert said[:3] == ["of the server", "refused", "seen"]
            options = {row.split()[1]: row.split()[2:4] for row in said[3:]}
            assert {path: kind for path, (kind, _) in options.items()} == dict.fromkeys(
                ("/claimed", "/named", "/shown"), "nfs4"
            )
            assert "vers=4.1" in options["/claimed"][1]
            assert "vers=4.2" in options["/named"][1]
            assert options["/shown"][1].startswith("ro,")
