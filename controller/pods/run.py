"""The run of a pod: its cell, its sandbox and each container's state. Frozen values, stored as they are.

The manifest says what is wanted; this says what is. Times are unix seconds, 0 for "not yet".
"""

from __future__ import annotations

from typing import Any

import msgspec

from cellwire.faults import Fault
from controller.model.names import CellName
from controller.objects.schema.pods import Pod


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Not running: why, and since when."""

    reason: str = "ContainerCreating"
    message: str = ""
    since: float = 0.0


class Running(msgspec.Struct, frozen=True, tag="running"):
    """Running since."""

    started_at: float


class Terminated(msgspec.Struct, frozen=True, tag="terminated"):
    """Ended: exit code (128 + n after signal n), a CamelCase reason, and the container that it was."""

    exit_code: int
    reason: str
    message: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    container_id: str = ""


State = Waiting | Running | Terminated


class ContainerRun(msgspec.Struct, frozen=True, kw_only=True):
    """One container. `starts` counts containers begun, so that a log file and a CRI attempt are never used twice, and
    `restarts` those that were made after another had ended;
    `crashes` is the length of the present row of ends that makes the back-off, and `unmade` that of the tries that came
    to no container, whose back-off is its own; `retry_at` is when it may start again.
    `unpullable_since` is the first of the present row of pulls that failed.
    """

    name: str
    state: State = Waiting()
    last: Terminated | None = None
    id: str = ""
    image: str = ""
    image_id: str = ""
    starts: int = 0
    restarts: int = 0
    crashes: int = 0
    unmade: int = 0
    retry_at: float = 0.0
    unpullable_since: float = 0.0
    started: bool = False
    ready: bool = False


class PodRun(msgspec.Struct, frozen=True, kw_only=True):
    """The whole pod. `attempt` counts the cells it was given; `shown` are the annotations that tell of the
    present one; `phase` is set only by its end; `evicted` is why it is to end where it holds more than it may.
    """

    attempt: int = 0
    cell: CellName = CellName("")
    cell_address: str = ""
    shown: dict[str, str] = {}
    sandbox: str = ""
    addresses: tuple[str, ...] = ()
    started_at: float = 0.0
    unschedulable: str = ""
    evicted: str = ""
    containers: dict[str, ContainerRun] = {}
    phase: str = ""
    reason: str = ""
    message: str = ""
    released: bool = False

    def of(self, name: str) -> ContainerRun:
        """The container of this name."""
        return self.containers.get(name) or ContainerRun(name=name)

    def having(self, container: ContainerRun) -> PodRun:
        """The same with this container in place of the one of its name."""
        return msgspec.structs.replace(self, containers={**self.containers, container.name: container})


class StoredPod(msgspec.Struct, frozen=True, kw_only=True):
    """The stored form of a pod: the object as kubectl sees it, and its run."""

    pod: dict[str, Any]
    run: PodRun = PodRun()


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a pod: the object as kubectl sees it, the same decoded, and its run.

    `unreadable` says why the object cannot be decoded; `pod` has nothing but its names then.
    """

    shown: dict[str, Any]
    pod: Pod
    run: PodRun = PodRun()
    unreadable: Fault | None = None
