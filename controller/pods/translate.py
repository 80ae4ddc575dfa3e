"""From a pod's manifest to CRI's sandbox and container configurations. Pure."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import asdict

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.choice.quantity import millis, quantity
from controller.objects.schema.base import Quantity
from controller.objects.schema.containers import (
    AnyContainer,
    AppArmorProfile,
    Capabilities,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
    VolumeMount,
)
from controller.objects.schema.meta import ObjectMeta
from controller.objects.schema.pods import Pod, PodSecurityContext, PodSpec
from controller.objects.schema.volumes import EmptyDirVolumeSource, Volume
from controller.pods import devices, dns_policy, hosts
from controller.pods.run import PodRun
from controller.pods.variables import expand

ACCOUNT_VOLUME = "kube-api-access"
PODS_FOLDER = "/var/lib/chinampa/pods"
CPU_PERIOD = 100_000
LEAST_QUOTA = 1_000
LEAST_SHARES, MOST_SHARES = 2, 262_144
# The medium of an emptyDir that is a file system in memory.
MEMORY = "Memory"
SPARED_BY_OOM, FIRST_FOR_OOM = -997, 1000
_HOSTS = "/etc/hosts"
NO_IMAGES: Mapping[str, str] = {}
_EVERY_FLAG = stat.S_IFDIR | 0o777


class Folder(msgspec.Struct, frozen=True):
    """A folder to be made on the cell for an emptyDir: its name below the pod's volumes, mode and group; where it is to
    be in memory, the most bytes that it may hold (0: half of the cell's memory).
    """

    name: str
    mode: int
    gid: int
    memory: int | None = None


def volumes_folder(uid: str) -> str:
    """Where a pod's emptyDirs are on its cell."""
    return f"{PODS_FOLDER}/{uid}/volumes"


def container_folder(uid: str, name: str, start: int) -> str:
    """Where the files belonging to one start of a container are on its cell."""
    return f"{PODS_FOLDER}/{uid}/containers/{name}/{start}"


def log_folder(pod: Pod, container: str) -> str:
    """Where the logs of a container are on its cell."""
    return f"{_logs(pod.metadata)}/{container}"


def _logs(metadata: ObjectMeta) -> str:
    return f"/var/log/pods/{metadata.namespace}_{metadata.name}_{metadata.uid}"


def log_path(name: str, start: int) -> str:
    """Where the runtime writes a container's log below the sandbox's log folder."""
    return f"{name}/{start}.log"


def empty_folders(spec: PodSpec) -> tuple[Folder, ...]:
    """The emptyDirs of a pod."""
    group = _shared(spec).fsGroup
    mode = _EVERY_FLAG if group is None else _EVERY_FLAG | stat.S_ISGID
    return tuple(
        Folder(one.name, mode, group or 0, _in_memory(spec, one.emptyDir))
        for one in spec.volumes
        if one.emptyDir is not None
    )


def _shared(spec: PodSpec) -> PodSecurityContext:
    """What holds for all containers of the pod that do not say otherwise."""
    return spec.securityContext or PodSecurityContext()


def _in_memory(spec: PodSpec, empty_dir: EmptyDirVolumeSource) -> int | None:
    """As a kubelet sizes it: within its own limit and that of the pod, which is there where all containers have one."""
    if empty_dir.medium != MEMORY:
        return None
    limits = [one.resources.limits.get("memory") for one in spec.containers]
    bounds = [quantity(empty_dir.sizeLimit)] if empty_dir.sizeLimit is not None else []
    if None not in limits:
        bounds.append(Decimal(sum(map(quantity, limits))))
    return math.ceil(min(bounds, default=0))


def sandbox_config(pod: Pod, run: PodRun, domain: str = "") -> cri.PodSandboxConfig:
    """The sandbox of a pod on its present cell; `domain` is that of the names of Services, "" where there are none."""
    metadata, spec = pod.metadata, pod.spec
    identity = {
        "io.kubernetes.pod.name": metadata.name,
        "io.kubernetes.pod.namespace": metadata.namespace,
        "io.kubernetes.pod.uid": metadata.uid,
    }
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=metadata.name, uid=metadata.uid, namespace=metadata.namespace, attempt=run.attempt
        ),
        hostname="" if spec.hostNetwork else hosts.host_name(pod, domain),
        log_directory=_logs(metadata),
        labels={**metadata.labels, **identity},
        annotations=metadata.annotations,
        linux=cri.LinuxPodSandboxConfig(security_context=_sandbox_security(spec), sysctls=_sysctls(spec)),
    )
    if (resolver := dns_policy.config(spec, metadata.namespace, domain)) is not None:
        config.dns_config.CopyFrom(resolver)
    if not spec.hostNetwork:
        config.port_mappings.extend(_ports(spec))
    return config


