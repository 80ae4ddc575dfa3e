"""The ledger of the runtime: records of sandboxes and containers, on disk before they are true.

A record is written whole beside its old self and renamed, so that an agent killed at any moment finds either. The
ledger is the one owner: others read records, and change them only by handing in a new one.
"""

from __future__ import annotations

import enum
import logging
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from cellagent.kernel import mounts
from cellagent.network.pod_network import NetworkMode
from cellagent.runtime.settings import RuntimeSettings
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import files

log = logging.getLogger(__name__)


class Phase(enum.StrEnum):
    """Phase of a sandbox or container."""

    MAKING = "making"
    READY = "ready"
    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    STOPPING = "stopping"
    STOPPED = "stopped"


class SandboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One sandbox. `config` is the CRI message as it came; times are unix nanoseconds."""

    id: str
    config: bytes
    handler: str
    created_at: int
    phase: Phase
    addresses: tuple[str, ...] = ()
    namespaces: dict[str, str] = {}
    cgroup: str = ""
    network: NetworkMode = NetworkMode.BRIDGE
    # The last UpdatePodSandboxResources, as it came; empty before.
    resources: bytes = b""
    overhead: bytes = b""

    def parsed(self) -> cri.PodSandboxConfig:
        """The configuration as a message; the caller may not change it."""
        return cri.PodSandboxConfig.FromString(self.config)


class ContainerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One container. Times are unix nanoseconds, 0 where it has not come so far."""

    id: str
    sandbox_id: str
    config: bytes
    image_id: str
    image_ref: str
    created_at: int
    phase: Phase = Phase.CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0
    pid_started: int = 0
    conmon_pid: int = 0
    log_path: str = ""
    log_base: int = 0
    # The bytes of the log before this one were given back to the disk.
    log_given: int = 0
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    cgroup: str = ""
    stop_signal: str = ""
    resources: bytes = b""
    # The path by which the controller asks for what the cell carries until the container is removed.
    carried: str = ""

    def parsed(self) -> cri.ContainerConfig:
        """The configuration as a message; the caller may not change it."""
        return cri.ContainerConfig.FromString(self.config)


class RuntimeLedger:
    """All records, in memory and on disk."""

    def __init__(self, settings: RuntimeSettings) -> None:
        self._settings = settings
        self._sandboxes: dict[str, SandboxEntry] = {}
        self._containers: dict[str, ContainerEntry] = {}
        self._listeners: dict[str, set[Callable[[], None]]] = {}

    @contextmanager
    def listening(self, container_id: str, changed: Callable[[], None]) -> Generator[None]:
        """Call `changed` after each change of one container's record, its removal included."""
        listeners = self._listeners.setdefault(container_id, set())
        listeners.add(changed)
        try:
            yield
        finally:
            listeners.discard(changed)
            if not listeners:
                self._listeners.pop(container_id, None)

    def _tell(self, container_id: str) -> None:
        for changed in tuple(self._listeners.get(container_id, ())):
            changed()

    def load(self) -> None:
        """Read every record again after a start. Folders without a readable record are removed."""
        self._sandboxes = _load(self._settings.state / "sandboxes", SandboxEntry)
        self._containers = _load(self._settings.state / "containers", ContainerEntry)

    def sandboxes(self) -> Iterator[SandboxEntry]:
        """Every sandbox, oldest first."""
        return iter(tuple(self._sandboxes.values()))

    def containers(self, sandbox_id: str = "") -> Iterator[ContainerEntry]:
        """Every container, or those of one sandbox, oldest first."""
        return (c for c in tuple(self._containers.values()) if not sandbox_id or c.sandbox_id == sandbox_id)

    def put_sandbox(self, record: SandboxEntry) -> SandboxEntry:
        """Write a new or changed record."""
        _write(self._settings.sandbox_folder(record.id), record)
        self._sandboxes[record.id] = record
        return record

    def put_container(self, record: ContainerEntry) -> ContainerEntry:
        """Write a new or changed record."""
        _write(self._settings.bundle(record.id), record)
        self._containers[record.id] = record
        self._tell(record.id)
        return record

    def drop_sandbox(self, sandbox_id: str) -> None:
        """Forget a sandbox whose remains are gone."""
        shutil.rmtree(self._settings.sandbox_folder(sandbox_id), ignore_errors=True)
        self._sandboxes.pop(sandbox_id, None)

    def drop_container(self, container_id: str) -> None:
        """Forget a container whose remains are gone."""
        shutil.rmtree(self._settings.bundle(container_id), ignore_errors=True)
        self._containers.pop(container_id, None)
        self._tell(container_id)

    def find_sandbox(self, sandbox_id: str) -> SandboxEntry | None:
        """By id or an unambiguous beginning of it."""
        return self._sandboxes.get(sandbox_id) or _by_prefix(self._sandboxes, sandbox_id)

    def find_container(self, container_id: str) -> ContainerEntry | None:
        """By id or an unambiguous beginning of it."""
        return self._containers.get(container_id) or _by_prefix(self._containers, container_id)

    def sandbox(self, sandbox_id: str) -> SandboxEntry:
        """As find_sandbox; raises Fault NOT_FOUND."""
        if (record := self.find_sandbox(sandbox_id)) is None:
            raise Fault(Kind.NOT_FOUND, f"sandbox {sandbox_id or '(no id given)'}", "there is none with this id")
        return record

    def container(self, container_id: str) -> ContainerEntry:
        """As find_container; raises Fault NOT_FOUND."""
        if (record := self.find_container(container_id)) is None:
            raise Fault(Kind.NOT_FOUND, f"container {container_id or '(no id given)'}", "there is none with this id")
        return record


Record = SandboxEntry | ContainerEntry


SomeRecord = TypeVar("SomeRecord", SandboxEntry, ContainerEntry)


def _by_prefix(records: dict[str, SomeRecord], start: str) -> SomeRecord | None:
    matches = [record for key, record in records.items() if start and key.startswith(start)]
    return matches[0] if len(matches) == 1 else None


def _load(folder: Path, kind: type[SomeRecord]) -> dict[str, SomeRecord]:
    found: list[SomeRecord] = []
    for entry in folder.iterdir():
        try:
            found.append(msgspec.msgpack.decode((entry / "record").read_bytes(), type=kind))
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("forgetting %s, which has no readable record: %s", entry, error)
            mounts.unmount_below(entry)  # namespaces and memory would outlive their names
            shutil.rmtree(entry, ignore_errors=True)
    return {record.id: record for record in sorted(found, key=lambda record: record.created_at)}


def _write(folder: Path, record: Record) -> None:
    data = msgspec.msgpack.encode(record)
    try:
        try:
            files.replace(f"{folder}/record", data)
        except FileNotFoundError:
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)
            files.replace(f"{folder}/record", data)
    except OSError as error:
        raise Fault(
            Kind.BROKEN, f"record of {record.id}", str(error), f"look at the disk that holds {folder}"
        ) from error
