"""What the user-data of this instance says: where home is, whom to trust, and the join token. Pure."""

from __future__ import annotations

import zlib

import msgspec

from cellwire.faults import Fault, Kind

MARK = "#chinampa "
LONGEST = 1 << 20


class BootFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts in the script. `controllers` are "host:port"; `ca` is the fingerprint of the authority."""

    version: int
    controllers: tuple[str, ...]
    ca: str
    token: str


def parse(data: bytes) -> BootFacts:
    """The facts, from plain or compressed text. Raises Fault INVALID."""
    try:
        text = (_unpacked(data) if data[:2] == b"\x1f\x8b" else data).decode()
        line = next(line for line in text.splitlines() if line.startswith(MARK))
        facts = msgspec.json.decode(line.removeprefix(MARK), type=BootFacts)
    except StopIteration:
        raise _invalid(f"it has no line that begins with {MARK.strip()!r}") from None
    except (ValueError, zlib.error, msgspec.DecodeError, RecursionError) as error:
        raise _invalid(str(error)) from error
    if facts.version != 1 or not facts.controllers:
        raise _invalid("its version is not 1, or it names no controller")
    return facts


def _unpacked(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)  # 31: gzip
    text = inflater.decompress(data, LONGEST)
    if not inflater.eof:
        raise ValueError(f"it does not unpack to a whole text of at most {LONGEST} bytes")
    return text


def _invalid(cause: str) -> Fault:
    return Fault(Kind.INVALID, "user-data", cause, "boot the instance from a launch of the controller")
