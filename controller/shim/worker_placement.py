"""Which pods behind a kubelet run on the worker itself, as on any node, and not in cells. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.shim.settings import Shim

# The controller of DaemonSets puts it on each pod that it makes, and on no other.
DAEMON_SET = "pod-template-generation"
# A kubelet says by it where it has a pod from: "api", or a file or address of its own (a static pod).
SOURCE = "kubernetes.io/config.source"
FROM_THE_API = frozenset({"", "api"})


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for what runs on the worker beside DaemonSets' pods and static ones: pods of these namespaces, with one of
    these labels, or of the RuntimeClass whose handler this is.
    """

    namespaces: frozenset[str] = frozenset()
    labels: Mapping[str, str] = {}
    handler: str = ""

    def here(self, config: cri.PodSandboxConfig, handler: str = "") -> bool:
        """Whether a pod runs on the worker itself."""
        labels = config.labels
        return (
            bool(self.handler and handler == self.handler)
            or config.metadata.namespace in self.namespaces
            or DAEMON_SET in labels
            or config.annotations.get(SOURCE, "") not in FROM_THE_API
            or any(labels.get(name) == value for name, value in self.labels.items())
        )


def rules_of(settings: Shim) -> Rules:
    """From the settings. Raises Fault INVALID for a label that is none."""
    labels: dict[str, str] = {}
    for text in settings.worker_labels:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise Fault(Kind.INVALID, f"shim.worker_labels {text!r}", "it is not key=value")
        labels[name] = value
    return Rules(namespaces=frozenset(settings.worker_namespaces), labels=labels, handler=settings.worker_handler)
