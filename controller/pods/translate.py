"""From a pod's manifest to CRI's sandbox and container configurations. Pure."""

from __future__ import annotations

import math
import stat
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.choice.quantity import millis, quantity
from controller.objects.fields import Json
from controller.pods import devices, dns_policy, hosts
from controller.pods.run import PodRun
from controller.pods.variables import environment, expand

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


def log_folder(pod: Json, container: str) -> str:
    """Where the logs of a container are on its cell."""
    return f"{_logs(pod['metadata'])}/{container}"


def _logs(metadata: Json) -> str:
    return f"/var/log/pods/{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def log_path(name: str, start: int) -> str:
    """Where the runtime writes a container's log below the sandbox's log folder."""
    return f"{name}/{start}.log"


def empty_folders(spec: Json) -> tuple[Folder, ...]:
    """The emptyDirs of a pod."""
    group = (spec.get("securityContext") or {}).get("fsGroup")
    mode = _EVERY_FLAG if group is None else _EVERY_FLAG | stat.S_ISGID
    return tuple(
        Folder(one["name"], mode, group or 0, _in_memory(spec, one["emptyDir"] or {}))
        for one in spec.get("volumes") or ()
        if "emptyDir" in one
    )


def _in_memory(spec: Json, empty_dir: Json) -> int | None:
    """As a kubelet sizes it: within its own limit and that of the pod, which is there where all containers have one."""
    if empty_dir.get("medium") != MEMORY:
        return None
    own = empty_dir.get("sizeLimit")
    limits = [((one.get("resources") or {}).get("limits") or {}).get("memory") for one in spec["containers"]]
    bounds = [quantity(own)] if own is not None else []
    if None not in limits:
        bounds.append(Decimal(sum(map(quantity, limits))))
    return math.ceil(min(bounds, default=0))


def sandbox_config(pod: Json, run: PodRun, domain: str = "") -> cri.PodSandboxConfig:
    """The sandbox of a pod on its present cell; `domain` is that of the names of Services, "" where there are none."""
    metadata, spec = pod["metadata"], pod["spec"]
    uid = metadata["uid"]
    identity = {
        "io.kubernetes.pod.name": metadata["name"],
        "io.kubernetes.pod.namespace": metadata["namespace"],
        "io.kubernetes.pod.uid": uid,
    }
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(
            name=metadata["name"], uid=uid, namespace=metadata["namespace"], attempt=run.attempt
        ),
        hostname="" if spec.get("hostNetwork") else hosts.host_name(pod, domain),
        log_directory=_logs(metadata),
        labels={**(metadata.get("labels") or {}), **identity},
        annotations=metadata.get("annotations") or {},
        linux=cri.LinuxPodSandboxConfig(security_context=_sandbox_security(spec), sysctls=_sysctls(spec)),
    )
    if (resolver := dns_policy.config(spec, metadata["namespace"], domain)) is not None:
        config.dns_config.CopyFrom(resolver)
    if not spec.get("hostNetwork"):
        config.port_mappings.extend(_ports(spec))
    return config


def _ports(spec: Json) -> list[cri.PortMapping]:
    return [
        cri.PortMapping(
            protocol=cri.Protocol.Value(port.get("protocol", "TCP")),
            container_port=port["containerPort"],
            host_port=port.get("hostPort", 0),
            host_ip=port.get("hostIP", ""),
        )
        for container in (*(spec.get("initContainers") or ()), *spec["containers"])
        for port in container.get("ports") or ()
    ]


def _sysctls(spec: Json) -> dict[str, str]:
    listed = (spec.get("securityContext") or {}).get("sysctls") or ()
    return {one["name"]: one["value"] for one in listed}


def _namespaces(spec: Json) -> cri.NamespaceOption:
    return cri.NamespaceOption(
        network=cri.NODE if spec.get("hostNetwork") else cri.POD,
        pid=cri.NODE if spec.get("hostPID") else cri.POD if spec.get("shareProcessNamespace") else cri.CONTAINER,
        ipc=cri.NODE if spec.get("hostIPC") else cri.POD,
    )


def _groups(spec: Json) -> list[int]:
    security: Json = spec.get("securityContext") or {}
    own = [security["fsGroup"]] if security.get("fsGroup") is not None else []
    return [*(security.get("supplementalGroups") or ()), *own]