def _ports(spec: PodSpec) -> list[cri.PortMapping]:
    return [
        cri.PortMapping(
            protocol=cri.Protocol.Value(port.protocol or "TCP"),
            container_port=port.containerPort,
            host_port=port.hostPort,
            host_ip=port.hostIP,
        )
        for container in (*spec.initContainers, *spec.containers)
        for port in container.ports
    ]


def _sysctls(spec: PodSpec) -> dict[str, str]:
    return {one.name: one.value for one in _shared(spec).sysctls}


def _namespaces(spec: PodSpec) -> cri.NamespaceOption:
    return cri.NamespaceOption(
        network=cri.NODE if spec.hostNetwork else cri.POD,
        pid=cri.NODE if spec.hostPID else cri.POD if spec.shareProcessNamespace else cri.CONTAINER,
        ipc=cri.NODE if spec.hostIPC else cri.POD,
    )


def _groups(spec: PodSpec) -> list[int]:
    security = _shared(spec)
    own = [security.fsGroup] if security.fsGroup is not None else []
    return [*security.supplementalGroups, *own]


def _groups_policy(spec: PodSpec) -> Any:
    return cri.SupplementalGroupsPolicy.Value(_shared(spec).supplementalGroupsPolicy or "Merge")


def _sandbox_security(spec: PodSpec) -> cri.LinuxSandboxSecurityContext:
    security = _shared(spec)
    privileged = any(
        one.securityContext is not None and one.securityContext.privileged
        for one in (*spec.initContainers, *spec.containers)
    )
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(spec),
        supplemental_groups=_groups(spec),
        supplemental_groups_policy=_groups_policy(spec),
        privileged=privileged,
        seccomp=_profile(security.seccompProfile, cri.SecurityProfile.Unconfined),
        selinux_options=_selinux(security.seLinuxOptions),
    )
    if security.runAsUser is not None:
        context.run_as_user.value = security.runAsUser
    if security.runAsGroup is not None:
        context.run_as_group.value = security.runAsGroup
    return context


def _selinux(options: SELinuxOptions | None) -> cri.SELinuxOption | None:
    return None if options is None or options == SELinuxOptions() else cri.SELinuxOption(**asdict(options))


def _profile(profile: SeccompProfile | AppArmorProfile | None, default: Any) -> cri.SecurityProfile:
    if profile is None:
        return cri.SecurityProfile(profile_type=default)
    return cri.SecurityProfile(
        profile_type=cri.SecurityProfile.ProfileType.Value(profile.type),
        localhost_ref=profile.localhostProfile,
    )


def container_config(
    pod: Pod,
    container: AnyContainer,
    variables: Mapping[str, str],
    image_id: str,
    start: int,
    shown: Mapping[str, str] = NO_IMAGES,
) -> cri.ContainerConfig:
    """One start of a container with these variables: `image_id` is what PullImage or ImageStatus answered, `start` its
    number; `shown` are the ids of the images that are volumes, by volume.
    """
    metadata, spec = pod.metadata, pod.spec
    security = container.securityContext or SecurityContext()
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container.name, attempt=start),
        image=cri.ImageSpec(image=image_id, user_specified_image=container.image),
        command=[expand(one, variables) for one in container.command],
        args=[expand(one, variables) for one in container.args],
        working_dir=container.workingDir,
        envs=[cri.KeyValue(key=name, value=value.encode()) for name, value in variables.items()],
        mounts=_mounts(pod, container, start, variables, shown),
        devices=[
            cri.Device(host_path=path, container_path=path, permissions="rwm")
            for path in devices.others(metadata.annotations)
        ],
        CDI_devices=[cri.CDIDevice(name=name) for name in devices.gpus(spec, container.name)],
        labels={
            "io.kubernetes.container.name": container.name,
            "io.kubernetes.pod.name": metadata.name,
            "io.kubernetes.pod.namespace": metadata.namespace,
            "io.kubernetes.pod.uid": metadata.uid,
        },
        annotations={"io.kubernetes.container.restartCount": str(start)},
        log_path=log_path(container.name, start),
        stdin=container.stdin,
        stdin_once=container.stdinOnce,
        tty=container.tty,
        linux=cri.LinuxContainerConfig(resources=resources(container), security_context=_security(spec, security)),
    )


