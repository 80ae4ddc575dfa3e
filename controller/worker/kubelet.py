"""The kubelet's configuration on a worker, its labels and its flags. Pure.

Field names are those of kubelet.config.k8s.io/v1beta1, as Kubernetes 1.30 to 1.36 have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellwire.faults import Fault, Kind
from controller.worker.settings import WorkerOptions

Json = dict[str, Any]
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# What load balancers of clouds, and then DaemonSets of EKS, look at to leave a node alone.
NOT_BALANCED = "node.kubernetes.io/exclude-from-external-load-balancers"
NODELESS = "chinampa.dev/nodeless"
EKS_NODELESS = ("eks.amazonaws.com/compute-type", "fargate")


def configuration(worker: WorkerOptions, socket: Path, domain: str, base: Mapping[str, Any]) -> Json:
    """KubeletConfiguration: what a base says, and over it what a worker needs. Raises Fault for what is no taint."""
    names: Json = {"clusterDNS": list(worker.dns), "clusterDomain": domain}
    # A base says by itself whom it believes.
    usual: Json = (
        {}
        if base
        else {
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(worker.client_ca)},
            },
            "authorization": {"mode": "Webhook"},
            "rotateCertificates": True,
        }
    )
    needed: Json = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "imageServiceEndpoint": f"unix://{socket}",
        "maxPods": worker.pods,
        "podsPerCore": 0,
        # A pod's group on this machine is empty; without one the kubelets from 1.33 on crash when a pod is resized.
        "cgroupsPerQOS": True,
        "cgroupDriver": "cgroupfs",
        # Its totals are what cells tell, its network's too.
        "featureGates": {**(base.get("featureGates") or {}), "PodAndContainerStatsFromCRI": True},
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "cpuManagerPolicy": "none",
        "memoryManagerPolicy": "None",
        "topologyManagerPolicy": "none",
        # This machine's memory and images are none of the pods'.
        "failSwapOn": False,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "5%", "nodefs.inodesFree": "3%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # Little is in the kubelet's own folders; who holds more than it may is evicted the sooner.
        "volumeStatsAggPeriod": "10s",
        # Each cell pulls by itself.
        "serializeImagePulls": False,
        "maxParallelImagePulls": None,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        # An instance boots in less; the kubelet waits twice this for a sandbox.
        "runtimeRequestTimeout": "5m0s",
        "registerWithTaints": [_taint(one) for one in worker.taints],
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
    }
    return {**names, **usual, **base, **{name: value for name, value in needed.items() if value is not None}}


def labels(worker: WorkerOptions) -> dict[str, str]:
    """Labels of the node. Raises Fault for one that cannot be read."""
    found = {NOT_BALANCED: "true", NODELESS: "true"}
    if worker.eks:
        found |= dict([EKS_NODELESS])
    for text in worker.labels:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Fault(Kind.INVALID, f"worker.labels {text!r}", "it is not key=value")
        found[name] = value
    return found


def flags(worker: WorkerOptions, kubeconfig: Path, node: str, configuration_file: Path) -> tuple[str, ...]:
    """The kubelet's flags: what its configuration cannot say."""
    found = {
        "config": str(configuration_file),
        "kubeconfig": str(kubeconfig),
        "bootstrap-kubeconfig": str(worker.bootstrap or ""),
        "root-dir": str(worker.root),
        "node-labels": ",".join(f"{name}={value}" for name, value in sorted(labels(worker).items())),
        "hostname-override": node,
        "node-ip": worker.address,
    }
    return tuple(f"--{name}={value}" for name, value in found.items() if value)


def _taint(text: str) -> Json:
    name, _, effect = text.rpartition(":")
    key, _, value = name.partition("=")
    if not key or effect not in EFFECTS:
        cause = f"it is not key=value:Effect, with an Effect of {', '.join(EFFECTS)}"
        raise Fault(Kind.INVALID, f"worker.taints {text!r}", cause)
    return {"key": key, "effect": effect, **({"value": value} if value else {})}