def _groups_policy(spec: Json) -> Any:
    return cri.SupplementalGroupsPolicy.Value(
        (spec.get("securityContext") or {}).get("supplementalGroupsPolicy", "Merge")
    )


def _sandbox_security(spec: Json) -> cri.LinuxSandboxSecurityContext:
    security: Json = spec.get("securityContext") or {}
    privileged = any(
        (one.get("securityContext") or {}).get("privileged")
        for one in (*(spec.get("initContainers") or ()), *spec["containers"])
    )
    context = cri.LinuxSandboxSecurityContext(
        namespace_options=_namespaces(spec),
        supplemental_groups=_groups(spec),
        supplemental_groups_policy=_groups_policy(spec),
        privileged=privileged,
        seccomp=_profile(security.get("seccompProfile"), cri.SecurityProfile.Unconfined),
        selinux_options=_selinux(security.get("seLinuxOptions")),
    )
    if security.get("runAsUser") is not None:
        context.run_as_user.value = security["runAsUser"]
    if security.get("runAsGroup") is not None:
        context.run_as_group.value = security["runAsGroup"]
    return context


def _selinux(options: Json | None) -> cri.SELinuxOption | None:
    return cri.SELinuxOption(**options) if options else None


def _profile(profile: Json | None, default: Any) -> cri.SecurityProfile:
    if profile is None:
        return cri.SecurityProfile(profile_type=default)
    return cri.SecurityProfile(
        profile_type=cri.SecurityProfile.ProfileType.Value(profile["type"]),
        localhost_ref=profile.get("localhostProfile", ""),
    )


