"""A controller as a process: real store, link and fleet, and a cloud that only keeps a list of its instances.

It obeys lines on its standard input ("told", "here", "names", "ask COUNT"), and answers each by a line of JSON. On its
first start it makes the records and certificates of the cells that are to dial (`light_cells`); on any other it finds
what an earlier life has left. `Controller` is its other end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import socket
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
import uvloop

from cellagent.boot.identity import CellIdentity
from cellwire.faults import Fault, Kind
from controller.clouds.protocol import Cloud, LaunchOutcome, LaunchRequest, Notice
from controller.fleet import room
from controller.fleet.cell_store import KIND
from controller.fleet.plan import FleetLimits
from controller.link import port as link_port
from controller.link.authority import Authority
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity, Instance, InstanceState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, LaunchType, Offer, Shape
from controller.model.pod import PodClaim, PodRef
from controller.process import KEPT_BYTES
from controller.store import etcd, sqlite
from controller.store.etcd_gateway import EtcdSettings
from controller.store.record_store import Store, encode
from hostkit import collection, syscalls

DEMAND = Demand(cpu_millis=100, memory_mib=128)
SHAPE = Shape(type="small", architecture="amd64", cpu_millis=1000, memory_mib=1024, baseline_millis=1000)
OFFER = Offer(shape=SHAPE, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=0.01)
TICK = 0.02
DESCRIPTORS = 65_536
Json = dict[str, Any]


def address(number: int) -> str:
    """An address of this machine's own, another for each cell, as cells have them."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def claim(number: int) -> PodClaim:
    return PodClaim(pod=PodRef(uid=PodUid(f"u-{number}"), namespace="default", name=f"pod-{number}"), demand=DEMAND)


def instance_of(number: int, token: str) -> Instance:
    return Instance(
        id=InstanceId(f"i-{number:08x}"),
        state=InstanceState.RUNNING,
        type=SHAPE.type,
        zone=OFFER.zone,
        launch_type=OFFER.launch_type,
        client_token=token,
        address=address(number),
        launched_at=time.time(),
    )


class ListingCloud(Cloud):
    """A cloud that only lists what was launched, in a file that outlives us; whoever plays the cells is told of it."""

    def __init__(self, folder: Path) -> None:
        self._players = itertools.cycle(sorted(folder.glob("cells-*.sock")))
        self._out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._file = (folder / "launched").open("a+")
        self._file.seek(0)
        self._known = {token: instance_of(int(number), token) for number, token in map(str.split, self._file)}
        self._by_id = {one.id: one for one in self._known.values()}

    @property
    def name(self) -> str:
        return "list"

    async def offers(self) -> tuple[Offer, ...]:
        return (OFFER,)

    async def launch(self, request: LaunchRequest) -> LaunchOutcome:
        known = self._known.get(request.client_token)
        if known is None:
            known = self.add(request.client_token)
            boot = {"instance": known.id, "address": known.address, "user_data": request.user_data}
            # The players are slow at times, which no cloud's answer waits for.
            told = json.dumps(boot).encode()
            await asyncio.to_thread(self._out.sendto, told, str(next(self._players)))
        return LaunchOutcome(client_token=request.client_token, instance=known)

    async def instances(self) -> tuple[Instance, ...]:
        return tuple(self._known.values())

    async def terminate(self, instances: Sequence[InstanceId]) -> None:
        self._known = {token: one for token, one in self._known.items() if one.id not in instances}

    def verify(self, document: bytes, signature: bytes) -> Identity:
        one = self._by_id.get(InstanceId(document.decode()))
        if one is None:
            raise Fault(Kind.DENIED, "identity document", "there is no such instance")
        return Identity(instance=one.id, account="1", region="r", zone="a", type=one.type, address=one.address)

    async def notices(self) -> AsyncGenerator[Notice]:
        yield await asyncio.Event().wait()  # type: ignore[misc] # there are none

    def add(self, token: str) -> Instance:
        made = instance_of(len(self._by_id), token)
        self._known[token] = self._by_id[made.id] = made
        self._file.write(f"{len(self._by_id) - 1} {token}\n")
        self._file.flush()
        return made


class Lag:
    """How late the loop is, in seconds, by a look fifty times a second; and how late by its own work alone: the CPU
    time of its thread between two looks, beyond what there is between them, which means something beside other work.
    """

    def __init__(self) -> None:
        self._late: list[float] = []
        self._own: list[float] = []

    async def watch(self) -> None:
        while True:
            due, used = time.monotonic() + TICK, time.thread_time()
            await asyncio.sleep(TICK)
            self._late.append(time.monotonic() - due)
            self._own.append(max(time.thread_time() - used - TICK, 0.0))

    def take(self) -> Json:
        """Median, 99th percentile and greatest since the last time; of its own work's the last two."""
        late, self._late = sorted(self._late) or [0.0], []
        own, self._own = sorted(self._own) or [0.0], []
        first, last = _percentile(late, 50), _percentile(late, 99)
        return {"p50": first, "p99": last, "max": late[-1], "own99": _percentile(own, 99), "own_max": own[-1]}


