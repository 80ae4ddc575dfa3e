"""What volumes and variables hold that a pod takes from config maps, secrets, its own fields and its account. Pure.

A volume is written as a kubelet writes it: a generation of all files in a hidden folder, the link `..data` to it, and a
link through that for each file, so that one swap shows all of a change at once.
"""

from __future__ import annotations

import base64
import hashlib
import json
import stat
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from controller.objects.fields import Json
from controller.pods.run import PodRun
from controller.pods.translate import ACCOUNT_VOLUME
from controller.pods.variables import field_text, resource_text

# An object by kind, namespace and name.
Lookup = Callable[[str, str, str], Json | None]
# A token of the pod's account for an audience ("" for this API) and so many seconds; None where it has no account.
TokenOf = Callable[[str, int], str | None]
CONFIG_MAPS, SECRETS = "configmaps", "secrets"
KINDS = ("configMap", "secret", "downwardAPI", "projected")
CURRENT = "..data"
_SINGULAR = {CONFIG_MAPS: "configmap", SECRETS: "secret"}
TOKEN_SECONDS = 3607


class Missing(Exception):
    """An object, or a key of it, that the pod must have and that is not there (yet)."""


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


def has_content(volume: Json) -> bool:
    """Whether a volume's files are made from objects."""
    return any(kind in volume for kind in KINDS)


def files(volume: Json, pod: Json, run: PodRun, sources: Sources) -> dict[str, File]:
    """The files of a volume by their path in it. Raises Missing."""
    for kind in KINDS:
        if kind in volume:
            source: Json = volume[kind]
            mode = int(source.get("defaultMode", 0o644))
            if kind != "projected":
                return dict(_source(kind, source, pod, run, sources, mode))
            found: dict[str, File] = {}
            for projection in source.get("sources") or ():
                for name, one in projection.items():
                    found.update(_source(name, one, pod, run, sources, mode))
            return found
    return {}


def _source(kind: str, source: Json, pod: Json, run: PodRun, sources: Sources, mode: int) -> Iterator[tuple[str, File]]:
    namespace = pod["metadata"]["namespace"]
    match kind:
        case "configMap":
            one = _found(sources.lookup, CONFIG_MAPS, namespace, source.get("name", ""), source)
            yield from _items(_config_map(one), source, mode, f'configmap "{source.get("name", "")}"')
        case "secret":
            name = source.get("secretName") or source.get("name", "")
            one = _found(sources.lookup, SECRETS, namespace, name, source)
            yield from _items(_secret(one), source, mode, f'secret "{name}"')
        case "downwardAPI":
            for item in source.get("items") or ():
                yield item["path"], File(_downward(item, pod, run).encode(), int(item.get("mode") or mode))
        case "serviceAccountToken":
            token = sources.token(source.get("audience", ""), int(source.get("expirationSeconds") or TOKEN_SECONDS))
            if token is None:
                account = pod["spec"].get("serviceAccountName", "default")
                raise Missing(f'service account "{account}" not found')
            # Readable by the group where there is one, else by everybody: the process may be any user.
            yield source["path"], File(token.encode(), 0o644)
        case _:
            return


def _found(lookup: Lookup, key: str, namespace: str, name: str, reference: Json) -> Json | None:
    one = lookup(key, namespace, name)
    if one is None and not reference.get("optional"):
        raise Missing(f'{_SINGULAR[key]} "{name}" not found')
    return one


def _config_map(one: Json | None) -> dict[str, bytes]:
    held: Json = one or {}
    texts = {key: value.encode() for key, value in (held.get("data") or {}).items()}
    return texts | {key: base64.b64decode(value) for key, value in (held.get("binaryData") or {}).items()}


def _secret(one: Json | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value or "") for key, value in ((one or {}).get("data") or {}).items()}


def _items(data: dict[str, bytes], source: Json, mode: int, whose: str) -> Iterator[tuple[str, File]]:
    items: list[Json] = source.get("items") or [{"key": key, "path": key} for key in sorted(data)]
    for item in items:
        if item["key"] in data:
            yield item["path"], File(data[item["key"]], int(item.get("mode") or mode))
        elif not source.get("optional"):
            raise Missing(f"{whose} references non-existent key: {item['key']}")


def _downward(item: Json, pod: Json, run: PodRun) -> str:
    if "resourceFieldRef" in item:
        reference = item["resourceFieldRef"]
        container = next(
            (one for one in pod["spec"]["containers"] if one["name"] == reference.get("containerName")),
            pod["spec"]["containers"][0],
        )
        return resource_text(pod["spec"], container, reference)
    path: str = item["fieldRef"]["fieldPath"]
    if path in {"metadata.labels", "metadata.annotations"}:
        held: Json = pod["metadata"].get(path.removeprefix("metadata.")) or {}
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


def with_variables(container: Json, namespace: str, lookup: Lookup) -> Json:
    """The container with the variables that it takes from objects written out. Raises Missing."""
    env: list[Json] = []
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for field, key, read in (("configMapRef", CONFIG_MAPS, _config_map), ("secretRef", SECRETS, _secret)):
            if reference := source.get(field):
                one = _found(lookup, key, namespace, reference.get("name", ""), reference)
                env += [_literal(f"{prefix}{name}", value) for name, value in sorted(read(one).items()) if _named(name)]
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or {}
        if "configMapKeyRef" in source or "secretKeyRef" in source:
            value = _value(source, namespace, lookup)
            env += [_literal(entry["name"], value)] if value is not None else []
        else:
            env.append(entry)
    return {**container, "env": env}


def _named(name: str) -> bool:
    return bool(name) and "=" not in name


def _value(source: Json, namespace: str, lookup: Lookup) -> bytes | None:
    field, key, read = (
        ("configMapKeyRef", CONFIG_MAPS, _config_map)
        if "configMapKeyRef" in source
        else ("secretKeyRef", SECRETS, _secret)
    )
    reference: Json = source[field]
    name = reference.get("name", "")
    data = read(_found(lookup, key, namespace, name, reference))
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        raise Missing(f"couldn't find key {reference['key']} in {_SINGULAR[key].capitalize()} {namespace}/{name}")
    return data[reference["key"]]


def _literal(name: str, value: bytes) -> Json:
    # Variables in what objects hold are not expanded.
    return {"name": name, "value": value.decode(errors="replace").replace("$", "$$")}


ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"


def account_volume() -> Json:
    """The volume that every pod with a service account has: its token, whom to trust, and its namespace."""
    return {
        "name": ACCOUNT_VOLUME,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ],
        },
    }


def docker_logins(secrets: list[Json], host: str, repository: str) -> list[tuple[str, str]]:
    """Names and passwords for a registry in secrets of type dockerconfigjson or dockercfg, the best match first."""
    found: list[tuple[int, str, str]] = []
    for secret in secrets:
        data = _secret(secret)
        for key in (".dockerconfigjson", ".dockercfg"):
            try:
                held: Any = json.loads(data.get(key) or b"{}")
            except ValueError:
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
