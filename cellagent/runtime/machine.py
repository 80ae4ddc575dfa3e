"""What the runtime's parts share: settings, records, the OCI runtime, who is told what. Made once, by the room."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cellagent.images.image_source import ImageProvider
from cellagent.kernel import oci
from cellagent.runtime import userns, views
from cellagent.runtime.container_events import ContainerEvents
from cellagent.runtime.ledger import RuntimeLedger
from cellagent.runtime.settings import RuntimeSettings
from cellwire.cri.v1 import runtime_pb2 as cri
from hostkit import pids
from hostkit.inotify import Inotify
from hostkit.tasks import Singleflight


@dataclass(frozen=True)
class Machine:
    """The parts of the room, by name. `flights` owns every task that outlives a call."""

    settings: RuntimeSettings
    images: ImageProvider
    ledger: RuntimeLedger
    events: ContainerEvents
    inotify: Inotify
    flights: Singleflight
    runtime: oci.OciRuntime
    user_namespaces: userns.Support

    def emit(self, kind: cri.ContainerEventType.ValueType, container_id: str, sandbox_id: str) -> None:
        """Tell the listeners what has become of a container or a sandbox."""
        sandbox = self.ledger.find_sandbox(sandbox_id)
        if self.events.wanted and sandbox is not None:
            beside = tuple(self.ledger.containers(sandbox_id))
            self.events.emit(views.event(kind, time.time_ns(), container_id, sandbox, beside))

    @cached_property
    def lowest_oom_score(self) -> int:
        """The lowest oom_score_adj that this agent may give: its own, where it may not lower that."""
        own = Path("/proc/self/oom_score_adj")
        present = int(own.read_text())
        try:
            own.write_text("-1000")
            own.write_text(str(present))
        except OSError:
            return present
        return -1000


def new_id() -> str:
    """A fresh id, as container runtimes have them."""
    return os.urandom(32).hex()


@dataclass(frozen=True, slots=True)
class ExecTarget:
    """A running container as exec needs it. `pid` is its first process, which started at `pid_started` ticks."""

    container_id: str
    name: str
    runtime: Path
    runtime_state: Path
    bundle: Path
    pid: int = 0
    pid_started: int = 0

    def ending(self) -> bool:
        """Whether the first process has left its namespaces, which nobody can enter any more."""
        return pids.started(self.pid) != self.pid_started or not os.path.lexists(f"/proc/{self.pid}/ns/mnt")
