"""What volumes and variables hold that a pod takes from config maps, secrets, its own fields and its account. Pure.

A volume is written as a kubelet writes it: a generation of all files in a hidden folder, the link `..data` to it, and a
link through that for each file, so that one swap shows all of a change at once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from cellwire import strangers_json
from controller.objects.fields import Json
from controller.objects.schema.containers import AnyContainer, Container
from controller.objects.schema.pods import Pod, PodSpec
from controller.objects.schema.references import KeyToPath, ObjectFieldSelector
from controller.objects.schema.volumes import (
    ConfigMapProjection,
    ConfigMapVolumeSource,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    ProjectedVolumeSource,
    SecretProjection,
    SecretVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from controller.pods import config_data
from controller.pods.config_data import CONFIG_MAPS, SECRETS, Lookup, Missing
from controller.pods.run import PodRun
from controller.pods.translate import ACCOUNT_VOLUME
from controller.pods.variables import field_text, resource_text

# A token of the pod's account for an audience ("" for this API) and so many seconds; None where it has no account.
TokenOf = Callable[[str, int], str | None]
CURRENT = "..data"
TOKEN_SECONDS = 3607

# Whatever takes keys of an object for files.
_OfKeys = ConfigMapVolumeSource | ConfigMapProjection | SecretVolumeSource | SecretProjection


class File(msgspec.Struct, frozen=True):
    """A file of a volume: its bytes and permissions."""

    data: bytes
    mode: int


class Entry(msgspec.Struct, frozen=True):
    """One entry of a tree on the cell: a folder, a file with `data`, or a link to `target`."""

    path: str
    mode: int
    gid: int = 0
    data: bytes = b""
    target: str = ""


class Sources(msgspec.Struct, frozen=True):
    """Where content comes from."""

    lookup: Lookup
    token: TokenOf


def has_content(volume: Volume) -> bool:
    """Whether a volume's files are made from objects."""
    return (volume.configMap or volume.secret or volume.downwardAPI or volume.projected) is not None


def files(volume: Volume, pod: Pod, run: PodRun, sources: Sources) -> dict[str, File]:
    """The files of a volume by their path in it. Raises Missing."""
    whole = _Whole(pod, run, sources)
    if (one := volume.configMap) is not None:
        return dict(whole.config_map(one, _mode(one.defaultMode)))
    if (one := volume.secret) is not None:
        return dict(whole.secret(one.secretName, one, _mode(one.defaultMode)))
    if (one := volume.downwardAPI) is not None:
        return dict(whole.downward(one.items, _mode(one.defaultMode)))
    found: dict[str, File] = {}
    projected = volume.projected or ProjectedVolumeSource()
    for one in projected.sources:
        found.update(_projection(one, whole, _mode(projected.defaultMode)))
    return found


def _projection(source: VolumeProjection, whole: _Whole, mode: int) -> Iterator[tuple[str, File]]:
    if source.configMap is not None:
        yield from whole.config_map(source.configMap, mode)
    if source.secret is not None:
        yield from whole.secret(source.secret.name, source.secret, mode)
    if source.downwardAPI is not None:
        yield from whole.downward(source.downwardAPI.items, mode)
    if source.serviceAccountToken is not None:
        yield from whole.token(source.serviceAccountToken)


def _mode(given: int | None, default: int = 0o644) -> int:
    return default if given is None else given


class _Whole(msgspec.Struct, frozen=True):
    """What the files of one volume are made of."""

    pod: Pod
    run: PodRun
    sources: Sources

    def config_map(self, source: ConfigMapVolumeSource | ConfigMapProjection, mode: int) -> Iterator[tuple[str, File]]:
        one = config_data.found(
            self.sources.lookup, CONFIG_MAPS, self.pod.metadata.namespace, source.name, source.optional
        )
        yield from _items(config_data.config_map(one), source, mode, f'configmap "{source.name}"')

    def secret(self, name: str, source: SecretVolumeSource | SecretProjection, mode: int) -> Iterator[tuple[str, File]]:
        one = config_data.found(self.sources.lookup, SECRETS, self.pod.metadata.namespace, name, source.optional)
        yield from _items(config_data.secret(one), source, mode, f'secret "{name}"')

    def downward(self, listed: Iterable[DownwardAPIVolumeFile], mode: int) -> Iterator[tuple[str, File]]:
        for item in listed:
            yield item.path, File(_downward(item, self.pod, self.run).encode(), _mode(item.mode, mode))

    def token(self, source: ServiceAccountTokenProjection) -> Iterator[tuple[str, File]]:
        token = self.sources.token(source.audience, source.expirationSeconds or TOKEN_SECONDS)
        if token is None:
            account = self.pod.spec.serviceAccountName or "default"
            raise Missing(f'service account "{account}" not found')
        # Readable by the group where there is one, else by everybody: the process may be any user.
        yield source.path, File(token.encode(), 0o644)


def _items(data: dict[str, bytes], source: _OfKeys, mode: int, whose: str) -> Iterator[tuple[str, File]]:
    for item in source.items or [KeyToPath(key=key, path=key) for key in sorted(data)]:
        if item.key in data:
            yield item.path, File(data[item.key], _mode(item.mode, mode))
        elif not source.optional:
            raise Missing(f"{whose} references non-existent key: {item.key}")


