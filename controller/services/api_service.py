"""The Service `kubernetes` in the namespace `default`: this API, as pods call it in every cluster."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from cellwire.faults import Fault
from controller.objects.admission import How
from controller.objects.fields import Json
from controller.objects.kinds import ENDPOINTS, SERVICES
from controller.objects.library import Library
from controller.objects.namespace_lifecycle import DEFAULT
from controller.objects.resource import Resource
from controller.objects.stored import Ending

log = structlog.get_logger()
NAME, PORT = "kubernetes", 443
_HOW = How(manager="chinampa-services")
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def wanted(address: str, port: int) -> list[tuple[Resource, Json]]:
    """What is kept of the Service where pods reach the API at an address; nothing where that is no IP address. Pure."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return []
    metadata = {"name": NAME, "labels": _LABELS}
    named = {"name": "https", "protocol": "TCP"}
    service = {"metadata": metadata, "spec": {"ports": [{**named, "port": PORT, "targetPort": port}]}}
    subsets = [{"addresses": [{"ip": address}], "ports": [{**named, "port": port}]}]
    return [(SERVICES, service), (ENDPOINTS, {"metadata": metadata, "subsets": subsets})]


@asynccontextmanager
async def running(library: Library, address: str, port: int) -> AsyncGenerator[None]:
    """Keep the Service as it is to be, whoever changes it; without an address, one that was kept before goes."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(_keep(library, wanted(address, port)), name="the API's own Service")
        try:
            yield
        finally:
            work.cancel()


async def _keep(library: Library, objects: list[tuple[Resource, Json]]) -> None:
    if not objects:
        await _forget(library)
        return
    seen, said = 0, ""
    while True:
        try:
            for resource, one in objects:
                there = library.objects(resource.key).get(DEFAULT, NAME)
                if there is None:
                    await library.create(resource, DEFAULT, one, _HOW)
                elif _as_wanted(there, one) != there:
                    await library.change(resource, DEFAULT, NAME, partial(_as_wanted, one=one), _HOW)
        except Fault as fault:
            if str(fault) != said:
                said = str(fault)
                log.warning("pods do not find this API by its name", cause=said)
        seen = await library.revisions.after(seen)


async def _forget(library: Library) -> None:
    for resource in (SERVICES, ENDPOINTS):
        found = library.objects(resource.key).get(DEFAULT, NAME)
        if found is not None and (found["metadata"].get("labels") or {}).items() >= _LABELS.items():
            try:
                await library.delete(resource, DEFAULT, NAME, Ending(), _HOW)
            except Fault as fault:
                log.warning("the API's own Service is not deleted", cause=str(fault))


def _as_wanted(there: Json, one: Json) -> Json:
    """An object with what is to be kept of it, without backends that others gave it."""
    if "subsets" in one:
        return {**there, "subsets": one["subsets"]}
    spec = {name: value for name, value in there["spec"].items() if name != "selector"}
    return {**there, "spec": {**spec, "ports": one["spec"]["ports"]}}
