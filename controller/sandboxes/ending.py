"""How much time a container has whose instance the cloud will take, and what its status says of it. Pure."""

from __future__ import annotations

import time

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.model.cell import Announcement, Cell

# The kubelet tells the pod's grace period by this annotation of each container; and Kubernetes' own default.
GRACE = "io.kubernetes.pod.terminationGracePeriod"
DEFAULT_GRACE = 30.0
# A kubelet looks once a second, and gives a container two seconds beyond its preStop hook.
HEAD_START = 5.0


def grace_of(status: cri.ContainerStatus) -> float:
    """The grace period of the container's pod, seconds."""
    told = status.annotations.get(GRACE, "")
    return float(told) if told.isascii() and told.isdigit() else DEFAULT_GRACE


def signal_at(known: Announcement, grace: float) -> float:
    """The unix second at which a container is sent its signal, if the kubelet has not done it by then."""
    return max(known.ending_since, min(known.ending_since + grace + HEAD_START, known.over_by - grace))


def within(known: Announcement | None, grace: float, now: float) -> float:
    """Seconds that a container may take to stop: what was asked for, within what is left of its instance."""
    return max(min(grace, known.over_by - now), 0.0) if known is not None and known.ending_since else grace


def sentence(cell: Cell, known: Announcement) -> str:
    """For people: what happens to which instance, and when."""
    when = time.strftime(" at %Y-%m-%dT%H:%M:%SZ", time.gmtime(known.at)) if known.at else ""
    happens = f" will be reclaimed{when}" if known.ends else ""
    return f"instance {cell.instance}{happens}: {known.message}"
