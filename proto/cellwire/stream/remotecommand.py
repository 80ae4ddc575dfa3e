"""What exec and attach say beside the bytes themselves: versions, statuses, window sizes. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cellwire.stream.session import SessionRequest

VERSIONS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
"""Versions of remotecommand over SPDY; the last is called v1. Version 5 exists over WebSocket only."""
VERSION_HEADER = "X-Stream-Protocol-Version"
ACCEPTED_HEADER = "X-Accepted-Stream-Protocol-Versions"

ERROR, STDIN, STDOUT, STDERR, RESIZE = "error", "stdin", "stdout", "stderr", "resize"
"""Names of the streams, in header `streamtype`."""

RESIZE_LIMIT = 4096
"""Characters of a window size that is not yet whole: it has about thirty."""


@dataclass(frozen=True, slots=True)
class CommandEnded:
    """The command ended by itself. Attach never tells the code: a client would take it for a failure to attach."""

    code: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The session could not be run, in a sentence."""

    sentence: str


Outcome = CommandEnded | Failed


def negotiate(offered: Iterable[str], supported: Sequence[str]) -> str | None:
    """The first version offered that is supported. Each item of `offered` may be a comma list."""
    wanted = (version.strip() for item in offered for version in item.split(","))
    return next((version for version in wanted if version in supported), None)


def expected(request: SessionRequest, version: str) -> frozenset[str]:
    """The streams that a SPDY client opens before the session may start."""
    names = {ERROR}
    names |= {STDIN} if request.stdin else set()
    names |= {STDOUT} if request.stdout else set()
    names |= {STDERR} if request.stderr and not request.tty else set()
    names |= {RESIZE} if request.tty and version in VERSIONS[:2] else set()
    return frozenset(names)


def status(outcome: Outcome, version: str) -> bytes:
    """What the error stream says at the end: a Status as JSON since v4, before that text, and only of a failure."""
    if version.endswith(("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "v5.channel.k8s.io")):
        return json.dumps(_status(outcome), separators=(",", ":")).encode()
    if outcome == CommandEnded():
        return b""
    return str(_status(outcome)["message"]).encode()


def _status(outcome: Outcome) -> dict[str, object]:
    match outcome:
        case CommandEnded(0):
            return {"metadata": {}, "status": "Success"}
        case CommandEnded(code):
            return {
                "metadata": {},
                "status": "Failure",
                "message": f"command terminated with non-zero exit code: exit status {code}",
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
            }
        case Failed(sentence):
            return {
                "metadata": {},
                "status": "Failure",
                "message": f"Internal error occurred: {sentence}",
                "reason": "InternalError",
                "details": {"causes": [{"message": sentence}]},
                "code": 500,
            }


class WindowSizes:
    """Reads the resize stream: JSON objects one after another, cut anywhere."""

    def __init__(self) -> None:
        self._text = ""
        self._decoder = json.JSONDecoder()

    def receive(self, data: bytes) -> list[tuple[int, int]]:
        """Whole sizes, (width, height). What cannot be read is dropped: a window's size is not worth a session."""
        self._text = (self._text + data.decode("utf-8", "replace")).lstrip()
        sizes: list[tuple[int, int]] = []
        while self._text:
            try:
                value, end = self._decoder.raw_decode(self._text)
            except ValueError:
                if len(self._text) > RESIZE_LIMIT or not self._text.startswith("{"):
                    self._text = ""
                break
            except RecursionError:
                self._text = ""
                break
            self._text = self._text[end:].lstrip()
            size = _size(value)
            if size:
                sizes.append(size)
        return sizes


def _size(value: object) -> tuple[int, int] | None:
    if not isinstance(value, dict):
        return None
    width, height = value.get("Width"), value.get("Height")
    if type(width) is int and type(height) is int and 0 < width < 65536 and 0 < height < 65536:
        return width, height
    return None
