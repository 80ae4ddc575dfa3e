"""Records as CRI messages, and CRI's filters. Pure: values in, messages out."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from cellagent.runtime.ledger import ContainerEntry, Phase, SandboxEntry
from cellwire.cri.v1 import runtime_pb2 as cri


def sandbox_state(record: SandboxEntry) -> cri.PodSandboxState.ValueType:
    """READY while its namespaces and network stand."""
    return cri.SANDBOX_READY if record.phase is Phase.READY else cri.SANDBOX_NOTREADY


def container_state(record: ContainerEntry) -> cri.ContainerState.ValueType:
    """CRI's word for a container's phase."""
    match record.phase:
        case Phase.RUNNING:
            return cri.CONTAINER_RUNNING
        case Phase.EXITED | Phase.STOPPED:
            return cri.CONTAINER_EXITED
        case Phase.CREATED | Phase.STARTING | Phase.MAKING | Phase.READY | Phase.STOPPING:
            return cri.CONTAINER_CREATED


def sandbox(record: SandboxEntry) -> cri.PodSandbox:
    """As a line of ListPodSandbox."""
    config = record.parsed()
    return cri.PodSandbox(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def sandbox_status(record: SandboxEntry) -> cri.PodSandboxStatus:
    """As PodSandboxStatus tells it."""
    config = record.parsed()
    network = cri.PodSandboxNetworkStatus()
    if record.phase is Phase.READY and record.addresses:
        network.ip = record.addresses[0]
        network.additional_ips.extend(cri.PodIP(ip=address) for address in record.addresses[1:])
    options = config.linux.security_context.namespace_options
    return cri.PodSandboxStatus(
        id=record.id,
        metadata=config.metadata,
        state=sandbox_state(record),
        created_at=record.created_at,
        network=network,
        linux=cri.LinuxPodSandboxStatus(namespaces=cri.Namespace(options=options)),
        labels=config.labels,
        annotations=config.annotations,
        runtime_handler=record.handler,
    )


def container(record: ContainerEntry) -> cri.Container:
    """As a line of ListContainers."""
    config = record.parsed()
    return cri.Container(
        id=record.id,
        pod_sandbox_id=record.sandbox_id,
        metadata=config.metadata,
        image=config.image,
        image_ref=record.image_ref,
        state=container_state(record),
        created_at=record.created_at,
        labels=config.labels,
        annotations=config.annotations,
        image_id=record.image_id,
    )


def container_status(record: ContainerEntry) -> cri.ContainerStatus:
    """As ContainerStatus tells it."""
    config = record.parsed()
    user = cri.LinuxContainerUser(uid=record.uid, gid=record.gid, supplemental_groups=record.groups)
    status = cri.ContainerStatus(
        id=record.id,
        metadata=config.metadata,
        state=container_state(record),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        exit_code=record.exit_code,
        image=config.image,
        image_ref=record.image_ref,
        reason=record.reason,
        message=record.message,
        labels=config.labels,
        annotations=config.annotations,
        mounts=config.mounts,
        log_path=record.log_path,
        image_id=record.image_id,
        user=cri.ContainerUser(linux=user),
        stop_signal=stop_signal_value(record.stop_signal),
    )
    status.resources.linux.CopyFrom(resources(record))
    return status


def resources(record: ContainerEntry) -> cri.LinuxContainerResources:
    """Its present limits: those of the last update, else those it was created with."""
    if record.resources:
        return cri.LinuxContainerResources.FromString(record.resources)
    return record.parsed().linux.resources


def plain_resources(given: cri.LinuxContainerResources) -> dict[str, int | str]:
    """The single numbers and words of limits that are given, by CRI's names."""
    return {field.name: value for field, value in given.ListFields() if isinstance(value, int | str)}


def stop_signal_value(name: str) -> cri.Signal.ValueType:
    """CRI's enumeration of a signal's name ("SIGTERM", "RTMIN+3")."""
    plain = name.upper().removeprefix("SIG").replace("+", "PLUS").replace("-", "MINUS")
    try:
        return cri.Signal.Value(f"SIGNAL_SIG{plain}")
    except ValueError:
        return cri.SIGNAL_RUNTIME_DEFAULT


def signal_number(name: str) -> int:
    """The number of a signal's name or number as images and CRI write it; SIGTERM for what is none."""
    try:
        number = _signal_number(name.upper())
    except (KeyError, ValueError):  # also of a number of more digits than Python reads
        return int(signal.SIGTERM)
    return number if 0 < number <= signal.SIGRTMAX else int(signal.SIGTERM)


def _signal_number(name: str) -> int:
    if not name.isascii():
        raise ValueError("no signal has such a name")
    if name.isdecimal():
        return int(name)
    plain = name if name.startswith("SIG") else f"SIG{name}"
    base, mark, extra = plain.replace("PLUS", "+").replace("MINUS", "-").partition("+")
    if not mark:
        base, mark, extra = base.partition("-")
    aliases = {"SIGCLD": "SIGCHLD", "SIGPOLL": "SIGIO"}
    number = int(signal.Signals[aliases.get(base, base)])
    if mark and not extra.isdecimal():
        raise ValueError("no number follows the sign")
    return number + (int(extra) if mark == "+" else -int(extra) if mark else 0)


def ending(code: int, *, oom_killed: bool, known: bool = True) -> tuple[str, str]:
    """Reason and message of a container that ended by itself or was stopped."""
    if not known:
        return "Unknown", "the process that watched this container was killed, so its exit code is not known"
    if oom_killed and code != 0:
        return "OOMKilled", "the container was killed because it reached its memory limit"
    return ("Completed", "") if code == 0 else ("Error", "")


def has_labels(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether every label of the selector is there with the same value."""
    return all(labels.get(key) == value for key, value in selector.items())


def sandbox_wanted(record: SandboxEntry, wanted: cri.PodSandboxFilter) -> bool:
    """CRI's filter of sandboxes; every condition given must hold."""
    if wanted.id and not record.id.startswith(wanted.id):
        return False
    if wanted.HasField("state") and wanted.state.state != sandbox_state(record):
        return False
    return not wanted.label_selector or has_labels(record.parsed().labels, wanted.label_selector)


def container_wanted(record: ContainerEntry, wanted: cri.ContainerFilter) -> bool:
    """CRI's filter of containers; every condition given must hold."""
    if wanted.id and not record.id.startswith(wanted.id):
        return False
    if wanted.pod_sandbox_id and not record.sandbox_id.startswith(wanted.pod_sandbox_id):
        return False
    if wanted.HasField("state") and wanted.state.state != container_state(record):
        return False
    return not wanted.label_selector or has_labels(record.parsed().labels, wanted.label_selector)


def event(
    kind: cri.ContainerEventType.ValueType,
    at: int,
    container_id: str,
    of: SandboxEntry,
    beside: tuple[ContainerEntry, ...],
) -> cri.ContainerEventResponse:
    """An event with the sandbox and all its containers as they stand after it."""
    return cri.ContainerEventResponse(
        container_id=container_id,
        container_event_type=kind,
        created_at=at,
        pod_sandbox_status=sandbox_status(of),
        containers_statuses=[container_status(record) for record in beside],
    )
