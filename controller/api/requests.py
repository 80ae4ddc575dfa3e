"""Reads requests and writes answers: bodies, query parameters, JSON, tables where kubectl asks for them."""

from __future__ import annotations

import asyncio
import base64
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import msgspec
from aiohttp import web

from cellwire import strangers_json
from controller.api import twice, yaml_bodies
from controller.api.all_kinds import KINDS
from controller.api.people import Who
from controller.api.tables import pods_table, table, table_of
from controller.objects import protobuf, selectors
from controller.objects.collection import Objects
from controller.objects.fields import Json, bad_request
from controller.objects.resource import Resource

WHO = web.RequestKey("who", Who)
# What a pod has cost, by its uid.
SPENT: web.RequestKey[Callable[[str], float]] = web.RequestKey("spent")
# Values that everybody may write into annotations that reach beyond a cell (see `restricted`).
ALLOWED = web.RequestKey("allowed", Mapping[str, Sequence[str]])
# Paths of fields that an object of the body has twice, as its reader has seen them.
DUPLICATES: web.RequestKey[tuple[str, ...]] = web.RequestKey("duplicates")


LARGEST_BODY = 3 << 20
YAML = "application/yaml"
OBJECT_TYPES = ("application/json", YAML, "")
META = "meta.k8s.io/v1"
# A body of so many bytes is read at once, in a few milliseconds.
_SMALL = 32 << 10
# One at a time: the parser is slow, and takes as much from everybody else as there are threads in it.
_YAML_READER = ThreadPoolExecutor(1, thread_name_prefix="yaml")

Read = TypeVar("Read")
Plain = TypeVar("Plain")


async def body(request: web.Request, types: tuple[str, ...] = OBJECT_TYPES) -> Json:
    """The object in a request's body; an empty one for none. Raises Fault where it cannot be read, or is no object."""
    found = await any_body(request, types)
    return {} if found is None else _object(found)


