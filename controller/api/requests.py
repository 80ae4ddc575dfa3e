"""Reads requests and writes answers: bodies, query parameters, JSON, tables where kubectl asks for them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from aiohttp import web

from controller.api import protobuf, selectors
from controller.api.answers import bad_request
from controller.api.tables import TABLES, table
from controller.objects.collection import Objects
from controller.objects.fields import Json

LARGEST_BODY = 3 << 20
JSON_TYPES = ("application/json", "")


async def body(request: web.Request, types: tuple[str, ...] = JSON_TYPES) -> Json:
    """The object in a request's body; an empty one for none. Raises Fault where it is not JSON, or no object."""
    found = await any_body(request, types)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise bad_request("the body of the request must be a JSON object")
    return cast("Json", found)


async def any_body(request: web.Request, types: tuple[str, ...]) -> object:
    """The JSON in a request's body, None for none."""
    data = await request.read()
    if not data:
        return None
    if request.content_type == protobuf.CONTENT_TYPE:
        return protobuf.decode(data)
    if request.content_type not in (*types, "application/octet-stream"):
        fault = bad_request(
            f"the body of the request is {request.content_type}; supported: {', '.join(filter(None, types))}"
        )
        fault.reason = "UnsupportedMediaType"
        raise fault
    try:
        found: object = msgspec.json.decode(data)
        _plain(found)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise bad_request(f"the body of the request cannot be read as JSON: {error}") from error
    return found


def _plain(value: object, depth: int = 0) -> None:
    """Refuse what no store could keep: numbers beyond 64 bits and nesting without end."""
    if depth > 100:
        raise bad_request("the body of the request is nested too deeply")
    if isinstance(value, dict):
        for member in cast("Json", value).values():
            _plain(member, depth + 1)
    elif isinstance(value, list):
        for member in cast("list[Any]", value):
            _plain(member, depth + 1)
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


def selected(request: web.Request, kind: str) -> Callable[[Json], bool]:
    """What the request's selectors match."""
    by_label = selectors.labels(request.query.get("labelSelector", ""))
    by_field = selectors.fields(request.query.get("fieldSelector", ""), kind)
    return lambda one: by_label(one) and by_field(one)


def wants_table(request: web.Request) -> bool:
    """Whether the first form that the client accepts is a Table."""
    first = request.headers.get("Accept", "").split(",")[0]
    return "as=Table" in first


def shown(request: web.Request, kind: str, one: Json) -> web.Response:
    """One object, or a table of it."""
    if not wants_table(request):
        return answer(one)
    return answer(as_table(request, kind, [one], one["metadata"].get("resourceVersion", "")))


def as_table(request: web.Request, kind: str, objects: list[Json], revision: str) -> Json:
    """These objects as a table, as the request wants it."""
    return table(TABLES[kind], objects, revision, time.time(), request.query.get("includeObject", "Metadata"))


def listed(request: web.Request, kind: str, list_kind: str, objects: Objects, namespace: str = "") -> web.Response:
    """A list of objects, or a table of it."""
    matches = selected(request, kind)
    found = [one for one in objects.list(namespace) if matches(one)]
    revision = str(objects.revisions.last)
    if wants_table(request):
        return answer(as_table(request, kind, found, revision))
    return answer({"kind": list_kind, "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": found})


def until(request: web.Request, now: float) -> float:
    """When a watch is to end."""
    seconds = number(request, "timeoutSeconds")
    return math.inf if not seconds else now + seconds