def resources(container: AnyContainer) -> cri.LinuxContainerResources:
    """Shares from the CPU request, quota from its limit, memory from its limit, as the kubelet computes them."""
    limits = container.resources.limits
    requests = {**limits, **container.resources.requests}
    asked = millis(requests.get("cpu", 0))
    computed = cri.LinuxContainerResources(
        cpu_shares=min(max(asked * 1024 // 1000, LEAST_SHARES), MOST_SHARES), oom_score_adj=_oom_score(limits, requests)
    )
    if "cpu" in limits:
        computed.cpu_period = CPU_PERIOD
        computed.cpu_quota = max(millis(limits["cpu"]) * CPU_PERIOD // 1000, LEAST_QUOTA)
    if "memory" in limits:
        computed.memory_limit_in_bytes = math.ceil(quantity(limits["memory"]))
    return computed


def _oom_score(limits: Mapping[str, Quantity], requests: Mapping[str, Quantity]) -> int:
    guaranteed = all(name in limits and requests[name] == limits[name] for name in ("cpu", "memory"))
    if guaranteed:
        return SPARED_BY_OOM
    return FIRST_FOR_OOM if not requests else FIRST_FOR_OOM - 1


def _security(spec: PodSpec, own: SecurityContext) -> cri.LinuxContainerSecurityContext:
    shared = _shared(spec)
    privileged = bool(own.privileged)
    default = cri.SecurityProfile.Unconfined if privileged else cri.SecurityProfile.RuntimeDefault
    capabilities = own.capabilities or Capabilities()
    context = cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(add_capabilities=capabilities.add, drop_capabilities=capabilities.drop),
        privileged=privileged,
        namespace_options=_namespaces(spec),
        readonly_rootfs=bool(own.readOnlyRootFilesystem),
        supplemental_groups=_groups(spec),
        supplemental_groups_policy=_groups_policy(spec),
        no_new_privs=own.allowPrivilegeEscalation is False,
        seccomp=_profile(own.seccompProfile or shared.seccompProfile, cri.SecurityProfile.Unconfined),
        apparmor=_profile(own.appArmorProfile or shared.appArmorProfile, default),
        selinux_options=_selinux(own.seLinuxOptions or shared.seLinuxOptions),
    )
    if not privileged:
        context.masked_paths.extend(MASKED_PATHS)
        context.readonly_paths.extend(READONLY_PATHS)
    if (user := shared.runAsUser if own.runAsUser is None else own.runAsUser) is not None:
        context.run_as_user.value = user
    if (group := shared.runAsGroup if own.runAsGroup is None else own.runAsGroup) is not None:
        context.run_as_group.value = group
    return context


MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_PROPAGATION = {
    "None": cri.PROPAGATION_PRIVATE,
    "HostToContainer": cri.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": cri.PROPAGATION_BIDIRECTIONAL,
}


def _mounts(
    pod: Pod, container: AnyContainer, start: int, variables: Mapping[str, str], shown: Mapping[str, str]
) -> list[cri.Mount]:
    uid, spec = pod.metadata.uid, pod.spec
    volumes = {volume.name: volume for volume in spec.volumes}
    # Of the account's own volume the spec says nothing.
    volumes.setdefault(ACCOUNT_VOLUME, Volume(name=ACCOUNT_VOLUME))
    mounts: list[cri.Mount] = []
    for mount in container.volumeMounts:
        made = cri.Mount(
            container_path=mount.mountPath if mount.mountPath.startswith("/") else f"/{mount.mountPath}",
            readonly=mount.readOnly,
            propagation=_PROPAGATION[mount.mountPropagation or "None"],
            recursive_read_only=mount.recursiveReadOnly not in {"", "Disabled"},
        )
        if (image := shown.get(mount.name)) is not None:
            made.image.image, made.readonly = image, True
        else:
            # A cell takes the part from within the volume, in which other containers may have put links.
            made.host_path = mount_source(uid, volumes[mount.name])
        made.image_sub_path = _part(mount, variables)
        mounts.append(made)
    folder = container_folder(uid, container.name, start)
    if hosts.needs_file(spec) and not any(mount.container_path == _HOSTS for mount in mounts):
        mounts.append(cri.Mount(container_path=_HOSTS, host_path=f"{folder}/etc-hosts"))
    termination = cri.Mount(
        container_path=container.terminationMessagePath or "/dev/termination-log",
        host_path=f"{folder}/termination-log",
    )
    return [*mounts, termination]


def mount_source(uid: str, volume: Volume) -> str:
    """The path on the cell of a volume."""
    return volume.hostPath.path if volume.hostPath is not None else f"{volumes_folder(uid)}/{volume.name}"


def _part(mount: VolumeMount, variables: Mapping[str, str]) -> str:
    return mount.subPath or expand(mount.subPathExpr, variables)


def created_folders(pod: Pod, container: AnyContainer) -> list[str]:
    """The folders of a cell that a container mounts, and that its pod wants to be made where they are not there."""
    mounted = {mount.name for mount in container.volumeMounts}
    named = [volume.hostPath for volume in pod.spec.volumes if volume.name in mounted]
    return [one.path for one in named if one is not None and one.type == "DirectoryOrCreate"]
