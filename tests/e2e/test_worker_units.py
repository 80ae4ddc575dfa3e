"""The units of `chinampa worker init`, started by systemd: controller, the worker's own agent and a real kubelet, of
which a cluster gets a node that is ready. Runs where KUBE_BIN names a folder with the Kubernetes binaries.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import pytest

from hostkit import programs
from tests.support.cluster import (
    NODE,
    Cluster,
    NodeAccess,
    StartProgress,
    binaries,
    free_port,
    kubelet_configuration,
    running_control_plane,
)
from tests.support.controller import ROOT, RUN
from tests.support.ec2_cloud import DocumentSigner, credentials, running_front, settings_on
from tests.support.systemd import PROGRAM, Systemd, running_systemd

PROGRAMS = binaries()
PYTHON = Path("/usr/bin/python3")
pytestmark = [
    pytest.mark.skipif(PROGRAMS is None or os.geteuid() != 0, reason="KUBE_BIN names no Kubernetes binaries"),
    pytest.mark.skipif(
        not PROGRAM.exists() or not PYTHON.exists(), reason="NOT RUN: no systemd or no /usr/bin/python3"
    ),
    pytest.mark.timeout(1500),
]
ADDRESS = "198.51.100.7"
UNITS = ("chinampa-controller.service", "chinampa-worker-agent.service", "chinampa-kubelet.service")
WITH_ACCESS = (
    "[Service]\nEnvironment=AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_EC2_METADATA_DISABLED=true\n"
)


def put(folder: Path, name: str, text: str, mode: int = 0o644) -> None:
    path = folder / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def command(code: str) -> str:
    """A program in a place where units look. A unit does not see /root, where a virtual environment's Python may be."""
    path = ":".join([str(ROOT), str(ROOT / "proto"), *(one for one in sys.path if "site-packages" in one)])
    return f"#!/bin/sh\nPYTHONDONTWRITEBYTECODE=1 PYTHONPATH={path} exec {PYTHON} -c '{code}' \"$@\"\n"


async def test_a_workers_units_make_a_node_and_come_back_when_they_are_killed(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    entry = NodeAccess(free_port(), secrets.token_hex(16))
    files = tmp_path / "files"
    with credentials():
        async with running_front() as front, running_control_plane(PROGRAMS, tmp_path / "cluster", entry) as cluster:
            DocumentSigner(files / "etc/chinampa/certificates")
            subnets = (await settings_on(front, tmp_path)).subnets
            put(files, "/usr/local/bin/chinampa", command(RUN), 0o755)
            agent = "import sys; from cellagent.__main__ import main; sys.exit(main())"
            put(files, "/usr/local/bin/cellagent", command(agent), 0o755)
            await programs.check(["ip", "address", "replace", f"{ADDRESS}/32", "dev", "lo"])
            entry.kubeconfig(files / "etc/chinampa/node.kubeconfig")
            kubelet_configuration(files / "etc/kubernetes", Path("/run/chinampa/shim.sock"))
            put(files, "/etc/chinampa/controller.toml", settings(front.url, subnets))
            unit = (ROOT / "deploy/systemd/chinampa-controller.service").read_text()
            put(files, "/etc/systemd/system/chinampa-controller.service", unit)
            put(files, "/etc/systemd/system/chinampa-controller.service.d/access.conf", WITH_ACCESS)
            put(files, "/etc/systemd/system/ready.target", "[Unit]\nDescription=what a test begins with\n")
            async with running_systemd(files, ("/tmp",)) as systemd:
                await works(systemd, cluster)


async def works(systemd: Systemd, cluster: Cluster) -> None:
    """From `worker init` to a node, and over the death of each of the three."""
    code, said = await systemd.run("chinampa", "worker", "init", "--config", "/etc/chinampa/controller.toml")
    assert code == 0, said
    code, said = await systemd.run("systemctl", "daemon-reload")
    assert code == 0, said
    try:
        code, said = await systemd.run("systemctl", "enable", "--now", *UNITS)
        assert code == 0, said
        await cluster.ready(f"node/{NODE}")
        rights = (ROOT / "deploy/manifests/node-rights.yaml").read_text()
        await cluster.kubectl("apply", "--validate=false", "-f", "-", stdin=rights)
        progress = StartProgress(cluster)
        check = ("chinampa", "worker", "check", "--config", "/etc/chinampa/controller.toml")
        while (found := await systemd.run(*check))[0]:
            progress.check("the worker to lack nothing", found[1])
            await asyncio.sleep(1)
        for unit in UNITS:
            _, before = await systemd.run("systemctl", "show", "-p", "MainPID", "--value", unit)
            await systemd.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", unit)
            progress = StartProgress(cluster)
            while True:
                _, now = await systemd.run("systemctl", "show", "-p", "MainPID", "--value", unit)
                code, state = await systemd.run("systemctl", "is-active", unit)
                if code == 0 and now.strip() not in {"0", before.strip()}:
                    break
                progress.check(f"{unit} to come back", state)
                await asyncio.sleep(1)
        progress = StartProgress(cluster)
        while (found := await systemd.run(*check))[0]:
            progress.check("the worker to lack nothing", found[1])
            await asyncio.sleep(1)
    except BaseException:
        for unit in UNITS:
            print((await systemd.run("systemctl", "status", "--no-pager", "-n30", unit))[1])
            print((await systemd.run("journalctl", "--no-pager", "-n40", "-u", unit))[1])
        raise


def settings(url: str, subnets: tuple[str, ...]) -> str:
    return f"""
state = "/var/lib/chinampa"
[link]
addresses = ["127.0.0.1:7443"]
[cloud]
kind = "ec2"
[cloud.ec2]
region = "us-east-1"
endpoint_url = "{url}"
subnets = {list(subnets)}
image_amd64 = "ami-03cf127a"
image_arm64 = "none"
certificates = "/etc/chinampa/certificates"
[shim]
socket = "/run/chinampa/shim.sock"
worker = "/run/chinampa/worker.sock"
[kubernetes]
kubeconfig = "/etc/chinampa/node.kubeconfig"
node = "{NODE}"
[worker]
kubelet = "{PROGRAMS}/kubelet"
base = "/etc/kubernetes/kubelet.yaml"
cpu = 64
memory_gib = 512
address = "{ADDRESS}"
""".replace("'", '"')