def _percentile(values: Sequence[float], part: int) -> float:
    return values[len(values) * part // 100]


def memory() -> int:
    """Resident bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def here(fleet: room.Fleet) -> Json:
    """Which cells there are."""
    cells = fleet.list()
    return {
        "connected": sum(cell.connected for cell in cells),
        "lost": sum(cell.state in {CellState.LOST, CellState.GONE} for cell in cells),
        "cells": len(cells),
    }


def told(lag: Lag, fleet: room.Fleet) -> Json:
    """What it has cost since it began; lateness since it was told last."""
    used = {"at": time.monotonic(), "cpu": time.process_time(), "rss": memory(), "lag": lag.take()}
    return {**here(fleet), **used}


async def asked(fleet: room.Fleet, count: int) -> Json:
    """So many pods are asked for at once; seconds until each had its cell."""
    begun, first = time.monotonic(), len(fleet.list())
    async with asyncio.TaskGroup() as tasks:
        for number in range(first, first + count):
            tasks.create_task(fleet.claim(claim(number)))
    return {"seconds": time.monotonic() - begun}


async def seed(store: Store, authority: Authority, folder: Path, count: int, cloud: ListingCloud) -> None:
    """The records of claimed cells, and their certificates: all have one key, since a key each is a process each."""
    shared = CellIdentity(folder / "shared")
    request = await shared.signing_request()
    (folder / "request").write_bytes(request)
    shared.authority.write_bytes(authority.pem)
    now = time.time()
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            one = cloud.add(f"t-{number}")
            cell = Cell(
                name=CellName(f"c-{number}"),
                state=CellState.CLAIMED,
                demand=DEMAND,
                claim=claim(number),
                offer=OFFER,
                instance=one.id,
                client_token=one.client_token,
                address=one.address,
                created_at=now,
                changed_at=now,
                boots=1,
            )
            pem = authority.sign(request, cell.name, one.id, timedelta(days=1))
            (folder / f"{cell.name}.pem").write_bytes(pem)
            tasks.create_task(store.put(KIND, cell.name, encode(cell), expected=0))


async def obey(fleet: room.Fleet, lag: Lag) -> None:
    """Answer until nobody asks any more."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while word := (await reader.readline()).decode().split():
        match word[0]:
            case "ask":
                answer = await asked(fleet, int(word[1]))
            case "here":
                answer = here(fleet)
            case "names":
                answer = {"connected": [cell.name for cell in fleet.list() if cell.connected]}
            case _:
                answer = told(lag, fleet)
        print(json.dumps(answer), flush=True)


def records(folder: Path, endpoint: str) -> AbstractAsyncContextManager[Store]:
    """Of this machine, or of an etcd."""
    if endpoint:
        return etcd.running(EtcdSettings(endpoints=(endpoint,), prefix="/scale"))
    return sqlite.running(folder / "records.sqlite")


async def run(folder: Path, port: int, count: int, lease: float, endpoint: str) -> None:
    lag = Lag()
    settings = link_port.LinkSettings(folder / "link", "127.0.0.1", port, ("127.0.0.1",))
    fleet_settings = room.FleetSettings(limits=FleetLimits(lease=lease, heartbeat=lease / 6))
    opened: list[room.Fleet] = []

    def admission() -> room.Fleet:
        if not opened:
            raise Fault(Kind.UNAVAILABLE, "join", "the controller is starting", "ask again")
        return opened[0]

    async with records(folder, endpoint) as store:
        cloud = ListingCloud(folder)
        if count:
            await seed(store, Authority(folder / "link", ("127.0.0.1",)), folder, count, cloud)
        async with (
            link_port.running(settings, admission, cloud.verify) as link,
            room.running(fleet_settings, store, cloud, link) as fleet,
            asyncio.TaskGroup() as tasks,
        ):
            opened.append(fleet)
            watching = tasks.create_task(lag.watch())
            print(json.dumps({"port": link.port, **told(lag, fleet)}), flush=True)
            await obey(fleet, lag)
            watching.cancel()


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard) if hard > 0 else soft, hard))
    syscalls.keep_freed(KEPT_BYTES)
    collection.space_out()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    folder, port, count, lease, endpoint = sys.argv[1:]
    uvloop.run(run(Path(folder), int(port), int(count), float(lease), endpoint))


if __name__ == "__main__":
    main()
