"""Reports of a cell, believed as far as it can be: form, lengths, numbers and rate. Pure.

Whoever is root on a cell writes its report. What is kept of it is values of this file, never the message; what is of no
sense is a fault, and ends that cell's connection.
"""

from __future__ import annotations

import math
import re

import msgspec

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.model.names import CellName

# Stages of a boot that an agent tells. All others are our own to say.
MOMENTS = frozenset({"user-data", "agent", "joined"})
WORD = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
LONGEST_SENTENCE = 1024
LONGEST_NAME = 512
LARGEST = 1 << 53
# An agent sends a heartbeat each interval, and while it pulls a few words a second. Beyond that it is flooding us.
BURST = 200.0
RATE = 20.0


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Once for each connection: thousandths of a CPU, MiB, and moments of the boot in unix seconds."""

    agent_version: str = ""
    oci_runtime: str = ""
    cpu_millis: int = 0
    memory_mib: int = 0
    moments: dict[str, float] = {}


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of now: bytes of memory in use, and nanoseconds of CPU since the boot, of the whole cell."""

    agent_memory_bytes: int = 0
    memory_used_bytes: int = 0
    cpu_used_ns: int = 0
    running_containers: int = 0


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """How far the pull of an image is: compressed bytes and layers, of how many; 0 where that is not known yet."""

    image: str
    bytes_done: int = 0
    bytes_total: int = 0
    layers_done: int = 0
    layers_total: int = 0


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """Something on the cell, with a CamelCase `reason` and a sentence; `at` is the unix second at the cell."""

    at: float
    reason: str
    message: str
    warning: bool = False
    pull: Pull | None = None


Word = Hello | Heartbeat | Happened


def of(message: wire.ReportMessage, cell: CellName) -> Word:
    """What one message of a report says. Raises Fault INVALID."""
    match message.WhichOneof("message"):
        case "hello":
            return _hello(message.hello)
        case "heartbeat":
            said = message.heartbeat
            return Heartbeat(
                agent_memory_bytes=_number(said.agent_memory_bytes),
                memory_used_bytes=_number(said.memory_used_bytes),
                cpu_used_ns=min(said.cpu_used_ns, (1 << 63) - 1),
                running_containers=_number(said.running_containers),
            )
        case "event":
            return _happened(message.event, cell)
        case _:
            raise Fault(Kind.INVALID, f"report of cell {cell}", "a message says nothing")


def _hello(said: wire.Hello) -> Hello:
    return Hello(
        agent_version=_text(said.agent_version, 64),
        oci_runtime=_text(said.oci_runtime, LONGEST_NAME),
        cpu_millis=said.cpu_millis,
        memory_mib=said.memory_mib,
        moments={name: at for name, at in said.moments.items() if name in MOMENTS and _moment(at)},
    )


def _happened(said: wire.CellEvent, cell: CellName) -> Happened:
    if WORD.fullmatch(said.reason) is None:
        raise Fault(Kind.INVALID, f"report of cell {cell}", "an event has a reason that is no word")
    if not _moment(said.at):
        raise Fault(Kind.INVALID, f"report of cell {cell}", "an event has no time")
    pull = None
    if said.HasField("pull"):
        pull = Pull(
            image=_text(said.pull.image, LONGEST_NAME),
            bytes_done=_number(said.pull.bytes_done),
            bytes_total=_number(said.pull.bytes_total),
            layers_done=_number(said.pull.layers_done),
            layers_total=_number(said.pull.layers_total),
        )
    return Happened(
        at=said.at, reason=said.reason, message=_text(said.message, LONGEST_SENTENCE), warning=said.warning, pull=pull
    )


def _moment(at: float) -> bool:
    return math.isfinite(at) and 0 < at < LARGEST


def _number(value: int) -> int:
    return min(value, LARGEST)


def _text(value: str, longest: int) -> str:
    """One line of printable characters, cut to a length."""
    return "".join(char if char.isprintable() else " " for char in value[:longest])


class MessageLevel(msgspec.Struct, frozen=True):
    """How much a cell has said of late: `level` messages as of `at`, which sink by `RATE` a second."""

    level: float = 0.0
    at: float = 0.0

    def after(self, now: float, cell: CellName) -> MessageLevel:
        """The same after one more message. Raises Fault INVALID where it says too much."""
        level = max(self.level - (now - self.at) * RATE, 0.0) + 1
        if level > BURST:
            cause = f"it sends more than {RATE:.0f} messages a second, {BURST:.0f} at once"
            raise Fault(Kind.INVALID, f"report of cell {cell}", cause)
        return MessageLevel(level, now)
