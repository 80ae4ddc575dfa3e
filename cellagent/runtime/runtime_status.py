"""The status of the runtime: version, readiness, features, configuration."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

from cellagent.kernel import cgroups
from cellagent.network import pod_network
from cellagent.runtime.machine import Machine
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.version import VERSION
from hostkit.programs import SEARCH_PATH

NAME = "chinampa"
# The kubelet compares this word for word: it is the version of its own old API, not of CRI.
KUBELET_API = "0.1.0"
API = "v1"


def version() -> cri.VersionResponse:
    """All four fields; a kubelet refuses a reply that lacks one."""
    return cri.VersionResponse(version=KUBELET_API, runtime_name=NAME, runtime_version=VERSION, runtime_api_version=API)


def status(machine: Machine, *, verbose: bool) -> cri.StatusResponse:
    """Conditions that a kubelet waits for, and what each runtime handler can do."""
    conmon = shutil.which("conmon", path=SEARCH_PATH)
    trouble = "" if machine.settings.pod_address else pod_network.trouble(machine.settings.plugins)
    features = cri.RuntimeHandlerFeatures(
        recursive_read_only_mounts=_recursive_read_only(), user_namespaces=machine.user_namespaces.works
    )
    told = cri.StatusResponse(
        status=cri.RuntimeStatus(
            conditions=[
                cri.RuntimeCondition(
                    type="RuntimeReady",
                    status=conmon is not None,
                    reason="" if conmon else "ConmonMissing",
                    message="" if conmon else "conmon is not installed; install Debian's package conmon",
                ),
                cri.RuntimeCondition(
                    type="NetworkReady",
                    status=not trouble,
                    reason="NetworkPluginNotReady" if trouble else "",
                    message=trouble,
                ),
            ]
        ),
        runtime_handlers=[
            cri.RuntimeHandler(name=name, features=features) for name in ("", NAME, machine.runtime.name)
        ],
        features=cri.RuntimeFeatures(supplemental_groups_policy=True, mount_options=True),
    )
    if verbose:
        info = {
            "runtime": {"name": machine.runtime.name, "path": str(machine.runtime.path), "why": machine.runtime.why},
            "cgroups": cgroups.layout().value,
            "root": str(machine.settings.root),
            "state": str(machine.settings.state),
            "podAddress": machine.settings.pod_address,
            "userNamespaces": machine.user_namespaces.why or "files can be mapped",
        }
        told.info["config"] = json.dumps(info)
    return told


def configuration() -> cri.RuntimeConfigResponse:
    """Which cgroup driver the kubelet shall use."""
    return cri.RuntimeConfigResponse(linux=cri.LinuxRuntimeConfiguration(cgroup_driver=cri.CGROUPFS))


@cache
def _recursive_read_only() -> bool:
    """mount_setattr(2) came with Linux 5.12."""
    major, minor = Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2]
    return (int(major), int(minor)) >= (5, 12)
