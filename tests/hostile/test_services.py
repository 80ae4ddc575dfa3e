"""What a cell says of Services, and what its pod asks of DNS: a lie of the one ends a session, the other is no lie."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from tests.support.controller import Controller, running_controller
from tests.support.hostile import Honest, HostileCell, beside_an_attacker, cell_of, peak, peak_begins
from tests.support.manifests import pod

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

# docs/threat-model.md says so of frames.
MOST_BYTES = 64 << 20
LIES = {
    "a name longer than any": [wire.ServicesOutput(question=wire.NameQuestion(name="x" * 300))],
    "what nobody told it": [wire.ServicesOutput(applied=2**64 - 1)],
    "failures of nothing": [wire.ServicesOutput(failure=wire.SessionFailure(message="f" * 9000))] * 100,
    "a name in place of an address": [wire.ServicesOutput(dialled="honest")],
}
# What would end something if it were taken for more than bytes: a point within a label, zero bytes, bytes that are no
# text, a name that is all labels, one of the domain alone, one that DNS has no room for.
SVC = b"\3svc\7cluster\5local"
ODD = (
    b"\7web.def\7default" + SVC,
    b"\4\0\377\33\12\7default" + SVC,
    b"\2\303\50\77" + b"\304" * 63 + b"\77" + b"\377" * 63 + SVC,
    b"\1\377" * 110 + SVC,
    b"\7cluster\5local",
    (b"\77" + b"\303" * 63) * 4 + SVC,
)


async def test_lies_about_services_end_the_session_and_no_more(tmp_path: Path) -> None:
    async with beside_an_attacker(tmp_path) as (controller, cell, honest):
        await cell.until_asked("Services")
        for number, (name, lie) in enumerate(LIES.items(), 1):
            connections, asked = cell.connections, _asked(cell)
            cell.say("Services", *lie, stays=True)
            await cell.until(lambda before=connections: cell.connections > before)
            cell.say("Services", stays=True)
            await cell.until_asked("Services", asked + 1, seconds=60)
            await _disbelieved(controller, number, name)
            await honest.holds()


def _asked(cell: HostileCell) -> int:
    return sum(method == "Services" for method, _ in cell.asked)


async def _disbelieved(controller: Controller, times: int, lie: str) -> None:
    said = controller.without_traceback()
    assert said.count("a cell is not believed") >= times, f"{lie}: {controller.words()}"


async def test_questions_without_end_are_read_no_faster_and_are_no_lie(tmp_path: Path) -> None:
    async with beside_an_attacker(tmp_path) as (controller, cell, honest):

        async def endless(request: Any) -> AsyncIterator[wire.ServicesOutput]:
            del request
            number = 0
            while True:
                number += 1
                name = f"n{number}.default.svc.cluster.local".rjust(250, "x")
                yield wire.ServicesOutput(question=wire.NameQuestion(id=number, name=name, type=1))

        before = peak_begins(controller)
        cell.script("Services", endless)
        cell.redial()
        asked, connections = _asked(cell), cell.connections
        await cell.until_asked("Services", asked + 1)
        connections = cell.connections
        for _ in range(5):
            await honest.holds()
        print(f"{(peak(controller) - before) >> 10} KiB more")
        assert peak(controller) - before < MOST_BYTES
        assert cell.connections == connections
        assert "is not believed" not in (controller.folder / "controller.log").read_text()


async def test_a_pod_that_asks_dns_for_any_bytes_costs_its_cell_nothing(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        await controller.kubectl("apply", "-f", "-", stdin=pod(Honest.NAME))
        await controller.kubectl("wait", "--for=condition=Ready", f"pod/{Honest.NAME}", "--timeout=120s", seconds=130)
        before = (await cell_of(controller, Honest.NAME))["name"]
        find = "sed -n 's/^nameserver //p' /etc/resolv.conf"
        server = await controller.kubectl("exec", Honest.NAME, "--", "sh", "-c", find)
        for name in ODD:
            query = struct.pack(">HHHHHH", 0x0102, 0x0100, 1, 0, 0, 0) + name + struct.pack(">BHH", 0, 1, 1)
            octal = "".join(f"\\{one:03o}" for one in len(query).to_bytes(2) + query)
            script = f"printf '{octal}' | nc -w 20 {server.strip()} 53 | od -An -tx1 -j2 -N3"
            answer = await controller.kubectl("exec", Honest.NAME, "--", "sh", "-c", script)
            assert answer.startswith(" 01 02 8") or len(name) > 250, f"{name!r}: {answer!r}"
        assert (await cell_of(controller, Honest.NAME))["name"] == before
        said = (controller.folder / "controller.log").read_text()
        assert "is not believed" not in said, controller.words()
        assert "is not told of Services" not in said, controller.words()