def _downward(item: DownwardAPIVolumeFile, pod: Pod, run: PodRun) -> str:
    if (reference := item.resourceFieldRef) is not None:
        listed = pod.spec.containers
        container = next((one for one in listed if one.name == reference.containerName), listed[0])
        return resource_text(pod.spec, container, reference)
    if item.fieldRef is None:  # as an older version took it; a kubelet writes an empty file, too
        return ""
    path = item.fieldRef.fieldPath
    if path in {"metadata.labels", "metadata.annotations"}:
        held = pod.metadata.labels if path == "metadata.labels" else pod.metadata.annotations
        return "".join(f"{name}={json.dumps(value)}\n" for name, value in sorted(held.items()))
    return field_text(pod, run, path)


def tree(content: dict[str, File], group: int | None) -> list[Entry]:
    """The entries of a volume with these files; `group` is the pod's fsGroup."""
    listed = sorted(content.items())
    digest = hashlib.sha256()
    for path, file in listed:
        digest.update(f"{path}\0{file.mode}\0{len(file.data)}\0".encode() + file.data)
    generation = f"..{digest.hexdigest()[:24]}"
    gid, folder = group or 0, stat.S_IFDIR | (0o755 if group is None else 0o2775)
    entries = [Entry(".", stat.S_IFDIR | 0o777, gid), Entry(generation, folder, gid)]
    made: set[str] = set()
    for path, file in listed:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            inner = "/".join(parts[:depth])
            if inner not in made:
                made.add(inner)
                entries.append(Entry(f"{generation}/{inner}", folder, gid))
        mode = file.mode if group is None else file.mode | 0o040
        entries.append(Entry(f"{generation}/{path}", stat.S_IFREG | mode, gid, data=file.data))
    link = stat.S_IFLNK | 0o777
    entries.append(Entry(CURRENT, link, gid, target=generation))
    tops = dict.fromkeys(path.split("/")[0] for path, _ in listed)
    return [*entries, *(Entry(top, link, gid, target=f"{CURRENT}/{top}") for top in tops)]


ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


# The volume that every pod with a service account has: its token, whom to trust, and its namespace.
ACCOUNT = Volume(
    name=ACCOUNT_VOLUME,
    projected=ProjectedVolumeSource(
        defaultMode=0o644,
        sources=(
            VolumeProjection(
                serviceAccountToken=ServiceAccountTokenProjection(path="token", expirationSeconds=TOKEN_SECONDS)
            ),
            VolumeProjection(
                downwardAPI=DownwardAPIProjection(
                    items=(
                        DownwardAPIVolumeFile(
                            path="namespace", fieldRef=ObjectFieldSelector(fieldPath="metadata.namespace")
                        ),
                    )
                )
            ),
        ),
    ),
)


def docker_logins(secrets: list[Json], host: str, repository: str) -> list[tuple[str, str]]:
    """Names and passwords for a registry in secrets of type dockerconfigjson or dockercfg, the best match first."""
    found: list[tuple[int, str, str]] = []
    for secret in secrets:
        data = config_data.secret(secret)
        for key in (".dockerconfigjson", ".dockercfg"):
            try:
                held: Any = strangers_json.decode(data.get(key) or b"{}")
            except msgspec.DecodeError:
                continue
            auths: Any = held.get("auths") if key == ".dockerconfigjson" and isinstance(held, dict) else held
            for place, auth in auths.items() if isinstance(auths, dict) else ():
                if isinstance(auth, dict) and (length := _matches(str(place), host, repository)):
                    found.append((length, *_login(auth)))
    return [(name, password) for _, name, password in sorted(found, key=lambda one: -one[0]) if name]


_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


def _matches(place: str, host: str, repository: str) -> int:
    """How much of an image's place this names; 0 for another one."""
    place = place.partition("://")[2] or place
    named, _, path = place.strip("/").partition("/")
    path = "" if path in {"v1", "v2", "v1/", "v2/"} else path
    same = named == host or (named in _HUB and host in _HUB) or _is_like(named, host)
    if not same or (path and repository != path and not repository.startswith(f"{path}/")):
        return 0
    return 1 + len(path)


def _is_like(pattern: str, host: str) -> bool:
    """Whether a pattern as a kubelet takes them (`*.example.com`, `k8s.*.io`, `app*.k8s.io`) stands for a host, whose
    port must be named.
    """
    (wanted, _, its), (there, _, port) = pattern.partition(":"), host.partition(":")
    labels, parts = wanted.split("."), there.split(".")
    return its == port and len(labels) == len(parts) and all(map(fnmatchcase, parts, labels))


def _login(auth: Json) -> tuple[str, str]:
    if auth.get("username"):
        return str(auth["username"]), str(auth.get("password", ""))
    try:
        name, _, password = base64.b64decode(str(auth.get("auth", ""))).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password


def image_volumes(spec: PodSpec, container: AnyContainer) -> dict[str, Container]:
    """The image volumes that a container mounts, by name: each as a container of that image would be pulled."""
    mounted = {mount.name for mount in container.volumeMounts}
    return {
        volume.name: Container(
            name=container.name, image=volume.image.reference, imagePullPolicy=volume.image.pullPolicy
        )
        for volume in spec.volumes
        if volume.image is not None and volume.name in mounted
    }
