"""All files of a worker by their paths: the kubelet's configuration and start, its capacity, systemd's units. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from controller.worker import capacity, kubelet
from controller.worker.settings import WorkerOptions

FOLDER = "/etc/chinampa"
UNITS = "/etc/systemd/system"
CONTROLLER_UNIT, SHIM_UNIT = "chinampa-controller.service", "chinampa-shim.service"
KUBELET_UNIT, AGENT_UNIT = "chinampa-kubelet.service", "chinampa-worker-agent.service"
CAPACITY = f"{FOLDER}/capacity"
CONFIGURATION = f"{FOLDER}/kubelet.yaml"
START = f"{CAPACITY}-kubelet"


class UnitInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs of a worker's files: other settings, and texts of this machine. `runtime` is the unit of
    what serves the socket: the controller, or a shim of the worker's own.
    """

    socket: Path
    runtime: str = CONTROLLER_UNIT
    agent: Path | None = None
    cellagent: str = "/usr/local/bin/cellagent"
    kubeconfig: Path
    node: str
    domain: str
    base: Mapping[str, Any]
    meminfo: str
    cpuinfo: str


class UnitFile(msgspec.Struct, frozen=True):
    """One file: its text, None for a folder; and whether it is a program."""

    text: str | None
    program: bool = False


def files(worker: WorkerOptions, around: UnitInputs) -> dict[str, UnitFile]:
    """Everything that `chinampa worker init` writes. Raises Fault for settings that make no sense."""
    made = dict(_all(worker, around))
    made |= {
        f"{CAPACITY}/{name}": UnitFile(text) for name, text in capacity.tree(worker, around.meminfo, around.cpuinfo)
    }
    return made


def _all(worker: WorkerOptions, around: UnitInputs) -> Iterator[tuple[str, UnitFile]]:
    said = kubelet.configuration(worker, around.socket, around.domain, around.base)
    yield CONFIGURATION, UnitFile("# Written by `chinampa worker init`.\n" + yaml.safe_dump(said))
    flags = kubelet.flags(worker, around.kubeconfig, around.node, Path(CONFIGURATION))
    yield START, UnitFile(capacity.script(CAPACITY, str(worker.kubelet), flags), program=True)
    yield f"{UNITS}/{KUBELET_UNIT}", UnitFile(_kubelet(around.runtime))
    yield f"{UNITS}/{around.runtime}.d/worker.conf", UnitFile(_runtime(worker, around))
    if around.agent is not None:
        yield f"{UNITS}/{AGENT_UNIT}", UnitFile(_agent(around, around.agent))


def _kubelet(runtime: str) -> str:
    return f"""\
# Written by `chinampa worker init`.
[Unit]
Description=kubelet of a worker whose pods are in cells
Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
Conflicts=kubelet.service
After={runtime} network-online.target
Wants={runtime} network-online.target

[Service]
ExecStart=/usr/bin/unshare --mount --propagation unchanged {START}
Restart=always
RestartSec=5
KillMode=process
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
"""


def _runtime(worker: WorkerOptions, around: UnitInputs) -> str:
    return f"""\
# Written by `chinampa worker init`: the shim serves a kubelet, reads its volumes and writes its logs.
[Service]
RuntimeDirectory=chinampa
RuntimeDirectoryPreserve=yes
ProtectSystem=no
PrivateTmp=no
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER
AmbientCapabilities=
ReadWritePaths=-{worker.root} -/var/log/pods -{around.socket.parent}
"""


def _agent(around: UnitInputs, socket: Path) -> str:
    return f"""\
# Written by `chinampa worker init`: pods that run on this machine itself, as on any node.
[Unit]
Description=Chinampa agent for the pods of the worker itself
Before={around.runtime} {KUBELET_UNIT}

[Service]
ExecStart={around.cellagent} serve --socket {socket} --root /var/lib/chinampa-worker --state /run/chinampa-worker
Restart=always
RestartSec=2
KillMode=process
Delegate=yes

[Install]
WantedBy={KUBELET_UNIT}
"""
