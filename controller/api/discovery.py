"""What this API says it serves: versions, groups and resources, in the legacy and in the aggregated form. Pure.

The OpenAPI documents are as small as kubectl allows: no schemas, so that it leaves validation to the server, which
checks every field and names it.
"""

from __future__ import annotations

from typing import NamedTuple

from controller.objects.fields import Json

VERSION: Json = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+chinampa",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
AUTHORIZATION = "authorization.k8s.io"


class Resource(NamedTuple):
    """One resource, with its subresources as (name, kind, verbs)."""

    name: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


NAMESPACED = True
_READ = ("get", "list", "watch")
CORE = (
    Resource("events", "Event", NAMESPACED, _READ, ("ev",)),
    Resource("namespaces", "Namespace", not NAMESPACED, ("create", "delete", *_READ, "patch", "update"), ("ns",)),
    Resource("nodes", "Node", not NAMESPACED, _READ, ("no",)),
    Resource(
        "pods",
        "Pod",
        NAMESPACED,
        ("create", "delete", "deletecollection", *_READ, "patch", "update"),
        ("po",),
        ("all",),
        (
            ("attach", "PodAttachOptions", ("create", "get")),
            ("exec", "PodExecOptions", ("create", "get")),
            ("log", "Pod", ("get",)),
            ("portforward", "PodPortForwardOptions", ("create", "get")),
        ),
    ),
)
REVIEWS = (Resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", not NAMESPACED, ("create",)),)


def versions(address: str) -> Json:
    """/api."""
    addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def groups() -> Json:
    """/apis."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}


def group() -> Json:
    """/apis/authorization.k8s.io."""
    version = {"groupVersion": f"{AUTHORIZATION}/v1", "version": "v1"}
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": AUTHORIZATION,
        "versions": [version],
        "preferredVersion": version,
    }


def resources(group_version: str, listed: tuple[Resource, ...]) -> Json:
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
                "name": f"{one.name}/{name}",
                "singularName": "",
                "namespaced": one.namespaced,
                "kind": kind,
                "verbs": verbs,
            }
            for name, kind, verbs in one.subresources
        )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": found}


def aggregated(name: str, listed: tuple[Resource, ...]) -> Json:
    """/api or /apis in one document."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {"version": "v1", "freshness": "Current", "resources": [_aggregated(name, one) for one in listed]}
                ],
            }
        ],
    }


def _aggregated(group_name: str, one: Resource) -> Json:
    found: Json = {
        "resource": one.name,
        "responseKind": {"group": group_name, "version": "v1", "kind": one.kind},
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
                "subresource": name,
                "responseKind": {"group": group_name, "version": "v1", "kind": kind},
                "verbs": verbs,
            }
            for name, kind, verbs in one.subresources
        ]
    return found


OPENAPI_V3_INDEX: Json = {"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1?hash=chinampa"}}}
_INFO: Json = {"title": "Kubernetes", "version": VERSION["gitVersion"]}
OPENAPI_V2: Json = {"swagger": "2.0", "info": _INFO, "paths": {}}


def openapi_v3() -> Json:
    """Tells kubectl that the server validates fields itself, for each kind that can be written."""
    paths: Json = {}
    for one in CORE:
        if "patch" not in one.verbs:
            continue
        within = "/api/v1/namespaces/{namespace}" if one.namespaced else "/api/v1"
        paths[f"{within}/{one.name}/{{name}}"] = {
            "patch": {
                "operationId": f"patchCoreV1{one.kind}",
                "parameters": [
                    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
                    for name in ("dryRun", "fieldValidation", "fieldManager")
                ],
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": "patch",
                "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": one.kind},
            }
        }
    return {"openapi": "3.0.0", "info": _INFO, "paths": paths, "components": {"schemas": {}}}


def openapi_v2_protobuf() -> bytes:
    """OPENAPI_V2 as the gnostic message that older kubectls ask for: swagger 1, info 2 (title, version), paths 8."""
    info = _field(1, _INFO["title"].encode()) + _field(2, _INFO["version"].encode())
    return _field(1, b"2.0") + _field(2, info) + _field(8, b"")


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2, len(data))) + data
