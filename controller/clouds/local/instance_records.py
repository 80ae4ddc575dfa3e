"""Records of instances on disk: of each one small JSON file, replaced whole, so that a killed controller's
successor finds its instances again. Not fsynced: it has to survive a kill, and instances do not survive a power cut.
"""

from __future__ import annotations

import enum
from pathlib import Path

import msgspec

from cellwire.faults import Fault, Kind
from controller.model.instance import Instance, InstanceState
from controller.model.names import InstanceId
from controller.model.offer import LaunchType
from hostkit import files


class Stage(enum.Enum):
    """How far an instance is. Between `launching` and `running` nothing of it is promised to anybody."""

    LAUNCHING = "launching"
    RUNNING = "running"
    STOPPING = "stopping"
    TERMINATED = "terminated"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One instance. `pid` is its first process as this machine counts, `pid_started` and `boot` tell it from another
    process of that number. Times are unix seconds. No `groups` of security is "everything is admitted"; `checked` tells
    of the source and destination check.
    """

    id: InstanceId
    client_token: str
    stage: Stage
    type: str
    zone: str
    launch_type: LaunchType
    cpu_millis: int
    memory_mib: int
    address: str
    pod_address: str
    pod_address6: str = ""
    mac: str
    hostname: str
    user_data: str
    tags: dict[str, str] = {}
    launched_at: float = 0.0
    public_address: str = ""
    groups: tuple[str, ...] = ()
    checked: bool = True
    shared: str = ""
    """The generation of shared layers that it sees, if any."""
    pid: int = 0
    pid_started: int = 0
    boot: str = ""
    reason: str = ""

    @property
    def live(self) -> bool:
        """Whether anything of it may be running."""
        return self.stage is not Stage.TERMINATED


_STATES = {
    Stage.LAUNCHING: InstanceState.PENDING,
    Stage.RUNNING: InstanceState.RUNNING,
    Stage.STOPPING: InstanceState.STOPPING,
    Stage.TERMINATED: InstanceState.TERMINATED,
}


def instance_of(record: Record) -> Instance:
    """The record as the rest of the controller sees it."""
    return Instance(
        id=record.id,
        state=_STATES[record.stage],
        type=record.type,
        zone=record.zone,
        launch_type=record.launch_type,
        client_token=record.client_token,
        address=record.address,
        pod_address=record.pod_address,
        pod_address6=record.pod_address6,
        launched_at=record.launched_at,
        tags=dict(record.tags),
        state_reason=record.reason,
    )


def unknown(instance: InstanceId) -> Record:
    """A record for something that was found without one, enough to end it."""
    return Record(
        id=instance,
        client_token="",
        stage=Stage.STOPPING,
        type="",
        zone="",
        launch_type=LaunchType.ON_DEMAND,
        cpu_millis=0,
        memory_mib=0,
        address="",
        pod_address="",
        mac="",
        hostname="",
        user_data="",
    )


class InstanceRecords:
    """The folder of records, and all of them in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_id: dict[InstanceId, Record] = {}
        self._by_token: dict[str, InstanceId] = {}

    def load(self) -> None:
        """Read all that a former controller wrote. Raises Fault BROKEN naming the unreadable one."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in sorted(self._folder.glob("*.json")):
            try:
                self._keep(msgspec.json.decode(path.read_bytes(), type=Record))
            except msgspec.DecodeError as error:
                raise Fault(
                    Kind.BROKEN, f"record {path}", f"cannot be read: {error}", "remove it and sweep the cluster"
                ) from error

    def save(self, record: Record) -> Record:
        """Write it down, then know it."""
        files.replace(
            self._path(record.id), msgspec.json.encode(record)
        )  # its owner's alone: user-data holds a join token
        self._keep(record)
        return record

    def forget(self, record: Record) -> None:
        """Remove every trace."""
        self._path(record.id).unlink(missing_ok=True)
        self._by_id.pop(record.id, None)
        if self._by_token.get(record.client_token) == record.id:
            del self._by_token[record.client_token]

    def get(self, instance: InstanceId) -> Record | None:
        """The record of this instance."""
        return self._by_id.get(instance)

    def with_token(self, token: str) -> Record | None:
        """The record of the instance that was launched with this client token."""
        found = self._by_token.get(token)
        return self._by_id[found] if found else None

    def all(self) -> tuple[Record, ...]:
        """All of them, oldest first."""
        return tuple(self._by_id.values())

    def _keep(self, record: Record) -> None:
        self._by_id[record.id] = record
        self._by_token[record.client_token] = record.id

    def _path(self, instance: InstanceId) -> Path:
        return self._folder / f"{instance}.json"