def container_config(
    pod: Json, container: Json, run: PodRun, image_id: str, start: int, shown: Mapping[str, str] = NO_IMAGES
) -> cri.ContainerConfig:
    """One start of a container: `image_id` is what PullImage or ImageStatus answered, `start` its number; `shown` are
    the ids of the images that are volumes, by volume.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    variables = environment(pod, container, run)
    security: Json = container.get("securityContext") or {}
    return cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=container["name"], attempt=start),
        image=cri.ImageSpec(image=image_id, user_specified_image=container["image"]),
        command=[expand(one, variables) for one in container.get("command") or ()],
        args=[expand(one, variables) for one in container.get("args") or ()],
        working_dir=container.get("workingDir", ""),
        envs=[cri.KeyValue(key=name, value=value.encode()) for name, value in variables.items()],
        mounts=_mounts(pod, container, start, variables, shown),
        devices=[
            cri.Device(host_path=path, container_path=path, permissions="rwm")
            for path in devices.others(metadata.get("annotations") or {})
        ],
        CDI_devices=[cri.CDIDevice(name=name) for name in devices.gpus(spec, container["name"])],
        labels={
            "io.kubernetes.container.name": container["name"],
            "io.kubernetes.pod.name": metadata["name"],
            "io.kubernetes.pod.namespace": metadata["namespace"],
            "io.kubernetes.pod.uid": metadata["uid"],
        },
        annotations={"io.kubernetes.container.restartCount": str(start)},
        log_path=log_path(container["name"], start),
        stdin=container.get("stdin", False),
        stdin_once=container.get("stdinOnce", False),
        tty=container.get("tty", False),
        linux=cri.LinuxContainerConfig(resources=resources(container), security_context=_security(spec, security)),
    )


def resources(container: Json) -> cri.LinuxContainerResources:
    """Shares from the CPU request, quota from its limit, memory from its limit, as the kubelet computes them."""
    given: Json = container.get("resources") or {}
    limits: Json = given.get("limits") or {}
    requests: Json = {**limits, **(given.get("requests") or {})}
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


def _oom_score(limits: Json, requests: Json) -> int:
    guaranteed = all(name in limits and requests[name] == limits[name] for name in ("cpu", "memory"))
    if guaranteed:
        return SPARED_BY_OOM
    return FIRST_FOR_OOM if not requests else FIRST_FOR_OOM - 1


def _security(spec: Json, own: Json) -> cri.LinuxContainerSecurityContext:
    shared: Json = spec.get("securityContext") or {}
    privileged = bool(own.get("privileged"))
    default = cri.SecurityProfile.Unconfined if privileged else cri.SecurityProfile.RuntimeDefault
    capabilities: Json = own.get("capabilities") or {}
    context = cri.LinuxContainerSecurityContext(
        capabilities=cri.Capability(
            add_capabilities=capabilities.get("add") or (), drop_capabilities=capabilities.get("drop") or ()
        ),
        privileged=privileged,
        namespace_options=_namespaces(spec),
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        supplemental_groups=_groups(spec),
        supplemental_groups_policy=_groups_policy(spec),
        no_new_privs=own.get("allowPrivilegeEscalation") is False,
        seccomp=_profile(own.get("seccompProfile") or shared.get("seccompProfile"), cri.SecurityProfile.Unconfined),
        apparmor=_profile(own.get("appArmorProfile") or shared.get("appArmorProfile"), default),
        selinux_options=_selinux(own.get("seLinuxOptions") or shared.get("seLinuxOptions")),
    )
    if not privileged:
        context.masked_paths.extend(MASKED_PATHS)
        context.readonly_paths.extend(READONLY_PATHS)
    for name in ("user", "group"):
        field = f"runAs{name.capitalize()}"
        value = own.get(field, shared.get(field))
        if value is not None:
            getattr(context, f"run_as_{name}").value = value
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
    pod: Json, container: Json, start: int, variables: dict[str, str], shown: Mapping[str, str]
) -> list[cri.Mount]:
    uid, spec = pod["metadata"]["uid"], pod["spec"]
    volumes: dict[str, Json] = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    # Of the account's own volume the spec says nothing.
    volumes.setdefault(ACCOUNT_VOLUME, {"name": ACCOUNT_VOLUME})
    mounts: list[cri.Mount] = []
    for mount in container.get("volumeMounts") or ():
        made = cri.Mount(
            container_path=mount["mountPath"] if mount["mountPath"].startswith("/") else f"/{mount['mountPath']}",
            readonly=mount.get("readOnly", False),
            propagation=_PROPAGATION[mount.get("mountPropagation", "None")],
            recursive_read_only=mount.get("recursiveReadOnly", "Disabled") != "Disabled",
        )
        if (image := shown.get(mount["name"])) is not None:
            made.image.image, made.readonly = image, True
            made.image_sub_path = _part(mount, variables)
        else:
            made.host_path = mount_source(uid, volumes[mount["name"]], mount, variables)
        mounts.append(made)
    folder = container_folder(uid, container["name"], start)
    if hosts.needs_file(spec) and not any(mount.container_path == _HOSTS for mount in mounts):
        mounts.append(cri.Mount(container_path=_HOSTS, host_path=f"{folder}/etc-hosts"))
    termination = cri.Mount(
        container_path=container.get("terminationMessagePath", "/dev/termination-log"),
        host_path=f"{folder}/termination-log",
    )
    return [*mounts, termination]


def mount_source(uid: str, volume: Json, mount: Json, variables: dict[str, str]) -> str:
    """The path on the cell of what a mount shows."""
    source = volume["hostPath"]["path"] if "hostPath" in volume else f"{volumes_folder(uid)}/{volume['name']}"
    part = _part(mount, variables)
    return f"{source}/{part}" if part else source


def _part(mount: Json, variables: dict[str, str]) -> str:
    return mount.get("subPath") or expand(mount.get("subPathExpr") or "", variables)


def part_folders(pod: Json, container: Json, run: PodRun) -> list[str]:
    """Folders on the cell that mounts show a part of, and that must be there: of volumes that pods fill."""
    uid, variables = pod["metadata"]["uid"], environment(pod, container, run)
    volumes: dict[str, Json] = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    found: list[str] = []
    for mount in container.get("volumeMounts") or ():
        volume: Json = volumes.get(mount["name"]) or {}
        part = bool(mount.get("subPath") or mount.get("subPathExpr"))
        created = (volume.get("hostPath") or {}).get("type") == "DirectoryOrCreate"
        begins_empty = not volume.keys().isdisjoint(("emptyDir", "nfs", "persistentVolumeClaim"))
        if (part and begins_empty) or created:
            found.append(mount_source(uid, volume, mount, variables))
    return found
