"""Discovery: versions, groups and resources that this API serves, in the legacy and in the aggregated form. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.objects.fields import Json
from controller.objects.resource import Resource

VERSION: Json = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+chinampa",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_INFO: Json = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
OPENAPI_V2: Json = {"swagger": "2.0", "info": _INFO, "paths": {}}


def by_version(resources: Iterable[Resource]) -> dict[tuple[str, str], list[Resource]]:
    """Resources by their group and version, the core first."""
    found: dict[tuple[str, str], list[Resource]] = {}
    for one in sorted(resources, key=lambda one: (one.group, one.version, one.name)):
        found.setdefault((one.group, one.version), []).append(one)
    return found


def versions(address: str) -> Json:
    """/api."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups(known: Iterable[tuple[str, str]]) -> Json:
    """/apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*one) for one in _versions(known).items()]}


def group(name: str, known: Iterable[tuple[str, str]]) -> Json:
    """/apis/<group>."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, _versions(known)[name])}


def _versions(known: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The versions of each group but the core, the newest first: that is the one to use."""
    found: dict[str, list[str]] = {}
    for name, version in known:
        if name:
            found[name] = sorted([*found.get(name, ()), version], reverse=True)
    return found


def _group(name: str, versions: Sequence[str]) -> Json:
    told = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": told, "preferredVersion": told[0]}


def paths(documents: Iterable[str]) -> Json:
    """/: where there is something to read."""
    return {"paths": sorted({"/", "/api", "/apis", "/healthz", "/livez", "/metrics", "/readyz", *documents})}


def resources(group_version: str, listed: Sequence[Resource]) -> Json:
    """/api/v1 and /apis/…/v1."""
    found: list[Json] = []
    for one in listed:
        found.append(
            {
                "name": one.name,
                "singularName": one.kind.lower(),
                "namespaced": one.namespaced,
                "kind": one.kind,
                "verbs": one.verbs,
                **({"shortNames": one.short} if one.short else {}),
                **({"categories": one.categories} if one.categories else {}),
            }
        )
        found.extend(
            {
                "name": f"{one.name}/{part.name}",
                "singularName": "",
                "namespaced": one.namespaced,
                "kind": part.kind,
                "verbs": part.verbs,
                **({"group": part.group, "version": part.version} if part.group else {}),
            }
            for part in one.subresources
        )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}


def aggregated(known: Iterable[tuple[tuple[str, str], Sequence[Resource]]]) -> Json:
    """/api or /apis in one document."""
    groups: dict[str, list[Json]] = {}
    for (name, version), listed in sorted(known, key=lambda one: one[0], reverse=True):
        told = {"version": version, "freshness": "Current", "resources": [_aggregated(one) for one in listed]}
        groups.setdefault(name, []).append(told)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {"metadata": {"name": name} if name else {}, "versions": versions}
            for name, versions in sorted(groups.items())
        ],
    }


def _aggregated(one: Resource) -> Json:
    found: Json = {
        "resource": one.name,
        "responseKind": {"group": one.group, "version": one.version, "kind": one.kind},
        "scope": "Namespaced" if one.namespaced else "Cluster",
        "singularResource": one.kind.lower(),
        "verbs": one.verbs,
    }
    if one.short:
        found["shortNames"] = one.short
    if one.categories:
        found["categories"] = one.categories
    if one.subresources:
        found["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": {"group": part.group or one.group, "version": part.version, "kind": part.kind},
                "verbs": part.verbs,
            }
            for part in one.subresources
        ]
    return found


def openapi_index(known: Iterable[tuple[str, str]], digest: str) -> Json:
    """/openapi/v3: where the document of each group and version is; `digest` changes whenever one of them does."""
    paths = [f"apis/{name}/{version}" if name else f"api/{version}" for name, version in known]
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"} for path in paths}}


def openapi_v2_protobuf() -> bytes:
    """OPENAPI_V2 as the gnostic message that older kubectls ask for: swagger 1, info 2 (title, version), paths 8."""
    info = _field(1, _INFO["title"].encode()) + _field(2, _INFO["version"].encode())
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"")


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data
