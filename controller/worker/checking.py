"""Checks of a worker: what is wrong with it, from facts that were found, each with its mend. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from controller.choice.quantity import quantity
from controller.model.finding import Finding, Verdict
from controller.worker import kubelet
from controller.worker.settings import WorkerOptions
from controller.worker.units import CONTROLLER_UNIT

OLDEST, NEWEST = (1, 30), (1, 36)
INIT = "run `chinampa worker init`"
# Resources and verbs of the node's own rights that the controller needs, and where they come from.
RIGHTS = (
    *(("", resource, verb) for resource in ("nodes", "pods", "services") for verb in ("list", "watch")),
    *(("discovery.k8s.io", "endpointslices", verb) for verb in ("list", "watch")),
    *(("", "events", verb) for verb in ("create", "patch")),
)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found: "" or None is "nothing there". `differing` are files that are not as init would write them;
    `runtime` is the unit of what is to serve the socket, `rights` what the API server says of each of RIGHTS, `refusal`
    why it said nothing.
    """

    root: bool = True
    kubelet_version: str = ""
    programs: Mapping[str, str] = {}
    shared_root: bool = True
    socket: str = ""
    runtime: str = CONTROLLER_UNIT
    sandbox_runtime: str = ""
    differing: tuple[str, ...] = ()
    refusal: str = ""
    rights: Mapping[tuple[str, str, str], bool] = {}
    node: Mapping[str, Any] | None = None


def review(node: str, group: str, resource: str, verb: str) -> dict[str, Any]:
    """The question whether who asks has one of RIGHTS, as far as a node may see: itself and its own pods only."""
    asked: dict[str, Any] = {"group": group, "resource": resource, "verb": verb}
    if resource == "nodes":
        # An API server takes the name out of a list's selector, but not out of a review's.
        asked["name"] = node
    own = {"nodes": "metadata.name", "pods": "spec.nodeName"}.get(resource)
    if own is not None:
        asked["fieldSelector"] = {"requirements": [{"key": own, "operator": "In", "values": [node]}]}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }


def findings(worker: WorkerOptions, pods_folder: str, name: str, found: Found) -> Iterator[Finding]:
    """Each finding as it is made."""
    yield Finding(Verdict.OK, "root", "") if found.root else Finding(Verdict.LACKS, "root", "run as root")
    yield _version(worker, found.kubelet_version)
    for program, path in found.programs.items():
        missing = Finding(Verdict.LACKS, program, "install Debian's packages util-linux and mount")
        yield Finding(Verdict.OK, program, path) if path else missing
    if not found.shared_root:
        mend = (
            "mount --make-rshared / (systemd does): volumes that a kubelet mounts would not be seen by the controller"
        )
        yield Finding(Verdict.LACKS, "mounts of /", f"they are not shared: {mend}")
    if pods_folder != f"{worker.root}/pods":
        yield Finding(
            Verdict.LACKS,
            "shim.pods_folder",
            f"it is {pods_folder}, and worker.root is {worker.root}: set it to {worker.root}/pods",
        )
    differing = f"{', '.join(found.differing[:4])}{_more(found.differing)} differ from the settings: {INIT}"
    yield (
        Finding(Verdict.LACKS, "files", differing)
        if found.differing
        else Finding(Verdict.OK, "files", "as init writes them")
    )
    yield _runtime(found)
    yield from _cluster(worker, name, found)


def _version(worker: WorkerOptions, said: str) -> Finding:
    number = re.search(r"v(\d+)\.(\d+)", said)
    if number is None:
        return Finding(
            Verdict.LACKS, "kubelet", f"{worker.kubelet} does not say its version: install it, or set worker.kubelet"
        )
    version = int(number[1]), int(number[2])
    if not OLDEST <= version <= NEWEST:
        return Finding(Verdict.NOTE, "kubelet", f"{said.strip()}: only 1.{OLDEST[1]} to 1.{NEWEST[1]} were tried")
    return Finding(Verdict.OK, "kubelet", said.strip())


def _runtime(found: Found) -> Finding:
    if found.sandbox_runtime:
        return Finding(Verdict.OK, "shim", f"{found.sandbox_runtime} at {found.socket}")
    if not found.socket:
        return Finding(Verdict.LACKS, "shim", "shim.socket is not set: a kubelet has no runtime to ask")
    return Finding(Verdict.LACKS, "shim", f"nothing answers at {found.socket}: start {found.runtime}")


def _cluster(worker: WorkerOptions, name: str, found: Found) -> Iterator[Finding]:
    if found.refusal:
        yield Finding(Verdict.LACKS, "API server", found.refusal)
        return
    for group, resource, verb in RIGHTS:
        what = f"{verb} {resource}"
        if found.rights.get((group, resource, verb)):
            yield Finding(Verdict.OK, what)
        else:
            yield Finding(Verdict.LACKS, what, "the node's user may not: apply the ClusterRole of docs/cluster.md")
    if found.node is None:
        yield Finding(
            Verdict.LACKS, f"node {name}", "the cluster has none of that name: start chinampa-kubelet.service"
        )
        return
    yield from _node(worker, name, found.node)


def _node(worker: WorkerOptions, name: str, node: Mapping[str, Any]) -> Iterator[Finding]:
    capacity = (node.get("status") or {}).get("capacity") or {}
    for resource, wanted in (
        ("cpu", str(worker.cpu)),
        ("memory", f"{worker.memory_gib}Gi"),
        ("pods", str(worker.pods)),
    ):
        told = str(capacity.get(resource) or "0")
        if quantity(told) == quantity(wanted):
            yield Finding(Verdict.OK, f"capacity: {resource}", told)
        else:
            yield Finding(
                Verdict.LACKS,
                f"capacity: {resource}",
                f"the node offers {told} and not {wanted}: {INIT}, restart the kubelet",
            )
    there = (node.get("metadata") or {}).get("labels") or {}
    for label, value in kubelet.labels(worker).items():
        if there.get(label) != value:
            yield Finding(
                Verdict.LACKS,
                f"label {label}",
                f"the node has {there.get(label)}: kubectl label node {name} {label}={value}",
            )
    ready = next((one for one in (node.get("status") or {}).get("conditions") or () if one.get("type") == "Ready"), {})
    if ready.get("status") == "True":
        yield Finding(Verdict.OK, f"node {name}", "Ready")
    else:
        yield Finding(
            Verdict.LACKS, f"node {name}", f"it is not ready: {ready.get('message') or 'it has not said so yet'}"
        )


def _more(listed: tuple[str, ...]) -> str:
    return f" and {len(listed) - 4} more" if len(listed) > 4 else ""