async def any_body(request: web.Request, types: tuple[str, ...]) -> object:
    """What a request's body says, None for none."""
    data = await request.read()
    if not data:
        return None
    if request.content_type == protobuf.CONTENT_TYPE:
        return await _beside(lambda data: _plain(protobuf.decode(data, KINDS)), data)
    if request.content_type not in (*types, "application/octet-stream"):
        fault = bad_request(
            f"the body of the request is {request.content_type}; supported: {', '.join(filter(None, types))}"
        )
        fault.reason = "UnsupportedMediaType"
        raise fault
    try:
        return await _yaml(request, data) if request.content_type == YAML else await _beside(_json, data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body of the request cannot be read as JSON: {error}") from error


async def applied_body(request: web.Request) -> Json:
    """The object in the body of a server-side apply: JSON, as kubectl sends it, or YAML. Raises Fault for others."""
    data = await request.read()
    try:
        found = await _beside(_json, data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if len(data) > yaml_bodies.LONGEST:
            cause = f"the body of the request cannot be read as JSON ({error}), and is too long for YAML"
            raise bad_request(f"{cause}: at most {yaml_bodies.LONGEST} bytes") from error
        found = await _yaml(request, data)
    return _object(found)


def _object(found: object) -> Json:
    if not isinstance(found, dict):
        raise bad_request("the body of the request must be an object")
    one = cast("Json", found)
    if not isinstance(one.get("metadata"), dict | None):
        raise bad_request("metadata must be an object")
    return one


async def _yaml(request: web.Request, data: bytes) -> object:
    found = await asyncio.get_running_loop().run_in_executor(_YAML_READER, yaml_bodies.load, data)
    request[DUPLICATES] = found.duplicates
    return _plain(found.value)


def _json(data: bytes) -> object:
    return _plain(strangers_json.decode(data))


async def _beside(read: Callable[[bytes], Read], data: bytes) -> Read:
    """What is read of a body: of a large one in a thread, where others have their turn meanwhile."""
    return read(data) if len(data) <= _SMALL else await asyncio.to_thread(read, data)


def _plain(value: Plain) -> Plain:
    """The value, unless no store could keep it: numbers beyond 64 bits, nesting without end."""
    _bounded(value, 0)
    return value


def _bounded(value: object, depth: int) -> None:
    if depth > 100:
        raise bad_request("the body of the request is nested too deeply")
    if isinstance(value, dict):
        for member in cast("Json", value).values():
            _bounded(member, depth + 1)
    elif isinstance(value, list):
        for member in cast("list[Any]", value):
            _bounded(member, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise bad_request("a number in the body of the request is out of range")


def flag(request: web.Request, name: str) -> bool:
    """A boolean parameter: absent is false, present without a value true."""
    value = request.query.get(name)
    return value is not None and value.lower() in {"", "1", "t", "true"}


def number(request: web.Request, name: str) -> int | None:
    """A whole, not negative number as parameter. Raises Fault for anything else."""
    value = request.query.get(name)
    if value is None or value == "":
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise bad_request(f'invalid value for parameter {name}: "{value}" is not a whole number')
    return int(value)


def answer(value: Json, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def selected(request: web.Request, resource: Resource) -> Callable[[Json], bool]:
    """What the request's selectors match."""
    by_label = selectors.labels(request.query.get("labelSelector", ""))
    by_field = selectors.fields(request.query.get("fieldSelector", ""), resource.selectable)
    if not request.query.get("labelSelector") and not request.query.get("fieldSelector"):
        return lambda _: True
    return lambda one: by_label(one) and by_field(one)


def wants_table(request: web.Request) -> bool:
    """Whether the first form that the client accepts is a Table."""
    first = request.headers.get("Accept", "").split(",")[0]
    return "as=Table" in first


def wants_metadata(request: web.Request) -> bool:
    """Whether the client accepts the metadata of objects alone, as collectors of garbage do."""
    first = request.headers.get("Accept", "").split(",")[0]
    return "as=PartialObjectMetadata" in first


def metadata_of(one: Json) -> Json:
    """An object's metadata alone, as an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META, "metadata": one["metadata"]}


def written(request: web.Request, one: Json, status: int = 200) -> web.Response:
    """An object that was written, or its metadata alone."""
    return answer(metadata_of(one) if wants_metadata(request) else one, status)


def shown(request: web.Request, resource: Resource, one: Json) -> web.Response:
    """One object, a table of it, or its metadata alone."""
    if not wants_table(request):
        return written(request, one)
    return answer(as_table(request, resource, [one], one["metadata"].get("resourceVersion", "")))


def as_table(request: web.Request, resource: Resource, objects: list[Json], revision: str) -> Json:
    """These objects as a table, as the request wants it."""
    include = request.query.get("includeObject", "Metadata")
    kind = pods_table(request[SPENT]) if resource.key == "pods" else table_of(resource.key)
    return table(kind, objects, revision, time.time(), include)


def listed(request: web.Request, resource: Resource, objects: Objects, namespace: str = "") -> web.Response:
    """A list of objects, a table of it, or their metadata alone; in pieces where the client sets a limit."""
    matches, limit = selected(request, resource), number(request, "limit")
    rest = (one for one in objects.after(_continued(request.query.get("continue", "")), namespace) if matches(one))
    metadata: Json = {"resourceVersion": str(objects.revisions.last)}
    found = list(itertools.islice(rest, limit or None))
    if limit and (left := sum(1 for _ in rest)):
        metadata["remainingItemCount"] = left
        place = msgspec.json.encode(_place(found[-1]))
        metadata["continue"] = base64.urlsafe_b64encode(place).decode()
    if wants_table(request):
        shown = as_table(request, resource, found, metadata["resourceVersion"])
        return answer({**shown, "metadata": metadata})
    if wants_metadata(request):
        items = [metadata_of(one) for one in found]
        return answer({"kind": "PartialObjectMetadataList", "apiVersion": META, "metadata": metadata, "items": items})
    kind = f"{resource.kind}List"
    return answer({"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": found})


def _place(one: Json) -> tuple[str, str]:
    return one["metadata"].get("namespace", ""), one["metadata"]["name"]


def _continued(token: str) -> tuple[str, str]:
    if not token:
        return ("", "")
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[str, str])
    except (ValueError, msgspec.DecodeError) as error:
        raise bad_request("continue key is not valid: it is none of this server's") from error


def until(request: web.Request, now: float) -> float:
    """When a watch is to end."""
    seconds = number(request, "timeoutSeconds")
    return math.inf if not seconds else now + seconds


async def duplicates(request: web.Request) -> tuple[str, ...]:
    """The paths of fields that an object of the body has twice, once it was read; of these the last one counts."""
    known = request.get(DUPLICATES)
    if known is not None:
        return known
    if request.content_type == protobuf.CONTENT_TYPE:
        return ()
    return await _beside(twice.duplicates_of, await request.read())
